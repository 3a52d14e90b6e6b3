"""An agency's office at work: signer, web and signing page in a thread of their own, with papers that wait."""

import asyncio
import contextlib
import datetime as dt
import io
import threading

import uvicorn
from PIL import Image, ImageDraw

from api import serving
from api.clients.model import Caller, Scope
from api.desk.inbox import CHECKS
from api.portal.requests import lay
from api.portal.schemas import CopyIn
from api.portal.uploads import keep_file
from api.sign.app import make_sign_app
from api.web.app import make_app
from core.clock import SystemClock
from core.ids import new_id
from core.limits import LIMITS
from core.messages import sentence
from core.values import Realm
from signer.copies import store
from signer.enrolment import tickets
from tests.conftest import BentClock
from tests.flows import house, town
from tests.flows.authenticator import Authenticator
from tests.flows.phones import copies_phone


def sheet(number: int, pages: int, dpi: int = 110) -> bytes:
    """A page that looks like one: lines of writing, a stamp, its number."""
    image = Image.new("RGB", (round(8.27 * dpi), round(11.69 * dpi)), "white")
    draw = ImageDraw.Draw(image)
    draw.text((100, 60), f"CONG HOA XA HOI CHU NGHIA VIET NAM - TRANG {number}/{pages}", "black")
    for line in range(30):
        draw.rectangle((100, 140 + line * 30, 400 + (line * 97 + number * 53) % 380, 150 + line * 30), fill="#444")
    draw.ellipse((560, 980, 760, 1180), outline="#b00", width=6)
    target = io.BytesIO()
    image.save(target, "JPEG", quality=70, dpi=(dpi, dpi))
    return target.getvalue()


class Office:
    """``with Office(folder) as office``: addresses ``office.url`` and ``office.sign_url``."""

    def __init__(self, folder, realm: Realm = Realm.PRODUCTION) -> None:
        self.port, self.sign_port = house.free_port(), house.free_port()
        self.url, self.sign_url = f"http://localhost:{self.port}", f"http://sign.localhost:{self.sign_port}"
        self._folder, self._realm, self._ready = folder, realm, threading.Event()
        self.clock = BentClock(SystemClock().now())

    def __enter__(self):
        self._before = dict(LIMITS)
        LIMITS.update({k: 1_000_000 for k in LIMITS if k.startswith("rate.") or k == "desk.passkeys"})
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        assert self._ready.wait(120)
        return self

    def __exit__(self, *_) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(60)
        LIMITS.update(self._before)

    async def _run(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        made = await town.build(self._folder, realm=self._realm)
        self.clock.at = SystemClock().now()  # after the agency's beginning
        settings = made.model_copy(update={"web_url": self.url, "sign_url": self.sign_url, "web_hosts": "localhost"})
        async with house.signer_here(settings, self.clock) as self.service:
            async with serving.open_web(settings, self.clock) as self.parts:
                doors = [(make_app(self.parts), self.port), (make_sign_app(self.service), self.sign_port)]
                async with contextlib.AsyncExitStack() as stack:
                    for app, port in doors:
                        await stack.enter_async_context(_listening(app, port))
                    async with self.service.db.read() as uow:
                        self.agency = await self.service.directory.agency(uow, "H1")
                        people = await self.service.directory.people(uow, self.agency.id)
                    self.people = {rights[0].role.value: person.id for person, rights in people}
                    self._ready.set()
                    await self._end.wait()

    def do(self, coroutine):
        """Run it in the office's thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(120)

    # ---------------------------------------------------------------------------------------------------------- people
    def ticket(self, role: str) -> str:
        async def make() -> str:
            async with self.service.db.write() as uow:
                return await tickets.make(uow, self.clock, self.people[role])

        return self.do(make())

    def hand(self, role: str) -> Authenticator:
        """A signing passkey of the person with this role."""
        made = Authenticator()
        self.do(made.enrol(self.service, self.people[role]))
        return made

    # ---------------------------------------------------------------------------------------------------------- papers
    def paper(self, kind: str, pages: int = 2, *, checked: bool = True, requester: str = "Phạm Thị Ổn") -> str:
        """Laid in the inbox and taken in; returns the copy's id."""
        return self.do(self._paper(kind, pages, checked, requester))

    async def _paper(self, kind: str, pages: int, checked: bool, requester: str) -> str:
        caller = Caller(client_id="p" * 26, agencies=frozenset({self.agency.id}), scopes=frozenset(Scope))
        names = [await keep_file(self.parts, caller, new_id(self.clock), sheet(n, pages)) for n in range(1, pages + 1)]
        scan = {"officer": self.people["certifier"], "device": "Máy quét quầy 2", "scanned_at": self.clock.now()}
        wanted = CopyIn(
            agency="H1", kind=kind, original_number="45/2001", requester=requester, fee=4000, files=names, scan=scan,
            checklist=[sentence(each) for each in CHECKS] if checked else [],
        )  # fmt: skip
        copy_id = new_id(self.clock)
        await lay(self.parts, caller, copy_id, wanted)
        await self.parts.signer.wake()
        until = self._loop.time() + 90
        while await self.state(copy_id) != "awaiting_certifier":
            assert self._loop.time() < until
            await self.parts.signer.rest(copy_id, 5)
            await asyncio.sleep(0.05)
        return copy_id

    async def state(self, copy_id: str) -> str | None:
        async with self.service.db.read() as uow:
            found = await store.find(uow, copy_id)
        return None if found is None else found.state

    def approve(self, copy_id: str, hand: Authenticator) -> None:
        """On the signing origin, without its page."""
        self.do(self._approve(copy_id, hand))

    async def _approve(self, copy_id: str, hand: Authenticator) -> None:
        phone = await copies_phone(self.service, hand, copy_id)
        await phone.enter()
        await phone.approve(await phone.show())
        await self.parts.signer.rest(copy_id, 20)

    def tomorrow(self) -> None:
        """Everybody comes back the next day."""
        self.clock.at += dt.timedelta(days=1)


@contextlib.asynccontextmanager
async def _listening(app, port: int):
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    server.capture_signals = lambda: contextlib.nullcontext()
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield
    server.should_exit = server.force_exit = True
    await running
