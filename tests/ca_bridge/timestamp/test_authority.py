"""Time-stamp tokens, judged by openssl and read with asn1crypto."""

import datetime as dt
from dataclasses import replace

import pytest
from asn1crypto import cms, tsp
from hypothesis import given
from hypothesis import strategies as st

from ca_bridge.timestamp.authority import POLICY, EmbeddedTimestampAuthority, Failure, _read, _Rejected, rejection
from core.errors import Refused, Unavailable
from core.formats import der
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


# answers to requests over HTTP (RFC 3161 §3.4)


class Asking:
    """``openssl ts`` on both sides of an authority of ours."""

    def __init__(self, openssl, stamper, ca, tsa):
        self.openssl, self.stamper = openssl, stamper
        openssl.raw("data", DATA)
        openssl.pem("tsa.pem", tsa.certificate)
        openssl.raw("chain.pem", b"".join((openssl.home / name).read_bytes() for name in ("issuing.pem", "tsa.pem")))

    def query(self, *options: str) -> bytes:
        code, text = self.openssl.run("ts", "-query", "-data", "data", *options, "-out", "query")
        assert code == 0, text
        return (self.openssl.home / "query").read_bytes()

    async def reply(self, query: bytes) -> bytes:
        data = await self.stamper.respond(query)
        self.openssl.raw("reply", data)
        return data

    def verify(self, *options: str) -> tuple[int, str]:
        return self.openssl.run(
            "ts", "-verify", *self.openssl.at, "-queryfile", "query", "-in", "reply", "-CAfile", "root.pem", *options
        )


@pytest.fixture
def asking(openssl, ca, tsa, clock):
    return Asking(openssl, authority(tsa, ca, clock), ca, tsa)


def why(reply: bytes) -> tuple[str, set[str]]:
    """Why there is no token."""
    (status,) = der.children(der.one(reply, 0x30).content)
    info = tsp.PKIStatusInfo.load(status.raw, strict=True)
    return info["status"].native, info["fail_info"].native


def token_of(reply: bytes) -> bytes:
    read = tsp.TimeStampResp.load(reply, strict=True)
    assert read["status"]["status"].native == "granted"
    return read["time_stamp_token"].dump()


@pytest.mark.parametrize("algorithm", list(DigestAlgorithm))
@pytest.mark.parametrize("nonce", [(), ("-no_nonce",)])
async def test_openssl_asks_and_accepts_the_reply(asking, algorithm, nonce):
    await asking.reply(asking.query(f"-{algorithm}", "-cert", *nonce))
    code, text = asking.verify("-untrusted", "issuing.pem")
    assert code == 0 and "Verification: OK" in text


async def test_certificates_come_only_to_who_asks_for_them(asking):
    for options, there in (((), False), (("-cert",), True)):
        _, signed = info_of(token_of(await asking.reply(asking.query(*options))))
        assert bool(signed["certificates"].native) is there
        code, text = asking.verify("-untrusted", "chain.pem")
        assert code == 0 and "Verification: OK" in text


async def test_a_reply_is_for_one_request(asking):
    await asking.reply(asking.query("-cert"))
    asking.query("-cert")  # the same data under another nonce
    code, text = asking.verify("-untrusted", "issuing.pem")
    assert code != 0 and "nonce mismatch" in text


async def test_our_policy_may_be_asked_for_by_name_and_no_other(asking):
    assert token_of(await asking.reply(asking.query("-tspolicy", POLICY)))
    assert why(await asking.reply(asking.query("-tspolicy", "1.2.3.4"))) == ("rejection", {"unaccepted_policy"})


@pytest.mark.parametrize("algorithm", ["-sha1", "-md5", "-sha3-256"])
async def test_a_digest_we_do_not_trust_is_refused(asking, algorithm):
    assert why(await asking.reply(asking.query(algorithm))) == ("rejection", {"bad_alg"})


SHA256_ID = der.sequence(der.oid(DigestAlgorithm.SHA256.oid), der.null())
IMPRINT = der.sequence(SHA256_ID, der.octet_string(bytes(32)))


@pytest.mark.parametrize(
    ("query", "failure"),
    [
        (b"", "bad_data_format"),
        (b"<html>", "bad_data_format"),
        (b"\x30\x80", "bad_data_format"),
        (der.sequence(), "bad_data_format"),
        (der.sequence(der.integer(1)), "bad_data_format"),
        (der.sequence(IMPRINT, der.integer(1)), "bad_data_format"),
        (der.sequence(der.integer(1), IMPRINT) + b"\0", "bad_data_format"),
        (der.sequence(der.integer(1), IMPRINT, bytes(9000)), "bad_data_format"),
        (der.sequence(der.integer(1), der.sequence(SHA256_ID, der.octet_string(bytes(31)))), "bad_data_format"),
        (der.sequence(der.integer(1), der.sequence(SHA256_ID, der.utf8("a"))), "bad_data_format"),
        (der.sequence(der.integer(1), der.sequence(SHA256_ID)), "bad_data_format"),
        (der.sequence(der.integer(1), der.sequence(der.sequence(), der.octet_string(bytes(32)))), "bad_data_format"),
        (der.sequence(der.integer(1), IMPRINT, der.boolean(True), der.integer(5)), "bad_data_format"),
        (der.sequence(der.integer(1), IMPRINT, der.integer(5), der.integer(5)), "bad_data_format"),
        (der.sequence(der.integer(1), IMPRINT, der.utf8("a")), "bad_data_format"),
        (der.sequence(der.integer(1), IMPRINT, b"\x02\x00"), "bad_data_format"),
        (der.sequence(der.integer(1), IMPRINT, b"\x02\x02\x00\x01"), "bad_data_format"),
        (der.sequence(der.integer(1), IMPRINT, b"\x01\x01\x07"), "bad_data_format"),
        (der.sequence(der.integer(1), IMPRINT, der.integer(1 << 1100)), "bad_request"),
        (der.sequence(der.integer(2), IMPRINT), "bad_request"),
        (der.sequence(der.integer(1), IMPRINT, der.context(0, der.sequence(der.oid("1.2.3"), der.octet_string(b"")))),
         "unaccepted_extensions"),
        (der.sequence(der.integer(1), der.sequence(der.sequence(der.oid(DigestAlgorithm.SHA256.oid), der.integer(1)),
         der.octet_string(bytes(32)))), "bad_alg"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
async def test_a_broken_request_gets_its_reason_and_no_token(ca, tsa, clock, query, failure):
    assert why(await authority(tsa, ca, clock).respond(query)) == ("rejection", {failure})


async def test_openssl_says_why_there_is_no_token(asking):
    await asking.reply(der.sequence(der.integer(2), IMPRINT))
    _, text = asking.openssl.run("ts", "-reply", "-in", "reply", "-text")
    assert "Status: Rejected" in text and "transaction not permitted" in text


async def test_an_optional_false_and_left_out_parameters_are_read_as_sent(ca, tsa, clock):
    imprint = der.sequence(der.sequence(der.oid(DigestAlgorithm.SHA256.oid)), der.octet_string(bytes(32)))
    query = der.sequence(der.integer(1), imprint, der.integer(-7), der.boolean(False))
    info, signed = info_of(token_of(await authority(tsa, ca, clock).respond(query)))
    assert info["message_imprint"].dump() == imprint
    assert info["nonce"].native == -7
    assert not signed["certificates"].native


async def test_without_time_or_key_there_is_a_reason_and_no_token(ca, tsa, clock):
    query = der.sequence(der.integer(1), IMPRINT)
    stamper = authority(tsa, ca, clock)
    await stamper.respond(query)
    clock.move(seconds=-1)
    assert why(await stamper.respond(query)) == ("rejection", {"time_not_available"})

    class Failing:
        algorithm = tsa.key.algorithm

        async def sign(self, _):
            raise Unavailable("database.busy")

    without = authority(replace(tsa, key=Failing()), ca, clock)
    assert why(await without.respond(query)) == ("rejection", {"system_failure"})


@pytest.mark.parametrize("why_not", list(Failure))
def test_every_reason_is_the_bit_of_its_name(why_not):
    named = {"UNACCEPTED_EXTENSION": "unaccepted_extensions"}.get(why_not.name, why_not.name.lower())
    assert why(rejection(why_not)) == ("rejection", {named})


@given(st.binary(max_size=200))
def test_random_bytes_are_read_or_refused_in_two_ways(data):
    for each in (
        data,
        der.sequence(data),
        der.sequence(der.integer(1), data),
        der.sequence(der.integer(1), IMPRINT, data),
    ):
        try:
            _read(each)
        except (ValueError, _Rejected):
            continue
