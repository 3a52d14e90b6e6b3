"""A certificate authority and people who do not exist: no real name, and numbers of a province code that is never given."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from core.clock import Clock
from core.formats import der
from core.values import DigestAlgorithm

__all__ = ["People", "SimulatedPerson"]

_ORGANISATION: Final = "MÔ PHỎNG – KHÔNG CÓ GIÁ TRỊ (SIMULATED)"
_NAMES: Final = ("Một", "Hai", "Ba", "Bốn", "Năm", "Sáu", "Bảy", "Tám", "Chín", "Mười")
_DAYS: Final = 365
_RSA: Final = der.sequence(der.oid("1.2.840.113549.1.1.1"), der.null())
_SHA256: Final = der.sequence(der.oid(DigestAlgorithm.SHA256.oid), der.null())


@dataclass(frozen=True, slots=True)
class _Pair:
    """A key and its certificate."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


@dataclass(frozen=True, slots=True)
class SimulatedPerson:
    """Somebody whom the simulated service knows."""

    number: str
    name: str
    pair: _Pair

    @property
    def certificate(self) -> bytes:
        """DER."""
        return self.pair.der

    @property
    def serial(self) -> str:
        """Spelled as some services do: lower case with colons."""
        digits = f"{self.pair.certificate.serial_number:x}"
        digits = digits.zfill(len(digits) + len(digits) % 2)
        return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))

    def sign(self, digest: bytes) -> bytes:
        """Raw RSA PKCS #1 v1.5 value over a SHA-256 digest."""
        return self.pair.key.sign(digest, padding.PKCS1v15(), utils.Prehashed(hashes.SHA256()))

    def sign_cms(self, digest: bytes) -> bytes:
        """The same value inside a SignedData without attributes and content (PKCS #7, RFC 5652 §5)."""
        certificate = self.pair.certificate
        sid = der.sequence(certificate.issuer.public_bytes(), der.integer(certificate.serial_number))
        signer = der.sequence(der.integer(1), sid, _SHA256, _RSA, der.octet_string(self.sign(digest)))
        signed = der.sequence(
            der.integer(1), der.set_of(_SHA256), der.sequence(der.oid("1.2.840.113549.1.7.1")),
            der.tlv(0xA0, self.certificate), der.set_of(signer),
        )  # fmt: skip
        return der.sequence(der.oid("1.2.840.113549.1.7.2"), der.context(0, signed))


class People:
    """Root, issuing authority and people; kept in a folder where one is given, so that they outlive a restart."""

    def __init__(self, clock: Clock, folder: Path | None = None, count: int = 3) -> None:
        """``count``: at most ten. Makes RSA-2048 keys, a fraction of a second each."""
        self._clock, self._folder = clock, folder
        self._root = self._pair("root", "Gốc mô phỏng", None)
        self._issuing = self._pair("issuing", "Cấp phát mô phỏng", self._root)
        self.all = [self._person(number) for number in range(1, min(count, len(_NAMES)) + 1)]

    @property
    def anchor(self) -> str:
        """The root certificate, PEM."""
        return self._root.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def chain(self) -> tuple[bytes, bytes]:
        """Issuing certificate and root, DER."""
        return self._issuing.der, self._root.der

    def find(self, number: str) -> SimulatedPerson | None:
        """By number."""
        return next((p for p in self.all if p.number == number), None)

    def other_than(self, person: SimulatedPerson) -> SimulatedPerson:
        """Somebody else."""
        return next(p for p in self.all if p is not person)

    def _person(self, number: int) -> SimulatedPerson:
        digits, name = f"{number:012d}", f"Người Thử {_NAMES[number - 1]}"
        return SimulatedPerson(digits, name, self._pair(digits, name, self._issuing))

    def _pair(self, file: str, name: str, issuer: _Pair | None) -> _Pair:
        if self._folder is None:
            return self._made(file, name, issuer)
        key, certificate = self._folder / f"{file}.key", self._folder / f"{file}.pem"
        if key.exists() and certificate.exists():
            loaded = load_pem_private_key(key.read_bytes(), None)
            assert isinstance(loaded, rsa.RSAPrivateKey)
            return _Pair(loaded, x509.load_pem_x509_certificate(certificate.read_bytes()))
        made = self._made(file, name, issuer)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key.touch(mode=0o600)
        key.write_bytes(made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        certificate.write_bytes(made.certificate.public_bytes(Encoding.PEM))
        return made

    def _made(self, file: str, name: str, issuer: _Pair | None) -> _Pair:
        key, is_ca, now = rsa.generate_private_key(65537, 2048), file in {"root", "issuing"}, self._clock.now()
        number = [] if is_ca else [x509.NameAttribute(x509.NameOID.USER_ID, f"CCCD:{file}")]
        subject = x509.Name([
            x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "VN"),
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, _ORGANISATION),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, name),
            *number,
        ])  # fmt: skip
        by = key if issuer is None else issuer.key
        builder = (
            x509.CertificateBuilder().subject_name(subject)
            .issuer_name(subject if issuer is None else issuer.certificate.subject)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(days=_DAYS))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(_usage(is_ca), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
        )  # fmt: skip
        return _Pair(key, builder.sign(by, hashes.SHA256()))


def _usage(is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca, content_commitment=not is_ca, key_cert_sign=is_ca, crl_sign=is_ca,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
