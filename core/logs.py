"""Structured logs: JSON lines on standard error. What may stand in them is an allow-list, so a name cannot slip in.

Ids, codes, kinds, states, counts and times are allowed. Anything else is dropped and its key named under ``dropped``,
which is a bug to mend at the call, not a reason to widen the list.
"""

import logging
import sys
import traceback
from pathlib import PurePath
from typing import Any, Final

import structlog

from core.errors import ServiceError

__all__ = ["ALLOWED", "code_of", "configure", "logger", "place_of"]

ALLOWED: Final = frozenset(
    {"event", "level", "at", "code", "error", "id", "kind", "state", "step", "role", "count", "ms", "bytes", "slot"}
)


def code_of(error: BaseException) -> str:
    """The stable code of an error of ours; the class of any other, which says nothing about its contents."""
    return error.code if isinstance(error, ServiceError) else type(error).__name__


def place_of(error: BaseException) -> str:
    """File and line where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def _only_allowed(_logger: Any, _method: str, line: structlog.types.EventDict) -> structlog.types.EventDict:
    kept = {key: value for key, value in line.items() if key in ALLOWED}
    if foreign := sorted(set(line) - ALLOWED):
        kept["dropped"] = foreign
    return kept


def configure(level: str = "warning") -> None:
    """Once a process. ``level``: debug, info, warning or error. Foreign libraries stay at error."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            _only_allowed,
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.getLogger().setLevel(logging.ERROR)


def logger() -> Any:
    """``logger().warning("job.failed", id=…, code=…)``: the event is a name, never a sentence with values in it."""
    return structlog.get_logger()
