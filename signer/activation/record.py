"""The canonical record whose SHA-256 is the passkey's challenge: what exactly is approved."""

import base64
import hashlib
from dataclasses import dataclass
from typing import Any, Self

from core.formats import canonical_json
from core.values import Realm

__all__ = ["ActivationRecord"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationRecord:
    """Members as the CSC binding asks, plus purpose, realm, title and page count."""

    tx: str
    credential: str
    key_sha256: bytes
    """SHA-256 of the SubjectPublicKeyInfo."""
    digest_oid: str
    hashes: tuple[bytes, ...]
    """Ordered; one signature each."""
    client: str
    description: str
    expires: int
    """Unix seconds."""
    nonce: bytes
    purpose: str
    realm: Realm
    title: str
    pages: int

    def encode(self) -> bytes:
        """Canonical JSON."""
        return canonical_json.encode(
            {
                "d": "dauso/sad/v1", "tx": self.tx, "cred": self.credential, "key": _b64(self.key_sha256),
                "alg": self.digest_oid, "hashes": [_b64(h) for h in self.hashes], "n": len(self.hashes),
                "client": self.client, "desc": self.description, "exp": self.expires, "nonce": _b64(self.nonce),
                "purpose": self.purpose, "realm": self.realm.value, "title": self.title, "pages": self.pages,
            }
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Back from canonical bytes. Raises ``ValueError``."""
        v: dict[str, Any] = canonical_json.decode(data)
        hashes = tuple(base64.b64decode(h) for h in v["hashes"])
        if v["d"] != "dauso/sad/v1" or v["n"] != len(hashes):
            raise ValueError("not an activation record")
        return cls(
            tx=v["tx"], credential=v["cred"], key_sha256=base64.b64decode(v["key"]), digest_oid=v["alg"],
            hashes=hashes, client=v["client"], description=v["desc"], expires=v["exp"],
            nonce=base64.b64decode(v["nonce"]), purpose=v["purpose"], realm=Realm(v["realm"]), title=v["title"],
            pages=v["pages"],
        )  # fmt: skip

    @property
    def code(self) -> str:
        """Six digits that portal and phone both show: the person compares, so that nobody answers another question."""
        return f"{int.from_bytes(hashlib.sha256(b'dauso/code/v1' + self.encode()).digest()[:8]) % 1_000_000:06d}"

    @property
    def challenge(self) -> bytes:
        """SHA-256 of the record."""
        return hashlib.sha256(self.encode()).digest()


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()
