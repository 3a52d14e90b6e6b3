"""A certificate as a value, and verifying with its key."""

import datetime as dt
import hashlib

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from core.certificates import Certificate, verify_signature
from core.errors import BadInput
from core.values import Digest, Message, SignatureAlgorithm
from signer.keystores.memory import generate, raw_sign

FROM = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


def name(**parts):
    return x509.Name([x509.NameAttribute(getattr(NameOID, key), value) for key, value in parts.items()])


def make(key, subject, signer=None) -> bytes:
    signer = signer or ec.generate_private_key(ec.SECP256R1())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(name(COMMON_NAME="Gốc"))
        .public_key(key.public_key())
        .serial_number(77)
        .not_valid_before(FROM)
        .not_valid_after(FROM + dt.timedelta(days=1))
        .sign(signer, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


@pytest.fixture
def key():
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def keys():
    return {algorithm: generate(algorithm) for algorithm in SignatureAlgorithm}


def signed(key, algorithm, data):
    return raw_sign(key, algorithm, Digest.of(data, algorithm.digest) if algorithm.digest else Message(data))


def test_what_is_read_is_what_stands_in_the_certificate(key):
    der = make(key, name(COUNTRY_NAME="VN", ORGANIZATION_NAME="UBND xã", COMMON_NAME="Nguyễn Thị Ánh"))
    certificate = Certificate.parse(der)
    assert certificate.der == der
    assert certificate.sha256 == hashlib.sha256(der).digest()
    assert certificate.spki == key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert certificate.subject == "CN=Nguyễn Thị Ánh,O=UBND xã,C=VN"
    assert (certificate.common_name, certificate.issuer, certificate.serial) == ("Nguyễn Thị Ánh", "CN=Gốc", 77)
    assert (certificate.not_before, certificate.not_after) == (FROM, FROM + dt.timedelta(days=1))
    assert certificate.not_before.utcoffset() == dt.timedelta(0)


def test_without_a_common_name_the_whole_subject_stands_for_it(key):
    assert Certificate.parse(make(key, name(ORGANIZATION_NAME="UBND xã"))).common_name == "O=UBND xã"


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_cut_certificate_is_unreadable(key, cut):
    with pytest.raises(BadInput, match=r"cert\.unreadable"):
        Certificate.parse(make(key, name(COMMON_NAME="A"))[:cut])


@pytest.mark.parametrize("add", [b"\0", b"\x30\x00"])
def test_bytes_after_a_certificate_make_it_unreadable(key, add):
    with pytest.raises(BadInput, match=r"cert\.unreadable"):
        Certificate.parse(make(key, name(COMMON_NAME="A")) + add)


def test_text_is_no_certificate():
    with pytest.raises(BadInput, match=r"cert\.unreadable"):
        Certificate.parse(b"-----BEGIN CERTIFICATE-----\n")


def test_equal_bytes_are_equal_certificates(key):
    der = make(key, name(COMMON_NAME="A"))
    assert Certificate.parse(der) == Certificate.parse(bytes(bytearray(der)))
    assert Certificate.parse(der) != Certificate.parse(make(key, name(COMMON_NAME="B")))


@pytest.mark.parametrize("algorithm", list(SignatureAlgorithm))
def test_a_certificate_verifies_its_keys_signature_and_no_other(keys, algorithm):
    certificate = Certificate.parse(make(keys[algorithm], name(COMMON_NAME="A")))
    value = signed(keys[algorithm], algorithm, b"x")
    certificate.verify(value, b"x", algorithm)
    with pytest.raises(InvalidSignature):
        certificate.verify(value, b"y", algorithm)
    with pytest.raises(InvalidSignature):
        certificate.verify(value[:-1] + bytes((value[-1] ^ 1,)), b"x", algorithm)
    with pytest.raises(InvalidSignature):
        certificate.verify(signed(generate(algorithm), algorithm, b"x"), b"x", algorithm)


@pytest.mark.parametrize("claimed", list(SignatureAlgorithm))
@pytest.mark.parametrize("made", list(SignatureAlgorithm))
def test_a_signature_is_only_good_under_the_algorithm_it_was_made_with(keys, made, claimed):
    public, value = keys[made].public_key(), signed(keys[made], made, b"x")
    if made is claimed:
        verify_signature(public, value, b"x", claimed)
        return
    with pytest.raises(InvalidSignature):
        verify_signature(public, value, b"x", claimed)
