"""A small CA in memory, and the openssl program that judges its bytes at the bent clock's time."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from ca_bridge.authorities.embedded import Issuer, Subject, build_certificate, new_serial
from core.certificates import Certificate
from core.values import Realm, SignatureAlgorithm
from signer.keystores.memory import MemoryKeyStore
from signer.keystores.model import KeyPurpose, StoredKey

BASE_URL = "http://h"
P256 = SignatureAlgorithm.ECDSA_P256_SHA256
PURPOSES = {
    "root": KeyPurpose.CA, "issuing": KeyPurpose.CA, "official": KeyPurpose.DOCUMENT, "seal": KeyPurpose.SEAL,
    "tsa": KeyPurpose.TSA, "ocsp": KeyPurpose.OCSP,
}  # fmt: skip


async def new_key(profile: str, algorithm: SignatureAlgorithm = P256) -> StoredKey:
    store, purpose = MemoryKeyStore(), PURPOSES[profile]
    return StoredKey(store, await store.create(profile, purpose, algorithm), purpose, "e")


@dataclass
class Ca:
    clock: object
    realm: Realm = Realm.TRAINING
    issuers: dict[str, Issuer] = field(default_factory=dict)

    async def make(self, profile, issuer=None, algorithm=P256, name="Nguyễn Thị Ánh") -> Issuer:
        """A certificate with its key, straight from the builder."""
        key = await new_key(profile, algorithm)
        der = await build_certificate(
            serial=new_serial(), subject=Subject(common_name=name, organisation="UBND xã"), spki=key.spki,
            profile=profile, realm=self.realm, issuer=issuer, self_key=None if issuer else key, clock=self.clock,
            base_url=BASE_URL,
        )  # fmt: skip
        return Issuer(certificate=Certificate.parse(der), key=key, slug=profile)

    async def start(self, algorithm=P256):
        self.root = await self.make("root", None, algorithm, "Gốc")
        self.issuing = await self.make("issuing", self.root, algorithm, "Cấp phát")
        return self


class OpenSsl:
    """Runs openssl in a folder; ``pem`` writes a certificate there."""

    def __init__(self, home: Path, clock) -> None:
        self.home, self.clock = home, clock

    def pem(self, name: str, certificate: Certificate) -> str:
        (self.home / name).write_bytes(certificate.parsed.public_bytes(Encoding.PEM))
        return name

    def raw(self, name: str, data: bytes) -> str:
        (self.home / name).write_bytes(data)
        return name

    def run(self, *args: str) -> tuple[int, str]:
        done = subprocess.run(["openssl", *args], capture_output=True, text=True, cwd=self.home, check=False)
        return done.returncode, done.stdout + done.stderr

    @property
    def at(self) -> tuple[str, str]:
        return "-attime", str(int(self.clock.now().timestamp()))

    def ca(self, ca: Ca) -> None:
        self.pem("root.pem", ca.root.certificate)
        self.pem("issuing.pem", ca.issuing.certificate)

    def verify(self, certificate: Certificate, *extra: str) -> tuple[int, str]:
        self.pem("leaf.pem", certificate)
        return self.run(
            "verify", *self.at, "-x509_strict", "-CAfile", "root.pem", "-untrusted", "issuing.pem", *extra, "leaf.pem"
        )

    def ocsp(self, response: bytes, certificate: Certificate) -> tuple[int, str]:
        """The bent clock may be far from the machine's: the status times are allowed to be."""
        self.raw("response", response)
        self.pem("leaf.pem", certificate)
        return self.run(
            "ocsp", *self.at, "-validity_period", "2000000000", "-respin", "response", "-issuer", "issuing.pem",
            "-cert", "leaf.pem", "-CAfile", "root.pem", "-verify_other", "issuing.pem",
        )  # fmt: skip

    def stamp(self, token: bytes, data: bytes) -> tuple[int, str]:
        self.raw("token", token)
        self.raw("data", data)
        return self.run(
            "ts", "-verify", *self.at, "-data", "data", "-in", "token", "-token_in", "-CAfile", "root.pem",
            "-untrusted", "issuing.pem",
        )  # fmt: skip
