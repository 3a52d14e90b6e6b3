"""WebAuthn assertions, verified where the key is held.

fido2 checks type, challenge, RP ID hash, presence, verification and signature. Ours, because it does not: the exact
origin, crossOrigin and topOrigin, the sign count.
"""

import base64
import json
import struct
from dataclasses import dataclass
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fido2 import cbor
from fido2.cose import ES256, CoseKey
from fido2.utils import sha256
from fido2.webauthn import AuthenticatorData, CollectedClientData

from core.errors import BadInput, Refused
from core.ids import random_bytes
from core.values import Realm

__all__ = ["Assertion", "RelyingParty", "SoftwarePasskey", "verify_assertion"]

_PRESENT_AND_VERIFIED = 0x05
# what foreign CBOR and JSON make fido2's parsers raise; deep nesting ends in RecursionError
_UNREADABLE = (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, struct.error)


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """The signing origin's own RP."""

    rp_id: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """What an authenticator gives."""

    credential_id: bytes
    authenticator_data: bytes
    client_data: bytes
    signature: bytes

    def to_json(self) -> dict[str, str]:
        """Base64 members."""
        return {k: base64.b64encode(getattr(self, k)).decode() for k in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Back. Raises ``activation.malformed``."""
        try:
            return cls(**{k: base64.b64decode(value[k]) for k in cls.__dataclass_fields__})
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput("activation.malformed") from error


def verify_assertion(assertion: Assertion, *, challenge: bytes, public_key: bytes, rp: RelyingParty) -> int:
    """Verify one assertion; returns its sign count. Raises ``activation.*`` by the check that failed."""
    try:
        client = CollectedClientData(assertion.client_data)
        data = AuthenticatorData(assertion.authenticator_data)
        fields: dict[str, Any] = dict(json.loads(assertion.client_data))
        cose: Any = cbor.decode(public_key)
        key = CoseKey.parse(cose)
    except _UNREADABLE as error:
        raise BadInput("activation.malformed") from error
    if client.type != "webauthn.get":
        raise Refused("activation.wrong_type")
    if client.challenge != challenge:
        raise Refused("activation.wrong_challenge")
    if client.origin != rp.origin or fields.get("crossOrigin", False) is not False or "topOrigin" in fields:
        raise Refused("activation.wrong_origin")
    if data.rp_id_hash != sha256(rp.rp_id.encode()):
        raise Refused("activation.wrong_origin")
    if data.flags & _PRESENT_AND_VERIFIED != _PRESENT_AND_VERIFIED:
        raise Refused("activation.no_user_verification")
    try:
        key.verify(assertion.authenticator_data + sha256(assertion.client_data), assertion.signature)
    except (InvalidSignature, ValueError, TypeError, NotImplementedError) as error:
        raise Refused("activation.bad_signature") from error
    return int(data.counter)


class SoftwarePasskey:
    """A passkey in software: realm training and tests only, and named so wherever its result shows."""

    kind = "software"

    def __init__(self, realm: Realm, credential_id: bytes, key: ec.EllipticCurvePrivateKey) -> None:
        """Raises ``activation.software_in_production``."""
        if realm is not Realm.TRAINING:
            raise Refused("activation.software_in_production")
        self.credential_id = credential_id
        self._key = key

    @classmethod
    def create(cls, realm: Realm) -> Self:
        """A new one."""
        return cls(realm, random_bytes(32), ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load(cls, realm: Realm, data: bytes) -> Self:
        """From ``dump``."""
        key = serialization.load_der_private_key(data[32:], None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(realm, data[:32], key)

    def dump(self) -> bytes:
        """Credential id and private key; kept under the training home only."""
        return self.credential_id + self._key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def public_key(self) -> bytes:
        """COSE key."""
        key: Any = ES256
        return cbor.encode(dict(key.from_cryptography_key(self._key.public_key())))

    def answer(self, challenge: bytes, rp: RelyingParty, *, flags: int = 0x05, counter: int = 0) -> Assertion:
        """What an authenticator would give for ``challenge``."""
        data = AuthenticatorData.create(sha256(rp.rp_id.encode()), AuthenticatorData.FLAG(flags), counter)
        client = CollectedClientData.create("webauthn.get", challenge, rp.origin)
        signature = self._key.sign(bytes(data) + sha256(bytes(client)), ec.ECDSA(hashes.SHA256()))
        return Assertion(
            credential_id=self.credential_id,
            authenticator_data=bytes(data),
            client_data=bytes(client),
            signature=signature,
        )
