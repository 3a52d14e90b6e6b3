"""An authenticator in software for tests of production: real WebAuthn, in the JSON that a browser would send."""

import base64
import hashlib
import json
import secrets

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2 import cbor
from fido2.cose import ES256

from signer.activation import redeem


def text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def unpadded(value: str) -> bytes:
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))


class Authenticator:
    """One phone's passkey for one relying party."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.credential_id = secrets.token_bytes(32)

    async def enrol(self, service, person_id: str) -> None:
        """As the phone's pages will: the public half, recorded by the signer."""
        async with service.db.write() as uow:
            await redeem.enrol_passkey(
                uow, service.clock, person_id=person_id, realm=service.realm, credential_id=self.credential_id,
                public_key=cbor.encode(dict(ES256.from_cryptography_key(self.key.public_key()))), kind="platform",
            )  # fmt: skip

    def get(self, options: dict, origin: str, *, flags: int = 0x05, kind: str = "webauthn.get") -> dict:
        """``navigator.credentials.get``: AuthenticationResponseJSON."""
        client = json.dumps(
            {"type": kind, "challenge": options["challenge"], "origin": origin, "crossOrigin": False}
        ).encode()
        data = hashlib.sha256(options["rpId"].encode()).digest() + bytes([flags]) + bytes(4)
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        return {
            "id": text(self.credential_id), "rawId": text(self.credential_id), "type": "public-key",
            "response": {"clientDataJSON": text(client), "authenticatorData": text(data), "signature": text(signature)},
            "clientExtensionResults": {},
        }  # fmt: skip
