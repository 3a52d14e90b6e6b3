"""Values that know what they are. Frozen, compared by content, free of I/O."""

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

__all__ = ["Digest", "DigestAlgorithm", "Message", "Realm", "Regime", "SignatureAlgorithm"]


class Realm(StrEnum):
    """Production or training; stands on every record, certificate, file and sentence."""

    PRODUCTION = "production"
    TRAINING = "training"


class Regime(StrEnum):
    """The three regimes that must never be mixed (Decree 45/2020 art. 10; Decree 30/2020 art. 25, Appendix I)."""

    CERTIFIED_COPY = "certified_copy"
    """From a paper original: official's signature, then agency seal."""
    SAO_Y = "sao_y"
    """Agency signature alone, text mark on page 1."""
    SO_HOA = "so_hoa"
    """Digitised holding: agency signature alone."""


class DigestAlgorithm(StrEnum):
    """Digests we make and accept; nothing weaker than SHA-256."""

    SHA256 = "sha256"
    SHA384 = "sha384"
    SHA512 = "sha512"

    @property
    def size(self) -> int:
        """Bytes of a digest."""
        return {"sha256": 32, "sha384": 48, "sha512": 64}[self.value]

    @property
    def oid(self) -> str:
        """Dotted OID (RFC 5754)."""
        return {
            "sha256": "2.16.840.1.101.3.4.2.1",
            "sha384": "2.16.840.1.101.3.4.2.2",
            "sha512": "2.16.840.1.101.3.4.2.3",
        }[self.value]


class SignatureAlgorithm(StrEnum):
    """Key and signature form together, so that a call states all parameters."""

    ECDSA_P256_SHA256 = "ecdsa-p256-sha256"
    ECDSA_P384_SHA384 = "ecdsa-p384-sha384"
    RSA_PKCS1_SHA256 = "rsa-pkcs1-sha256"
    RSA_PSS_SHA256 = "rsa-pss-sha256"
    """Salt as long as the digest, MGF1 with the same digest."""
    ED25519 = "ed25519"

    @property
    def digest(self) -> DigestAlgorithm | None:
        """The digest the key signs; None where it takes the message itself (Ed25519)."""
        if self is SignatureAlgorithm.ED25519:
            return None
        return DigestAlgorithm.SHA384 if self is SignatureAlgorithm.ECDSA_P384_SHA384 else DigestAlgorithm.SHA256


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest with its algorithm; the length is checked."""

    algorithm: DigestAlgorithm
    value: bytes
    said: bytes | None = field(default=None, compare=False, repr=False)
    """What was hashed, where that must be shown later on: a challenge."""

    def __post_init__(self) -> None:
        if len(self.value) != self.algorithm.size:
            raise ValueError(f"{self.algorithm} digests have {self.algorithm.size} bytes, not {len(self.value)}")

    @classmethod
    def of(cls, data: bytes | memoryview, algorithm: DigestAlgorithm = DigestAlgorithm.SHA256) -> Self:
        """Hash ``data``."""
        return cls(algorithm, hashlib.new(algorithm.value, data).digest())

    @classmethod
    def keeping(cls, data: bytes, algorithm: DigestAlgorithm) -> Self:
        """Hash ``data``, which is short, and keep it."""
        return cls(algorithm, hashlib.new(algorithm.value, data).digest(), data)

    @classmethod
    def from_hex(cls, algorithm: str, value: str) -> Self:
        """As ``hex`` wrote it. Raises ``ValueError``."""
        return cls(DigestAlgorithm(algorithm), bytes.fromhex(value))

    @property
    def hex(self) -> str:
        """Lower-case hexadecimal."""
        return self.value.hex()


@dataclass(frozen=True, slots=True)
class Message:
    """Bytes to be signed as they are (Ed25519)."""

    value: bytes
