"""A key from elsewhere, taken in once: exactly the one that two administrators decided (``key.import``).

Two ways. *Brought*: a private key in a file of the operator is wrapped in memory for the server alone (RSA-OAEP around an
AES key, AES-KWP around PKCS#8, as the transit engine wants it) and never seen again. *Adopted*: a pair that lies in a PKCS#11
token is named by its CKA_ID. Either way the key proves itself by a signature that the decided certificate verifies, before
anything of ours rests on it. The key's name is the decision's id: what a crash interrupted goes on with the same key.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from core.certificates import Certificate
from core.clock import Clock
from core.db import Database
from core.errors import BadInput, Broken, Conflict, NotFound, Refused
from core.ids import random_bytes
from core.values import Realm, SignatureAlgorithm
from signer.credentials import Credential, Credentials
from signer.keystores.allowed import AllowedImport, Imports
from signer.keystores.memory import spki_of
from signer.keystores.model import KeyPurpose, KeyRef, KeyStore, StoredKey
from signer.keystores.proof import prove
from signer.keystores.transit.answers import Kept
from signer.keystores.transit.naming import TYPES, full_name, place_of

__all__ = ["Adopts", "Caller", "Importing", "chain_of", "load_private"]

_STAYS: Final = {KeyPurpose.LOG: "keys.log_key_stays", KeyPurpose.CA: "keys.ca_key_stays"}


class Caller(Protocol):
    """A session with the server that may import: ``core.vault.Vault`` or an operator's."""

    async def call(self, method: str, path: str, body: Any = None) -> Mapping[str, Any]:
        """The answer's data."""


class Adopts(Protocol):
    """A store that takes up keys it has already."""

    async def adopt(self, name: str, purpose: KeyPurpose, algorithm: SignatureAlgorithm, cka_id: bytes) -> KeyRef:
        """The pair with that CKA_ID, under a name of ours."""


def load_private(data: bytes, passphrase: str | None) -> Any:
    """A private key, PEM or DER (PKCS#8). Raises ``keys.unreadable_key`` without saying more."""
    secret = None if not passphrase else passphrase.encode()
    for load in (serialization.load_pem_private_key, serialization.load_der_private_key):
        try:
            return load(data, secret)
        except (ValueError, TypeError):
            continue
    raise BadInput("keys.unreadable_key")


def chain_of(certificate: Certificate, issuers: Sequence[Certificate]) -> tuple[bytes, ...]:
    """Issuers nearest first, each proven to have issued the one before. Raises ``keys.wrong_chain``."""
    below = certificate
    for each in issuers:
        try:
            below.parsed.verify_directly_issued_by(each.parsed)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise BadInput("keys.wrong_chain") from error
        below = each
    return tuple(each.der for each in issuers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Importing:
    """Signer role only."""

    db: Database
    clock: Clock
    realm: Realm
    credentials: Credentials
    store: KeyStore
    """In which the imported key is used, to prove itself."""

    async def allowed(self, spki: bytes) -> AllowedImport:
        """What was decided about this public key. Raises ``key.import_*``, ``keys.log_key_stays``, ``keys.ca_key_stays``."""
        async with self.db.read() as uow:
            found = await Imports(self.clock).find(uow, self.realm, spki)
        if found.purpose in _STAYS:
            raise Refused(_STAYS[found.purpose])
        return found

    async def bring(self, caller: Caller, mounts: Sequence[str], private: Any, allowed: AllowedImport) -> KeyRef:
        """Into the transit engine. Raises ``vault.*``, ``key.*``, ``keys.weak_key``, ``keys.can_leave``.

        What is there already is taken up as it would have been brought in, and in no other form.
        """
        spki, kind = spki_of(private), _type(private, allowed.algorithm)
        name = full_name(f"{allowed.purpose}-{allowed.id}", allowed.purpose, allowed.algorithm)
        place = place_of(name, mounts)
        path = f"{place}/keys/{name}"
        kept = await _look(caller, path)
        if kept is None:
            wrapping = str((await caller.call("GET", f"{place}/wrapping_key")).get("public_key") or "")
            body = {
                "ciphertext": _wrapped(private, wrapping), "type": kind, "hash_function": "SHA256",
                "allow_rotation": True,  # as a key made there: without it Vault could never take it out of use
            }  # fmt: skip
            await caller.call("POST", f"{path}/import", body)
            kept = await _look(caller, path)
        if kept is None or (kept.latest, kept.kind, kept.spkis.get(1)) != (1, kind, spki):
            raise Broken("key.damaged", key=name)
        if kept.leaky:
            raise Broken("keys.can_leave", key=name)
        return KeyRef(
            store="transit", place=place, name=name, version=1, purpose=allowed.purpose, algorithm=allowed.algorithm,
            spki=spki,
        )  # fmt: skip

    async def adopt(self, store: Adopts, cka_id: bytes, allowed: AllowedImport) -> KeyRef:
        """A pair in a PKCS#11 token. Raises ``key.*``."""
        return await store.adopt(f"{allowed.purpose}-{allowed.id}", allowed.purpose, allowed.algorithm, cka_id)

    async def keep(self, allowed: AllowedImport, ref: KeyRef, chain: tuple[bytes, ...] = ()) -> Credential:
        """Proven, and from now on the owner's key. Raises ``credential.wrong_key``, ``key.import_*``, ``key.*``."""
        if allowed.certificate is not None:
            certificate = Certificate.parse(allowed.certificate)
            if certificate.spki != ref.spki:
                raise Broken("credential.wrong_key")
            await prove(StoredKey(self.store, ref, ref.purpose, allowed.id), certificate)
        elif await self.store.public_key(ref) != ref.spki:
            raise Broken("key.damaged", key=ref.name)
        async with self.db.write() as uow:
            await self.credentials.hold(uow, allowed.owner, allowed.purpose)
            follows = await self.credentials.last(uow, allowed.owner, allowed.purpose) is not None
            if await self.credentials.waiting(uow, allowed.owner, allowed.purpose) is not None:
                raise Conflict("keys.another_waits")
            await Imports(self.clock).use(uow, allowed, ref)
            return await self.credentials.add(
                uow, realm=self.realm, purpose=allowed.purpose, owner=allowed.owner, key=ref,
                certificate=allowed.certificate, chain=chain,
                active_from=self.clock.now() if follows and allowed.purpose is not KeyPurpose.DOCUMENT else None,
            )  # fmt: skip


async def _look(caller: Caller, path: str) -> Kept | None:
    try:
        return Kept.of(await caller.call("GET", path))
    except NotFound:
        return None


def _type(private: Any, algorithm: SignatureAlgorithm) -> str:
    """Transit's name for it; RSA by its size. Raises ``keys.weak_key``."""
    if not isinstance(private, rsa.RSAPrivateKey):
        return TYPES[algorithm]
    if private.key_size not in {3072, 4096}:
        raise Refused("keys.weak_key", bits=private.key_size)
    return f"rsa-{private.key_size}"


def _wrapped(private: Any, wrapping_pem: str) -> str:
    """Base64 of the wrapped AES key and the key wrapped with it; only the server can open it."""
    try:
        wrapping = serialization.load_pem_public_key(wrapping_pem.encode())
    except ValueError as error:
        raise Broken("keys.no_wrapping_key") from error
    if not isinstance(wrapping, rsa.RSAPublicKey) or wrapping.key_size < 3072:
        raise Broken("keys.no_wrapping_key")
    plain = private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    once = random_bytes(32)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    return base64.b64encode(
        wrapping.encrypt(once, oaep) + keywrap.aes_key_wrap_with_padding(once, plain)
    ).decode()  # fmt: skip
