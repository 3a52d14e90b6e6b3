"""What a reply means, in our errors. The server's own words stay behind: they may quote what was sent."""

from dataclasses import dataclass, field
from typing import Any, Final

from core.errors import BadInput, NotFound, Refused, ServiceError, Unavailable
from core.vault.wire import Call, Fate, Reply

__all__ = ["Answer", "answer_of", "failure_of", "may_be_repeated", "says"]

_BUSY: Final = frozenset({412, 429, 472, 473})
_BETWEEN: Final = frozenset({502, 504})
"""A balancer's word about a server whose answer it did not get: what became of the call is not known."""
_NO_SUCH: Final = ("signing key not found", "key not found", "no existing key named", "could not delete key; not found")
"""A missing key is 400 in transit, where a missing path is 404."""
_NO_ROUTE: Final = ("no handler for route", "route entry not found", "unsupported path")
"""Nothing is mounted there: that says nothing about what is under it."""
_HOPELESS: Final = ("requested version for signing", "cannot sign with key version")
"""A wrong key version is 500; asking again does not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A call that was carried out. ``request_id`` is the one in the server's audit file."""

    data: dict[str, Any] = field(repr=False)
    request_id: str


def says(reply: Reply, *phrases: str) -> bool:
    """Whether one of the server's error texts holds one of these, whatever the case."""
    errors = (reply.body or {}).get("errors")
    if not isinstance(errors, list):
        return False
    texts = [str(text).lower() for text in errors]
    return any(phrase in text for text in texts for phrase in phrases)


def may_be_repeated(call: Call, reply: Reply) -> bool:
    """Whether asking again is harmless and may help: it was not sent, it only reads, or the server said *not now*."""
    if reply.fate is not Fate.ANSWERED:
        return reply.fate is Fate.NOT_SENT or (reply.fate is Fate.LOST and call.reads)
    if reply.status in _BUSY or 300 <= reply.status < 400:
        return True
    if reply.status in _BETWEEN:
        return call.reads
    return reply.status >= 500 and not says(reply, "sealed", *_HOPELESS)


def answer_of(call: Call, reply: Reply, host: str) -> Answer:
    """What was asked for. Raises as ``failure_of``."""
    error = failure_of(call, reply, host)
    if error is not None:
        raise error
    body = reply.body or {}
    data = body.get("data")
    return Answer(data=data if isinstance(data, dict) else {}, request_id=str(body.get("request_id") or ""))


def failure_of(call: Call, reply: Reply, host: str) -> ServiceError | None:
    """The error a reply means, None for none."""
    if reply.fate is not Fate.ANSWERED:
        return _unanswered(call, reply, host)
    if reply.status < 300:
        if reply.intact:
            return None
        return Unavailable("vault.bad_answer" if call.reads else "vault.outcome_unknown", host=host)
    if reply.status < 400:
        return Unavailable("vault.redirected", host=host)
    if reply.status in _BUSY or reply.status >= 500:
        return _not_now(call, reply, host)
    return _no(reply, host)


def _unanswered(call: Call, reply: Reply, host: str) -> ServiceError:
    if reply.fate is Fate.LOST and not call.reads:
        return Unavailable("vault.outcome_unknown", host=host)
    if reply.fate is Fate.UNTRUSTED:
        return Unavailable("vault.untrusted", host=host)
    return Unavailable("vault.busy" if reply.fate is Fate.CROWDED else "vault.unreachable", host=host)


def _not_now(call: Call, reply: Reply, host: str) -> ServiceError:
    if reply.status in _BETWEEN and not call.reads:
        return Unavailable("vault.outcome_unknown", host=host)
    if says(reply, "sealed"):
        return Unavailable("vault.sealed", host=host)
    if says(reply, *_HOPELESS):
        return BadInput("vault.bad_request", status=reply.status)
    return Unavailable("vault.busy", host=host)


def _no(reply: Reply, host: str) -> ServiceError:
    if reply.status == 403:
        return Refused("vault.denied", host=host)
    if reply.status == 404:
        return _not_there(reply, host)
    if reply.status == 400 and says(reply, *_NO_SUCH):
        return NotFound("vault.missing")
    return BadInput("vault.bad_request", status=reply.status)


def _not_there(reply: Reply, host: str) -> ServiceError:
    """The server's own word alone says that something is not there: balancers, proxies and empty places say 404 too."""
    if not isinstance((reply.body or {}).get("errors"), list):
        return Unavailable("vault.bad_answer", host=host)
    return Unavailable("vault.no_such_mount", host=host) if says(reply, *_NO_ROUTE) else NotFound("vault.missing")
