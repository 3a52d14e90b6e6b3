"""The one place that reads the time. Everything else is handed a clock."""

import datetime as dt
from typing import Protocol

__all__ = ["VIETNAM", "Clock", "SystemClock", "timestamp_text"]

VIETNAM = dt.timezone(dt.timedelta(hours=7), "+07:00")
"""Vietnam keeps one zone without summer time; dates on papers are dates here."""


def timestamp_text(at: dt.datetime) -> str:
    """``21/11/2026 09:15:30 +07:00``, as papers and people here write it (Decree 30/2020, Appendix I)."""
    return at.astimezone(VIETNAM).strftime("%d/%m/%Y %H:%M:%S +07:00")


class Clock(Protocol):
    """Gives aware UTC times."""

    def now(self) -> dt.datetime:
        """The time, aware, in UTC."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> dt.datetime:
        """The time, aware, in UTC."""
        return dt.datetime.now(dt.UTC)
