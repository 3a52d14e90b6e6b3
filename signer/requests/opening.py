"""Opening a step: a lease on the newest revision, the bytes to be signed, and the question over exactly those.

1. *lease* under the request's lock: the person may, it is their turn, and nobody else looks at this paper. It is short,
   and kept running by who prepares. The same person's other tabs wait for what this one comes to.
2. *prepare* outside any transaction: each document gets its field in the sandbox; what comes back is compared here.
3. *ask* under the lock again: only if the lease is still this one, the orders, the question and the code stand.

A crash after 1 or 2 leaves a lease that ends by itself.

Nobody keeps a paper to themselves by letting one lease run out after the other: once others were turned away, they go
first for a while.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from audit.outbox import EventType
from core.certificates import Certificate
from core.clock import timestamp_text
from core.db import UnitOfWork
from core.errors import Broken, Conflict, Refused, ServiceError
from core.ids import new_id
from core.limits import LIMITS
from signer.activation import redeem
from signer.asking import open_question
from signer.credentials import Credential
from signer.requests import store
from signer.requests.ending import failed, require_open, take_back
from signer.requests.model import OpenedStep, RequestStep, RequestView
from signer.requests.parts import Parts, tell
from signer.requests.preparing import Fixed, prepare_all
from signer.requests.rights import credential_of, require_may, require_passkey

__all__ = ["open_step", "require_mine", "start_provider"]

_TRIES = 4
_POLL_MOST = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """The step is ours to prepare while ``lease`` stands."""

    view: RequestView
    step: RequestStep
    lease: str
    credential: Credential | None
    """None where the provider has to name it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Elsewhere:
    """The same person's other tab has it made ready under ``lease``."""

    lease: str


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
        except Conflict as error:  # the revision moved on, or the lease was lost meanwhile
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
    async with _held(parts, taken):
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
    """The lease, or what this person's other tab has opened by then."""
    until, pause = time.monotonic() + LIMITS["request.lease_seconds"], 0.05
    while True:
        found = await _try(parts, step_id, person_id, ask=ask)
        if isinstance(found, ServiceError):
            raise found
        if not isinstance(found, _Elsewhere):
            return found
        while await _is_prepared(parts, step_id, found.lease):
            if time.monotonic() > until:
                raise Conflict("request.step_moved", step=step_id, state="ready")
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, _POLL_MOST)


async def _is_prepared(parts: Parts, step_id: str, lease: str) -> bool:
    """Still under that lease."""
    async with parts.signing.db.read() as uow:
        step = (await store.of_step(uow, step_id)).step(step_id)
    return step.state == "ready" and step.lease == lease and step.leased(parts.clock.now())


async def _try(
    parts: Parts, step_id: str, person_id: str, *, ask: bool
) -> _Taken | OpenedStep | _Elsewhere | ServiceError:
    """A refusal that is given back, not raised, leaves something behind in this transaction."""
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
            if await _is_asked(uow, parts, step, credential):
                return await _again(uow, view, step)
            if not await take_back(uow, parts, view, step):
                return Conflict("request.not_open", request=view.id, state="failed")
            view = await store.get(uow, view.id)
            step = view.step(step_id)
        if step.lease is not None and step.leased(now):
            return _Elsewhere(lease=step.lease)
        refusal = await _turned_away(uow, view, step, now) or await _free_lapsed(uow, parts, view, now)
        view = await store.get(uow, view.id)
        step = view.step(step_id)
        refusal = refusal or _lets_others(view, step, now)
        if refusal is not None:
            return refusal
        lease, until = new_id(parts.clock), now + dt.timedelta(seconds=LIMITS["request.prepare_seconds"])
        await store.set_step(uow, step.id, lease=lease, leased_until=until, turned_away_at=None)
        for other in view.steps:
            if other.rests_until is not None:  # somebody else had a turn
                await store.set_step(uow, other.id, rests_until=None)
        return _Taken(view=view, step=step, lease=lease, credential=credential)


def _holder(view: RequestView, step: RequestStep, now: dt.datetime) -> RequestStep | None:
    """Who else stands on this revision."""
    held = (other for other in view.steps if other.id != step.id and other.leased(now))
    return next(held, None) if view.exclusive else None


async def _turned_away(uow: UnitOfWork, view: RequestView, step: RequestStep, now: dt.datetime) -> Conflict | None:
    """``request.leased`` where somebody else has the paper, who is told so by the time their lease runs out."""
    holder = _holder(view, step, now)
    if holder is None:
        return None
    if holder.turned_away_at is None:
        await store.set_step(uow, holder.id, turned_away_at=now)
    return Conflict("request.leased", step=step.id, until=timestamp_text(holder.leased_until or now))


def _lets_others(view: RequestView, step: RequestStep, now: dt.datetime) -> Conflict | None:
    """``request.others_first`` for a while after a lease that ran out while others waited."""
    if step.rests_until is None or now >= step.rests_until or not view.exclusive:
        return None
    if all(other.state != "ready" for other in view.steps if other.id != step.id):
        return None
    return Conflict("request.others_first", step=step.id, until=timestamp_text(step.rests_until))


async def _free_lapsed(uow: UnitOfWork, parts: Parts, view: RequestView, now: dt.datetime) -> Conflict | None:
    """Openings whose time is over go back: their digests are of a revision that will not be the newest."""
    for each in view.steps:
        if each.state == "open" and not each.leased(now) and not await take_back(uow, parts, view, each):
            return Conflict("request.not_open", request=view.id, state="failed")
    return None


async def _is_asked(uow: UnitOfWork, parts: Parts, step: RequestStep, credential: Credential | None) -> bool:
    """The question can still be answered: a lost phone refuses what was open, and a new one brings another key."""
    if step.activation_tx is None or credential is None:
        return True
    if (await redeem.status(uow, parts.clock, step.activation_tx)).state != "open":
        return False
    return (await redeem.record(uow, step.activation_tx)).credential == credential.id


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


@contextlib.asynccontextmanager
async def _held(parts: Parts, taken: _Taken) -> AsyncIterator[None]:
    """While this lasts the lease is kept running; it ends at once if something goes wrong.

    A paper whose rehearsal fails would fail after the approval too: its request ends here, and the portal hears of it.
    """
    keeping = asyncio.create_task(_keep(parts, taken))
    try:
        yield
    except Broken as error:
        if error.code == "request.self_check":
            await _fail(parts, taken, error)
        await _give_back(parts, taken)
        raise
    except BaseException:
        await _give_back(parts, taken)
        raise
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def _keep(parts: Parts, taken: _Taken) -> None:
    """Never one that has ended: somebody else may have the paper by then."""
    seconds = LIMITS["request.prepare_seconds"]
    while True:
        await asyncio.sleep(seconds / 3)
        async with parts.signing.db.write() as uow:
            step = (await store.locked(uow, step_id=taken.step.id)).step(taken.step.id)
            now = parts.clock.now()
            if step.state != "ready" or step.lease != taken.lease or not step.leased(now):
                return
            await store.set_step(uow, step.id, leased_until=now + dt.timedelta(seconds=seconds))


async def _give_back(parts: Parts, taken: _Taken) -> None:
    """The lease ends now, unless somebody has another one already."""
    async with parts.signing.db.write() as uow:
        view = await store.locked(uow, step_id=taken.step.id)
        step = view.step(taken.step.id)
        if step.state == "ready" and step.lease == taken.lease:
            await store.set_step(uow, step.id, lease=None, leased_until=None)


async def _fail(parts: Parts, taken: _Taken, error: Broken) -> None:
    async with parts.signing.db.write() as uow:
        view = await store.locked(uow, step_id=taken.step.id)
        if view.state == "open" and view.step(taken.step.id).lease == taken.lease:
            await failed(uow, parts, view, error.code)


# --------------------------------------------------------------------------------------------------------------- ask
async def _prepare_and_ask(parts: Parts, taken: _Taken) -> OpenedStep:
    assert taken.credential is not None
    async with _held(parts, taken):
        fixed = await prepare_all(parts, taken.view, taken.step, taken.credential)
        async with parts.signing.db.write() as uow:
            return await _ask(uow, parts, taken, taken.credential, fixed)


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
        or _holder(view, step, parts.clock.now()) is not None
    ):  # fmt: skip
        raise Conflict("request.step_moved", step=step.id, state=step.state)
    return view, step


async def _place(
    uow: UnitOfWork, parts: Parts, step: RequestStep, credential: Credential, fixed: Sequence[Fixed], *, tx: str
) -> list[str]:
    assert credential.certificate is not None
    assert Certificate.parse(credential.certificate).spki == credential.key.spki
    return [
        await parts.signing.orders.place(
            uow, realm=credential.realm, role=step.role, credential=credential, person_id=step.person_id,
            activation_tx=tx, prepared=each.prepared, document=each.name, position=position, provider=step.provider,
        )
        for position, each in enumerate(fixed)
    ]  # fmt: skip
