"""Training and production: whatever was made in the one opens nothing and proves nothing in the other, and says what it is.

Both homes have the same host, the same origins and people with the same names and numbers: only the realm keeps them apart.
"""

import asyncio
import datetime as dt
import hashlib
import io
import json
import logging
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import pytest_asyncio
import qrcode
import sqlalchemy as sa
import structlog
from cryptography import x509
from fido2 import cbor
from fido2.cose import ES256
from typer.testing import CliRunner

from api.certifying import certify_file
from api.checking import Checker
from api.cli.app import app
from api.desk.passkeys import LoginPasskeys
from api.desk.sessions import Sessions, new_token
from api.training.identity import SIMULATED
from api.training.prepare import prepare
from ca_bridge.authorities import embedded
from ca_bridge.records import certificate_table
from core.clock import SystemClock
from core.db import Database
from core.errors import BadInput, NotFound, Refused
from core.formats.note import NoteKey, open_checkpoint
from core.outbound import Outbound
from core.settings import Settings
from core.values import Realm
from signer.activation import redeem
from signer.activation.passkeys import SoftwarePasskey
from signer.credentials import Credentials
from signer.enrolment.oidc import ClaimMap, Provider
from signer.enrolment.wiring import make_provider
from signer.formats.stamp import StampText, lines
from signer.keystores.model import KeyPurpose
from tests.flows import house, phones, town
from tests.flows.authenticator import Authenticator
from tests.signer.enrolment.town import BACK, provider_here

in_one_loop = pytest.mark.asyncio(loop_scope="module")
WHO = ("Phạm Thị Ổn", "001085000017")
MARK = "TẬP HUẤN"
runner = CliRunner()


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a training house gave out."""

    folder: Path
    settings: Settings
    hand: Authenticator
    """The phone of ``WHO``."""
    key: str
    client: str
    qr: str
    code: str
    checkpoint: str
    step: str
    """Token of a paper that waits."""
    page_pass: str
    enrol: str
    ticket: str
    desk: dict[str, str]
    """Cookies of a session at the desk."""
    practice: str
    sentences: dict[str, tuple[str, str]]
    """File → what training's own check says, in both languages."""
    certificates: dict[str, bytes]

    def file(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


FILES = ("request.pdf", "copy.pdf", "sheet.pdf", "detached.p7s", "qr.png", "evidence.json")
PDFS = ("request.pdf", "copy.pdf", "sheet.pdf")


# ---------------------------------------------------------------------------------------------------------- training
class _Practising:
    """A training house at work."""

    def __init__(self, folder: Path, service, parts, web, phone) -> None:
        self.folder, self.service, self.parts, self.web, self.phone = folder, service, parts, web, phone

    def keep(self, name: str, data: bytes) -> None:
        (self.folder / name).write_bytes(data)

    async def lay(self, *documents: dict) -> dict:
        body = {
            "agency": "H1", "title": "Đơn đề nghị", "documents": list(documents),
            "deadline": (self.service.clock.now() + dt.timedelta(days=1)).isoformat(),
            "signers": [{"person": {"name": WHO[0], "national_id": WHO[1]},
                         "placement": None if "digest" in documents[0] else {"kind": "anchor", "text": phones.HERE}}],
        }  # fmt: skip
        answer = await self.web.post("/api/v1/signature-requests", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def paper(self) -> dict:
        file = (await self.web.post("/api/v1/files", content=phones.paper())).json()["file"]
        return {"title": "Đơn", "file": file}

    async def signed(self, hand: Authenticator, *documents: dict) -> dict:
        made = await self.lay(*documents)
        await phones.PhoneClient(self.phone, hand, made["signing"][0]["url"]).sign()
        return (await self.web.get(f"{made['links']['self']}?wait=20")).json()

    async def file_of(self, seen: dict) -> bytes:
        return (await self.web.get(seen["documents"][0]["links"]["file"])).content

    async def files(self, hand: Authenticator) -> tuple[str, str]:
        """All of them; returns QR and typed code."""
        seen = await self.signed(hand, await self.paper())
        self.keep("request.pdf", await self.file_of(seen))
        self.keep("evidence.json", (await self.web.get(seen["links"]["evidence"])).content)
        bare = {"title": "Tệp riêng", "digest": "ab" * 32, "algorithm": "sha256"}
        self.keep("detached.p7s", await self.file_of(await self.signed(hand, bare)))
        request = town.request(scanned_at=self.service.clock.now())
        done = await certify_file(self.service, [town.scan(), town.scan("2")], "copy", request, self.folder)
        Path(done["file"]).rename(self.folder / "copy.pdf")
        picture = io.BytesIO()
        qrcode.make(done["qr"], error_correction=qrcode.constants.ERROR_CORRECT_M).save(picture)
        self.keep("qr.png", picture.getvalue())
        sheet = await self.web.post(
            "/api/v1/verifications/report", content=(self.folder / "copy.pdf").read_bytes(),
            headers={"content-type": "application/pdf"},
        )  # fmt: skip
        self.keep("sheet.pdf", sheet.content)
        return done["qr"], done["code"]

    async def desk_session(self) -> tuple[str, dict[str, str]]:
        """(an unused ticket, cookies of somebody signed in)."""
        service = self.service
        async with service.db.read() as uow:
            agency = await service.directory.agency(uow, "H1")
            official = (await service.directory.people(uow, agency.id))[0][0].id
        passkeys = LoginPasskeys(service.settings, service.clock, service.realm)
        token, device = "", new_token()
        async with service.db.write() as uow:
            made = await passkeys.add(uow, official, b"t" * 32, b"k")
            token = await Sessions(service.clock, service.realm).start(
                uow, person_id=official, passkey_id=made, device=device, agent="x"
            )
        ticket = await service.parts().phones.desk_ticket(official)
        return ticket, {"dauso-desk": token, "dauso-device": device}


async def _practise(folder: Path) -> Made:
    settings = await town.build(folder / "home", fresh=True)
    client, key = await house.add_client(settings, "H1")
    async with house.signer_here(settings) as service:
        await prepare(service)
        person, hand = await phones.enrol_person(service, *WHO)
        async with house.web_here(settings) as (parts, web), phones.sign_door(service) as phone:
            web.headers["authorization"] = f"Bearer {key}"
            at_work = _Practising(folder, service, parts, web, phone)
            qr, code = await at_work.files(hand)
            left = await at_work.lay(await at_work.paper())
            page = await phones.PhoneClient(phone, hand, left["signing"][0]["url"]).enter()
            started = await web.post("/training/start", headers={"origin": parts.base_url})
            ticket, cookies = await at_work.desk_session()
            await service.log.sequence()
            checker = Checker.of(service)
            reports = {name: await checker.check((folder / name).read_bytes()) for name in PDFS}
            async with service.db.read() as uow:
                rows = (await uow.execute(sa.select(certificate_table.c.profile, certificate_table.c.der))).all()
            return Made(
                folder=folder, settings=settings, hand=hand, key=key, client=client, qr=qr, code=code,
                checkpoint=await service.log.latest_checkpoint(), step=page.token, page_pass=page.headers["dauso-pass"],
                enrol=await service.parts().phones.invite(person), ticket=ticket, desk=cookies,
                practice=started.cookies["dauso-training"],
                sentences={name: (each.sentence("vi"), each.sentence("en")) for name, each in reports.items()},
                certificates={row.profile: row.der for row in rows},
            )  # fmt: skip


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    return asyncio.run(_practise(tmp_path_factory.mktemp("training")))


# -------------------------------------------------------------------------------------------------------- production
class Real:
    """A production house with somebody who has the same name and number."""

    def __init__(self, settings, service, parts, web, phone, person: str, hand: Authenticator) -> None:
        self.settings, self.service, self.parts, self.web, self.phone = settings, service, parts, web, phone
        self.person, self.hand = person, hand


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def real(training, tmp_path_factory):
    settings = await town.build(tmp_path_factory.mktemp("production") / "home", realm=Realm.PRODUCTION)
    assert (settings.url, settings.sign_url) == (training.settings.url, training.settings.sign_url)
    _, key = await house.add_client(settings, "H1")
    async with house.signer_here(settings) as service:
        person, hand = await phones.enrol_person(service, *WHO)
        async with house.web_here(settings) as (parts, web), phones.sign_door(service) as phone:
            web.headers["authorization"] = f"Bearer {key}"
            yield Real(settings, service, parts, web, phone, person, hand)


@pytest.mark.parametrize("name", FILES)
@in_one_loop
async def test_no_file_of_training_is_genuine_on_the_real_check_page_or_at_the_real_api(training, real, name):
    data = training.file(name)
    answer = await real.web.post("/v/file", files={"file": (name, data)}, headers={"accept": "application/json"})
    if answer.status_code == 200:
        assert answer.json()["verdict"] != "genuine"
        assert answer.json()["state"] in {"invalid", "undetermined"}
        assert answer.json()["realm"] != "production"
    else:
        assert 400 <= answer.status_code < 500, answer.text
    page = await real.web.post("/v/file", files={"file": (name, data)}, headers={"accept": "text/html"})
    assert '<article class="result" data-state="valid"' not in page.text
    asked = await real.web.post(
        "/api/v1/verifications", content=data, headers={"content-type": "application/pdf"}
    )  # fmt: skip
    if asked.status_code == 200:
        assert asked.json()["verdict"] != "genuine"
        assert not any(each["indication"] == "TOTAL-PASSED" for each in asked.json()["signatures"])


@pytest.mark.parametrize("name", PDFS)
@in_one_loop
async def test_even_where_somebody_trusts_the_training_root_the_sentence_says_training(training, real, name):
    """``--anchor`` with the wrong root beside the real home's own."""
    pem = (training.settings.home / "pki" / "root.pem").read_bytes()
    async with Checker.open(real.settings, [pem]) as checker:
        report = await checker.check(training.file(name))
    assert report.realm is Realm.TRAINING
    assert MARK in report.sentence("vi")[:12]


@in_one_loop
async def test_no_code_of_training_is_known_to_the_real_register(training, real):
    seal = training.qr.partition("#")[2]
    for path, body in (("/v/status", {"code": training.code}), ("/v/seal", {"seal": seal})):
        assert (await real.web.post(path, json=body)).json()["state"] in {"invalid", "undetermined"}, path
    typed = await real.web.post("/v/code", data={"code": training.code}, headers={"accept": "application/json"})
    assert typed.json()["state"] == "invalid"
    digest = hashlib.sha256(training.file("copy.pdf")).hexdigest()
    asked = await real.web.post("/api/v1/verifications/digests", json={"sha256": digest})
    assert (asked.status_code, asked.json()["released"]) == (200, False)


@in_one_loop
async def test_the_real_logs_key_opens_no_checkpoint_of_training(training, real):
    open_checkpoint(training.checkpoint, NoteKey.parse(await _vkey(training)))
    with pytest.raises(ValueError):
        open_checkpoint(training.checkpoint, NoteKey.parse(real.service.log_vkey))


async def _vkey(training) -> str:
    async with Database(training.settings.database) as db, db.read() as uow:
        key = await Credentials(SystemClock()).of(uow, "log", KeyPurpose.LOG)
    return str(NoteKey(training.settings.origin, key.key.spki[-32:]))


@in_one_loop
async def test_no_link_pass_or_ticket_of_training_opens_a_real_page(training, real):
    phone = real.phone
    origin = {"origin": str(phone.base_url).rstrip("/")}
    for path in ("", "/describe", "/enter", "/status"):
        assert (await phone.get(f"/s/{training.step}{path}")).status_code == 404
    held = {"dauso-pass": training.page_pass, **origin}
    for path, body in (("/show", None), ("/refuse", {"reason": "x"})):
        assert (await phone.post(f"/s/{training.step}{path}", json=body, headers=held)).status_code == 404
    assert (await phone.get(f"/e/{training.enrol}")).status_code == 404
    assert (await phone.post(f"/e/{training.enrol}/passkey", headers=origin)).status_code == 404
    ours = await _waiting(real)
    with pytest.raises(phones.Problem) as refused:  # a real link with a pass of training
        page = phones.PhoneClient(phone, real.hand, ours)
        page.headers = {"dauso-pass": training.page_pass}
        await page.show()
    assert refused.value.code == "pass.expired"
    asked = await real.web.post(
        "/desk/register/options", json={"ticket": training.ticket},
        headers={"origin": real.settings.url, "accept": "application/json"},
    )  # fmt: skip
    assert (asked.status_code, asked.json()["code"]) == (404, "ticket.unknown")


async def _waiting(real) -> str:
    """A real paper that waits for ``WHO``; its link's token."""
    file = (await real.web.post("/api/v1/files", content=phones.paper())).json()["file"]
    body = {
        "agency": "H1", "title": "Đơn thật", "documents": [{"title": "Đơn", "file": file}],
        "deadline": (real.service.clock.now() + dt.timedelta(days=1)).isoformat(),
        "signers": [{"person": {"name": WHO[0], "national_id": WHO[1]}}],
    }  # fmt: skip
    return (await real.web.post("/api/v1/signature-requests", json=body)).json()["signing"][0]["url"]


@in_one_loop
async def test_no_passkey_of_training_answers_for_the_same_human_in_production(training, real):
    link = await _waiting(real)
    with pytest.raises(phones.Problem) as refused:
        await phones.PhoneClient(real.phone, training.hand, link).enter()
    assert refused.value.code == "activation.foreign_passkey"
    page = await phones.PhoneClient(real.phone, real.hand, link).enter()
    shown = await page.show()
    page.hand = training.hand
    with pytest.raises(phones.Problem) as refused:
        await page.approve(shown)
    assert refused.value.code == "activation.foreign_passkey"


@in_one_loop
async def test_a_training_passkey_written_into_the_real_tables_approves_nothing(real):
    """Whoever can write that row is stopped all the same: the row says its realm."""
    hand = Authenticator()
    async with real.service.db.write() as uow:
        await redeem.enrol_passkey(
            uow, real.service.clock, person_id=real.person, realm=Realm.TRAINING, credential_id=hand.credential_id,
            public_key=cbor.encode(dict(ES256.from_cryptography_key(hand.key.public_key()))), kind="platform",
        )  # fmt: skip
    page = await phones.PhoneClient(real.phone, real.hand, await _waiting(real)).enter()
    shown = await page.show()
    page.hand = hand
    with pytest.raises(phones.Problem) as refused:
        await page.approve(shown)
    assert refused.value.code == "activation.foreign_passkey"


@in_one_loop
async def test_no_software_passkey_exists_outside_training(real):
    with pytest.raises(Refused, match=r"activation\.software_in_production"):
        SoftwarePasskey.create(Realm.PRODUCTION)
    async with real.service.db.write() as uow:
        with pytest.raises(Refused, match=r"activation\.software_in_production"):
            await redeem.enrol_passkey(
                uow, real.service.clock, person_id=real.person, realm=Realm.PRODUCTION, credential_id=b"s" * 32,
                public_key=b"k", kind="software",
            )  # fmt: skip


@in_one_loop
async def test_no_key_cookie_or_client_of_training_is_known(training, real):
    answer = await real.web.get("/api/v1/agencies", headers={"authorization": f"Bearer {training.key}"})
    assert (answer.status_code, answer.json()["code"]) == (401, "web.bad_credentials")
    cookie = "; ".join(f"{name}={value}" for name, value in training.desk.items())
    desk = await real.web.get("/desk/account", headers={"cookie": cookie, "user-agent": "x", "accept": "text/html"})
    assert (desk.status_code, desk.headers["location"].partition("?")[0]) == (303, "/desk/login")
    for path in ("/training", "/training/file", "/training/state"):
        assert (await real.web.get(path, headers={"cookie": f"dauso-training={training.practice}"})).status_code == 404
    with pytest.raises(NotFound, match=r"client\.no_such_client"):
        await real.parts.signer.ask("request.create", b'{"documents": [], "return_url": null, "signers": []}',
                                    client=training.client, agency="a" * 26, request="b" * 26)  # fmt: skip


# ------------------------------------------------------------------------------------------------------ simulated log-in
@in_one_loop
async def test_no_simulated_log_in_is_taken_in_production(real):
    clock, outbound = SystemClock(), Outbound()
    own = Settings(identity_issuer=f"{real.settings.sign_url}/training/identity")
    with pytest.raises(BadInput, match=r"identity\.training_issuer"):
        make_provider(own, Realm.PRODUCTION, clock, outbound)
    await outbound.close()
    assert (await real.phone.get("/training/identity/.well-known/openid-configuration")).status_code == 404
    async with provider_here(clock) as simulated:  # under another name, as through a proxy
        private = frozenset({simulated.issuer.removeprefix("http://")})
        outbound = Outbound(private=private)
        taken = Provider(
            issuer=simulated.issuer, client_id="dauso", client_secret="", redirect_uri=BACK, scope="openid",
            claims=ClaimMap(), levels=frozenset(), userinfo="", outbound=outbound, private=private, clock=clock,
            realm=Realm.PRODUCTION,
        )  # fmt: skip
        with pytest.raises(Refused, match=r"identity\.training_issuer"):
            await taken.login_url(state="s", nonce="n", verifier="v" * 43)
        simulated.document = {"dauso_training": False}  # its metadata bent on the way: the token still says it
        object.__setattr__(taken, "_known", None)
        code, verifier = await _logged_in(taken)
        with pytest.raises(Refused, match=r"identity\.training_issuer"):
            await taken.exchange(code=code, verifier=verifier, nonce="n" * 43)
        await outbound.close()
        assert all(person.number.startswith("999") for person in SIMULATED)


async def _logged_in(provider: Provider) -> tuple[str, str]:
    """Somebody picks a simulated person; (code, PKCE verifier)."""
    verifier = "v" * 43
    url = await provider.login_url(state="s", nonce="n" * 43, verifier=verifier)
    async with httpx2.AsyncClient() as browser:
        page = (await browser.get(url)).text
        pending = re.search(r'name="pending" value="([^"]+)"', page).group(1)
        given = {"pending": pending, "person": SIMULATED[0].number}
        answer = await browser.post(url.partition("?")[0], data=given)
    return parse_qs(urlsplit(answer.headers["location"]).query)["code"][0], verifier


# ------------------------------------------------------------------------------------------------------- command line
def dauso(*arguments):
    result = runner.invoke(app, [str(each) for each in arguments])
    logging.getLogger("dbos").handlers.clear()
    structlog.reset_defaults()
    return result


@pytest.fixture
def real_home(real):
    return real.settings.home, real.service.log_vkey


@pytest.mark.parametrize("name", [each for each in FILES if each != "evidence.json"])
def test_the_real_homes_command_calls_none_of_them_genuine(training, real_home, name):
    result = dauso("--home", real_home[0], "verify", training.folder / name, "--json")
    assert result.exit_code != 0
    assert json.loads(result.stdout.splitlines()[0])["verdict"] != "genuine"


def test_evidence_of_training_never_holds_against_what_is_known_of_production(training, real_home):
    home, log_key = real_home
    file, signed = training.folder / "evidence.json", training.folder / "request.pdf"
    known = {"--log-key": log_key, "--origin": training.settings.sign_url, "--anchor": home / "pki" / "root.pem"}
    whole = [part for pair in known.items() for part in pair]
    for more in (whole, whole[:2], whole[4:]):
        result = dauso("--home", "/nowhere", "evidence", "verify", file, "--signed", signed, *more, "--json")
        assert result.exit_code == 1, result.stdout
        assert json.loads(result.stdout)["verdict"] == "broken"
    own = {"--log-key": asyncio.run(_vkey(training)), "--origin": training.settings.sign_url,
           "--anchor": training.settings.home / "pki" / "root.pem"}  # fmt: skip
    shown = dauso(
        "--home", "/nowhere", "evidence", "verify", file, "--signed", signed, *[p for pair in own.items() for p in pair]
    )
    assert shown.exit_code == 0
    assert MARK in shown.stdout


def test_the_other_way_round_training_never_opens_with_the_real_root(training, real_home):
    """Production's root over training's files, away from any home."""
    for name in PDFS:
        result = dauso(
            "--home",
            "/nowhere",
            "verify",
            training.folder / name,
            "--anchor",
            real_home[0] / "pki" / "root.pem",
            "--json",
        )
        assert result.exit_code != 0
        assert json.loads(result.stdout.splitlines()[0])["verdict"] != "genuine"


# -------------------------------------------------------------------------------------------- training says what it is
def test_trainings_own_check_says_training_first(training):
    for name, (vi, en) in training.sentences.items():
        assert MARK in vi[:12], name
        assert "TRAINING" in en[:12], name
    assert training.sentences["copy.pdf"] != training.sentences["sheet.pdf"]


def test_every_certificate_of_training_names_it_in_subject_and_issuer(training):
    assert set(training.certificates) == set(embedded._YEARS)  # every profile was issued
    for profile, der in training.certificates.items():
        certificate = x509.load_der_x509_certificate(der)
        for each in (certificate.subject, certificate.issuer):
            assert "(TẬP HUẤN - TRAINING)" in each.rfc4514_string(), profile


@in_one_loop
async def test_no_certificate_of_production_names_training(real):
    async with real.service.db.read() as uow:
        rows = (await uow.execute(sa.select(certificate_table.c.der))).scalars().all()
    assert len(rows) >= 8
    assert not any("TRAINING" in x509.load_der_x509_certificate(der).subject.rfc4514_string() for der in rows)


@pytest.mark.parametrize("name", PDFS)
def test_every_page_of_every_file_names_it(training, name):
    text = subprocess.run(
        ["pdftotext", "-layout", training.folder / name, "-"], capture_output=True, text=True, check=True
    ).stdout
    pages = text.rstrip("\f").split("\f")
    named = [MARK in page for page in pages]
    # a portal's paper is the portal's: there the visible signature says it
    assert any(named) if name == "request.pdf" else all(named)


@pytest.mark.parametrize("words", [True, False])
@pytest.mark.parametrize("size", [(170, 60), (60, 20), (400, 200)])
def test_every_stamp_names_it_first_however_small_its_box(words, size):
    stamp = StampText(
        signer="Nguyễn Thị Có Tên Rất Là Dài Để Thử", signed_at=SystemClock().now(), reason="vì " * 60,
        capacity="TUQ. CHỦ TỊCH", training=True, words=words,
    )  # fmt: skip
    shown = lines(stamp, *size)
    assert MARK in shown[0].text
    assert shown[0].red


def test_every_frame_of_every_page_has_a_place_for_it():
    """Templates that are whole pages; all others stand inside one of these."""
    folders = [
        Path(embedded.__file__).parents[2] / "api" / room / "templates" for room in ("web", "desk", "sign", "training")
    ]
    for folder in folders:
        for template in folder.rglob("*.html"):
            text = template.read_text()
            if "<!doctype" in text.lower():
                assert 'class="training"' in text, template
            else:
                inside = "{% extends" in text or "{% macro" in text or template.name in {
                    "result.html", "enrol_run.html", "enrol_words.html",
                }  # fmt: skip
                assert inside, template
