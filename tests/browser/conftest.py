"""A door on a real port, and a phone in front of it."""

import asyncio
import contextlib
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvicorn

from api import serving
from api.web.app import make_app
from core.limits import LIMITS
from tests.browser import papers as makers
from tests.conftest import live_or_skip
from tests.flows.house import free_port

_FLAGS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
"""A sandbox refuses root; the camera is a moving picture."""
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="session")
def papers(tmp_path_factory):
    """Made once; nothing here changes them. In a thread: playwright keeps a loop running in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, makers.build(tmp_path_factory.mktemp("town") / "home")).result()


class Door:
    """The web application in a thread of its own; can be closed and opened, as a network can."""

    def __init__(self, settings) -> None:
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        self._settings = settings
        self._ready = threading.Event()

    def open(self) -> None:
        self._ready.clear()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(60)

    async def _serve(self) -> None:
        async with serving.open_web(self._settings) as parts:
            config = uvicorn.Config(make_app(parts), port=self.port, lifespan="off", log_config=None, access_log=False)
            self._server = uvicorn.Server(config)
            self._server.capture_signals = lambda: contextlib.nullcontext()
            running = asyncio.create_task(self._server.serve())
            while not self._server.started:
                await asyncio.sleep(0.01)
            self._ready.set()
            await running

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture(scope="module")
def door(papers):
    """One open door; its limits are wide, since all tests come from one address."""
    before = dict(LIMITS)
    LIMITS.update({k: 1_000_000 for k in LIMITS if k.startswith("rate.")})
    opened = Door(papers.settings)
    opened.open()
    yield opened
    opened.close()
    LIMITS.update(before)


@pytest.fixture(scope="module")
def chromium():
    """Debian's browser, driven by playwright; closed before other modules, which need the thread's loop."""
    if shutil.which("chromium") is None:
        live_or_skip("chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=shutil.which("chromium"), args=_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def phone(chromium):
    """A function that makes a fresh phone: nothing kept from before."""
    made = []

    def make(**more):
        context = chromium.new_context(viewport=PHONE, locale="vi-VN", **more)
        made.append(context)
        return context.new_page()

    yield make
    for context in made:
        context.close()
