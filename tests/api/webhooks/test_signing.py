"""Signatures as Standard Webhooks 1.0.0 has them: its own example, its own library, and Ed25519 beside it."""

import base64

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError

from api.webhooks.model import Scheme
from api.webhooks.signing import headers, new_secret, shown
from core.clock import SystemClock


def now() -> int:
    """The library asks the real clock, and forgives five minutes: not those of a whole suite."""
    return int(SystemClock().now().timestamp())


BODY = '{"type":"copy.released","data":{"tên":"khóa"}}'.encode()


def verify_v1a(public, sent, body):
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    message = f"{sent['webhook-id']}.{sent['webhook-timestamp']}.".encode() + body
    signatures = [s.removeprefix("v1a,") for s in sent["webhook-signature"].split() if s.startswith("v1a,")]
    key.verify(base64.b64decode(signatures[0]), message)


def test_the_known_example():
    """The vector of the reference libraries (standard-webhooks, libraries/*/test)."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    sent = headers([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert sent["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_reference_library_accepts_v1():
    secret = new_secret(Scheme.V1)
    assert Webhook(shown(secret)).verify(BODY, headers([secret], "m", now(), BODY))["type"] == "copy.released"


@pytest.mark.parametrize(
    "change",
    [{"webhook-id": "n"}, {"webhook-timestamp": -1}, {"webhook-signature": "v1,AAAA"}, {"body": b"{}"}],
)
def test_the_reference_library_refuses_anything_changed(change):
    secret = new_secret(Scheme.V1)
    if "webhook-timestamp" in change:  # a second earlier: well inside what the library forgives
        change = {"webhook-timestamp": str(now() + change["webhook-timestamp"])}
    sent = headers([secret], "m", now(), BODY) | change
    with pytest.raises(WebhookVerificationError):
        Webhook(shown(secret)).verify(sent.pop("body", BODY), sent)


def test_a_public_key_checks_v1a_and_the_private_one_is_not_shown():
    secret = new_secret(Scheme.V1A)
    assert secret.startswith("whsk_")
    assert shown(secret).startswith("whpk_")
    sent = headers([secret], "m", now(), BODY)
    verify_v1a(shown(secret), sent, BODY)
    with pytest.raises(InvalidSignature):
        verify_v1a(shown(secret), sent | {"webhook-id": "n"}, BODY)
    with pytest.raises(InvalidSignature):
        verify_v1a(shown(new_secret(Scheme.V1A)), sent, BODY)


def test_secrets_have_the_length_that_the_standard_asks_for_and_are_never_alike():
    made = {new_secret(Scheme.V1) for _ in range(50)}
    assert len(made) == 50
    assert {len(base64.b64decode(s.removeprefix("whsec_"))) for s in made} == {32}


def test_during_a_rotation_each_secret_alone_is_enough():
    old, new = new_secret(Scheme.V1), new_secret(Scheme.V1)
    sent = headers([new, old], "m", now(), BODY)
    for secret in (old, new):
        Webhook(secret).verify(BODY, sent)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret(Scheme.V1)).verify(BODY, sent)
