"""Whose certificate is accepted, and how an account is kept."""

import datetime as dt

import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from api.simulate.people import People
from core.clock import SystemClock
from core.errors import NotFound, Refused, ServiceError
from core.values import Realm, SignatureAlgorithm
from signer.keystores.model import KeyPurpose
from signer.providers.certificates import Holder, choose
from signer.providers.model import ProviderCertificate, plain_serial
from signer.providers.records import account_table
from tests.signer.providers.city import NAME, USER
from verification.policy import TrustAnchor

NOW = SystemClock().now()
ME = Holder(user=USER, name=NAME)


@pytest.fixture(scope="module")
def root():
    key = ec.generate_private_key(ec.SECP256R1())
    return key, made(key, key.public_key(), None, ca=True, name="Gốc")


def made(by, public, issuer, *, ca=False, name=NAME, number="", days=(-1, 30), usage=True, signs=True):
    subject = [x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]
    subject += [x509.NameAttribute(x509.NameOID.USER_ID, number)] if number else []
    subject = x509.Name(subject)
    off = dict.fromkeys(
        ("key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
    )
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer.subject if issuer else subject)
        .public_key(public).serial_number(x509.random_serial_number())
        .not_valid_before(NOW + dt.timedelta(days=days[0])).not_valid_after(NOW + dt.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )  # fmt: skip
    if usage:
        builder = builder.add_extension(
            x509.KeyUsage(digital_signature=signs and not ca, content_commitment=False, key_cert_sign=ca, crl_sign=ca, **off),
            critical=True,
        )  # fmt: skip
    return builder.sign(by, hashes.SHA256())


def judged(root, *leaves, holder=ME):
    _, top = root
    anchors = (TrustAnchor(certificate=top.public_bytes(Encoding.DER), realm=Realm.TRAINING),)
    found = [ProviderCertificate(certificate=each.public_bytes(Encoding.DER), chain=(b"rubbish",)) for each in leaves]
    return choose(found, holder, anchors, NOW)


P256 = ec.generate_private_key(ec.SECP256R1()).public_key()


def test_a_good_one_is_taken_by_number_or_where_none_is_stated_by_name(root):
    key, top = root
    by_number = made(key, P256, top, name="NGUOI THU", number=f"CCCD:{USER}")
    by_name = made(key, P256, top, name="  người  THỬ một")
    for leaf in (by_number, by_name):
        found = judged(root, leaf)
        assert found.certificate.parsed == leaf
        assert found.chain == (top.public_bytes(Encoding.DER),)
        assert found.algorithm is SignatureAlgorithm.ECDSA_P256_SHA256


def test_the_newest_good_one_wins(root):
    key, top = root
    old, new, future = (made(key, P256, top, days=(start, 30)) for start in (-5, -2, 3))
    assert judged(root, old, future, new).certificate.parsed == new


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"days": (-5, -1)}, "provider.certificate_not_valid"),
        ({"days": (1, 5)}, "provider.certificate_not_valid"),
        ({"signs": False}, "provider.certificate_usage"),
        ({"usage": False}, "provider.certificate_usage"),
        ({"ca": True}, "provider.certificate_usage"),
        ({"name": "Người Khác"}, "provider.other_person"),
        ({"number": "CCCD:000000000002"}, "provider.other_person"),
        ({"number": f"9{USER}"}, "provider.other_person"),
        ({"number": "MST:0100000000-001"}, "provider.other_person"),
    ],
)
def test_what_is_wrong_has_its_own_code(root, change, code):
    key, top = root
    with pytest.raises(Refused) as refusal:
        judged(root, made(key, P256, top, **change))
    assert refusal.value.code == code


def test_a_weak_or_strange_key_and_a_foreign_issuer_are_refused(root):
    key, top = root
    for public in (
        rsa.generate_private_key(65537, 1024).public_key(),
        ed25519.Ed25519PrivateKey.generate().public_key(),
    ):
        with pytest.raises(Refused, match=r"provider\.weak_key"):
            judged(root, made(key, public, top))
    other = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(Refused, match=r"provider\.certificate_untrusted"):
        judged(root, made(other, P256, top))
    with pytest.raises(NotFound, match=r"provider\.no_certificate"):
        judged(root)


def test_serial_numbers_have_one_spelling():
    assert {plain_serial(s) for s in ("00:ab:C1", "0xabc1", "AB C1", "ab-c1", 0xABC1)} == {"ABC1"}
    assert plain_serial(0) == plain_serial("00") == "0"


async def test_an_account_is_linked_replaced_and_forgotten(towns, people):
    town, desk = towns, towns.desk()
    first = await desk.link(town.person_id, "sp769", USER)
    assert await desk.link(town.person_id, "sp769", USER) == first
    assert await desk.credential(town.person_id, "sp769") == first
    async with town.db.read() as uow:
        with pytest.raises(NotFound, match=r"credential\.missing"):  # never taken for a key of ours
            await town.credentials.of(uow, town.person_id, KeyPurpose.DOCUMENT)
    (person,) = [p for p in town.simulator.people.all if p.number == USER]
    renewed = People(town.clock, count=2)
    person_now = renewed.find(USER)
    town.simulator.people = renewed
    (town.settings.provider_anchors).write_text(people.anchor + renewed.anchor)
    town.clock.ahead += dt.timedelta(hours=25)
    second = await town.desk().credential(town.person_id, "sp769")
    assert (first.certificate, second.certificate) == (person.certificate, person_now.certificate)
    async with town.db.read() as uow:
        kept = {c.id: active for c, active in await town.credentials.all(uow, KeyPurpose.DOCUMENT)}
    assert kept == {first.id: False, second.id: True}
    await desk.unlink(town.person_id, "sp769")
    async with town.db.read() as uow:
        assert (await uow.execute(sa.select(account_table))).first() is None
    for forgotten in (desk.unlink, desk.credential):
        with pytest.raises(NotFound, match=r"provider\.not_linked"):
            await forgotten(town.person_id, "sp769")


@pytest.mark.parametrize(
    ("faults", "user", "code"),
    [
        ("other-certificate", USER, "provider.other_person"),
        ("", "000000000009", "provider.no_certificate"),
        ("", "not a number", "provider.no_certificate"),
        ("http-500", USER, "provider.unavailable"),
    ],
)
async def test_what_cannot_be_linked_leaves_nothing_behind(town, faults, user, code):
    town.set(faults)
    with pytest.raises(ServiceError) as refusal:
        await town.desk().link(town.person_id, "sp769", user)
    assert refusal.value.code == code
    async with town.db.read() as uow:
        assert (await uow.execute(sa.select(account_table))).first() is None
