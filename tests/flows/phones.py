"""People with phones, for tests: somebody with a key and a passkey, and what the signing page's script asks for them."""

import datetime as dt
import io

import httpx2
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.writer import PageObject, PdfFileWriter

from api import bootstrap
from api.roles import ProcessRole
from api.sign.app import make_sign_app
from api.signing import relying_party
from core.settings import Settings
from signer.copies import store
from signer.enrolment.keys import PersonKeys
from signer.formats.typeface import typeface
from signer.links import make_link
from tests.flows.authenticator import Authenticator

HERE = "Người làm đơn"


# ------------------------------------------------------------------------------------------------------------- papers
def paper(*lines: str, pages: int = 1) -> bytes:
    """A PDF of A4 pages with words that can be found; ``HERE`` stands on the last one."""
    writer, face, used = PdfFileWriter(stream_xrefs=False), typeface(), set()
    fonts = generic.DictionaryObject({generic.NameObject("/F1"): face.embed(writer, used)})
    resources = generic.DictionaryObject({generic.NameObject("/Font"): fonts})
    for number in range(1, pages + 1):
        said = [*(lines or ("Đơn đề nghị trợ cấp xã hội",)), f"trang {number}/{pages}"]
        placed = [(72, 770 - 24 * n, line) for n, line in enumerate(said)]
        if number == pages:
            placed.append((360, 260, HERE))
        content = b"".join(
            b"BT /F1 12 Tf %d %d Td " % (x, y) + face.encode(line, used) + b" Tj ET\n" for x, y, line in placed
        )
        stream = writer.add_object(generic.StreamObject(stream_data=content))
        box = generic.ArrayObject([generic.NumberObject(v) for v in (0, 0, 595, 842)])
        writer.insert_page(PageObject(contents=stream, media_box=box, resources=resources))
    target = io.BytesIO()
    writer.write(target)
    return target.getvalue()


# ------------------------------------------------------------------------------------------------------------- people
async def enrol_person(
    service, name: str = "Phạm Thị Ổn", national_id: str | None = "001085000017", agency: str = "H1"
) -> tuple[str, Authenticator]:
    """(person id, phone) of a citizen who has enrolled: a key with its certificate, and an active passkey."""
    parts = service.parts()
    async with service.db.write() as uow:
        where = await service.directory.agency(uow, agency)
        person_id = await parts.people.expected(uow, where, national_id=national_id, name=name)
        person = await service.directory.person(uow, person_id)
    keys = PersonKeys(
        db=service.db, clock=service.clock, realm=service.realm, store=parts.store, open_key=parts.enrolment.open_key,
        credentials=service.credentials, base_url=service.settings.pki_base,
    )  # fmt: skip
    made = await keys.make(person, where, official=False, event_id="enrolment")
    async with service.db.write() as uow:
        await keys.keep(uow, person_id, made)
    return person_id, await give_phone(service, person_id)


async def give_phone(service, person_id: str) -> Authenticator:
    """A phone with an active passkey for somebody who has a key already, or needs none."""
    hand = Authenticator()
    await hand.enrol(service, person_id)
    return hand


async def enrol_in(settings: Settings, name: str, national_id: str) -> tuple[str, Authenticator]:
    """The same in a home whose processes do not run yet."""
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        return await enrol_person(service, name, national_id)


# -------------------------------------------------------------------------------------------------------------- pages
class Problem(AssertionError):
    """An answer that is none of those expected; ``code`` is ours."""

    def __init__(self, answer: httpx2.Response) -> None:
        self.status = answer.status_code
        self.code = answer.json().get("code", "") if "json" in answer.headers.get("content-type", "") else ""
        super().__init__(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text[:500]}")


class PhoneClient:
    """The signing page of one link on one phone. ``http`` speaks to the signing origin; ``hand`` is the phone's passkey."""

    def __init__(self, http: httpx2.AsyncClient, hand: Authenticator, link: str, origin: str = "") -> None:
        """``link``: the whole address or its token alone."""
        self.http, self.hand = http, hand
        self.token = link.rstrip("/").rpartition("/")[2]
        self.origin = origin or str(http.base_url).rstrip("/")
        self.headers: dict[str, str] = {}
        self.shown: dict = {}

    async def _ask(self, method: str, path: str, **more) -> httpx2.Response:
        headers = {"origin": self.origin, **self.headers, **more.pop("headers", {})}
        answer = await self.http.request(method, f"/s/{self.token}{path}", headers=headers, **more)
        if answer.status_code >= 400:
            raise Problem(answer)
        return answer

    async def describe(self) -> dict:
        """What stands there before entry."""
        return (await self._ask("GET", "/describe")).json()

    async def enter(self, **how) -> "PhoneClient":
        """Show the passkey; ``how`` bends the answer (``flags``, ``origin``, ``kind``)."""
        asked = (await self._ask("GET", "/enter")).json()
        credential = self.hand.get(asked["publicKey"], how.pop("origin", self.origin), **how)
        given = (await self._ask("POST", "/enter", json={"tx": asked["tx"], "credential": credential})).json()
        self.headers = {"dauso-pass": given["pass"]}
        return self

    async def show(self) -> dict:
        """Opens what is to be approved."""
        self.shown = (await self._ask("POST", "/show")).json()
        return self.shown

    async def approve(self, shown: dict | None = None, **how) -> dict:
        """Answer the question that ``show`` brought."""
        shown = shown or self.shown or await self.show()
        credential = self.hand.get(shown["publicKey"], how.pop("origin", self.origin), **how)
        return (await self._ask("POST", "/approve", json={"tx": shown["tx"], "credential": credential})).json()

    async def refuse(self, reason: str) -> dict:
        """No."""
        return (await self._ask("POST", "/refuse", json={"reason": reason})).json()

    async def status(self, wait: int = 0) -> dict:
        """How it stands."""
        return (await self._ask("GET", f"/status?wait={wait}")).json()

    async def rested(self, wait: int = 20) -> dict:
        """How it stands once the signature is made, or is not."""
        found = await self.status(wait)
        while found["state"] == "approved":
            found = await self.status(wait)
        return found

    async def picture(self, document: str, page: int = 0, width: int = 360) -> bytes:
        """A page as the phone draws it (WebP)."""
        return (await self._ask("GET", f"/documents/{document}/pages/{page}?width={width}")).content

    async def text(self, document: str, page: int = 0) -> str:
        """A page as words."""
        return (await self._ask("GET", f"/documents/{document}/pages/{page}/text")).json()["text"]

    async def file(self, document: str) -> bytes:
        """The signed file."""
        return (await self._ask("GET", f"/documents/{document}/file")).content

    async def sign(self) -> dict:
        """The whole way: enter, read, approve, wait."""
        await self.enter()
        await self.show()
        await self.approve()
        return await self.rested()


def sign_door(service) -> httpx2.AsyncClient:
    """The signing origin of a signer in this process, called without a network."""
    transport = httpx2.ASGITransport(make_sign_app(service), client=("192.0.2.9", 4000))
    return httpx2.AsyncClient(transport=transport, base_url=relying_party(service.settings).origin, timeout=60)


def sign_door_at(bind: str, settings: Settings) -> httpx2.AsyncClient:
    """The same over the network: ``bind`` is where the process listens; the host is the one of the settings."""
    rp = relying_party(settings)
    return httpx2.AsyncClient(base_url=f"http://{bind}", headers={"host": rp.rp_id}, timeout=60)


# ------------------------------------------------------------------------------------------------------------- copies
async def copies_link(service, *copy_ids: str) -> str:
    """A link over copies for the person they wait for, as the desk hands it out."""
    async with service.db.write() as uow:
        copies = [await store.get(uow, each) for each in copy_ids]
        sealing = copies[0].state != "awaiting_certifier"
        return await make_link(
            uow, service.clock, kind="copies", subject=copy_ids,
            person_id=copies[0].clerk_id if sealing else copies[0].certifier_id,
            expires_at=service.clock.now() + dt.timedelta(hours=1),
        )  # fmt: skip


async def copies_phone(service, hand: Authenticator, *copy_ids: str, http=None) -> PhoneClient:
    """That person's phone before such a link."""
    return PhoneClient(http or sign_door(service), hand, await copies_link(service, *copy_ids))
