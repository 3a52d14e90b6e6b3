"""What the responder says to whom, on both databases; its answers are judged by openssl and by cryptography."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ExtensionNotFound, ocsp
from cryptography.x509 import OCSPNonce as Nonce
from hypothesis import given
from hypothesis import strategies as st

from ca_bridge.authorities.embedded import OCSP_NONCE
from ca_bridge.records import certificate_table, revoke
from ca_bridge.responder import Failure, Responder, failure, is_malformed, made_at, read
from core.errors import Broken, Refused, Unavailable
from core.formats import der

GOOD, REVOKED, UNKNOWN = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN
MALFORMED = failure(Failure.MALFORMED)


async def record(db, clock, certificate, status="good", issuer=None):
    async with db.write() as uow:
        await uow.execute(
            certificate_table.insert().values(
                serial=f"{certificate.serial:040x}", realm="training", issuer=issuer or certificate.issuer,
                profile="official", status=status, ordered_at=clock.now(),
            )
        )  # fmt: skip


@pytest.fixture
async def responder(ca, db, clock):
    return Responder(db=db, clock=clock, issuer=ca.issuing, responder=await ca.make("ocsp", ca.issuing, name="Trả lời"))


@pytest.fixture
async def leaf(ca, db, clock):
    made = (await ca.make("official", ca.issuing)).certificate
    await record(db, clock, made)
    return made


def request(certificate, issuer, algorithm=SHA1, nonce=None) -> bytes:
    made = ocsp.OCSPRequestBuilder().add_certificate(certificate.parsed, issuer.certificate.parsed, algorithm())
    if nonce is not None:
        made = made.add_extension(Nonce(nonce), critical=False)
    return made.build().public_bytes(Encoding.DER)


def several(*requests: bytes, extra: bytes = b"") -> bytes:
    """One request for what each of ``requests`` asks."""
    rows = [der.children(der.one(der.one(r, 0x30).content, 0x30).content)[0].content for r in requests]
    return der.sequence(der.sequence(der.sequence(*rows), extra))


def statuses(response: bytes):
    return [(row.serial_number, row.certificate_status) for row in ocsp.load_der_ocsp_response(response).responses]


# what is said


@pytest.mark.parametrize("algorithm", ["-sha1", "-sha256"])
async def test_openssl_asks_with_either_hash_and_reads_good(ca, responder, leaf, openssl, algorithm):
    openssl.ca(ca)
    openssl.pem("leaf.pem", leaf)
    asked = ("ocsp", algorithm, "-issuer", "issuing.pem", "-cert", "leaf.pem", "-no_nonce")
    assert openssl.run(*asked, "-reqout", "request")[0] == 0
    openssl.raw("response", await responder.respond((openssl.home / "request").read_bytes()))
    code, text = openssl.run(
        *asked, *openssl.at, "-validity_period", "2000000000", "-respin", "response", "-CAfile", "root.pem",
        "-verify_other", "issuing.pem",
    )  # fmt: skip
    assert code == 0 and "leaf.pem: good" in text and "Response verify OK" in text


async def test_a_revocation_is_said_at_once_with_time_and_reason(ca, db, clock, responder, leaf, openssl):
    openssl.ca(ca)
    asked = request(leaf, ca.issuing)
    assert statuses(await responder.respond(asked)) == [(leaf.serial, GOOD)]
    async with db.write() as uow:
        await revoke(uow, leaf.serial, 1, clock.now())
    _, text = openssl.ocsp(await responder.respond(asked), leaf)
    assert "leaf.pem: revoked" in text and "Reason: keyCompromise" in text and "Response verify OK" in text


async def test_one_answer_speaks_of_several_in_the_order_of_the_question(ca, db, clock, responder, leaf):
    gone, ordered, never = [(await ca.make("official", ca.issuing)).certificate for _ in range(3)]
    await record(db, clock, gone)
    await record(db, clock, ordered, "ordered")
    async with db.write() as uow:
        await revoke(uow, gone.serial, 4, clock.now())
    wanted = ((gone, SHA256), (ordered, SHA1), (leaf, SHA256), (never, SHA1))
    asked = several(*(request(certificate, ca.issuing, algorithm) for certificate, algorithm in wanted))
    found = statuses(await responder.respond(asked))
    assert found == [(gone.serial, REVOKED), (ordered.serial, UNKNOWN), (leaf.serial, GOOD), (never.serial, UNKNOWN)]


async def test_a_serial_that_stands_under_another_issuer_is_unknown(ca, db, clock, responder):
    made = (await ca.make("official", ca.issuing)).certificate
    await record(db, clock, made, issuer=ca.root.certificate.subject)
    assert statuses(await responder.respond(request(made, ca.issuing))) == [(made.serial, UNKNOWN)]


async def test_nothing_is_said_of_what_another_issued(ca, db, clock, responder, leaf):
    await record(db, clock, ca.issuing.certificate)
    of_root = request(ca.issuing.certificate, ca.root)
    for asked in (of_root, request(leaf, ca.issuing, SHA384)):
        assert await responder.respond(asked) == failure(Failure.UNAUTHORIZED)
    both = statuses(await responder.respond(several(of_root, request(leaf, ca.issuing))))
    assert both == [(ca.issuing.certificate.serial, UNKNOWN), (leaf.serial, GOOD)]


@pytest.mark.parametrize("serial", [0, -5, 1 << 160, 1 << 400])
async def test_a_number_that_no_certificate_has_is_unknown(ca, responder, leaf, serial):
    asked = rebuilt(leaf, ca, serial=der.integer(serial))
    assert [state for _, state in statuses(await responder.respond(asked))] == [UNKNOWN]


# nonces and repeated answers


@pytest.mark.parametrize("size", [1, 16, 32, 128])
async def test_a_nonce_comes_back(ca, responder, leaf, size):
    nonce = bytes(range(size))
    answer = ocsp.load_der_ocsp_response(await responder.respond(request(leaf, ca.issuing, nonce=nonce)))
    assert answer.extensions.get_extension_for_class(Nonce).value.nonce == nonce


async def test_without_a_nonce_none_is_made_up(ca, responder, leaf):
    answer = ocsp.load_der_ocsp_response(await responder.respond(request(leaf, ca.issuing)))
    with pytest.raises(ExtensionNotFound):
        answer.extensions.get_extension_for_class(Nonce)


async def test_the_same_answer_is_given_for_a_minute_and_with_a_nonce_never_again(ca, clock, responder, leaf):
    asked, own = request(leaf, ca.issuing), request(leaf, ca.issuing, nonce=b"n" * 16)
    first, mine = await responder.respond(asked), await responder.respond(own)
    clock.move(seconds=59)
    assert await responder.respond(asked) == first
    assert await responder.respond(own) != mine
    clock.move(seconds=1)
    again = await responder.respond(asked)
    assert made_at(again) == clock.now() and again != first
    assert len(responder.recent) == 1
    clock.move(seconds=-30)  # a clock set back must not be told of the future
    assert made_at(await responder.respond(asked)) == clock.now()


async def test_caches_may_keep_answers_to_nobody_in_particular_only(ca, clock, responder, leaf):
    assert made_at(await responder.respond(request(leaf, ca.issuing))) == clock.now()
    assert made_at(await responder.respond(request(leaf, ca.issuing, nonce=b"n"))) is None
    assert all(made_at(failure(each)) is None for each in Failure)


# failures


async def test_when_strangers_have_used_their_share_they_come_later(ca, responder, leaf):
    asked = request(leaf, ca.issuing)
    ready = await responder.respond(asked)
    closed = replace(responder, may_sign=lambda: False)
    assert await closed.respond(asked) == ready  # what is signed already costs nothing
    assert await closed.respond(request(leaf, ca.issuing, nonce=b"n")) == failure(Failure.TRY_LATER)


@pytest.mark.parametrize(
    ("error", "said"),
    [(Unavailable("database.busy"), Failure.TRY_LATER), (Refused("key.budget_spent", key="k", most=1), Failure.TRY_LATER),
     (Broken("ca.not_as_ordered"), Failure.INTERNAL)],
)  # fmt: skip
async def test_a_key_that_fails_is_told_in_the_protocols_words(ca, responder, leaf, error, said):
    class Failing:
        algorithm = responder.responder.key.algorithm

        async def sign(self, _):
            raise error

    broken = replace(responder, responder=replace(responder.responder, key=Failing()))
    assert await broken.respond(request(leaf, ca.issuing)) == failure(said)
    assert ocsp.load_der_ocsp_response(failure(said)).response_status.value == said


# broken requests


def rebuilt(
    leaf, ca, *, algorithm=None, name=None, key=None, serial=None, single=b"", extra=b"", version=b"", tail=b""
):
    """A request from parts, some of them wrong."""
    hashes = ca.issuing.hashes("sha1")
    cert_id = der.sequence(
        algorithm or der.sequence(der.oid("1.3.14.3.2.26"), der.null()),
        name or der.octet_string(hashes[0]), key or der.octet_string(hashes[1]), serial or der.integer(leaf.serial),
    )  # fmt: skip
    return der.sequence(der.sequence(version, der.sequence(der.sequence(cert_id, single)), extra), tail)


def extension(oid, value, *flag):
    return der.context(2, der.sequence(der.sequence(der.oid(oid), *flag, der.octet_string(value))))


async def test_what_is_allowed_and_says_nothing_is_passed_over(ca, responder, leaf):
    somebody = der.context(1, der.context(4, der.sequence()))
    allowed = [
        {}, {"version": der.context(0, der.integer(0))}, {"version": somebody},
        {"algorithm": der.sequence(der.oid("1.3.14.3.2.26"))}, {"extra": extension("1.2.3", b"x")},
        {"extra": extension("1.2.3", b"x", der.boolean(False))},
        {"extra": extension(OCSP_NONCE, der.octet_string(b"n"), der.boolean(True))},
        {"tail": der.context(0, der.sequence(b"", der.bit_string(b"x")))},
    ]  # fmt: skip
    for parts in allowed:
        assert statuses(await responder.respond(rebuilt(leaf, ca, **parts))) == [(leaf.serial, GOOD)], parts


NONCE = extension(OCSP_NONCE, der.octet_string(b"n"))
TWICE = der.sequence(der.oid("1.2.3"), der.octet_string(b""))


@pytest.mark.parametrize(
    "parts",
    [
        {"version": der.context(0, der.integer(1))},
        {"version": der.integer(0)},
        {"algorithm": der.sequence(der.oid("1.3.14.3.2.26"), der.integer(1))},
        {"algorithm": der.sequence(der.integer(1))},
        {"algorithm": der.sequence()},
        {"name": der.octet_string(bytes(19))},
        {"key": der.octet_string(bytes(32))},
        {"name": der.utf8("a")},
        {"serial": der.octet_string(b"\1")},
        {"serial": b"\x02\x02\x00\x01"},
        {"serial": b"\x02\x00"},
        {"serial": der.integer(1) + der.integer(2)},
        {"single": der.integer(1)},
        {
            "single": der.context(
                0, der.sequence(der.sequence(der.oid("1.2.3"), der.boolean(True), der.octet_string(b"")))
            )
        },
        {"extra": extension("1.2.3", b"", der.boolean(True))},
        {"extra": extension("1.2.3", b"", der.integer(1))},
        {"extra": extension("1.2.3", b"", b"\x01\x01\x07")},
        {"extra": extension(OCSP_NONCE, b"raw")},
        {"extra": extension(OCSP_NONCE, der.octet_string(b""))},
        {"extra": extension(OCSP_NONCE, der.octet_string(bytes(129)))},
        {"extra": der.context(2, der.sequence(TWICE, TWICE))},
        {"extra": der.context(2)},
        {"extra": NONCE + NONCE},
        {"extra": NONCE + der.sequence()},
        {"tail": der.sequence()},
        {"tail": der.context(0) + der.context(0)},
    ],
)
async def test_a_broken_request_is_malformed_and_no_error(ca, responder, leaf, parts):
    assert await responder.respond(rebuilt(leaf, ca, **parts)) == MALFORMED


async def test_a_request_has_one_to_sixteen_certificates_and_a_size(ca, responder, leaf):
    one = request(leaf, ca.issuing)
    assert len(statuses(await responder.respond(several(*[one] * 16)))) == 16
    assert await responder.respond(several(*[one] * 17)) == MALFORMED
    assert await responder.respond(several()) == MALFORMED
    assert await responder.respond(rebuilt(leaf, ca, extra=extension("1.2.3", bytes(9000)))) == MALFORMED
    for data in (b"", one[:-1], one + b"\0", b"\x30\x80", b"<html>", b"\x30\x00", b"\x30" * 8000):
        assert await responder.respond(data) == MALFORMED
    assert is_malformed(MALFORMED) and not is_malformed(failure(Failure.UNAUTHORIZED))


@given(st.binary(max_size=300))
def test_random_bytes_are_read_or_refused_in_one_way(data):
    for each in (
        data,
        der.sequence(data),
        der.sequence(der.sequence(data)),
        der.sequence(der.sequence(der.sequence(data))),
    ):
        try:
            read(each)
        except ValueError:
            continue


@given(st.data())
def test_a_changed_byte_is_read_or_refused_in_one_way(data):
    cert_id = der.sequence(
        der.sequence(der.oid("2.16.840.1.101.3.4.2.1")), der.octet_string(bytes(32)), der.octet_string(bytes(32)),
        der.integer(7),
    )  # fmt: skip
    good = bytearray(der.sequence(der.sequence(der.sequence(der.sequence(cert_id)), NONCE)))
    assert read(bytes(good)).nonce == b"n"
    good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        asked = read(bytes(good))
    except ValueError:
        return
    assert len(asked.certificates) == 1
