"""Ceremony 2: *issue a certificate*; steps as in ``docs/flows/2-issue.md``."""

from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from ca_bridge.authorities.embedded import Issuer, Profile, Subject, build_certificate, new_serial
from ca_bridge.records import certificate_table
from core.certificates import Certificate, verify_signature
from core.clock import Clock
from core.db import Database
from core.errors import Broken, Refused
from core.signing import POSSESSION, SigningKey, challenge
from core.values import Digest, Realm

__all__ = ["issue"]


async def issue(
    db: Database, clock: Clock, *, subject: Subject, key: SigningKey, profile: Profile, realm: Realm,
    issuer: Issuer | None, base_url: str, software: bool = False,
) -> Certificate:  # fmt: skip
    """A certificate for ``key``; self-signed when ``issuer`` is None. Raises ``ca.*``.

    ``software``: the key's store is not for production.
    """
    # 1 check: an acceptable key, and possession of it proven over a fresh challenge
    _require_good_key(key.spki)
    await _prove_possession(key)
    if issuer is not None and clock.now() >= issuer.certificate.not_after:
        raise Refused("ca.issuer_expired")
    if issuer is not None and not issuer.certificate.is_ca:
        raise Refused("ca.issuer_is_no_ca", issuer=issuer.certificate.subject)
    subject.encode(realm)  # a name that no certificate may carry is refused before a serial is taken

    # 2 persist the serial: a crash from here on leaves an order that can be explained, never an unknown certificate
    serial = new_serial()
    issuer_name = subject.common_name if issuer is None else issuer.certificate.subject
    async with db.write() as uow:
        await uow.execute(
            certificate_table.insert(),
            {
                "serial": f"{serial:040x}", "realm": realm, "issuer": issuer_name, "profile": profile, "status": "ordered",
                "ordered_at": clock.now(),
            },
        )  # fmt: skip

    # 3 build and sign
    der = await build_certificate(
        serial=serial, subject=subject, spki=key.spki, profile=profile, realm=realm, issuer=issuer,
        self_key=key if issuer is None else None, clock=clock, base_url=base_url, software=software,
    )  # fmt: skip

    # 4 verify against the order
    made = Certificate.parse(der)
    _require_as_ordered(made, serial, key.spki, key if issuer is None else issuer.key, issuer)
    _require_profile(made, subject.encode(realm), profile)

    # 5 record and hand out
    async with db.write() as uow:
        done = await uow.execute(
            certificate_table.update()
            .where(certificate_table.c.serial == f"{serial:040x}", certificate_table.c.status == "ordered")
            .values(status="good", der=der)
        )
    if done.rowcount != 1:
        raise Broken("ca.not_as_ordered")
    return made


def _require_good_key(spki: bytes) -> None:
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Refused("ca.weak_key") from error
    good = (isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in {"secp256r1", "secp384r1"}) or (
        isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048
    )
    if not good:
        raise Refused("ca.weak_key")


async def _prove_possession(key: SigningKey) -> None:
    said = challenge(POSSESSION)
    if key.algorithm.digest is None:
        raise Refused("ca.weak_key")
    value = await key.sign(Digest.keeping(said, key.algorithm.digest))
    try:
        public: Any = load_der_public_key(key.spki)
        verify_signature(public, value, said, key.algorithm)
    except InvalidSignature as error:
        raise Refused("ca.no_possession") from error


def _require_as_ordered(
    made: Certificate, serial: int, spki: bytes, signer: SigningKey, issuer: Issuer | None
) -> None:  # fmt: skip
    parsed = made.parsed
    try:
        public: Any = load_der_public_key(signer.spki if issuer is None else issuer.certificate.spki)
        verify_signature(public, parsed.signature, parsed.tbs_certificate_bytes, signer.algorithm)
    except InvalidSignature as error:
        raise Broken("ca.not_as_ordered") from error
    if (
        made.serial != serial
        or made.spki != spki
        or (issuer is not None and parsed.issuer != issuer.certificate.parsed.subject)
    ):
        raise Broken("ca.not_as_ordered")


def _require_profile(made: Certificate, subject: bytes, profile: Profile) -> None:
    """The name that was ordered, and no more power than its profile gives."""
    extensions = made.parsed.extensions
    is_ca = any(e.value.ca for e in extensions if isinstance(e.value, x509.BasicConstraints))
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    if made.parsed.subject.public_bytes() != subject or is_ca != (profile in {"root", "issuing"}):
        raise Broken("ca.not_as_ordered")
    if usage.key_cert_sign != is_ca or usage.digital_signature == is_ca:
        raise Broken("ca.not_as_ordered")
