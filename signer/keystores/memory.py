"""Keys in memory: the tests' store, and the arithmetic that the software store shares."""

from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from core.errors import Broken, Conflict, NotFound, Refused, ServiceError
from core.values import Digest, Message, SignatureAlgorithm
from signer.keystores.model import Health, KeyPurpose, KeyRef, checked, require_fitting

__all__ = ["MemoryKeyStore", "generate", "raw_sign", "spki_of"]


def generate(algorithm: SignatureAlgorithm) -> Any:
    """A new private key object."""
    match algorithm:
        case SignatureAlgorithm.ECDSA_P256_SHA256:
            return ec.generate_private_key(ec.SECP256R1())
        case SignatureAlgorithm.ECDSA_P384_SHA384:
            return ec.generate_private_key(ec.SECP384R1())
        case SignatureAlgorithm.ED25519:
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return rsa.generate_private_key(65537, 3072)


def spki_of(private: Any) -> bytes:
    """SubjectPublicKeyInfo (DER) of a private key object."""
    public = private.public_key()
    return bytes(public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))


def raw_sign(key: Any, algorithm: SignatureAlgorithm, to_sign: Digest | Message) -> bytes:
    """The value: ECDSA as DER, RSA raw, Ed25519 64 bytes."""
    if isinstance(to_sign, Message):
        return bytes(key.sign(to_sign.value))
    hashed = utils.Prehashed(hashes.SHA384() if to_sign.algorithm == "sha384" else hashes.SHA256())
    if algorithm.value.startswith("ecdsa"):
        return bytes(key.sign(to_sign.value, ec.ECDSA(hashed)))
    if algorithm is SignatureAlgorithm.RSA_PKCS1_SHA256:
        return bytes(key.sign(to_sign.value, padding.PKCS1v15(), hashed))
    return bytes(key.sign(to_sign.value, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashed))


class MemoryKeyStore:
    """Satisfies ``KeyStore``; forgets everything when the process ends."""

    name = "memory"
    not_for_production = True

    def __init__(self) -> None:
        self._keys: dict[tuple[str, int], tuple[Any, bytes]] = {}
        """Key object and what it was bound to at creation."""
        self._disabled: set[tuple[str, int]] = set()

    async def create(self, name: str, purpose: KeyPurpose, algorithm: SignatureAlgorithm) -> KeyRef:
        """A new key."""
        # a destroyed key's name is never given again: old references must not reach a new key
        if (name, 1) in self._keys or (name, 1) in self._disabled:
            raise Conflict("key.exists", key=name)
        key = generate(algorithm)
        ref = KeyRef(store=self.name, name=name, version=1, purpose=purpose, algorithm=algorithm, spki=spki_of(key))
        await self._keep(ref, key)
        return ref

    async def _keep(self, ref: KeyRef, key: Any) -> None:
        self._keys[ref.name, ref.version] = key, ref.binding

    def _load(self, ref: KeyRef) -> Any:
        key = self._opened(ref)
        if key is None:
            raise NotFound("key.missing", key=ref.name)
        return key

    def _opened(self, ref: KeyRef) -> Any:
        """The key object if it is in memory; a reference whose purpose or algorithm was changed is ``key.damaged``."""
        found = self._keys.get((ref.name, ref.version))
        if found is None:
            return None
        key, binding = found
        if binding != ref.binding:
            raise Broken("key.damaged", key=ref.name)
        return key

    def _is_disabled(self, ref: KeyRef) -> bool:
        return (ref.name, ref.version) in self._disabled

    async def sign(self, ref: KeyRef, to_sign: Digest | Message, *, purpose: KeyPurpose, event_id: str) -> bytes:
        """Verified before it returns."""
        require_fitting(ref, to_sign, purpose)
        if self._is_disabled(ref):
            raise Refused("key.disabled", key=ref.name)
        return checked(ref, to_sign, raw_sign(self._load(ref), ref.algorithm, to_sign))

    async def sign_batch(
        self, ref: KeyRef, items: Sequence[Digest], *, purpose: KeyPurpose, event_id: str
    ) -> list[bytes | ServiceError]:
        """One result or error an item, in order."""
        results: list[bytes | ServiceError] = []
        for item in items:
            try:
                results.append(await self.sign(ref, item, purpose=purpose, event_id=event_id))
            except ServiceError as error:
                results.append(error)
        return results

    async def public_key(self, ref: KeyRef) -> bytes:
        """Of the key as it is kept."""
        return spki_of(self._load(ref))

    async def health(self) -> Health:
        """A process that runs has its memory."""
        return Health(state="open", detail=self.name)

    async def disable(self, ref: KeyRef) -> None:
        """No use from now on."""
        self._load(ref)
        self._disabled.add((ref.name, ref.version))

    async def destroy(self, ref: KeyRef) -> None:
        """Gone for good."""
        if not self._is_disabled(ref):
            raise Refused("key.not_disabled", key=ref.name)
        self._keys.pop((ref.name, ref.version), None)
