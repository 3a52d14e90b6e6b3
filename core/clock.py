"""The one place that reads the time. Everything else is handed a clock."""

import datetime as dt
from typing import Protocol

__all__ = ["VIETNAM", "Clock", "SystemClock"]

VIETNAM = dt.timezone(dt.timedelta(hours=7), "+07:00")
"""Vietnam keeps one zone without summer time; dates on papers are dates here."""


class Clock(Protocol):
    """Gives aware UTC times."""

    def now(self) -> dt.datetime:
        """The time, aware, in UTC."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> dt.datetime:
        """The time, aware, in UTC."""
        return dt.datetime.now(dt.UTC)
