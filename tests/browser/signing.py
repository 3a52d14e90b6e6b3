"""A signing door in a thread of its own, and a passkey in the phone."""

import asyncio
import base64
import contextlib
import threading
import time

import uvicorn
from cryptography.hazmat.primitives import serialization

from core.clock import SystemClock
from core.limits import LIMITS
from tests.api.sign.matter import Hand, opened
from tests.flows.house import free_port


class SignDoor:
    """``tests.api.sign.matter`` on a real port under the signing origin's name; can be closed and opened."""

    def __init__(self, folder, realm) -> None:
        self.port = free_port()
        self.origin = f"http://sign.localhost:{self.port}"
        self._folder, self._realm = folder, realm
        self._ready, self._end = threading.Event(), None

    def __enter__(self):
        self._before = dict(LIMITS)
        LIMITS.update({k: 1_000_000 for k in LIMITS if k.startswith("rate.")})
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_) -> None:
        self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        LIMITS.update(self._before)

    async def _run(self) -> None:
        self.loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with opened(self._folder, SystemClock(), self._realm, sign_url=self.origin) as self.door:
            self.table = self.door.table
            await self._open()
            self._ready.set()
            await self._end.wait()
            await self._close()

    async def _open(self) -> None:
        config = uvicorn.Config(
            self.door.app, host="127.0.0.1", port=self.port, lifespan="off", log_config=None, access_log=False,
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._server.capture_signals = lambda: contextlib.nullcontext()
        self._running = asyncio.create_task(self._server.serve())
        while not self._server.started:
            await asyncio.sleep(0.01)

    async def _close(self) -> None:
        if not self._running.done():
            self._server.should_exit = self._server.force_exit = True
            await self._running

    def do(self, coroutine):
        """Run it in the door's thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def clear(self) -> None:
        """A fresh matter for the same person, who has a new passkey: a phone that starts to count again looks cloned."""
        self.door.hand = Hand()
        self.do(self.door.hand.enrol(self.door.service, self.door.person))
        self.table.__init__(service=self.table.service, rp=self.table.rp, person=self.table.person)

    def link(self, **how) -> str:
        """A page's address."""
        return f"{self.origin}/s/{self.do(self.door.link(**how))}"

    @contextlib.contextmanager
    def away(self):
        """The line is cut for a while."""
        self.do(self._close())
        yield
        self.do(self._open())


class Passkeys:
    """Chromium's virtual authenticator in a page's tab."""

    def __init__(self, page) -> None:
        self._cdp = page.context.new_cdp_session(page)
        self._cdp.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
            "isUserVerified": True, "automaticPresenceSimulation": True,
        }  # fmt: skip
        self._id = self._cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"]

    def put(self, hand, rp_id: str = "sign.localhost") -> "Passkeys":
        """The passkey that ``hand`` holds is in this phone too."""
        key = hand.key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        credential = {
            "credentialId": base64.b64encode(hand.credential_id).decode(), "isResidentCredential": True, "rpId": rp_id,
            "privateKey": base64.b64encode(key).decode(), "userHandle": base64.b64encode(b"person").decode(), "signCount": 0,
        }  # fmt: skip
        self._cdp.send("WebAuthn.addCredential", {"authenticatorId": self._id, "credential": credential})
        return self

    def verified(self, yes: bool) -> None:
        """Whether the person's finger or face fits."""
        self._cdp.send("WebAuthn.setUserVerified", {"authenticatorId": self._id, "isUserVerified": yes})

    def present(self, yes: bool) -> None:
        """Whether anybody touches the phone at all."""
        self._cdp.send("WebAuthn.setAutomaticPresenceSimulation", {"authenticatorId": self._id, "enabled": yes})


def until(true, seconds: float = 15) -> None:
    """Wait for a fact outside the page."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)
