"""Time-stamp tokens, judged by openssl and read with asn1crypto."""

import datetime as dt

import pytest
from asn1crypto import cms, tsp

from ca_bridge.timestamp.authority import POLICY, EmbeddedTimestampAuthority
from core.errors import Refused
from core.values import Digest, DigestAlgorithm, SignatureAlgorithm

DATA = "Bản sao có chứng thực".encode()


def authority(tsa, ca, clock):
    return EmbeddedTimestampAuthority(
        key=tsa.key, certificate=tsa.certificate.der, chain=(ca.issuing.certificate.der,), clock=clock
    )


@pytest.fixture
async def tsa(ca, openssl):
    openssl.ca(ca)
    return await ca.make("tsa", ca.issuing, name="Dấu thời gian")


def info_of(token: bytes):
    signed = cms.ContentInfo.load(token, strict=True)["content"]
    return tsp.TSTInfo.load(signed["encap_content_info"]["content"].contents, strict=True), signed


TS_READS = [a for a in SignatureAlgorithm if a.digest and a is not SignatureAlgorithm.RSA_PSS_SHA256]


@pytest.mark.parametrize("algorithm", TS_READS)
async def test_openssl_accepts_a_token_of_every_key_algorithm(ca, openssl, clock, algorithm):
    openssl.ca(ca)
    tsa = await ca.make("tsa", ca.issuing, algorithm)
    code, text = openssl.stamp(await authority(tsa, ca, clock).stamp(Digest.of(DATA)), DATA)
    assert code == 0 and "Verification: OK" in text


async def test_openssl_accepts_a_token_of_a_pss_key_as_the_cms_it_is(ca, openssl, clock):
    """``openssl ts`` reads tokens as PKCS #7, which has no PSS; ``openssl cms`` has."""
    openssl.ca(ca)
    tsa = await ca.make("tsa", ca.issuing, SignatureAlgorithm.RSA_PSS_SHA256)
    token = await authority(tsa, ca, clock).stamp(Digest.of(DATA))
    args = ("cms", "-verify", *openssl.at, "-inform", "DER", "-CAfile", "root.pem", "-purpose", "timestampsign")
    openssl.raw("token", token)
    code, text = openssl.run(*args, "-in", "token", "-out", "info")
    assert code == 0 and "successful" in text
    openssl.raw("bad", token[:-1] + bytes((token[-1] ^ 1,)))
    assert openssl.run(*args, "-in", "bad", "-out", "info")[0] != 0


@pytest.mark.parametrize("algorithm", list(DigestAlgorithm))
async def test_a_digest_of_every_kind_is_stamped(ca, tsa, openssl, clock, algorithm):
    token = await authority(tsa, ca, clock).stamp(Digest.of(DATA, algorithm))
    assert openssl.stamp(token, DATA)[0] == 0
    info, _ = info_of(token)
    assert info["message_imprint"]["hash_algorithm"]["algorithm"].native == algorithm.value
    assert info["message_imprint"]["hashed_message"].native == Digest.of(DATA, algorithm).value


async def test_the_token_says_policy_time_in_whole_seconds_accuracy_and_certificates(ca, tsa, clock):
    clock.at = dt.datetime(2026, 11, 25, 3, 0, 7, 654321, tzinfo=dt.UTC)
    info, signed = info_of(await authority(tsa, ca, clock).stamp(Digest.of(DATA)))
    assert info["policy"].native == POLICY
    assert info["gen_time"].native == dt.datetime(2026, 11, 25, 3, 0, 7, tzinfo=dt.UTC)
    assert abs(clock.now() - info["gen_time"].native) <= dt.timedelta(seconds=info["accuracy"]["seconds"].native)
    assert {c.chosen.dump() for c in signed["certificates"]} == {tsa.certificate.der, ca.issuing.certificate.der}


async def test_openssl_refuses_a_token_over_other_data(ca, tsa, openssl, clock):
    token = await authority(tsa, ca, clock).stamp(Digest.of(DATA))
    code, text = openssl.stamp(token, DATA + b".")
    assert code != 0 and "message imprint mismatch" in text


async def test_openssl_refuses_a_token_whose_time_was_changed(ca, tsa, openssl, clock):
    token = await authority(tsa, ca, clock).stamp(Digest.of(DATA))
    changed = token.replace(b"20261125030000Z", b"20251125030000Z")
    assert changed != token
    code, text = openssl.stamp(changed, DATA)
    assert code != 0 and "Verification: FAILED" in text


async def test_openssl_refuses_a_token_whose_signature_was_changed(ca, tsa, openssl, clock):
    token = await authority(tsa, ca, clock).stamp(Digest.of(DATA))
    code, text = openssl.stamp(token[:-1] + bytes((token[-1] ^ 1,)), DATA)
    assert code != 0 and "Verification: FAILED" in text


@pytest.mark.parametrize("profile", ["official", "seal", "ocsp"])
async def test_openssl_refuses_a_token_of_a_certificate_not_made_for_time(ca, openssl, clock, profile):
    openssl.ca(ca)
    token = await authority(await ca.make(profile, ca.issuing), ca, clock).stamp(Digest.of(DATA))
    code, text = openssl.stamp(token, DATA)
    assert code != 0 and "Verification: FAILED" in text


async def test_a_clock_that_stepped_back_is_refused_until_it_has_caught_up(ca, tsa, openssl, clock):
    stamper = authority(tsa, ca, clock)
    await stamper.stamp(Digest.of(DATA))
    clock.move(microseconds=-1)
    for _ in range(2):
        with pytest.raises(Refused, match=r"clock\.stepped_back"):
            await stamper.stamp(Digest.of(DATA))
    clock.move(microseconds=1)
    assert openssl.stamp(await stamper.stamp(Digest.of(DATA)), DATA)[0] == 0


async def test_serials_of_tokens_are_positive_and_never_repeat(ca, tsa, clock):
    stamper = authority(tsa, ca, clock)
    serials = [info_of(await stamper.stamp(Digest.of(DATA)))[0]["serial_number"].native for _ in range(50)]
    assert len(set(serials)) == 50
    assert all(0 < serial < 2**160 for serial in serials)
