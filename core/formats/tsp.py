"""RFC 3161 messages: the request we send, the response we read. Whether a token is to be believed is not decided here."""

from dataclasses import dataclass

from core.formats import der
from core.values import Digest

__all__ = ["TspResponse", "read_response", "request"]

_GRANTED = {0, 1}


@dataclass(frozen=True, slots=True)
class TspResponse:
    """``status`` 0 and 1 are grants (§2.4.2); ``token`` is there then and only then."""

    status: int
    token: bytes | None


def request(digest: Digest, nonce: int) -> bytes:
    """TimeStampReq, DER: asks for the authority's certificate too."""
    imprint = der.sequence(der.sequence(der.oid(digest.algorithm.oid), der.null()), der.octet_string(digest.value))
    return der.sequence(der.integer(1), imprint, der.integer(nonce), der.boolean(True))


def read_response(data: bytes) -> TspResponse:
    """Raises ``ValueError`` for what is no TimeStampResp."""
    status, *token = der.children(der.one(data, 0x30).content)
    number = der.children(status.content)[0]
    if status.tag != 0x30 or number.tag != 2 or len(number.content) != 1 or len(token) > 1:
        raise ValueError("PKIStatusInfo")
    code = number.content[0]
    if (code in _GRANTED) != bool(token):
        raise ValueError("a grant without a token, or a token without a grant")
    return TspResponse(code, token[0].raw if token else None)
