"""When a copy is due by law: the day it was asked for, or the next working day when it came after 15:00.

Saturdays and Sundays are no working days. Public holidays are set by the government each year and are not known here: on
such a day the page says a date that is too early, never one that is too late.
"""

import datetime as dt
from typing import Final

from core.clock import VIETNAM

__all__ = ["due_on"]

_LAST_HOUR: Final = 15
_SATURDAY: Final = 5


def due_on(asked: dt.datetime) -> dt.date:
    """The day in Viet Nam by whose end a copy asked for at ``asked`` is to be handed over."""
    local = asked.astimezone(VIETNAM)
    day = local.date()
    late = local.time() > dt.time(_LAST_HOUR)
    if late or day.weekday() >= _SATURDAY:
        day += dt.timedelta(days=1)
        while day.weekday() >= _SATURDAY:
            day += dt.timedelta(days=1)
    return day
