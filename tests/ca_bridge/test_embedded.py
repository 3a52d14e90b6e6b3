"""Certificates, CRLs and OCSP responses, judged by openssl and by cryptography."""

import datetime as dt

import pytest
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, ExtensionOID

from ca_bridge.authorities.embedded import Issuer, Subject, build_crl, build_ocsp, new_serial
from core.values import Realm, SignatureAlgorithm
from tests.ca_bridge.makers import BASE_URL, Ca

LEAVES = ("official", "seal", "tsa", "ocsp")
DIGESTED = [a for a in SignatureAlgorithm if a.digest]


def extension(certificate, kind):
    return certificate.parsed.extensions.get_extension_for_class(kind)


@pytest.mark.parametrize("algorithm", DIGESTED)
@pytest.mark.parametrize("profile", LEAVES)
async def test_openssl_accepts_every_profile_strictly_under_every_algorithm(clock, openssl, profile, algorithm):
    ca = await Ca(clock).start(algorithm)
    openssl.ca(ca)
    leaf = await ca.make(profile, ca.issuing)
    assert openssl.verify(leaf.certificate) == (0, "leaf.pem: OK\n")


async def test_openssl_refuses_a_certificate_with_one_bit_changed(ca, openssl):
    openssl.ca(ca)
    der = (await ca.make("official", ca.issuing)).certificate.der
    openssl.raw("bad.der", der[:-1] + bytes((der[-1] ^ 1,)))
    code, text = openssl.run("verify", *openssl.at, "-CAfile", "root.pem", "-untrusted", "issuing.pem", "bad.der")
    assert code != 0 and "certificate signature failure" in text


async def test_openssl_refuses_a_certificate_made_by_an_official(ca, openssl):
    official = await ca.make("official", ca.issuing)
    forged = await ca.make("official", official)
    openssl.pem("root.pem", ca.root.certificate)
    openssl.pem("issuing.pem", ca.issuing.certificate)
    openssl.raw("issuing.pem", (openssl.home / "issuing.pem").read_bytes() + pem(official))
    code, text = openssl.verify(forged.certificate)
    assert code != 0 and "invalid CA certificate" in text


async def test_openssl_refuses_a_second_authority_under_the_issuing_one(ca, openssl):
    openssl.ca(ca)
    second = await ca.make("issuing", ca.issuing, name="Cấp dưới")
    openssl.raw("issuing.pem", (openssl.home / "issuing.pem").read_bytes() + pem(second))
    code, text = openssl.verify((await ca.make("official", second)).certificate)
    assert code != 0 and "path length constraint exceeded" in text


def pem(issuer: Issuer) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return issuer.certificate.parsed.public_bytes(Encoding.PEM)


async def test_only_authorities_may_sign_certificates_and_lists(ca):
    for issuer, length in ((ca.root, None), (ca.issuing, 0)):
        basic = extension(issuer.certificate, x509.BasicConstraints)
        assert basic.critical and basic.value.ca and basic.value.path_length == length
        usage = extension(issuer.certificate, x509.KeyUsage)
        assert usage.critical and usage.value.key_cert_sign and usage.value.crl_sign
        assert not usage.value.digital_signature
    for profile in LEAVES:
        leaf = (await ca.make(profile, ca.issuing)).certificate
        usage = extension(leaf, x509.KeyUsage)
        assert usage.critical and usage.value.digital_signature
        assert not usage.value.key_cert_sign and not usage.value.crl_sign
        assert usage.value.content_commitment is (profile != "ocsp")


async def test_the_extended_use_is_the_profiles(ca):
    wanted = {
        "tsa": (ExtendedKeyUsageOID.TIME_STAMPING.dotted_string, True),
        "ocsp": (ExtendedKeyUsageOID.OCSP_SIGNING.dotted_string, False),
        "official": ("1.3.6.1.5.5.7.3.36", False),
        "seal": ("1.3.6.1.5.5.7.3.36", False),
    }
    for profile, (oid, critical) in wanted.items():
        leaf = (await ca.make(profile, ca.issuing)).certificate
        found = extension(leaf, x509.ExtendedKeyUsage)
        assert ([use.dotted_string for use in found.value], found.critical) == ([oid], critical)
        marks = [e.oid for e in leaf.parsed.extensions]
        assert (ExtensionOID.OCSP_NO_CHECK in marks) is (profile == "ocsp")


async def test_key_identifiers_are_those_of_rfc_5280_and_link_the_chain(ca):
    leaf = (await ca.make("official", ca.issuing)).certificate
    for certificate, issuer in ((ca.issuing.certificate, ca.root), (leaf, ca.issuing)):
        own = extension(certificate, x509.SubjectKeyIdentifier).value.digest
        assert own == x509.SubjectKeyIdentifier.from_public_key(certificate.parsed.public_key()).digest
        above = extension(certificate, x509.AuthorityKeyIdentifier).value.key_identifier
        assert above == issuer.key_id == extension(issuer.certificate, x509.SubjectKeyIdentifier).value.digest


async def test_addresses_name_the_issuers_files_and_ocsp_only_where_it_answers(ca):
    for profile in LEAVES:
        leaf = (await ca.make(profile, ca.issuing)).certificate
        points = extension(leaf, x509.CRLDistributionPoints).value
        assert [name.value for p in points for name in p.full_name] == [f"{BASE_URL}/pki/crl/issuing.crl"]
        access = {
            a.access_method: a.access_location.value for a in extension(leaf, x509.AuthorityInformationAccess).value
        }
        wanted = {AuthorityInformationAccessOID.CA_ISSUERS: f"{BASE_URL}/pki/certs/issuing.cer"}
        if profile != "ocsp":
            wanted[AuthorityInformationAccessOID.OCSP] = f"{BASE_URL}/pki/ocsp"
        assert access == wanted
    with pytest.raises(x509.ExtensionNotFound):
        extension(ca.root.certificate, x509.CRLDistributionPoints)


@pytest.mark.parametrize("profile", LEAVES)
async def test_a_certificate_never_outlives_its_issuer(ca, clock, profile):
    clock.at = ca.issuing.certificate.not_after - dt.timedelta(days=30)
    leaf = (await ca.make(profile, ca.issuing)).certificate
    assert (leaf.not_before, leaf.not_after) == (clock.now(), ca.issuing.certificate.not_after)


async def test_terms_are_counted_from_the_clock_and_pass_2050(ca, clock):
    clock.at = dt.datetime(2034, 1, 1, microsecond=999999, tzinfo=dt.UTC)
    root = (await ca.make("root")).certificate
    assert root.not_before == dt.datetime(2034, 1, 1, tzinfo=dt.UTC)
    assert root.not_after == root.not_before + dt.timedelta(days=7300)
    assert root.not_after.year > 2050
    validity = asn1.Certificate.load(root.der)["tbs_certificate"]["validity"]
    assert (validity["not_before"].name, validity["not_after"].name) == ("utc_time", "general_time")


async def test_openssl_refuses_a_certificate_after_its_term(ca, clock, openssl):
    openssl.ca(ca)
    leaf = (await ca.make("official", ca.issuing)).certificate
    clock.at = leaf.not_after + dt.timedelta(seconds=1)
    code, text = openssl.verify(leaf)
    assert code != 0 and "certificate has expired" in text


async def test_names_are_vietnamese_and_carry_training_in_training_only(clock):
    for realm in Realm:
        ca = await Ca(clock, realm).start()
        for certificate in (ca.root.certificate, (await ca.make("seal", ca.issuing)).certificate):
            marked = "TẬP HUẤN - TRAINING" in certificate.subject
            assert marked is (realm is Realm.TRAINING)
    subject = Subject(common_name="Nguyễn Thị Ánh", organisation="UBND xã")
    assert asn1.Name.load(subject.encode(Realm.PRODUCTION)).native == {
        "country_name": "VN", "organization_name": "UBND xã", "common_name": "Nguyễn Thị Ánh",
    }  # fmt: skip


def test_serials_are_positive_twenty_octets_and_never_repeat():
    serials = {new_serial() for _ in range(200)}
    assert len(serials) == 200
    assert all(serial.bit_length() == 159 for serial in serials)


# CRL


@pytest.mark.parametrize("algorithm", DIGESTED)
async def test_openssl_verifies_a_list_under_every_algorithm(clock, openssl, algorithm):
    ca = await Ca(clock).start(algorithm)
    openssl.ca(ca)
    openssl.raw("list", await build_crl(ca.issuing, [(5, clock.now(), 4)], clock, 1))
    code, text = openssl.run("crl", "-inform", "DER", "-in", "list", "-CAfile", "issuing.pem", "-noout")
    assert (code, text.strip()) == (0, "verify OK")


async def test_openssl_refuses_a_list_with_one_bit_changed(ca, clock, openssl):
    openssl.ca(ca)
    der = await build_crl(ca.issuing, [(5, clock.now(), 4)], clock, 1)
    openssl.raw("list", der[:-1] + bytes((der[-1] ^ 1,)))
    _, text = openssl.run("crl", "-inform", "DER", "-in", "list", "-CAfile", "issuing.pem", "-noout")
    assert "verify failure" in text and "verify OK" not in text


async def test_a_list_holds_number_times_serials_and_reasons(ca, clock):
    big = new_serial()
    der = await build_crl(ca.issuing, [(5, clock.now(), 4), (big, clock.now(), 1)], clock, 300, days=3)
    crl = x509.load_der_x509_crl(der)
    assert crl.is_signature_valid(ca.issuing.certificate.parsed.public_key())
    assert not crl.is_signature_valid(ca.root.certificate.parsed.public_key())
    assert crl.issuer == ca.issuing.certificate.parsed.subject
    assert (crl.last_update_utc, crl.next_update_utc) == (clock.now(), clock.now() + dt.timedelta(days=3))
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 300
    reasons = {row.serial_number: row.extensions.get_extension_for_class(x509.CRLReason).value.reason for row in crl}
    assert reasons == {5: x509.ReasonFlags.superseded, big: x509.ReasonFlags.key_compromise}
    assert crl.get_revoked_certificate_by_serial_number(6) is None


async def test_an_empty_list_is_a_list(ca, clock, openssl):
    openssl.ca(ca)
    der = await build_crl(ca.root, [], clock, 1)
    assert len(x509.load_der_x509_crl(der)) == 0
    openssl.raw("list", der)
    assert "verify OK" in openssl.run("crl", "-inform", "DER", "-in", "list", "-CAfile", "root.pem", "-noout")[1]


# OCSP


async def answer(ca, clock, serial, *, responder=None, revoked=None, known=True):
    responder = responder or await ca.make("ocsp", ca.issuing, name="Trả lời")
    return await build_ocsp(
        serial=serial, issuer=ca.issuing, responder=responder, clock=clock, revoked=revoked, known=known
    )


@pytest.mark.parametrize("algorithm", DIGESTED)
async def test_openssl_reads_good_under_every_algorithm(ca, clock, openssl, algorithm):
    openssl.ca(ca)
    leaf = (await ca.make("official", ca.issuing)).certificate
    responder = await ca.make("ocsp", ca.issuing, algorithm)
    code, text = openssl.ocsp(await answer(ca, clock, leaf.serial, responder=responder), leaf)
    assert code == 0 and "leaf.pem: good" in text and "Response verify OK" in text


async def test_openssl_reads_revoked_with_its_reason(ca, clock, openssl):
    openssl.ca(ca)
    leaf = (await ca.make("official", ca.issuing)).certificate
    at = clock.now() - dt.timedelta(hours=2)
    response = await answer(ca, clock, leaf.serial, revoked=(at, 1))
    _, text = openssl.ocsp(response, leaf)
    assert "leaf.pem: revoked" in text and "Reason: keyCompromise" in text and "Response verify OK" in text
    read = ocsp.load_der_ocsp_response(response)
    assert read.certificate_status is ocsp.OCSPCertStatus.REVOKED
    assert (read.revocation_time_utc, read.revocation_reason) == (at, x509.ReasonFlags.key_compromise)


async def test_an_unknown_serial_is_unknown_even_when_nothing_speaks_against_it(ca, clock, openssl):
    openssl.ca(ca)
    leaf = (await ca.make("official", ca.issuing)).certificate
    response = await answer(ca, clock, leaf.serial, known=False)
    _, text = openssl.ocsp(response, leaf)
    assert "leaf.pem: unknown" in text and "Response verify OK" in text
    assert ocsp.load_der_ocsp_response(response).certificate_status is ocsp.OCSPCertStatus.UNKNOWN


async def test_an_answer_is_for_one_serial_of_one_issuer_and_one_week(ca, clock, openssl):
    openssl.ca(ca)
    leaf, other = [(await ca.make("official", ca.issuing)).certificate for _ in range(2)]
    response = await answer(ca, clock, leaf.serial)
    read = ocsp.load_der_ocsp_response(response)
    wanted = ocsp.OCSPRequestBuilder().add_certificate(leaf.parsed, ca.issuing.certificate.parsed, SHA1()).build()
    assert read.serial_number == leaf.serial
    assert (read.issuer_name_hash, read.issuer_key_hash) == (wanted.issuer_name_hash, wanted.issuer_key_hash)
    assert (read.this_update_utc, read.next_update_utc) == (clock.now(), clock.now() + dt.timedelta(days=7))
    assert "No Status found" in openssl.ocsp(response, other)[1]


async def test_openssl_refuses_an_answer_with_one_bit_changed(ca, clock, openssl):
    openssl.ca(ca)
    leaf = (await ca.make("official", ca.issuing)).certificate
    response = await answer(ca, clock, leaf.serial)
    stamp = clock.now().strftime("%Y%m%d%H%M%SZ").encode()
    changed = response.replace(stamp, b"20261125030001Z", 1)
    assert changed != response
    code, text = openssl.ocsp(changed, leaf)
    assert code != 0 and "Response Verify Failure" in text and "verify OK" not in text


@pytest.mark.parametrize("profile", ["official", "tsa"])
async def test_openssl_refuses_an_answer_of_somebody_not_delegated(ca, clock, openssl, profile):
    openssl.ca(ca)
    leaf = (await ca.make("official", ca.issuing)).certificate
    response = await answer(ca, clock, leaf.serial, responder=await ca.make(profile, ca.issuing))
    code, text = openssl.ocsp(response, leaf)
    assert code != 0 and "Response Verify Failure" in text
