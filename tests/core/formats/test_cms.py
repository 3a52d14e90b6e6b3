"""The parts of our CMS, read by asn1crypto."""

import pytest
from asn1crypto import cms as asn1

from core.formats import der
from core.formats.cms import ID_TST_INFO, CmsProfile, signature_timestamp_attribute
from core.values import SignatureAlgorithm
from tests.signer.formats.test_pades import Signer

SIGNER = Signer(SignatureAlgorithm.ECDSA_P256_SHA256)


def test_signed_attributes_are_der_and_carry_no_signing_time() -> None:
    raw = SIGNER.profile.signed_attributes(bytes(32))
    read = asn1.CMSAttributes.load(raw)
    assert {a["type"].native for a in read} == {"content_type", "message_digest", "signing_certificate_v2"}
    assert read.dump(force=True) == raw


def test_a_timestamp_profile_encapsulates_its_content() -> None:
    profile = CmsProfile(SIGNER.der, (), SIGNER.algorithm, ID_TST_INFO)
    raw = profile.signed_data(profile.signed_attributes(bytes(32)), b"s", econtent=b"\x30\x00")
    signed = asn1.ContentInfo.load(raw)["content"]
    assert signed["version"].native == "v3"
    assert signed["encap_content_info"]["content_type"].native == "tst_info"


def test_the_timestamp_is_an_unsigned_attribute() -> None:
    token = der.sequence()
    raw = SIGNER.profile.signed_data(
        SIGNER.profile.signed_attributes(bytes(32)), b"s", unsigned_attributes=(signature_timestamp_attribute(token),)
    )
    unsigned = asn1.ContentInfo.load(raw)["content"]["signer_infos"][0]["unsigned_attrs"]
    assert [a["type"].native for a in unsigned] == ["signature_time_stamp_token"]


def test_ed25519_has_no_profile() -> None:
    with pytest.raises(ValueError, match="Ed25519"):
        CmsProfile(SIGNER.der, (), SignatureAlgorithm.ED25519)
