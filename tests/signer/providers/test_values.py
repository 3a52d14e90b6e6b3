"""What counts as the signature: a raw value, or a CMS around one; by this key, over this digest, nothing else."""

import contextlib
import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from core.certificates import Certificate
from core.clock import SystemClock
from core.errors import Broken
from core.formats.cms import CmsProfile
from core.values import Digest, DigestAlgorithm, SignatureAlgorithm
from signer.providers.values import value_of
from tests.signer.providers.city import DIGEST

RSA = SignatureAlgorithm.RSA_PKCS1_SHA256


def test_raw_and_cms_give_the_raw_value(people):
    me = people.all[0]
    certificate = Certificate.parse(me.certificate)
    value = me.sign(DIGEST.value)
    assert value_of(value, DIGEST, certificate, RSA) == value
    assert value_of(me.sign_cms(DIGEST.value), DIGEST, certificate, RSA) == value


def test_pss_and_ecdsa_values_are_judged_by_their_own_rules(people):
    me, hashed = people.all[0], utils.Prehashed(hashes.SHA256())
    pss = me.pair.key.sign(DIGEST.value, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashed)
    certificate = Certificate.parse(me.certificate)
    assert value_of(pss, DIGEST, certificate, SignatureAlgorithm.RSA_PSS_SHA256) == pss
    with pytest.raises(Broken, match=r"provider\.wrong_signature"):
        value_of(pss, DIGEST, certificate, RSA)
    key = ec.generate_private_key(ec.SECP256R1())
    mine = Certificate.parse(self_signed(key))
    value = key.sign(DIGEST.value, ec.ECDSA(hashed))
    assert value_of(value, DIGEST, mine, SignatureAlgorithm.ECDSA_P256_SHA256) == value


def self_signed(key, serial=7, name="Ai đó"):
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = SystemClock().now()
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).serial_number(serial)
    builder = builder.public_key(key.public_key()).not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_another_key_another_digest_another_certificate_are_refused(people):
    me, other = people.all
    certificate, longer = Certificate.parse(me.certificate), Digest.of(b"the signed attributes", DigestAlgorithm.SHA384)
    wrong = {
        "other key": other.sign(DIGEST.value), "other digest": me.sign(Digest.of(b"x").value), "empty": b"",
        "cut": me.sign(DIGEST.value)[:-1], "longer": me.sign(DIGEST.value) + b"\0",
        "other digest in cms": me.sign_cms(Digest.of(b"x").value), "cms and more": me.sign_cms(DIGEST.value) + b"\0",
        "a certificate": me.certificate, "huge": b"\x30" * 70_000,
    }  # fmt: skip
    for name, answer in wrong.items():
        with pytest.raises(Broken, match=r"provider\.wrong_signature"):
            value_of(answer, DIGEST, certificate, RSA)
            pytest.fail(name)
    with pytest.raises(Broken, match=r"provider\.wrong_signature"):
        value_of(me.sign(DIGEST.value), longer, certificate, RSA)
    with pytest.raises(Broken, match=r"provider\.other_certificate"):
        value_of(other.sign_cms(DIGEST.value), DIGEST, certificate, RSA)


def test_our_name_with_another_certificate_beside_it_is_refused(people):
    """Same issuer and serial number, other key: what a careless reader would take for ours."""
    key, mine = rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 2048)
    certificate, twin = self_signed(mine), self_signed(key)
    value = mine.sign(DIGEST.value, padding.PKCS1v15(), utils.Prehashed(hashes.SHA256()))
    cms = CmsProfile(twin, (), RSA).signed_data(b"\x31\x00", value)
    with pytest.raises(Broken, match=r"provider\.other_certificate"):
        value_of(cms, DIGEST, Certificate.parse(certificate), RSA)


def test_a_cms_with_attributes_of_its_own_signs_something_else(people):
    me = people.all[0]
    builder = (
        PKCS7SignatureBuilder().set_data(DIGEST.value).add_signer(me.pair.certificate, me.pair.key, hashes.SHA256())
    )
    cms = builder.sign(Encoding.DER, [PKCS7Options.DetachedSignature, PKCS7Options.Binary])
    with pytest.raises(Broken, match=r"provider\.wrong_signature"):
        value_of(cms, DIGEST, Certificate.parse(me.certificate), RSA)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_damaged_answer_gives_anything_but_the_true_value(people, data):
    me = people.all[0]
    whole = bytearray(me.sign_cms(DIGEST.value))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    for answer in (bytes(whole), cut):
        with contextlib.suppress(Broken):
            assert value_of(answer, DIGEST, Certificate.parse(me.certificate), RSA) == me.sign(DIGEST.value)
