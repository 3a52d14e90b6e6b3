"""What all key stores share: references, purposes, the port, and the rules every answer passes."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Protocol, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key

from core.certificates import verify_signature
from core.errors import BadInput, Broken, Refused, ServiceError, Unavailable
from core.formats import canonical_json
from core.values import Digest, Message, SignatureAlgorithm

__all__ = ["Health", "KeyPurpose", "KeyRef", "KeyStore", "StoredKey", "checked", "is_away", "require_fitting"]


class KeyPurpose(StrEnum):
    """What a key may sign; bound to it at creation."""

    DOCUMENT = "document"
    SEAL = "seal"
    LOG = "log"
    QR = "qr"
    LIST = "list"
    TSA = "tsa"
    OCSP = "ocsp"
    CA = "ca"
    REPORT = "report"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRef:
    """Names one version of one key; the version is pinned for good."""

    store: str
    name: str
    version: int
    purpose: KeyPurpose
    algorithm: SignatureAlgorithm
    spki: bytes
    place: str = ""
    """Where in the store: a transit mount, a token; empty where the store has one place."""

    @property
    def binding(self) -> bytes:
        """What a stored key is bound to: name, version, purpose and algorithm, as canonical JSON."""
        return canonical_json.encode(
            {"n": self.name, "v": self.version, "p": self.purpose.value, "a": self.algorithm.value}
        )

    @property
    def sha256(self) -> bytes:
        """As leaves of the log name it."""
        return Digest.of(json.dumps(self.to_json(), sort_keys=True).encode()).value

    def to_json(self) -> dict[str, Any]:
        """Plain members."""
        place = {"place": self.place} if self.place else {}
        return place | {
            "store": self.store, "name": self.name, "version": self.version, "purpose": self.purpose.value,
            "algorithm": self.algorithm.value, "spki": base64.b64encode(self.spki).decode(),
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Back."""
        return cls(
            store=value["store"], name=value["name"], version=int(value["version"]),
            purpose=KeyPurpose(value["purpose"]), algorithm=SignatureAlgorithm(value["algorithm"]),
            spki=base64.b64decode(value["spki"]), place=value.get("place", ""),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a store does."""

    state: str
    """``open``, ``sealed``, ``unreachable`` or ``denied``."""
    detail: str
    """Plain words for an operator: product and version, or what failed; never a secret or an address with one."""


def is_away(error: BaseException) -> bool:
    """A store that is sealed, silent or gone for now: what waits for it is kept and tried again, however long it takes."""
    return isinstance(error, Unavailable) and error.code in _AWAY


_AWAY = frozenset({"key.unavailable", "key.sealed", "key.denied", "key.no_such_store", "key.outcome_unknown"})
"""A process that was not let in, or was told of another place, has learned nothing about a key."""


class KeyStore(Protocol):
    """Private keys we can use but never see. Errors, the same of every store:

    * ``Refused``: ``key.disabled``, ``key.wrong_purpose``, ``key.not_disabled``
    * ``NotFound``: ``key.missing``; ``Conflict``: ``key.exists``; ``BadInput``: ``key.bad_input``
    * ``Broken``: ``key.wrong_signature``, ``key.wrong_version`` (neither value is ever released), ``key.damaged``
    * ``Unavailable``: ``key.unavailable``, ``key.sealed``, ``key.denied`` (we are not let in, or may not do this),
      ``key.no_such_store`` (that place is not opened here): nothing was signed, and nothing is said about the key.
      ``key.outcome_unknown``: the call was sent and its answer lost, so a signature may exist that nobody here has seen.
    """

    @property
    def name(self) -> str:
        """As references name it."""

    @property
    def not_for_production(self) -> bool:
        """Said wherever it shows."""

    async def create(self, name: str, purpose: KeyPurpose, algorithm: SignatureAlgorithm) -> KeyRef:
        """A new key, durable before this returns; the store chooses its place. Raises ``key.exists``."""

    async def public_key(self, ref: KeyRef) -> bytes:
        """SubjectPublicKeyInfo (DER) of exactly this version, as the store has it now. Raises ``key.missing``."""

    async def sign(self, ref: KeyRef, to_sign: Digest | Message, *, purpose: KeyPurpose, event_id: str) -> bytes:
        """Verified before it returns. Ed25519 takes a ``Message``, everything else a ``Digest``."""

    async def sign_batch(
        self, ref: KeyRef, items: Sequence[Digest], *, purpose: KeyPurpose, event_id: str
    ) -> list[bytes | ServiceError]:
        """One result or error an item, in order."""

    async def health(self) -> Health:
        """Asked now; never raises."""

    async def disable(self, ref: KeyRef) -> None:
        """No use from now on; may be followed by ``destroy``."""

    async def destroy(self, ref: KeyRef) -> None:
        """Gone for good. Raises ``key.not_disabled`` without ``disable`` before."""


def require_fitting(ref: KeyRef, to_sign: Digest | Message, purpose: KeyPurpose) -> None:
    """The rules before a key is touched."""
    if ref.purpose is not purpose:
        raise Refused("key.wrong_purpose", purpose=purpose)
    wanted = ref.algorithm.digest
    if (wanted is None) != isinstance(to_sign, Message):
        raise BadInput("key.bad_input")
    if isinstance(to_sign, Digest) and to_sign.algorithm is not wanted:
        raise BadInput("key.bad_input")


def checked(ref: KeyRef, to_sign: Digest | Message, signature: bytes) -> bytes:
    """The rule after: a value that does not verify with the pinned public key is never released."""
    key = _public(ref.spki)
    try:
        if isinstance(to_sign, Message):
            verify_signature(key, signature, to_sign.value, ref.algorithm)
        else:
            _verify_digest(key, signature, to_sign, ref.algorithm)
    except (InvalidSignature, ValueError) as error:
        raise Broken("key.wrong_signature", key=ref.name) from error
    return signature


@lru_cache(maxsize=1024)
def _public(spki: bytes) -> Any:
    """Read once a key: five hundred signatures of one approval are verified with the same."""
    return load_der_public_key(spki)


def _verify_digest(key: Any, signature: bytes, digest: Digest, algorithm: SignatureAlgorithm) -> None:
    hashed = utils.Prehashed(hashes.SHA384() if digest.algorithm == "sha384" else hashes.SHA256())
    if algorithm.value.startswith("ecdsa"):
        key.verify(signature, digest.value, ec.ECDSA(hashed))
    elif algorithm is SignatureAlgorithm.RSA_PKCS1_SHA256:
        key.verify(signature, digest.value, padding.PKCS1v15(), hashed)
    else:
        key.verify(signature, digest.value, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashed)


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A ``core.signing.SigningKey`` over a store: one key, one purpose, one event."""

    store: KeyStore
    ref: KeyRef
    purpose: KeyPurpose
    event_id: str

    @property
    def algorithm(self) -> SignatureAlgorithm:
        """Pinned at creation."""
        return self.ref.algorithm

    @property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""
        return self.ref.spki

    async def sign(self, to_sign: Digest | Message) -> bytes:
        """Verified by the store."""
        return await self.store.sign(self.ref, to_sign, purpose=self.purpose, event_id=self.event_id)
