"""Signer processes (of ``nursery.py``) that die at a named step of a signature request, or take up what others left.

A *point* names where: ``create``, ``lease``, ``prepare``, ``open``, ``approve`` (of a step, by the number of its signer),
and every note of the ceremony and of completion, as ``2:signer.spend`` for the second signer.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import json
import os
import signal
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from api import bootstrap
from api.bootstrap import Service
from api.roles import ProcessRole
from api.sign.webauthn import Credential, request_options
from core.errors import Conflict, Unavailable
from core.ids import new_id
from core.limits import LIMITS
from signer.papers import Placement
from signer.requests import answering, opening
from signer.requests.model import NewDocument, NewRequest, NewStep, OpenedStep, RequestView
from tests.flows import phones, town
from tests.flows.authenticator import Authenticator

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
async def signer(home: str, url: str):
    """A signer with all that it does by itself."""
    LIMITS["request.sweep_seconds"] = 1
    async with bootstrap.open_service(town.settings(Path(home), url), ProcessRole.SIGNER) as service:
        work = [asyncio.create_task(each()) for each in bootstrap.signer_work(service)]
        try:
            yield service
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)


def watch(service: Service, reached) -> None:
    """``reached(step_id, point)`` hears wherever the work of a request is, before it goes on."""
    desk = service.parts().requests
    prepare_all, approve = opening.prepare_all, answering.approve

    async def advance(step_id, note):
        def both(name):
            note(name)
            reached(step_id, name)

        return await desk.advance(step_id, both)

    async def prepare(parts, view, step, credential):
        reached(step.id, "lease")
        fixed = await prepare_all(parts, view, step, credential)
        reached(step.id, "prepare")
        return fixed

    async def approved(parts, step_id, *answer):
        await approve(parts, step_id, *answer)
        reached(step_id, "approve")

    desk.jobs.serve("step", advance)
    opening.prepare_all, answering.approve = prepare, approved


# ------------------------------------------------------------------------------------------------------------ requests
async def create(service: Service, home: Path, documents: int, signers: int, *, together: bool = False) -> RequestView:
    """``together``: in any order, else one after the other."""
    agency = await _agency(service)
    people = list(json.loads((home / "phones.json").read_text()))[:signers]
    now, desk = service.clock.now(), service.parts().requests
    papers = [await service.documents.put(phones.paper(f"Đơn {new_id(service.clock)}")) for _ in range(documents)]
    return await desk.create(
        NewRequest(
            id=new_id(service.clock), client_id=new_id(service.clock), client_name="Cổng thử", agency_id=agency,
            title="Đơn đề nghị", reason="Nộp hồ sơ", deadline=now + dt.timedelta(days=1),
            documents=tuple(NewDocument(title=f"Đơn {n}", name=name) for n, name in enumerate(papers, 1)),
            steps=tuple(
                NewStep(
                    position=0 if together else place, kind="citizen", person_id=person,
                    placement=Placement(kind="coordinates", page=0, x=60, y=420 + 110 * place, width=200, height=80),
                )
                for place, person in enumerate(people)
            ),
        )  # fmt: skip
    )


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


async def settled(service: Service, request_id: str, seconds: float = 60) -> RequestView:
    """Nobody does anything; the request as it is once it has ended."""
    async with asyncio.timeout(seconds):
        while (view := await view_of(service, request_id)).state == "open":
            await asyncio.sleep(0.05)
    return view


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# --------------------------------------------------------------------------------------------- what the processes do
async def one(home: str, url: str, documents: str, signers: str, point: str) -> None:
    """A request of its own, whose process dies at ``point``."""
    who, _, name = point.partition(":")
    async with signer(home, url) as service:
        made = await create(service, Path(home), int(documents), int(signers))
        mine = made.steps[int(who) - 1].id
        watch(service, lambda step_id, reached: die() if (step_id, reached) == (mine, name) else None)
        for step in made.steps:
            await sign_step(service, Path(home), step)
    raise AssertionError(point)


async def further(home: str, url: str, request_id: str, point: str) -> None:
    """The same request again: whatever is still to be done for it is done, up to ``point``, and no further."""
    who, _, name = point.partition(":")
    async with signer(home, url) as service:
        place = int(who) - 1

        def reached(step_id: str, at: str) -> None:
            if (at, step_id) in {(name, steps[place].id), *((each, steps[-1].id) for each in END if each == name)}:
                die()

        if not request_id:
            made = await create(service, Path(home), 2, 2, together=True)
            print(made.id, flush=True)
            die()
        steps = (await view_of(service, request_id)).steps
        watch(service, reached)
        await _go_on(service, Path(home), request_id, place, name)
    raise AssertionError(point)


async def _go_on(service: Service, home: Path, request_id: str, place: int, name: str) -> None:
    """The people do what is theirs; all else has to happen by itself."""
    desk = service.parts().requests
    for each in range(place + 1):
        step = (await view_of(service, request_id)).steps[each]
        if step.state in {"ready", "open"}:
            opened = await desk.open(step.id, step.person_id)
            if (each, name) == (place, "open"):
                die()
            await desk.approve(step.id, step.person_id, opened.tx, answer(service, home, opened))
        async with asyncio.timeout(60):
            while (await view_of(service, request_id)).steps[each].state == "approved":
                await asyncio.sleep(0.02)
    await settled(service, request_id)


async def resume(home: str, url: str, *request_ids: str) -> None:
    """Nobody asks for anything: opening is enough. Ids: requests that must have ended."""
    async with signer(home, url) as service:
        for each in request_ids:
            await settled(service, each)
        assert await service.jobs.settle(60)
