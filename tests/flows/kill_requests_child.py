"""Signer processes (of ``nursery.py``) that die at a named step of a signature request, or take up what others left.

A *point* names where: ``create``, ``lease``, ``prepare``, ``open``, ``approve`` (of a step, by the number of its signer),
and every note of the ceremony and of completion, as ``2:signer.spend`` for the second signer.
"""

import asyncio
import contextlib
import datetime as dt
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from api import bootstrap, serving
from api.bootstrap import Service
from api.inner import SignerDoor
from api.portal import idempotency
from api.roles import ProcessRole
from api.sign.webauthn import Credential, request_options
from core.errors import Conflict, Unavailable
from core.ids import new_id
from core.limits import LIMITS
from core.settings import Settings
from signer.papers import Placement
from signer.requests import answering, opening, settling, store
from signer.requests.model import NewDocument, NewRequest, NewStep, OpenedStep, RequestView
from tests.flows import phones, town
from tests.flows.authenticator import Authenticator
from tests.flows.own_postgres import kill_server

Reached = Callable[[str, str], None]
CEREMONY = tuple(f"signer.{each}" for each in ("check", "spend", "sign", "stamp", "embed", "record"))
END = ("request.finish", "request.release")
PEOPLE = (("Phạm Thị Ổn", "001085000017"), ("Trần Văn Hai", "001085000025"))


# ------------------------------------------------------------------------------------------------------------- people
def keep_hand(home: Path, person_id: str, hand: Authenticator) -> None:
    """The phone outlives every process of ours."""
    secret = hand.key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = home / "phones.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    known[person_id] = [secret.hex(), hand.credential_id.hex()]
    file.write_text(json.dumps(known))


def hand_of(home: Path, person_id: str) -> Authenticator:
    secret, credential_id = map(bytes.fromhex, json.loads((home / "phones.json").read_text())[person_id])
    hand = Authenticator()
    hand.key, hand.credential_id = serialization.load_der_private_key(secret, None), credential_id
    return hand


async def build(home: Path, url: str) -> None:
    """A town with two citizens who have phones."""
    settings = await town.build(home, url)
    for name, number in PEOPLE:
        keep_hand(home, *await phones.enrol_in(settings, name, number))


# ---------------------------------------------------------------------------------------------------------- a process
@contextlib.asynccontextmanager
async def signer(home: str, url: str, reached: Reached = lambda *_: None):
    """A signer with all that it does by itself; ``reached`` hears wherever the work of a request is, before it goes on."""
    LIMITS["request.sweep_seconds"] = LIMITS["request.prepare_seconds"] = 1  # what the living wait for of the dead
    _watch(reached)  # before it opens: what a dead process left is taken up at once
    async with bootstrap.open_service(town.settings(Path(home), url), ProcessRole.SIGNER) as service:
        work = [asyncio.create_task(each()) for each in bootstrap.signer_work(service)]
        try:
            yield service
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)


def _watch(reached: Reached) -> None:
    prepare_all, approve, advance = opening.prepare_all, answering.approve, settling.advance

    async def advancing(parts, step_id, note):
        def both(name):
            note(name)
            reached(step_id, name)

        return await advance(parts, step_id, both)

    async def preparing(parts, view, step, credential):
        reached(step.id, "lease")
        fixed = await prepare_all(parts, view, step, credential)
        reached(step.id, "prepare")
        return fixed

    async def approving(parts, step_id, *given):
        await approve(parts, step_id, *given)
        reached(step_id, "approve")

    opening.prepare_all, answering.approve, settling.advance = preparing, approving, advancing


def say(*words: str) -> None:
    """To the test, at once."""
    os.write(1, " ".join(words).encode() + b"\n")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# ------------------------------------------------------------------------------------------------------------ requests
async def create(service: Service, home: Path, documents: int, signers: int, *, together: bool = False) -> RequestView:
    """``together``: in any order, else one after the other."""
    agency = await _agency(service)
    people = list(json.loads((home / "phones.json").read_text()))[:signers]
    now, desk = service.clock.now(), service.parts().requests
    papers = [await service.documents.put(phones.paper(f"Đơn {new_id(service.clock)}")) for _ in range(documents)]
    steps = [
        NewStep(
            position=0 if together else place, kind="citizen", person_id=person,
            placement=Placement(kind="coordinates", page=0, x=60, y=420 + 110 * place, width=200, height=80),
        )
        for place, person in enumerate(people)
    ]  # fmt: skip
    wanted = NewRequest(
        id=new_id(service.clock), client_id=new_id(service.clock), client_name="Cổng thử", agency_id=agency,
        title="Đơn đề nghị", reason="Nộp hồ sơ", deadline=now + dt.timedelta(days=1), steps=tuple(steps),
        documents=tuple(NewDocument(title=f"Đơn {n}", name=name) for n, name in enumerate(papers, 1)),
    )  # fmt: skip
    return await desk.create(wanted)


async def _agency(service: Service) -> str:
    async with service.db.read() as uow:
        return (await service.directory.agency(uow, "H1")).id


def answer(service: Service, home: Path, opened: OpenedStep):
    """The phone's assertion over what was opened."""
    rp = service.parts().requests.signing.relying_party
    hand = hand_of(home, opened.step.person_id)
    asked = request_options(opened.challenge, rp, [hand.credential_id])
    return Credential.model_validate(hand.get(asked, rp.origin)).assertion()


async def view_of(service: Service, request_id: str) -> RequestView:
    async with service.db.read() as uow:
        return await service.parts().requests.view(uow, request_id)


async def sign_step(service: Service, home: Path, step) -> None:
    """Open, approve and wait until it rests."""
    desk = service.parts().requests
    opened = await desk.open(step.id, step.person_id)
    await desk.approve(step.id, step.person_id, opened.tx, answer(service, home, opened))
    await desk.rest(step.id, 60)


async def _rested(service: Service, step_id: str):
    """The step as it is once nothing more happens to it by itself."""
    async with asyncio.timeout(60):
        while (step := (await _step(service, step_id))).state == "approved":
            await asyncio.sleep(0.02)
    return step


async def _step(service: Service, step_id: str):
    async with service.db.read() as uow:
        return (await store.of_step(uow, step_id)).step(step_id)


async def settled(service: Service, request_id: str, seconds: float = 60) -> RequestView:
    """Nobody does anything; the request as it is once it has ended."""
    async with asyncio.timeout(seconds):
        while (view := await view_of(service, request_id)).state == "open":
            await asyncio.sleep(0.05)
    return view


# --------------------------------------------------------------------------------------------- what the processes do
async def one(home: str, url: str, documents: str, signers: str, point: str) -> None:
    """A request of its own, whose process dies at ``point``; requests that others left go on beside it."""
    who, _, name = point.partition(":")
    mine: list[str] = []

    def reached(step_id: str, at: str) -> None:
        if at == name and step_id in mine:
            die()

    async with signer(home, url, reached) as service:
        made = await create(service, Path(home), int(documents), int(signers))
        mine.append(made.steps[int(who) - 1].id)
        say("made", made.id)
        for step in made.steps:
            await sign_step(service, Path(home), step)
    raise AssertionError(point)


async def made(home: str, url: str) -> None:
    """Dies with a request that it has just made; prints it and its steps."""
    async with signer(home, url) as service:
        made = await create(service, Path(home), 2, 2, together=True)
        say("made", made.id, *(step.id for step in made.steps))
        die()


async def further(home: str, url: str, step_id: str, name: str) -> None:
    """Whatever is to be done for the same request up to the end of one step's ``name``, and then it dies."""

    def reached(which: str, at: str) -> None:
        if at == name and (which == step_id or at in END):
            die()

    async with signer(home, url, reached) as service:
        desk = service.parts().requests
        step = await _step(service, step_id)
        if step.state in {"ready", "open"}:  # all else has to happen by itself
            opened = await desk.open(step.id, step.person_id)
            if name == "open":
                die()
            await desk.approve(step.id, step.person_id, opened.tx, answer(service, Path(home), opened))
        await settled(service, step.request_id)
    raise AssertionError(name)


async def resume(home: str, url: str, *request_ids: str) -> None:
    """Whatever was approved is signed though nobody asks for it; whoever has not signed yet does it then."""
    async with signer(home, url) as service:
        for each in request_ids:
            for step in (await view_of(service, each)).steps:
                if (await _rested(service, step.id)).state == "ready":
                    await sign_step(service, Path(home), step)
            await settled(service, each)
        assert await service.jobs.settle(60)


async def stand(home: str, url: str, data: str, *names: str) -> None:
    """Lives through a database that dies once in each of its requests, at each of ``names``; prints the requests."""
    mine: dict[str, str] = {}

    def reached(step_id: str, at: str) -> None:
        if mine.get(step_id) == at:
            del mine[step_id]
            kill_server(Path(data))

    async with signer(home, url, reached) as service:
        desk = service.parts().requests
        for name in names:
            began = time.monotonic()
            if name == "create":
                kill_server(Path(data))
            made = await _insist(lambda: create(service, Path(home), 2, 1))
            step = made.steps[0]
            mine[step.id] = name
            opened = await _insist(lambda: desk.open(step.id, step.person_id))  # noqa: B023 - awaited here
            if name == "open":
                kill_server(Path(data))
            given = answer(service, Path(home), opened)
            await _insist(lambda: desk.approve(step.id, step.person_id, opened.tx, given))  # noqa: B023
            await _insist(lambda: settled(service, made.id))  # noqa: B023
            say("made", made.id, name, f"{time.monotonic() - began:.2f} s")
        die()  # an orderly end would wait for a job whose row the killed database could not close


async def _insist(call):
    """As a person does who is told that it cannot be done just now."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await call()
            except Unavailable:
                await asyncio.sleep(0.1)
            except Conflict as error:
                if error.code != "request.already_approved":
                    raise
                return None


async def web(home: str, port: str, death: str) -> None:
    """The public door, which dies at ``death``: ``begun`` under a key, a question that is answered, or ``kept``."""
    if death:
        LIMITS["idempotency.lease_seconds"] = 1  # how long the next one waits for this one
    LIMITS.update({name: 1_000_000 for name in LIMITS if name.startswith("rate.")})
    begin, keep, ask = idempotency._Once._begin, idempotency._Once._keep, SignerDoor.ask

    def reached(point: str) -> None:
        if point == death:
            die()

    async def beginning(self, client_id, body):
        begun = await begin(self, client_id, body)
        reached("begun")
        return begun

    async def asking(self, what, body=b"", **words):
        answered = await ask(self, what, body, **words)
        reached(what)
        return answered

    async def keeping(self, client_id, response):
        await keep(self, client_id, response)
        reached("kept")

    idempotency._Once._begin, idempotency._Once._keep, SignerDoor.ask = beginning, keeping, asking
    settings = Settings(home=Path(home), web_url=f"http://localhost:{port}", web_bind=f"127.0.0.1:{port}")
    await serving.serve_web(settings, serving.listen(settings.web_bind), None)
