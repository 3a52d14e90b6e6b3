"""What the signer answers about the embedded CA: statuses, lists and time-stamps; asked by ``api/web/pki.py``.

Anybody may ask, and each new answer costs a signature. So strangers get a share of each minute, and when it is used up they
are told to come later; the rest of the keys' daily budgets is for our own copies, which need the same keys.
"""

from collections.abc import Mapping
from typing import Any

from api.bootstrap import Service
from api.inner import Handler
from ca_bridge.responder import Responder
from ca_bridge.timestamp.authority import EmbeddedTimestampAuthority, Failure, rejection
from core.clock import Clock
from core.errors import NotFound
from core.limits import LIMITS
from signer.enrolment import issuer_of

__all__ = ["Share", "pki_handlers"]


class Share:
    """Signatures that strangers may cause, a minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._minute, self._used = -1, 0

    def take(self) -> bool:
        """One of them; False when there is none left."""
        minute = int(self._clock.now().timestamp()) // 60
        if minute != self._minute:
            self._minute, self._used = minute, 0
        self._used += 1
        return self._used <= LIMITS["pki.signed_minute"]


def pki_handlers(service: Service) -> dict[str, Handler]:
    """``ocsp``, ``crl`` and ``timestamp``, by name."""
    parts = service.parts()
    held, stamper, stamps = parts.evidence, parts.copies.signing.timestamps, Share(service.clock)
    issuing, delegate = (issuer_of(c, held.open_key(c, "ocsp")) for c in (held.issuing, held.ocsp))
    responder = Responder(
        db=service.db, clock=service.clock, issuer=issuing, responder=delegate, may_sign=Share(service.clock).take
    )

    async def ocsp(_: Mapping[str, Any], body: bytes) -> bytes:
        return await responder.respond(body)

    async def crl(words: Mapping[str, Any], _: bytes) -> bytes:
        """The same list that goes into our own documents; it changes with the table, or after ``ca.answer_seconds``."""
        lists = (await held.evidence([]))[2]
        named = dict(zip((held.root.owner, held.issuing.owner), lists, strict=True))
        if words["slug"] not in named:
            raise NotFound("web.no_such_thing")
        return named[words["slug"]]

    async def timestamp(_: Mapping[str, Any], body: bytes) -> bytes:
        """By the authority that stamps our own copies: one clock guard for all tokens."""
        if not isinstance(stamper, EmbeddedTimestampAuthority):
            raise NotFound("tsa.not_here")
        return await stamper.respond(body) if stamps.take() else rejection(Failure.SYSTEM_FAILURE)

    return {"ocsp": ocsp, "crl": crl, "timestamp": timestamp}
