"""The last look at a paper, at what was signed; what its bytes decide was asked before (``signer/papers/judging.py``).

In this process, over our own copy of the bytes: each signature of the request is read by the checker's own reader, fits
the digest around its hole, is by the certificate of its order, carries a time-stamp over its value, and both lead to our
anchors with what a verifier needs later. The document around the hole is hashed, never parsed.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from core.errors import Broken
from signer.requests.signed import Signed
from verification.engine.cms import CmsFault, open_cms, open_token
from verification.engine.paths import Revocation, find_path, revocation_of
from verification.policy import TrustAnchor

__all__ = ["LastLook"]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A certificate with those it came with; of ours the revocation data must be there, of others it may be."""

    certificate: x509.Certificate
    others: tuple[x509.Certificate, ...]
    stamps: bool
    ours: bool


class LastLook:
    """At all papers of one request. First ``require_fits`` for each signature, then ``require_trusted`` once."""

    def __init__(self) -> None:
        self._seen: dict[_Seen, tuple[dt.datetime, dt.datetime]] = {}

    def require_fits(self, document: bytes, signed: Signed) -> None:
        """The value against the bytes, the certificate and the time-stamp. Raises ``request.self_check``."""
        zero, start, end, rest = signed.order.prepared["byte_range"]
        view = memoryview(document)
        try:
            hole = bytes.fromhex(document[start + 1 : end - 1].decode("ascii"))
            opened = open_cms(hole, [view[zero:start], view[end : end + rest]])
            if opened.token is None:
                raise CmsFault("format", "no time-stamp")
            stamper, at = open_token(opened.token, opened.signature)
        except (CmsFault, ValueError, x509.ExtensionNotFound) as error:
            raise Broken("request.self_check", detail=str(error)) from error
        if not opened.ess or opened.certificate.public_bytes(Encoding.DER) != signed.certificate:
            raise Broken("request.self_check", detail="certificate")
        own = signed.order.provider is None
        self._note(_Seen(opened.certificate, opened.others, stamps=False, ours=own), at)
        self._note(_Seen(stamper.certificate, stamper.others, stamps=True, ours=False), at)

    def _note(self, seen: _Seen, at: dt.datetime) -> None:
        first, last = self._seen.get(seen, (at, at))
        self._seen[seen] = (min(first, at), max(last, at))

    def require_trusted(
        self, anchors: Sequence[TrustAnchor], validation: tuple[list[bytes], list[bytes], list[bytes]]
    ) -> None:
        """Every certificate leads to an anchor, and ours is good, from its first to its last use.

        ``validation``: what goes into the files (certificates, OCSP responses, CRLs). Raises ``request.self_check``.
        """
        certificates, ocsps, crls = validation
        pool, data = (
            [x509.load_der_x509_certificate(der) for der in certificates],
            Revocation(tuple(ocsps), tuple(crls)),
        )
        for seen, moments in self._seen.items():
            for moment in set(moments):
                _require_good(seen, moment, anchors, pool, data)


def _require_good(
    seen: _Seen, moment: dt.datetime, anchors: Sequence[TrustAnchor], pool: list[x509.Certificate], data: Revocation
) -> None:
    roots = [each for each in anchors if seen.stamps or not each.timestamps_only]
    path = find_path(seen.certificate, (*seen.others, *pool), roots, moment)
    if path is None:
        raise Broken("request.self_check", detail="verify.no_trusted_path")
    if not seen.certificate.not_valid_before_utc <= moment <= seen.certificate.not_valid_after_utc:
        raise Broken("request.self_check", detail="verify.certificate_expired")
    for subject, issuer in pairwise(path.certificates):
        state, _ = revocation_of(subject, issuer, data, moment)
        if state == "revoked" or (seen.ours and state != "good"):
            code = "verify.certificate_revoked" if state == "revoked" else "verify.revocation_not_checked"
            raise Broken("request.self_check", detail=code)
