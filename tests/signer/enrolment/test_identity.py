"""The log-in: what a forged, replayed or foreign answer is told, by code."""

import base64
import hmac
import json

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from core.certificates import Certificate
from core.db import Database
from core.errors import BadInput, Refused, ServiceError, Unavailable
from core.outbound import Outbound
from core.settings import Settings
from core.values import Realm
from signer.enrolment.oidc import ClaimMap, Provider, pkce_challenge
from signer.enrolment.people import same_name
from signer.enrolment.wiring import make_messenger, make_provider
from tests.signer.enrolment.town import BACK, HUAN, TAP, _text, provider_here, town_in


async def code_of(work) -> str:
    with pytest.raises(ServiceError) as caught:
        await work
    return caught.value.code


async def ready(village):
    return await village.phones.invite(await village.citizen())


def signed(provider, claims, *, algorithm="RS256", key=None, **header):
    key = key or next(k for k in provider.keys.keys if k.key_type == "RSA")
    return jwt.encode({"alg": algorithm, "kid": key.kid, **header}, claims, key, algorithms=[algorithm])


def claims_of(made: str) -> dict:
    return json.loads(base64.urlsafe_b64decode(made.split(".")[1] + "=="))


def with_claims(**change):
    """A token that the provider itself signed over other claims; None takes one away."""

    def forge(provider, person, nonce, made):
        claims = {k: v for k, v in {**claims_of(made), **change}.items() if v is not None}
        return signed(provider, claims)

    return forge


def with_header(**header):
    def forge(provider, person, nonce, made):
        return signed(provider, claims_of(made), **header)

    return forge


def unsigned(provider, person, nonce, made):
    head = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    return f"{head}.{made.split('.')[1]}."


def confused(provider, person, nonce, made):
    """HS256 with the provider's public key as the secret."""
    key = next(k for k in provider.keys.keys if k.key_type == "RSA")
    head = _text(json.dumps({"alg": "HS256", "kid": key.kid}).encode())
    signed_part = f"{head}.{made.split('.')[1]}"
    return f"{signed_part}.{_text(hmac.digest(key.as_pem(private=False), signed_part.encode(), 'sha256'))}"


def foreign_key(provider, person, nonce, made):
    """Another key under the provider's own kid."""
    own = next(k for k in provider.keys.keys if k.key_type == "RSA")
    return signed(provider, claims_of(made), key=RSAKey.generate_key(2048), kid=own.kid)


def changed_bytes(provider, person, nonce, made):
    head, body, end = made.split(".")
    claims = {**claims_of(made), "SoDinhDanh": HUAN.number}
    return ".".join((head, base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode(), end))


NOW = 1_795_575_600  # the bent clock's moment
FORGED = {
    "wrong nonce": (with_claims(nonce="x" * 43), "identity.wrong_nonce"),
    "no nonce": (with_claims(nonce=None), "identity.wrong_nonce"),
    "nonce that is no text": (with_claims(nonce=7), "identity.wrong_nonce"),
    "wrong issuer": (with_claims(iss="https://evil.example"), "identity.wrong_issuer"),
    "other audience": (with_claims(aud="another-service"), "identity.wrong_audience"),
    "no audience": (with_claims(aud=None), "identity.wrong_audience"),
    "two audiences, no party": (with_claims(aud=["dauso", "other"]), "identity.wrong_audience"),
    "other party": (with_claims(azp="other"), "identity.wrong_audience"),
    "expired": (with_claims(exp=NOW - 61), "identity.token_expired"),
    "without end": (with_claims(exp=None), "identity.token_expired"),
    "from the future": (with_claims(iat=NOW + 120), "identity.token_expired"),
    "made long ago": (with_claims(iat=NOW - 601), "identity.token_expired"),
    "no subject": (with_claims(sub=None), "identity.bad_token"),
    "alg none": (unsigned, "identity.bad_token"),
    "HS256 with the public key": (confused, "identity.bad_token"),
    "a foreign key under a known kid": (foreign_key, "identity.bad_token"),
    "changed after signing": (changed_bytes, "identity.bad_token"),
    "no token at all": (lambda *_: "", "identity.bad_token"),
    "unknown kid": (with_header(kid="unknown"), "identity.unknown_key"),
    "no number": (with_claims(SoDinhDanh=None), "identity.no_number"),
    "other person's number": (with_claims(SoDinhDanh=HUAN.number), "identity.other_person"),
    "a number that is none": (with_claims(SoDinhDanh="999"), "identity.other_person"),
}


@pytest.mark.parametrize("case", FORGED)
async def test_a_token_that_is_not_this_log_ins_opens_nothing(village, case):
    village.provider.forge, expected = FORGED[case]
    assert await code_of(village.log_in(await ready(village), TAP)) == expected


@pytest.mark.parametrize(
    "forge",
    [
        with_claims(aud=["dauso"]), with_claims(aud=["dauso", "other"], azp="dauso"), with_claims(exp=NOW - 30),
        with_claims(HoVaTen="NGUYỄN  THỊ TẬP"), with_claims(HoVaTen=None), with_claims(auth_time=None),
    ],
)  # fmt: skip
async def test_what_the_standard_allows_passes(village, forge):
    village.provider.forge = forge
    assert isinstance(await village.log_in(await ready(village), TAP), str)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_both_kinds_of_signature_are_read(village, algorithm):
    village.provider.algorithm = algorithm
    assert isinstance(await village.log_in(await ready(village), TAP), str)


async def test_another_person_is_refused_and_nothing_of_either_is_said(village):
    with pytest.raises(Refused) as caught:
        await village.log_in(await ready(village), HUAN)
    assert caught.value.code == "identity.other_person"
    said = caught.value.say("vi") + caught.value.say("en") + repr(caught.value.evidence)
    for secret in (TAP.name, HUAN.name, TAP.number, HUAN.number):
        assert secret not in said


async def test_an_official_whose_number_nobody_wrote_down_cannot_be_compared(village):
    token = await village.phones.invite(await village.official())
    assert await code_of(village.log_in(token, HUAN)) == "identity.nobody_expected"


async def test_an_answer_is_used_once_in_its_own_browser_in_time_from_its_own_provider(village):
    token = await ready(village)
    asked = await village.phones.ask_login(token)
    back = await village.browse(asked.url, TAP)
    answer = village.phones.answer_login
    good = {**back, "flow": asked.flow}
    assert await code_of(answer(**{**good, "state": "A" * 32})) == "identity.unknown_state"
    assert await code_of(answer(**{**good, "flow": "A" * 32})) == "identity.other_browser"
    assert isinstance(await answer(**good), str)
    assert await code_of(answer(**good)) == "identity.state_used"
    for change, expected in (
        ({"iss": "https://evil.example"}, "identity.wrong_issuer"),  # mix-up (RFC 9207)
        ({"iss": None}, "identity.wrong_issuer"),  # this provider promises to name itself
        ({"code": "x" * 32}, "identity.code_refused"),
        ({"code": None}, "identity.refused_there"),
    ):
        assert await code_of(village.log_in(token, TAP, **change)) == expected
    assert await code_of(village.log_in(token, None)) == "identity.refused_there"
    asked = await village.phones.ask_login(token)
    back = await village.browse(asked.url, TAP)
    village.clock.move(minutes=16)
    assert await code_of(answer(**{**back, "flow": asked.flow})) == "identity.unknown_state"


async def test_a_code_seen_on_the_way_is_worth_nothing_elsewhere(village):
    """A code belongs to the verifier of its own flow: in another flow the provider itself refuses it."""
    token = await ready(village)
    first, second = await village.phones.ask_login(token), await village.phones.ask_login(token)
    one, other = await village.browse(first.url, TAP), await village.browse(second.url, TAP)
    stolen = village.phones.answer_login(flow=second.flow, state=other["state"], code=one["code"], iss=one["iss"])
    assert await code_of(stolen) == "identity.code_refused"


async def test_the_provider_wants_the_right_verifier_address_and_client(village):
    provider = village.provider
    query = {
        "response_type": "code", "client_id": "dauso", "redirect_uri": BACK, "scope": "openid", "state": "s", "nonce": "n",
        "code_challenge": pkce_challenge("v" * 43), "code_challenge_method": "S256",
    }  # fmt: skip
    async with httpx2.AsyncClient() as browser:

        async def page(**change):
            return await browser.get(f"{provider.issuer}/authorize", params={**query, **change})

        assert (await page(redirect_uri="https://evil.example/back")).status_code == 400
        assert (await page(client_id="another")).status_code == 400
        plain = await page(code_challenge_method="plain")
        assert "error=invalid_request" in plain.headers["location"]
        for change, expected in (
            ({"code_verifier": "w" * 43}, 400), ({"redirect_uri": f"{BACK}x"}, 400), ({"client_id": "another"}, 401),
            ({"grant_type": "password"}, 400), ({}, 200),
        ):  # fmt: skip
            url = str((await page()).request.url)
            code = (await village.browse(url, TAP))["code"]
            form = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "client_id": "dauso",
                    "code_verifier": "v" * 43, **change}  # fmt: skip
            assert (await browser.post(f"{provider.issuer}/token", data=form)).status_code == expected, change
            assert (
                await browser.post(f"{provider.issuer}/token", data={**form, "code_verifier": "v" * 43})
            ).status_code != 200


async def test_metadata_of_another_issuer_and_a_provider_that_stammers_are_refused(clock, tmp_path):
    for document, expected in (
        ({"issuer": "https://evil.example"}, "identity.wrong_issuer"),
        ({"token_endpoint": "http://192.0.2.1/token"}, "identity.provider"),
        ({"jwks_uri": None}, "identity.provider"),
    ):
        async with provider_here(clock) as provider:
            provider.document = document
            private = frozenset({provider.issuer.removeprefix("http://")})
            outbound = Outbound(private=private)
            made = _provider(provider.issuer, clock, outbound, private)
            assert await code_of(made.login_url(state="s", nonce="n", verifier="v")) == expected
            await outbound.close()


def _provider(issuer, clock, outbound, private, **change):
    return Provider(**{
        "issuer": issuer, "client_id": "dauso", "client_secret": "", "redirect_uri": BACK, "scope": "openid",
        "claims": ClaimMap(), "levels": frozenset(), "userinfo": "", "outbound": outbound, "private": private, "clock": clock,
        "realm": Realm.TRAINING, **change,
    })  # fmt: skip


async def test_an_inner_address_that_nobody_named_is_not_asked(clock):
    made = _provider("http://127.0.0.1:9", clock, Outbound(), frozenset())
    assert await code_of(made.login_url(state="s", nonce="n", verifier="v")) == "outbound.private_address"


async def test_simulated_people_are_nobody_in_production(clock, tmp_path):
    async with provider_here(clock) as provider, Database(f"sqlite+aiosqlite:///{tmp_path / 'p.db'}") as db:
        await db.create_all()
        levels = {"identity_levels": "2"}
        async with town_in(db, clock, tmp_path, realm=Realm.PRODUCTION, provider=provider, **levels) as town:
            token = await town.phones.invite(await town.citizen())
            assert await code_of(town.phones.ask_login(token)) == "identity.training_issuer"
            provider.document = {"dauso_training": False}
            object.__setattr__(town.phones.identities.provider, "_known", None)
            assert await code_of(town.log_in(token, TAP)) == "identity.training_issuer"
    own = Settings(home=tmp_path, identity_issuer="http://sign.localhost:8001/training/identity")
    with pytest.raises(BadInput, match=r"identity\.training_issuer"):
        make_provider(own, Realm.PRODUCTION, clock, Outbound())
    assert make_provider(Settings(home=tmp_path), Realm.PRODUCTION, clock, Outbound()) is None
    mine = make_provider(Settings(home=tmp_path), Realm.TRAINING, clock, Outbound())
    await mine.close()
    assert mine.issuer == "http://sign.localhost:8001/training/identity"


@pytest.mark.parametrize("userinfo", ["post", "query:token_id"])
async def test_more_claims_come_from_user_info_of_the_same_subject(village, userinfo):
    def bare(provider, person, nonce, made):
        claims = claims_of(made)
        return signed(provider, {k: v for k, v in claims.items() if k not in {"SoDinhDanh", "HoVaTen"}})

    village.provider.forge = bare
    village.phones.identities.provider.userinfo = userinfo
    assert isinstance(await village.log_in(await ready(village), TAP), str)
    village.provider.forge = lambda p, person, nonce, made: signed(
        p, {**claims_of(bare(p, person, nonce, made)), "sub": "other"}
    )
    assert await code_of(village.log_in(await ready(village), TAP)) == "identity.bad_token"


async def test_a_level_that_is_too_low_is_refused(village):
    village.phones.identities.provider.levels = frozenset({"3"})
    assert await code_of(village.log_in(await ready(village), TAP)) == "identity.level"


async def test_officials_may_need_a_higher_level_than_citizens(clock, tmp_path):
    levels = {"identity_levels": "2", "identity_official_levels": "3"}
    async with provider_here(clock) as provider, Database(f"sqlite+aiosqlite:///{tmp_path / 'p.db'}") as db:
        await db.create_all()
        async with town_in(db, clock, tmp_path, provider=provider, **levels) as town:
            citizen = await town.phones.invite(await town.citizen())
            official = await town.phones.invite(await town.official(), national_id=HUAN.number)
            assert isinstance(await town.log_in(citizen, TAP), str)
            assert await code_of(town.log_in(official, HUAN)) == "identity.level"
            provider.forge = with_claims(acr="3")
            assert isinstance(await town.log_in(official, HUAN), str)
            assert await code_of(town.log_in(citizen, TAP)) == "identity.level"


def test_production_names_its_levels_and_asks_only_over_https(clock, tmp_path):
    def made(**more):
        settings = Settings(home=tmp_path, **{"identity_issuer": "https://id.example", "identity_levels": "2", **more})
        return make_provider(settings, Realm.PRODUCTION, clock, Outbound())

    assert made(identity_official_levels="3").levels == {"2", "3"}
    for change, code in (
        ({"identity_levels": ""}, "identity.no_levels"), ({"identity_levels": " , "}, "identity.no_levels"),
        ({"identity_issuer": "http://id.example"}, "identity.insecure"),
        ({"identity_userinfo": "query:token_id:http://id.example/info"}, "identity.insecure"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=code):
            made(**change)
    assert made(identity_userinfo="query:token_id:https://id.example/info") is not None
    assert made(identity_issuer="http://id.example:8080", outbound_private="id.example:8080") is not None


async def test_no_access_token_goes_to_an_insecure_user_info(village):
    village.provider.document = {"userinfo_endpoint": "http://192.0.2.1/userinfo"}
    village.phones.identities.provider.userinfo = "post"
    assert await code_of(village.log_in(await ready(village), TAP)) == "identity.provider"


async def test_locking_replacing_and_acting_for_an_agency_need_a_log_in_of_that_moment(village):
    person, official = await village.citizen(), await village.official()
    assert "max_age" not in (await village.phones.ask_login(await village.phones.invite(person))).url
    await village.enrolled(person)
    links = {
        "second": (await village.phones.invite(person), TAP), "lost": (None, TAP),
        "official": (await village.phones.invite(official, national_id=HUAN.number), HUAN),
    }  # fmt: skip
    for token, who in links.values():
        assert "max_age=0" in (await village.phones.ask_login(token)).url
        for said in (None, NOW - 61, NOW + 120, "1795575600", True):
            village.provider.forge = with_claims(auth_time=said)
            assert await code_of(village.log_in(token, who)) == "identity.not_fresh", said
        village.provider.forge = with_claims(auth_time=NOW - 30)  # two good clocks may differ a little
        assert await village.log_in(token, who)
        village.provider.forge = None


async def test_an_address_that_is_none_costs_nobody_the_log_in(clock, tmp_path):
    mapped = {
        "identity_claims": json.dumps(
            {**json.loads(Settings.model_fields["identity_claims"].default), "email": "email"}
        )
    }
    async with provider_here(clock) as provider, Database(f"sqlite+aiosqlite:///{tmp_path / 'p.db'}") as db:
        await db.create_all()
        async with town_in(db, clock, tmp_path, provider=provider, **mapped) as town:
            person = await town.citizen()
            for said in ("=?utf-8?q?a=0d=0ab?=@ok.vn", "không phải thư", "a@b.vn,c@d.vn"):
                provider.forge = with_claims(email=said)
                assert isinstance(await town.log_in(await town.phones.invite(person), TAP), str)
            provider.forge = with_claims(email=TAP.email)
            await town.enrolled(person)
            async with db.read() as uow:
                assert await town.phones.people.contact(uow, person) == TAP.email


async def test_a_name_that_nobody_proved_gives_way_to_the_log_ins_and_a_proven_one_does_not(village):
    people = village.phones.people
    async with village.db.write() as uow:
        person = await people.expected(uow, village.agency, national_id=TAP.number, name="Nguyên Thi Tâp")
        with pytest.raises(Refused, match=r"people\.no_match"):
            await people.expected(uow, village.agency, national_id=TAP.number, name=TAP.name)
        sent = await people.expected(uow, village.agency, national_id=TAP.number, name=TAP.name, by_login=True)
    assert sent == person
    await village.enrolled(person)
    assert await village.citizen() == person
    credential = (await village.standing(person)).credential_id
    async with village.db.read() as uow:
        made = Certificate.parse((await village.credentials.get(uow, credential)).certificate)
        assert (await village.phones.directory.person(uow, person)).name == TAP.name
    assert TAP.name in made.subject
    village.provider.forge = with_claims(HoVaTen="Nguyễn Thị Tấp")
    assert await code_of(village.log_in(await village.phones.invite(person), TAP)) == "identity.other_name"
    async with village.db.write() as uow:
        with pytest.raises(Refused, match=r"people\.no_match"):
            await people.expected(uow, village.agency, national_id=TAP.number, name="Nguyễn Thị Tấp", by_login=True)
    official = await village.phones.invite(await village.official(), national_id=HUAN.number)
    village.provider.forge = with_claims(HoVaTen="Trần Văn Khác")  # an official's name is the agency's to say
    assert await code_of(village.log_in(official, HUAN)) == "identity.other_name"


async def test_a_client_secret_is_shown_where_one_is_set(village):
    village.provider.client_secret = "bí mật"
    assert await code_of(village.log_in(await ready(village), TAP)) == "identity.code_refused"
    village.phones.identities.provider.client_secret = "bí mật"
    assert isinstance(await village.log_in(await ready(village), TAP), str)
    assert "bí mật" not in repr(village.phones.identities.provider)


async def test_without_a_provider_nobody_logs_in(clock, tmp_path):
    async with Database(f"sqlite+aiosqlite:///{tmp_path / 'p.db'}") as db:
        await db.create_all()
        async with town_in(db, clock, tmp_path, realm=Realm.PRODUCTION) as town:
            assert await code_of(town.phones.ask_login(None)) == "identity.none"
            token = await town.phones.invite(await town.citizen())
            assert not (await town.phones.arrival(token)).login


def test_claims_are_mapped_as_the_setting_says():
    found = ClaimMap.parse('{"number": "vn.cccd", "name": "name", "level": "", "email": "email"}').read(
        {"sub": "s", "vn": {"cccd": TAP.number}, "name": " A ", "email": "a@b.vn", "acr": "9"}
    )
    assert (found.subject, found.number, found.name, found.level, found.email) == ("s", TAP.number, "A", "", "a@b.vn")
    assert TAP.number not in repr(found)
    for bad in ("[]", "{", '{"number": 5}', '{"unknown": "x"}', '"x"'):
        with pytest.raises(BadInput, match=r"identity\.bad_claims"):
            ClaimMap.parse(bad)
    assert ClaimMap.parse(Settings.model_fields["identity_claims"].default) == ClaimMap()  # VNeID's shape
    with pytest.raises(Refused, match=r"identity\.no_number"):
        ClaimMap().read({"sub": "s", "SoDinhDanh": {"x": 1}})


def test_spellings_of_one_name_are_one_name_and_accents_are_not_spelling():
    assert same_name("Nguyễn Thị Ánh", "NGUYỄN  THỊ ÁNH ")
    assert same_name("Nguye\u0302\u0303n", "Nguyễn")
    assert not same_name("Nguyễn Thị Anh", "Nguyễn Thị Ánh")


async def test_without_a_relay_a_code_cannot_be_sent_in_production(clock, tmp_path):
    none = make_messenger(Settings(home=tmp_path), Realm.PRODUCTION, clock)
    with pytest.raises(Unavailable, match=r"messenger\.none"):
        await none.send("a@b.vn", "s", "t")
