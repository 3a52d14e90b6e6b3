"""Detached signatures over a digest, judged by OpenSSL over the file itself."""

import datetime as dt
import subprocess
from pathlib import Path

import pytest
from asn1crypto import cms as asn1
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from core.errors import BadInput, Broken
from core.values import Digest, DigestAlgorithm
from core.values import SignatureAlgorithm as Algorithm
from signer.formats import cades
from tests.signer.formats.test_pades import AT, Signer

CONTENT = "Biên bản họp thôn, không phải là PDF.\n".encode() * 100


def prepared_by(signer: Signer, content: bytes = CONTENT) -> cades.PreparedDigest:
    return cades.prepare(Digest.of(content, signer.profile.digest), signer.profile, signed_at=AT)


def verified(signature: bytes, content: bytes, signer: Signer, folder: Path) -> bool:
    """``-cades``: OpenSSL also compares signing-certificate-v2 with the certificate."""
    (folder / "cms").write_bytes(signature)
    (folder / "content").write_bytes(content)
    (folder / "root.pem").write_bytes(x509.load_der_x509_certificate(signer.der).public_bytes(Encoding.PEM))
    command = "openssl cms -verify -cades -binary -inform DER -in cms -content content -out /dev/null"
    command += f" -CAfile root.pem -purpose any -attime {AT.timestamp():.0f}"
    return subprocess.run(command.split(), cwd=folder, check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("algorithm", [a for a in Algorithm if a is not Algorithm.ED25519])
def test_openssl_accepts_every_algorithm_over_the_file_and_no_other(algorithm: Algorithm, tmp_path: Path) -> None:
    signer = Signer(algorithm)
    prepared = prepared_by(signer)
    signed = cades.embed(prepared, signer.cms(prepared))
    cades.check(signed, prepared, signer.der)
    assert verified(signed, CONTENT, signer, tmp_path)
    assert not verified(signed, CONTENT + b".", signer, tmp_path)


def test_it_is_detached_and_says_the_claimed_time() -> None:
    signer = Signer(Algorithm.ECDSA_P256_SHA256)
    prepared = prepared_by(signer)
    content = asn1.ContentInfo.load(cades.embed(prepared, signer.cms(prepared)))["content"]
    assert content["encap_content_info"]["content"].native is None
    attributes = {a["type"].native: a["values"][0].native for a in content["signer_infos"][0]["signed_attrs"]}
    assert attributes["signing_time"] == AT
    assert attributes["message_digest"] == Digest.of(CONTENT).value
    assert {"content_type", "signing_certificate_v2"} <= attributes.keys()


def test_prepared_survives_storing_and_is_told_from_a_pdf() -> None:
    prepared = prepared_by(Signer(Algorithm.ECDSA_P384_SHA384))
    kept = prepared.to_json()
    assert kept["format"] == "cades"
    assert cades.PreparedDigest.from_json(kept) == prepared
    cades.require_unchanged(prepared)


def test_another_digest_algorithm_than_the_keys_is_refused() -> None:
    signer = Signer(Algorithm.ECDSA_P384_SHA384)
    with pytest.raises(BadInput, match=r"cades\.other_digest"):
        cades.prepare(Digest.of(CONTENT, DigestAlgorithm.SHA256), signer.profile, signed_at=AT)


def test_stored_parts_that_do_not_fit_each_other_are_seen() -> None:
    signer = Signer(Algorithm.ECDSA_P256_SHA256)
    kept, other = prepared_by(signer).to_json(), prepared_by(signer, b"other").to_json()
    for part in ("content", "signed_attributes", "to_sign"):
        with pytest.raises(Broken, match=r"signing\.prepared_bytes_changed"):
            cades.require_unchanged(cades.PreparedDigest.from_json({**kept, part: other[part]}))


def test_what_is_not_this_signature_fails_the_self_check() -> None:
    signer = Signer(Algorithm.ECDSA_P256_SHA256)
    prepared, other = prepared_by(signer), prepared_by(signer, b"other")
    value = asn1.ContentInfo.load(signer.cms(other))["content"]["signer_infos"][0]["signature"].native
    wrong = {
        "cms": b"\x30\x03\x02\x01\x05",
        "digest": signer.cms(other),
        "signature": signer.profile.signed_data(prepared.signed_attributes, value),
        "content": signer.profile.signed_data(prepared.signed_attributes, value, econtent=CONTENT),
    }
    for detail, cms in wrong.items():
        with pytest.raises(Broken, match=r"cades\.self_check") as raised:
            cades.check(cms, prepared, signer.der)
        assert raised.value.evidence["detail"] == detail
    with pytest.raises(Broken, match=r"cades\.self_check"):
        cades.embed(prepared, wrong["content"])
    with pytest.raises(Broken, match=r"cades\.self_check"):
        cades.check(signer.cms(prepared), prepared, Signer(Algorithm.ECDSA_P256_SHA256).der)
    later = cades.prepare(Digest.of(CONTENT), signer.profile, signed_at=AT + dt.timedelta(seconds=1))
    with pytest.raises(Broken, match=r"cades\.self_check"):
        cades.check(signer.cms(later), prepared, signer.der)
