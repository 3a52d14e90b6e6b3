"""Ceremony 2, on both databases."""

import datetime as dt

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca_bridge.authorities.embedded import Issuer, Subject, build_crl
from ca_bridge.issuance import issue
from ca_bridge.records import certificate_table, revoke, revoked
from core.errors import BadInput, Broken, Refused
from core.values import Realm, SignatureAlgorithm
from signer.keystores.memory import raw_sign
from tests.ca_bridge.makers import BASE_URL, P256, new_key


class LooseKey:
    """A key outside any store: what stands on the request and what signs may differ."""

    def __init__(self, private, algorithm, shown=None) -> None:
        self.private, self.algorithm = private, algorithm
        self.spki = (shown or private).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    async def sign(self, to_sign):
        return raw_sign(self.private, self.algorithm, to_sign)


async def order(db, clock, key, profile="official", issuer=None, realm=Realm.TRAINING, name="Nguyễn Thị Ánh"):
    return await issue(
        db, clock, subject=Subject(common_name=name, organisation="UBND xã"), key=key, profile=profile, realm=realm,
        issuer=issuer, base_url=BASE_URL,
    )  # fmt: skip


async def rows(db):
    async with db.read() as uow:
        return list(await uow.execute(sa.select(certificate_table)))


async def test_an_issued_certificate_is_recorded_as_good_and_openssl_accepts_the_chain(db, clock, openssl):
    root_key, issuing_key, key = await new_key("root"), await new_key("issuing"), await new_key("official")
    root = Issuer(certificate=await order(db, clock, root_key, "root", name="Gốc"), key=root_key, slug="root")
    issuing = await order(db, clock, issuing_key, "issuing", root, name="Cấp phát")
    made = await order(db, clock, key, issuer=Issuer(certificate=issuing, key=issuing_key, slug="issuing"))
    openssl.pem("root.pem", root.certificate)
    openssl.pem("issuing.pem", issuing)
    assert openssl.verify(made) == (0, "leaf.pem: OK\n")
    kept = {row.serial: row for row in await rows(db)}
    assert len(kept) == 3
    row = kept[f"{made.serial:040x}"]
    assert (row.status, row.der, row.profile, row.realm) == ("good", made.der, "official", "training")
    assert (row.issuer, row.ordered_at) == (issuing.subject, clock.now())
    assert made.spki == key.spki


@pytest.mark.parametrize("algorithm", [a for a in SignatureAlgorithm if a.digest])
async def test_a_root_and_what_is_under_it_may_have_any_acceptable_algorithm(db, clock, openssl, algorithm):
    root_key, issuing_key = await new_key("root", algorithm), await new_key("issuing", algorithm)
    root = Issuer(certificate=await order(db, clock, root_key, "root", name="Gốc"), key=root_key, slug="root")
    issuing = await order(db, clock, issuing_key, "issuing", root, name="Cấp phát")
    openssl.pem("root.pem", root.certificate)
    openssl.pem("issuing.pem", issuing)
    assert openssl.verify(issuing)[0] == 0
    assert [row.status for row in await rows(db)] == ["good", "good"]


@pytest.mark.parametrize("algorithm", [a for a in SignatureAlgorithm if a.digest])
async def test_a_key_of_every_acceptable_algorithm_gets_a_certificate(db, clock, ca, openssl, algorithm):
    openssl.ca(ca)
    made = await order(db, clock, await new_key("official", algorithm), issuer=ca.issuing)
    assert openssl.verify(made)[0] == 0


@pytest.mark.parametrize(
    ("private", "algorithm"),
    [
        (lambda: rsa.generate_private_key(65537, 1024), SignatureAlgorithm.RSA_PKCS1_SHA256),
        (lambda: ec.generate_private_key(ec.SECP224R1()), P256),
        (lambda: ec.generate_private_key(ec.SECP256K1()), P256),
    ],
    ids=["RSA 1024", "P-224", "secp256k1"],
)
async def test_a_weak_key_is_refused_before_a_serial_is_spent(db, clock, ca, private, algorithm):
    with pytest.raises(Refused, match=r"ca\.weak_key"):
        await order(db, clock, LooseKey(private(), algorithm), issuer=ca.issuing)
    assert await rows(db) == []


async def test_an_ed25519_key_is_refused(db, clock, ca):
    with pytest.raises(Refused, match=r"ca\.weak_key"):
        await order(db, clock, await new_key("official", SignatureAlgorithm.ED25519), issuer=ca.issuing)
    assert await rows(db) == []


async def test_the_public_key_of_somebody_else_is_refused_before_a_serial_is_spent(db, clock, ca):
    mine, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    with pytest.raises(Refused, match=r"ca\.no_possession"):
        await order(db, clock, LooseKey(mine, P256, shown=other), issuer=ca.issuing)
    assert await rows(db) == []


async def test_an_expired_issuer_issues_nothing(db, clock, ca):
    clock.at = ca.issuing.certificate.not_after
    with pytest.raises(Refused, match=r"ca\.issuer_expired"):
        await order(db, clock, await new_key("official"), issuer=ca.issuing)
    assert await rows(db) == []


async def test_a_certificate_never_outlives_its_issuer(db, clock, ca):
    clock.at = ca.issuing.certificate.not_after - dt.timedelta(days=30)
    made = await order(db, clock, await new_key("official"), issuer=ca.issuing)
    assert made.not_after == ca.issuing.certificate.not_after


async def test_an_issuer_signing_with_a_key_not_its_own_leaves_an_order_and_no_certificate(db, clock, ca):
    wrong = Issuer(certificate=ca.issuing.certificate, key=await new_key("issuing"), slug="issuing")
    with pytest.raises(Broken, match=r"ca\.not_as_ordered"):
        await order(db, clock, await new_key("official"), issuer=wrong)
    assert [(row.status, row.der) for row in await rows(db)] == [("ordered", None)]


async def test_names_carry_training_in_training_only(db, clock, ca):
    training = await order(db, clock, await new_key("seal"), "seal", ca.issuing)
    production = await order(db, clock, await new_key("seal"), "seal", ca.issuing, Realm.PRODUCTION)
    assert "TRAINING" in training.subject and "TẬP HUẤN" in training.subject
    assert "TRAINING" not in production.subject and "TẬP HUẤN" not in production.subject


async def test_a_revoked_certificate_is_on_the_list_and_openssl_refuses_it(db, clock, ca, openssl):
    openssl.ca(ca)
    made = await order(db, clock, await new_key("official"), issuer=ca.issuing)
    other = await order(db, clock, await new_key("official"), issuer=ca.issuing)
    clock.move(hours=1)
    async with db.write() as uow:
        await revoke(uow, made.serial, 1, clock.now())
        entries = await revoked(uow, ca.issuing.certificate.subject)
    assert entries == [(made.serial, clock.now(), 1)]
    openssl.raw("list.der", await build_crl(ca.issuing, entries, clock, 2))
    assert openssl.run("crl", "-inform", "DER", "-in", "list.der", "-out", "list.pem")[0] == 0
    code, text = openssl.verify(made, "-crl_check", "-CRLfile", "list.pem")
    assert code != 0 and "certificate revoked" in text
    assert openssl.verify(other, "-crl_check", "-CRLfile", "list.pem") == (0, "leaf.pem: OK\n")


@pytest.mark.parametrize("name", ["", "  ", "x" * 65])
async def test_a_name_no_certificate_may_carry_is_refused_before_a_serial_is_taken(db, clock, name):
    with pytest.raises(BadInput, match=r"ca\.bad_name"):
        await order(db, clock, await new_key("root"), "root", name=name)
    assert await rows(db) == []


async def test_a_persons_certificate_issues_nothing(db, clock):
    root_key, key = await new_key("root"), await new_key("official")
    root = Issuer(certificate=await order(db, clock, root_key, "root", name="Gốc"), key=root_key, slug="root")
    person = await order(db, clock, key, issuer=root)
    with pytest.raises(Refused, match=r"ca\.issuer_is_no_ca"):
        await order(db, clock, await new_key("official"), issuer=Issuer(certificate=person, key=key, slug="x"))
    assert len(await rows(db)) == 2
