"""Opening a step: a lease on the newest revision, the bytes to be signed, and the question over exactly those.

1. *lease* under the request's lock: the person may, it is their turn, and nobody else looks at this paper.
2. *prepare* outside any transaction: each document gets its field in the sandbox; what comes back is compared here.
3. *ask* under the lock again: only if the lease is still this one, the orders, the question and the code stand.

A crash after 1 or 2 leaves a lease that ends by itself.
"""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from audit.outbox import EventType
from core.certificates import Certificate
from core.clock import timestamp_text
from core.db import UnitOfWork
from core.errors import Conflict, Refused
from core.ids import new_id
from core.limits import LIMITS
from signer.activation import redeem
from signer.asking import open_question
from signer.credentials import Credential
from signer.requests import store
from signer.requests.ending import at_work, give_up, require_open
from signer.requests.model import OpenedStep, RequestStep, RequestView
from signer.requests.parts import Parts, tell
from signer.requests.preparing import Fixed, prepare_all
from signer.requests.rights import credential_of, require_may, require_passkey

__all__ = ["open_step", "require_mine", "start_provider"]

_TRIES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """The step is ours to prepare while ``lease`` stands."""

    view: RequestView
    step: RequestStep
    lease: str
    credential: Credential | None
    """None where the provider has to name it."""


async def open_step(parts: Parts, step_id: str, person_id: str) -> OpenedStep:
    """The step opened for this person; opened before and still leased, it is the same again.

    Raises ``request.*``, ``directory.*``, ``credential.expired``; ``request.leased`` says until when.
    """
    for attempt in range(_TRIES):
        taken = await _take(parts, step_id, person_id, ask=True)
        if isinstance(taken, OpenedStep):
            return taken
        try:
            return await _prepare_and_ask(parts, taken)
        except Conflict as error:  # opened twice at once by the same person: the later question stands
            if error.code != "request.step_moved" or attempt == _TRIES - 1:
                raise
            await asyncio.sleep(0.05 * attempt)
    raise AssertionError


async def start_provider(parts: Parts, step_id: str, person_id: str) -> None:
    """Hand the step to the provider that has the person's key: orders are placed, its app asks the person.

    Raises ``request.*``, ``directory.*``, ``provider.*``.
    """
    taken = await _take(parts, step_id, person_id, ask=False)
    if isinstance(taken, OpenedStep):
        return  # handed over before
    try:
        assert taken.step.provider is not None
        credential = await parts.remote(person_id, taken.step.provider)
        fixed = await prepare_all(parts, taken.view, taken.step, credential)
        async with parts.signing.db.write() as uow:
            view, step = await _still(uow, parts, taken, fixed)
            orders = await _place(uow, parts, step, credential, fixed, tx="")
            now = parts.clock.now()
            until = now + dt.timedelta(seconds=LIMITS["request.provider_seconds"])
            await store.move_step(uow, step, "open", orders=orders, leased_until=until, opened_at=now, problem=None)
            await tell(uow, parts, view, await store.touch(uow, view), EventType.REQUEST_STEP_OPENED, step.id)
    except BaseException:
        await _give_back(parts, taken)
        raise


# ------------------------------------------------------------------------------------------------------------- lease
def require_mine(view: RequestView, step: RequestStep, person_id: str, now: dt.datetime) -> None:
    """This person, in time, and something left to do. Raises ``request.*``."""
    if step.person_id != person_id:
        raise Refused("request.other_person")
    if step.state in {"approved", "signed"}:
        raise Conflict("request.already_approved", step=step.id)
    require_open(view)
    if now >= view.deadline:
        raise Refused("request.expired")
    if step.state == "waiting":
        raise Refused("request.not_your_turn")
    if step.state not in {"ready", "open"}:
        raise Conflict("request.step_over", step=step.id, state=step.state)


async def _take(parts: Parts, step_id: str, person_id: str, *, ask: bool) -> _Taken | OpenedStep:
    async with parts.signing.db.write() as uow:
        view = await store.locked(uow, step_id=step_id)
        step, now = view.step(step_id), parts.clock.now()
        require_mine(view, step, person_id, now)
        if ask and step.provider is not None:
            return _shown(view, step)
        if not ask and step.provider is None:
            raise Refused("request.no_provider")
        await require_may(uow, parts, realm=view.realm, agency_id=view.agency_id, kind=step.kind, person_id=person_id)
        credential = None
        if step.provider is None:
            credential = await credential_of(uow, parts, agency_id=view.agency_id, kind=step.kind, person_id=person_id)
            await require_passkey(uow, person_id, view.realm)
        if step.state == "open" and step.leased(now):
            return await _again(uow, view, step)
        _require_free(view, step, now)
        await _free_lapsed(uow, parts, view, now)
        lease, until = new_id(parts.clock), now + dt.timedelta(seconds=LIMITS["request.lease_seconds"])
        await store.set_step(uow, step.id, lease=lease, leased_until=until)
        return _Taken(view=view, step=step, lease=lease, credential=credential)


def _require_free(view: RequestView, step: RequestStep, now: dt.datetime) -> None:
    """Nobody else stands on this revision. Raises ``request.leased``."""
    if not view.exclusive:
        return
    for other in view.steps:
        if other.id != step.id and other.leased(now):
            until = other.leased_until or now
            raise Conflict("request.leased", step=step.id, until=timestamp_text(until))


async def _free_lapsed(uow: UnitOfWork, parts: Parts, view: RequestView, now: dt.datetime) -> None:
    """Openings whose time is over go back: their digests are of a revision that will not be the newest."""
    for each in view.steps:
        if each.state == "open" and not each.leased(now):
            await give_up(uow, parts, each, "ready")


async def _again(uow: UnitOfWork, view: RequestView, step: RequestStep) -> OpenedStep:
    if step.activation_tx is None:
        return _shown(view, step)
    record = await redeem.record(uow, step.activation_tx)
    return OpenedStep(
        request=view, step=step, tx=record.tx, challenge=record.challenge, code=record.code, expires=step.leased_until,
        record=record, documents=view.documents,
    )  # fmt: skip


def _shown(view: RequestView, step: RequestStep) -> OpenedStep:
    """A provider's step: the papers may be read, nothing is asked here."""
    return OpenedStep(
        request=view, step=step, tx=None, challenge=None, code=None, expires=None, record=None, documents=view.documents
    )


async def _give_back(parts: Parts, taken: _Taken) -> None:
    """The lease ends now, unless somebody has another one already."""
    async with parts.signing.db.write() as uow:
        view = await store.locked(uow, step_id=taken.step.id)
        step = view.step(taken.step.id)
        if step.state == "ready" and step.lease == taken.lease:
            await store.set_step(uow, step.id, lease=None, leased_until=None)


# --------------------------------------------------------------------------------------------------------------- ask
async def _prepare_and_ask(parts: Parts, taken: _Taken) -> OpenedStep:
    assert taken.credential is not None
    try:
        fixed = await prepare_all(parts, taken.view, taken.step, taken.credential)
        async with parts.signing.db.write() as uow:
            return await _ask(uow, parts, taken, taken.credential, fixed)
    except BaseException:
        await _give_back(parts, taken)
        raise


async def _ask(
    uow: UnitOfWork, parts: Parts, taken: _Taken, credential: Credential, fixed: Sequence[Fixed]
) -> OpenedStep:
    view, step = await _still(uow, parts, taken, fixed)
    agency = await parts.directory.agency(uow, view.agency_id)
    opened = await open_question(
        parts.signing, uow, credential=credential, digests=[each.prepared.to_sign for each in fixed],
        person_id=step.person_id, role=step.role, title=view.title, pages=sum(d.pages for d in view.documents),
        client=view.client_name, description=agency.name,
    )  # fmt: skip
    record = await redeem.record(uow, opened.tx)
    orders = await _place(uow, parts, step, credential, fixed, tx=opened.tx)
    now = parts.clock.now()
    values: dict[str, Any] = {
        "activation_tx": opened.tx, "code": record.code, "orders": orders, "opened_at": now, "problem": None,
        "leased_until": now + dt.timedelta(seconds=LIMITS["request.lease_seconds"]),
    }  # fmt: skip
    await store.move_step(uow, step, "open", **values)
    version = await store.touch(uow, view)
    await tell(uow, parts, view, version, EventType.REQUEST_STEP_OPENED, step.id)
    moved = dataclasses.replace(step, **{**values, "orders": tuple(orders)}, state="open")
    steps = tuple(moved if each.id == moved.id else each for each in view.steps)
    return await _again(uow, dataclasses.replace(view, version=version, steps=steps), moved)


async def _still(
    uow: UnitOfWork, parts: Parts, taken: _Taken, fixed: Sequence[Fixed]
) -> tuple[RequestView, RequestStep]:
    """The lease stands, and what was prepared stands on the newest revisions. Raises ``request.*``."""
    view = await store.locked(uow, step_id=taken.step.id)
    step = view.step(taken.step.id)
    require_mine(view, step, taken.step.person_id, parts.clock.now())
    newest = [document.current for document in view.documents if document.kind == "pdf"]
    if (
        step.state != "ready" or step.lease != taken.lease
        or newest != [each.base for each in fixed if each.base is not None]
        or any(other.id != step.id and at_work(other) for other in view.steps if view.exclusive)
    ):  # fmt: skip
        raise Conflict("request.step_moved", step=step.id, state=step.state)
    return view, step


async def _place(
    uow: UnitOfWork, parts: Parts, step: RequestStep, credential: Credential, fixed: Sequence[Fixed], *, tx: str
) -> list[str]:
    assert credential.certificate is not None
    assert Certificate.parse(credential.certificate).spki == credential.key.spki
    return [
        await parts.signing.place(
            uow, realm=credential.realm, role=step.role, credential=credential, person_id=step.person_id,
            activation_tx=tx, prepared=each.prepared, document=each.name, position=position, provider=step.provider,
        )
        for position, each in enumerate(fixed)
    ]  # fmt: skip
