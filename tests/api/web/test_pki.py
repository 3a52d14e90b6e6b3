"""Addresses inside certificates answer: openssl asks a listening door, which asks the signer behind its socket."""

import asyncio
import base64
import datetime as dt
import shutil
import subprocess
from contextlib import asynccontextmanager
from dataclasses import replace
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlsplit

import httpx2
import pytest
import pytest_asyncio
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api import serving
from api.pki import Share, pki_handlers
from api.web.app import make_app
from ca_bridge import records
from ca_bridge.responder import Failure, failure
from core.certificates import Certificate
from core.errors import NotFound
from core.limits import LIMITS
from signer.keystores.model import KeyPurpose
from tests.conftest import live_or_skip
from tests.flows import house, town

pytestmark = pytest.mark.asyncio(loop_scope="module")
ASK = {"content-type": "application/ocsp-request"}
STAMP = {"content-type": "application/timestamp-query"}
MALFORMED = failure(Failure.MALFORMED)


@asynccontextmanager
async def listening(app):
    """On a port of localhost."""
    port = house.free_port()
    server = serving._Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, lifespan="off", log_config=None, access_log=False)
    )
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://localhost:{port}"
    finally:
        server.should_exit = True
        await running


class Door:
    """A door to ask, the signer's service behind it, and the certificates of the town in a folder for openssl."""

    def __init__(self, url, client, service, folder):
        self.url, self.client, self.service, self.folder = url, client, service, folder

    async def openssl(self, *args: str) -> tuple[int, str]:
        if shutil.which("openssl") is None:
            live_or_skip("openssl")
        done = await asyncio.to_thread(
            subprocess.run, ["openssl", *args], capture_output=True, text=True, cwd=self.folder, check=False
        )
        return done.returncode, done.stdout + done.stderr

    async def credential(self, owner: str, purpose: KeyPurpose) -> Certificate:
        async with self.service.db.read() as uow:
            return Certificate.parse((await self.service.credentials.of(uow, owner, purpose)).certificate)

    def pem(self, name: str, certificate: Certificate) -> None:
        (self.folder / name).write_bytes(certificate.parsed.public_bytes(Encoding.PEM))

    async def agency(self) -> Certificate:
        """The seal certificate of a new agency."""
        self.made = getattr(self, "made", 0) + 1
        made = await self.service.enrolment.agency(code=f"P{self.made}", name=f"Xã {self.made}", parent="UBND tỉnh")
        return await self.credential(made.id, KeyPurpose.SEAL)

    async def revoke(self, certificate: Certificate) -> None:
        async with self.service.db.write() as uow:
            await records.revoke(uow, certificate.serial, 1, self.service.clock.now())


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return asyncio.run(town.build(tmp_path_factory.mktemp("pki")))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(home, tmp_path_factory):
    async with house.signer_here(home) as service, serving.open_web(home) as parts:
        async with listening(make_app(parts)) as url, httpx2.AsyncClient(base_url=url, timeout=30) as client:
            made = Door(url, client, service, tmp_path_factory.mktemp("openssl"))
            made.root, made.issuing = [await made.credential(n, KeyPurpose.CA) for n in ("root", "issuing")]
            made.pem("root.pem", made.root)
            made.pem("issuing.pem", made.issuing)
            made.leaf = await made.agency()
            yield made


def request(certificate, issuer, nonce=None, algorithm=SHA1) -> bytes:
    made = ocsp.OCSPRequestBuilder().add_certificate(certificate.parsed, issuer.parsed, algorithm())
    if nonce is not None:
        made = made.add_extension(x509.OCSPNonce(nonce), critical=False)
    return made.build().public_bytes(Encoding.DER)


def path_of(asked: bytes) -> str:
    return "/pki/ocsp/" + quote(base64.b64encode(asked).decode(), safe="")


def said(answer) -> str:
    return ocsp.load_der_ocsp_response(answer.content).certificate_status.name


# openssl asks


async def ask_openssl(door, certificate, *options):
    door.pem("leaf.pem", certificate)
    return await door.openssl(
        "ocsp", *options, "-issuer", "issuing.pem", "-cert", "leaf.pem", "-CAfile", "root.pem", "-verify_other",
        "issuing.pem", "-url", f"{door.url}/pki/ocsp",
    )  # fmt: skip


@pytest.mark.parametrize("options", [(), ("-no_nonce",), ("-sha256",)])
async def test_openssl_hears_good_and_right_after_a_revocation_revoked(door, options):
    leaf = await door.agency()
    code, text = await ask_openssl(door, leaf, *options)
    assert code == 0 and "leaf.pem: good" in text and "Response verify OK" in text and "WARNING" not in text
    await door.revoke(leaf)
    _, text = await ask_openssl(door, leaf, *options)
    assert "leaf.pem: revoked" in text and "Reason: keyCompromise" in text and "Response verify OK" in text


async def test_openssl_hears_nothing_of_what_the_root_issued(door):
    door.pem("issuing2.pem", door.issuing)
    _, text = await door.openssl(
        "ocsp", "-issuer", "root.pem", "-cert", "issuing2.pem", "-CAfile", "root.pem", "-url", f"{door.url}/pki/ocsp"
    )
    assert "unauthorized" in text


async def fetch(door, url: str, name: str, form: str, inform: str = "DER") -> str:
    """What stands under an address inside a certificate, as PEM; the host in it is this door's name."""
    answer = await door.client.get(urlsplit(url).path)
    assert answer.status_code == 200
    (door.folder / "fetched").write_bytes(answer.content)
    assert (await door.openssl(form, "-inform", inform, "-in", "fetched", "-out", name))[0] == 0
    return answer.headers["content-type"]


async def test_a_path_is_checked_from_what_its_addresses_give_and_a_revoked_leaf_fails(door):
    leaf = await door.agency()
    points = leaf.parsed.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    access = leaf.parsed.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    places = {a.access_method: a.access_location.value for a in access}
    assert urlsplit(places[x509.AuthorityInformationAccessOID.OCSP]).path == "/pki/ocsp"
    issuer = places[x509.AuthorityInformationAccessOID.CA_ISSUERS]
    assert await fetch(door, issuer, "above.pem", "x509") == "application/pkix-cert"
    door.pem("checked.pem", leaf)

    async def check():
        assert await fetch(door, points[0].full_name[0].value, "leaf.crl", "crl") == "application/pkix-crl"
        assert await fetch(door, "https://h/pki/crl/root.crl", "root.crl", "crl") == "application/pkix-crl"
        return await door.openssl(
            "verify", "-x509_strict", "-crl_check_all", "-CAfile", "root.pem", "-untrusted", "above.pem", "-CRLfile",
            "leaf.crl", "-CRLfile", "root.crl", "checked.pem",
        )  # fmt: skip

    assert await check() == (0, "checked.pem: OK\n")
    await door.revoke(leaf)
    code, text = await check()
    assert code != 0 and "certificate revoked" in text


async def test_openssl_gets_a_time_stamp_and_accepts_it(door):
    (door.folder / "data").write_text("Bản sao có chứng thực")
    await door.openssl("ts", "-query", "-data", "data", "-sha512", "-cert", "-out", "query")
    answer = await door.client.post("/pki/tsa", content=(door.folder / "query").read_bytes(), headers=STAMP)
    assert answer.headers["content-type"] == "application/timestamp-reply"
    assert answer.headers["cache-control"] == "no-store"
    (door.folder / "reply").write_bytes(answer.content)
    code, text = await door.openssl(
        "ts", "-verify", "-queryfile", "query", "-in", "reply", "-CAfile", "root.pem", "-untrusted", "issuing.pem"
    )
    assert code == 0 and "Verification: OK" in text


# what caches are told


async def test_the_status_in_an_address_may_be_kept_for_a_minute(door):
    answer = await door.client.get(path_of(request(door.leaf, door.issuing)))
    assert (answer.status_code, said(answer)) == (200, "GOOD")
    assert answer.headers["content-type"] == "application/ocsp-response"
    life = LIMITS["ca.answer_seconds"]
    assert answer.headers["cache-control"] == f"max-age={life}, public, no-transform, must-revalidate"
    made, expires = (parsedate_to_datetime(answer.headers[name]) for name in ("last-modified", "expires"))
    assert made == ocsp.load_der_ocsp_response(answer.content).produced_at_utc
    assert dt.timedelta(0) < expires - made <= dt.timedelta(seconds=2 * life)
    again = await door.client.get(
        path_of(request(door.leaf, door.issuing)), headers={"if-none-match": f'"x", W/{answer.headers["etag"]}'}
    )
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == answer.headers["etag"] and "max-age" in again.headers["cache-control"]


async def test_a_slash_inside_base64_is_read_with_and_without_its_percent_form(door):
    for number in range(1000):
        asked = request(door.leaf, door.issuing, bytes((number % 256, number // 256, 255)))
        if {"/", "+"} <= set(text := base64.b64encode(asked).decode()):
            break
    for path in (path_of(asked), f"/pki/ocsp/{text}"):
        assert said(await door.client.get(path)) == "GOOD"


async def test_what_was_made_for_one_asker_is_not_kept(door):
    own = request(door.leaf, door.issuing, b"n" * 16)
    for answer in (
        await door.client.post("/pki/ocsp", content=own, headers=ASK),
        await door.client.post("/pki/ocsp", content=request(door.leaf, door.issuing), headers=ASK),
        await door.client.get(path_of(own)),
        await door.client.get(path_of(request(door.issuing, door.root))),
    ):
        assert answer.headers["cache-control"] == "no-store"
        assert "etag" not in answer.headers and "expires" not in answer.headers


async def test_a_list_changes_its_tag_with_a_revocation_and_not_before(door):
    async def get(**headers):
        return await door.client.get("/pki/crl/issuing.crl", headers=headers)

    first = await get()
    tag = {"if-none-match": first.headers["etag"]}
    assert (await get(**tag)).status_code == 304
    leaf = await door.agency()
    await door.revoke(leaf)
    second = await get(**tag, **{"if-modified-since": first.headers["date"]})
    assert second.status_code == 200
    lists = [x509.load_der_x509_crl(each.content) for each in (first, second)]
    assert [bool(each.get_revoked_certificate_by_serial_number(leaf.serial)) for each in lists] == [False, True]
    numbers = [each.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for each in lists]
    assert numbers[0] < numbers[1]


async def test_the_authorities_certificates_need_no_signer(door, home):
    async with house.web_here(home.model_copy(update={"signer_socket": home.home / "nobody"})) as (_, client):
        for slug, known in (("root", door.root), ("issuing", door.issuing)):
            answer = await client.get(f"/pki/certs/{slug}.cer")
            assert (answer.content, answer.headers["content-type"]) == (known.der, "application/pkix-cert")
        assert (await client.get("/pki/crl/root.crl")).json()["code"] == "signer.unreachable"


# what is wrong


@pytest.mark.parametrize("path", ["/pki/ocsp", "/pki/tsa"])
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded", ""])
async def test_another_media_type_is_refused(door, path, kind):
    answer = await door.client.post(path, content=b"0", headers={"content-type": kind})
    assert (answer.status_code, answer.json()["code"]) == (415, "web.wrong_type")


@pytest.mark.parametrize(("path", "headers"), [("/pki/ocsp", ASK), ("/pki/tsa", STAMP)])
async def test_a_long_request_is_refused_before_the_signer_sees_it(door, path, headers):
    answer = await door.client.post(path, content=bytes(LIMITS["pki.request_bytes"] + 1), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "web.too_large")


@pytest.mark.parametrize("asked", ["", "x", "AAAA", "MDAwMDA", "Ä", "M" * 256, "%00"])
async def test_an_address_that_holds_no_request_is_malformed(door, asked):
    answer = await door.client.get(f"/pki/ocsp/{quote(asked, safe='%')}")
    assert (answer.status_code, answer.content) == (400, MALFORMED)
    assert answer.headers["content-type"] == "application/ocsp-response"
    assert answer.headers["cache-control"] == "no-store"


async def test_a_longer_question_than_fits_an_address_is_asked_by_post(door):
    asked = request(door.leaf, door.issuing, b"n" * 128, SHA256)
    assert (await door.client.get(path_of(asked))).content == MALFORMED
    assert said(await door.client.post("/pki/ocsp", content=asked, headers=ASK)) == "GOOD"


@pytest.mark.parametrize(
    "path", ["/pki/crl/tsa.crl", "/pki/crl/.crl", "/pki/crl/..%2Froot.crl", "/pki/certs/ocsp.cer", "/pki/certs/root"]
)
async def test_only_authorities_have_files(door, path):
    answer = await door.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "web.no_such_thing")


async def test_random_bytes_are_answered_by_the_protocol(door):
    await asyncio.to_thread(_throw_bytes, door.url)


def _throw_bytes(url):
    with httpx2.Client(base_url=url, timeout=30) as client:

        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.binary(max_size=180))
        def throw(data):
            assert client.post("/pki/ocsp", content=data, headers=ASK).content == MALFORMED
            encoded = base64.b64encode(data).decode()
            assert client.get(f"/pki/ocsp/{quote(encoded, safe='')}").content == MALFORMED
            answer = client.post("/pki/tsa", content=data, headers=STAMP)
            assert answer.status_code == 200 and answer.content.startswith(b"\x30")

        throw()


# what strangers may cost


async def test_strangers_get_their_share_of_a_minute_and_the_next_minute_again(clock, monkeypatch):
    monkeypatch.setitem(LIMITS, "pki.signed_minute", 2)
    share = Share(clock)
    assert [share.take() for _ in range(3)] == [True, True, False]
    clock.move(seconds=60)
    assert share.take()


async def test_the_share_leaves_a_third_of_the_keys_budgets_to_our_own_work():
    for key in ("budget.ocsp", "budget.tsa"):
        assert LIMITS["pki.signed_minute"] * 24 * 60 <= LIMITS[key] * 2 / 3


async def test_beyond_the_share_the_protocol_says_later(door, monkeypatch):
    monkeypatch.setitem(LIMITS, "pki.signed_minute", 0)
    answer = await door.client.post("/pki/ocsp", content=request(door.leaf, door.issuing, b"n"), headers=ASK)
    assert answer.content == failure(Failure.TRY_LATER)
    await door.openssl("ts", "-query", "-digest", "00" * 32, "-sha256", "-out", "query")
    answer = await door.client.post("/pki/tsa", content=(door.folder / "query").read_bytes(), headers=STAMP)
    (door.folder / "reply").write_bytes(answer.content)
    assert "system failure" in (await door.openssl("ts", "-reply", "-in", "reply", "-text"))[1]


async def test_with_an_external_authority_this_one_gives_no_time_stamps(door):
    parts = door.service.parts()
    elsewhere = replace(parts.copies, signing=replace(parts.copies.signing, timestamps=object()))
    handlers = pki_handlers(replace(door.service, signing=replace(parts, copies=elsewhere)))
    with pytest.raises(NotFound, match=r"tsa\.not_here"):
        await handlers["timestamp"]({}, b"")
