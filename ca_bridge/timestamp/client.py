"""An external time-stamping authority over HTTP (RFC 3161 §3.4). Every token is checked before it is used."""

import datetime as dt

from asn1crypto import tsp as asn1_tsp
from cryptography import x509

from core.clock import Clock
from core.errors import Broken, Refused, Unavailable
from core.formats import tsp
from core.ids import random_bytes
from core.outbound import Outbound
from core.values import Digest
from verification.engine.cms import CmsFault, Signed, open_token
from verification.engine.paths import find_path
from verification.policy import TrustAnchor

__all__ = ["ExternalTimestampAuthority"]

_TOLERANCE = dt.timedelta(minutes=2)
_MOST = 64 * 1024


class ExternalTimestampAuthority:
    """Satisfies ``core.signing.Timestamper``."""

    size = 8_000
    """Room for a token with its chain; a bigger one is refused when it is embedded (``pades.too_big``)."""

    def __init__(self, *, url: str, anchors: tuple[TrustAnchor, ...], outbound: Outbound, clock: Clock) -> None:
        """``anchors``: whom its certificate must lead to. Raises ``tsa.no_anchor``."""
        if not anchors:
            raise Refused("tsa.no_anchor")
        self._url, self._anchors, self._outbound, self._clock = url, anchors, outbound, clock

    async def stamp(self, digest: Digest) -> bytes:
        """Raises ``tsa.unavailable``, ``tsa.refused``, ``tsa.wrong_answer``, ``tsa.untrusted``, ``tsa.time_differs``."""
        nonce = int.from_bytes(random_bytes(8), "big")
        try:
            answer = await self._outbound.fetch(
                self._url, body=tsp.request(digest, nonce), content_type="application/timestamp-query", most=_MOST
            )
        except Unavailable as error:
            raise Unavailable("tsa.unavailable") from error
        if answer.status >= 500:
            raise Unavailable("tsa.unavailable")
        if answer.status != 200 or answer.content_type != "application/timestamp-reply":
            raise Refused("tsa.refused", detail=answer.status)
        try:
            response = tsp.read_response(answer.body)
        except (ValueError, IndexError) as error:
            raise Broken("tsa.wrong_answer", detail="form") from error
        if response.token is None:
            raise Refused("tsa.refused", detail=response.status)
        self._check(response.token, digest, nonce)
        return response.token

    def _check(self, token: bytes, digest: Digest, nonce: int) -> None:
        """Imprint, nonce, signature, certificate and time, in the words of the verifier."""
        try:
            signed, time = open_token(token, digest)
            info = asn1_tsp.TSTInfo.load(signed.content, strict=True)
        except (CmsFault, ValueError, TypeError, x509.ExtensionNotFound) as error:
            raise Broken("tsa.wrong_answer", detail=getattr(error, "kind", "form")) from error
        if info["nonce"].native != nonce:
            raise Broken("tsa.wrong_answer", detail="nonce")
        if abs(time - self._clock.now()) > _TOLERANCE:
            raise Refused("tsa.time_differs")
        self._require_trusted(signed, time)

    def _require_trusted(self, signed: Signed, time: dt.datetime) -> None:
        certificate = signed.certificate
        path = find_path(certificate, signed.others, self._anchors, time)
        if path is None or not certificate.not_valid_before_utc <= time <= certificate.not_valid_after_utc:
            raise Refused("tsa.untrusted")
