"""An external authority that is ``openssl ts`` behind HTTP, honest and not."""

import datetime as dt
import shutil

import pytest
from asn1crypto import cms

from ca_bridge.timestamp.client import ExternalTimestampAuthority
from core.clock import SystemClock
from core.errors import ServiceError
from core.outbound import Outbound
from core.values import Digest, DigestAlgorithm, Realm
from tests.conftest import BentClock, live_or_skip
from tests.servers import OpenSslTsa, http
from verification.policy import TrustAnchor

REPLY = {"content-type": "application/timestamp-reply"}


@pytest.fixture(scope="module")
def tsa(tmp_path_factory):
    if shutil.which("openssl") is None:
        live_or_skip("openssl")
    return OpenSslTsa(tmp_path_factory.mktemp("tsa"))


async def ask(tsa, answer, digest=None, clock=None, root=None):
    with http(answer) as port:
        outbound = Outbound(private=frozenset({f"127.0.0.1:{port}"}))
        anchor = TrustAnchor(certificate=root or tsa.root_der, realm=Realm.TRAINING, timestamps_only=True)
        client = ExternalTimestampAuthority(
            url=f"http://127.0.0.1:{port}/tsa", anchors=(anchor,), outbound=outbound, clock=clock or SystemClock()
        )
        try:
            return await client.stamp(digest or Digest.of(b"signature"))
        finally:
            await outbound.close()


async def refusal(*args, **more):
    with pytest.raises(ServiceError) as caught:
        await ask(*args, **more)
    return caught.value.code


@pytest.mark.parametrize("algorithm", [DigestAlgorithm.SHA256, DigestAlgorithm.SHA384])
async def test_an_honest_token_comes_back_and_fits_its_room(tsa, algorithm):
    token = await ask(tsa, tsa.answer, Digest.of(b"signature", algorithm))
    assert cms.ContentInfo.load(token)["content_type"].native == "signed_data"
    assert len(token) < ExternalTimestampAuthority.size


async def test_a_token_for_another_request_is_wrong(tsa):
    with http(tsa.answer):
        from core.formats import tsp

        other = tsa.reply(tsp.request(Digest.of(b"something else"), 1))
        replay = tsa.reply(tsp.request(Digest.of(b"signature"), 1))
    assert await refusal(tsa, lambda *_: (200, REPLY, other)) == "tsa.wrong_answer"
    assert await refusal(tsa, lambda *_: (200, REPLY, replay)) == "tsa.wrong_answer"  # the nonce is not ours


async def test_a_flipped_bit_in_the_token_is_wrong(tsa):
    def answer(method, body):
        reply = bytearray(tsa.reply(body))
        reply[-1] ^= 1
        return 200, REPLY, bytes(reply)

    assert await refusal(tsa, answer) == "tsa.wrong_answer"


async def test_an_authority_nobody_configured_is_untrusted(tsa, tmp_path):
    assert await refusal(tsa, tsa.answer, root=OpenSslTsa(tmp_path / "other").root_der) == "tsa.untrusted"


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_clocks_that_differ_are_said_to(tsa, minutes):
    clock = BentClock(SystemClock().now() + dt.timedelta(minutes=minutes))
    assert await refusal(tsa, tsa.answer, clock=clock) == "tsa.time_differs"


async def test_a_rejection_is_refused_and_rubbish_is_wrong(tsa):
    unknown = Digest.of(b"x")
    rejected = tsa.reply(b"\x30\x03\x02\x01\x01")  # openssl answers a bad request with a rejection
    assert await refusal(tsa, lambda *_: (200, REPLY, rejected), unknown) == "tsa.refused"
    for body in (b"", b"<html>", b"\x30\x80", b"\x30\x00"):
        assert await refusal(tsa, lambda *_, body=body: (200, REPLY, body)) == "tsa.wrong_answer"


@pytest.mark.parametrize(
    ("status", "headers", "code"),
    [(503, REPLY, "tsa.unavailable"), (404, REPLY, "tsa.refused"), (200, {"content-type": "text/html"}, "tsa.refused"),
     (302, {"location": "http://10.0.0.1/"}, "tsa.refused")],
)  # fmt: skip
async def test_http_answers_that_are_no_replies(tsa, status, headers, code):
    assert await refusal(tsa, lambda *_: (status, headers, b"x")) == code


async def test_without_an_anchor_there_is_no_client():
    with pytest.raises(ServiceError) as caught:
        ExternalTimestampAuthority(url="http://a.vn", anchors=(), outbound=Outbound(), clock=SystemClock())
    assert caught.value.code == "tsa.no_anchor"
