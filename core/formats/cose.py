"""COSE_Sign1 with ES256 (RFC 9052 section 4.2, RFC 9053 section 2.1), untagged, nothing else."""

from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from core.errors import BadInput, Refused
from core.formats import cbor

__all__ = ["Sign1", "assemble", "parse", "protected_header", "raw_signature", "to_be_signed", "verify"]


@dataclass(frozen=True, slots=True)
class Sign1:
    """A parsed COSE_Sign1: ``signature`` is r||s (64 bytes), ``signed`` the bytes it covers."""

    kid: bytes
    payload: bytes
    signature: bytes
    signed: bytes


def protected_header(kid: bytes) -> bytes:
    """``{1: -7, 4: kid}``, encoded."""
    return cbor.encode({1: -7, 4: kid})


def to_be_signed(protected: bytes, payload: bytes) -> bytes:
    """The Sig_structure of RFC 9052 section 4.4."""
    return cbor.encode(["Signature1", protected, b"", payload])


def raw_signature(der: bytes) -> bytes:
    """DER ECDSA value to r||s of 64 bytes. Raises ``qr.cose_malformed``."""
    try:
        r, s = decode_dss_signature(der)
        return r.to_bytes(32) + s.to_bytes(32)
    except (ValueError, OverflowError):
        raise BadInput("qr.cose_malformed") from None


def assemble(protected: bytes, payload: bytes, signature: bytes) -> bytes:
    """The untagged array; ``signature`` is r||s."""
    if len(signature) != 64:
        raise BadInput("qr.cose_malformed")
    return cbor.encode([protected, {}, payload, signature])


def parse(data: bytes, limit: int = 600) -> Sign1:
    """Strict reading: only alg -7, a kid of 4 bytes, empty unprotected header. Raises ``qr.*``."""
    match cbor.decode(data, limit):
        case [bytes(protected), dict(unprotected), bytes(payload), bytes(signature)] if not unprotected:
            header = cbor.decode(protected)
        case _:
            raise BadInput("qr.cose_malformed")
    if not isinstance(header, dict) or set(header) != {1, 4} or header[1] != -7:
        raise BadInput("qr.cose_malformed")
    kid = header[4]
    if not isinstance(kid, bytes) or len(kid) != 4 or len(signature) != 64:
        raise BadInput("qr.cose_malformed")
    return Sign1(kid, payload, signature, to_be_signed(protected, payload))


def verify(sign1: Sign1, spki_der: bytes) -> None:
    """Raises ``qr.bad_signature`` unless the P-256 key made the signature."""
    half = len(sign1.signature) // 2
    r, s = int.from_bytes(sign1.signature[:half]), int.from_bytes(sign1.signature[half:])
    try:
        key = load_der_public_key(spki_der)
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise Refused("qr.bad_signature")
        key.verify(encode_dss_signature(r, s), sign1.signed, ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        raise Refused("qr.bad_signature") from None
