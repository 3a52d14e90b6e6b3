"""Clients: keys rotated with overlap, tokens for ten minutes, assertions good once, one answer to all that is wrong."""

import base64
import datetime as dt

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from api.clients.model import Scope
from api.clients.store import Clients
from core.errors import BadInput, NotFound, Refused, ServiceError

AUDIENCE = "https://dauso.example/oauth2/token"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture
def clients(db, clock):
    return Clients(db, clock, AUDIENCE)


@pytest.fixture
async def portal(clients):
    made = await clients.add("Cổng", ["a1"], [Scope.COPIES_READ, Scope.VERIFY])
    return made, await clients.new_secret(made.id, dt.timedelta())


def bearer(text):
    return f"Bearer {text}"


def basic(client_id, secret):
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


async def code_of(awaited):
    with pytest.raises(ServiceError) as caught:
        await awaited
    return caught.value.code


async def test_an_api_key_opens_with_its_clients_agencies_and_scopes(clients, portal):
    made, secret = portal
    caller = await clients.authenticate(bearer(secret))
    assert caller.client_id == made.id
    assert caller.agencies == {"a1"}
    assert caller.scopes == {Scope.COPIES_READ, Scope.VERIFY}
    caller.require_agency("a1")
    with pytest.raises(NotFound):
        caller.require_agency("a2")


async def test_an_old_key_works_through_the_overlap_and_not_after(clients, portal, clock):
    made, old = portal
    new = await clients.new_secret(made.id, dt.timedelta(days=7))
    clock.move(days=6)
    for key in (old, new):
        await clients.authenticate(bearer(key))
    clock.move(days=2)
    await clients.authenticate(bearer(new))
    assert await code_of(clients.authenticate(bearer(old))) == "web.bad_credentials"


@pytest.mark.parametrize(
    "change", [lambda s: s[:-1], lambda s: s + "x", lambda s: s.replace("dauso_", "dauso_0"), lambda _: "dtok_x"]
)
async def test_a_wrong_key_opens_nothing(clients, portal, change):
    assert await code_of(clients.authenticate(bearer(change(portal[1])))) == "web.bad_credentials"


async def test_an_ended_client_opens_nothing_also_not_with_a_token(clients, portal):
    made, secret = portal
    token = (await clients.token(basic(made.id, secret), {"grant_type": "client_credentials"}))["access_token"]
    await clients.authenticate(bearer(token))
    await clients.end(made.id)
    for each in (token, secret):
        assert await code_of(clients.authenticate(bearer(each))) == "web.bad_credentials"
    assert (
        await code_of(clients.token(basic(made.id, secret), {"grant_type": "client_credentials"}))
        == "oauth.invalid_client"
    )


async def test_a_token_lasts_ten_minutes_and_holds_what_was_asked(clients, portal, clock):
    made, secret = portal
    answer = await clients.token(
        "", {"grant_type": "client_credentials", "client_id": made.id, "client_secret": secret, "scope": "verify"}
    )
    assert (answer["token_type"], answer["expires_in"], answer["scope"]) == ("Bearer", 600, "verify")
    assert (await clients.authenticate(bearer(answer["access_token"]))).scopes == {Scope.VERIFY}
    clock.move(seconds=601)
    assert await code_of(clients.authenticate(bearer(answer["access_token"]))) == "web.bad_credentials"


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"grant_type": "password"}, "oauth.unsupported_grant_type"),
        ({}, "oauth.unsupported_grant_type"),
        ({"grant_type": "client_credentials", "scope": "copies:recall"}, "oauth.invalid_scope"),
        ({"grant_type": "client_credentials", "scope": "everything"}, "oauth.invalid_scope"),
    ],
)
async def test_what_is_not_granted_is_not_given(clients, portal, form, code):
    made, secret = portal
    assert await code_of(clients.token(basic(made.id, secret), form)) == code


@pytest.mark.parametrize("header", ["Basic !!!", "Digest abc", "Basic " + base64.b64encode(b"x:y").decode(), ""])
async def test_a_wrong_client_secret_is_an_invalid_client(clients, portal, header):
    assert await code_of(clients.token(header, {"grant_type": "client_credentials"})) == "oauth.invalid_client"


async def test_a_secret_of_one_client_does_not_speak_for_another(clients, portal):
    other = await clients.add("Khác", ["a2"], [Scope.VERIFY])
    assert (
        await code_of(clients.token(basic(other.id, portal[1]), {"grant_type": "client_credentials"}))
        == "oauth.invalid_client"
    )


# ---------------------------------------------------------------------------------------------------- private_key_jwt
def assertion(key, clock, client_id, **change):
    now = int(clock.now().timestamp())
    claims = {"iss": client_id, "sub": client_id, "aud": AUDIENCE, "exp": now + 60, "iat": now, "jti": "one", **change}
    return {
        "grant_type": "client_credentials", "client_assertion_type": ASSERTION,
        "client_assertion": jwt.encode({"alg": "ES256"}, {k: v for k, v in claims.items() if v is not None}, key),
    }  # fmt: skip


@pytest.fixture
async def keyed(clients, portal):
    key = ECKey.generate_key("P-256")
    await clients.new_jwk(portal[0].id, key.as_dict(private=False), dt.timedelta())
    return portal[0].id, key


async def test_a_signed_assertion_gives_a_token_once(clients, keyed, clock):
    client_id, key = keyed
    form = assertion(key, clock, client_id)
    await clients.authenticate(bearer((await clients.token("", form))["access_token"]))
    assert await code_of(clients.token("", form)) == "oauth.invalid_client"
    await clients.token("", assertion(key, clock, client_id, jti="two"))


@pytest.mark.parametrize(
    "change",
    [
        {"aud": "https://elsewhere/oauth2/token"}, {"exp": 1}, {"exp": 2**40}, {"iss": "other"}, {"jti": None}, {"jti": ""},
        {"jti": "x" * 300}, {"exp": "soon"}, {"nbf": 2**40}, {"sub": None}, {"aud": None},
    ],
)  # fmt: skip
async def test_an_assertion_that_says_something_else_is_refused(clients, keyed, clock, change):
    client_id, key = keyed
    assert await code_of(clients.token("", assertion(key, clock, client_id, **change))) == "oauth.invalid_client"


async def test_an_assertion_of_another_key_or_no_key_is_refused(clients, keyed, clock):
    client_id, _ = keyed
    stranger = ECKey.generate_key("P-256")
    assert await code_of(clients.token("", assertion(stranger, clock, client_id))) == "oauth.invalid_client"
    head = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    body = assertion(stranger, clock, client_id)["client_assertion"].split(".")[1]
    for text in (f"{head}.{body}.", "a.b.c", "", "x" * 5000, f"{head}.{body}"):
        form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION, "client_assertion": text}
        assert await code_of(clients.token("", form)) == "oauth.invalid_client"


async def test_only_public_keys_of_asymmetric_kinds_are_registered(clients, portal):
    client_id = portal[0].id
    key = ECKey.generate_key("P-256")
    for bad in (key.as_dict(private=True), OctKey.generate_key(256).as_dict(), {"kty": "EC"}, {}, {"kty": "none"}):
        with pytest.raises(BadInput, match=r"client\.bad_jwk"):
            await clients.new_jwk(client_id, bad, dt.timedelta())


async def test_a_client_needs_a_name_an_agency_and_a_scope(clients):
    for name, agencies, scopes in ((" ", ["a"], [Scope.VERIFY]), ("x", [], [Scope.VERIFY]), ("x", ["a"], [])):
        with pytest.raises(BadInput, match=r"client\.incomplete"):
            await clients.add(name, agencies, scopes)
    with pytest.raises(NotFound):
        await clients.new_secret("nobody", dt.timedelta())
    with pytest.raises(Refused):
        await clients.authenticate("")
