"""One way through enrolment: its row, its pass, and the rule that a person has at most one under way.

The pass is a secret of the page that carries the run on; kept is its SHA-256. It is no key: it opens the next step of one
run for some minutes, never a signature.
"""

import base64
import datetime as dt
import hashlib
from dataclasses import dataclass
from typing import Any, Self

import sqlalchemy as sa

from core.clock import Clock
from core.db import UnitOfWork, row_by, swap_state
from core.directory.records import person_table
from core.errors import Conflict, NotFound, Refused
from core.ids import new_id, random_bytes
from core.limits import LIMITS
from signer.activation.records import passkey_table
from signer.enrolment.records import RUNNING, run_table
from signer.links import Link, find_link

__all__ = [
    "Run",
    "end_running",
    "enrol_link",
    "lock_person",
    "move",
    "new_pass",
    "open_run",
    "run_by_id",
    "run_of",
    "running",
    "sha256_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A row of ``enrolment_run``."""

    id: str
    person_id: str
    link: bytes | None
    state: str
    kind: str
    """``first``; ``second``: a further passkey; ``again``: after a loss; ``renewal``: another certificate for the phone that is there."""
    method: str
    level: str | None
    email: bytes | None
    subject: bytes | None
    usable_from: dt.datetime | None
    passkey_id: str | None
    credential_id: str | None
    created_at: dt.datetime
    expires_at: dt.datetime

    @property
    def delayed(self) -> bool:
        """Whether a delay and a notice stand between this proof and a usable phone."""
        return self.method == "portal" or (self.kind != "first" and self.method != "passkey")

    @classmethod
    def of(cls, row: sa.Row[Any]) -> Self:
        """From a row."""
        return cls(**{name: getattr(row, name) for name in cls.__dataclass_fields__})


def sha256_of(token: str) -> bytes:
    """How secrets that travel are kept."""
    return hashlib.sha256(token.encode()).digest()


def new_pass() -> str:
    """32 URL-safe letters, 192 random bits."""
    return base64.urlsafe_b64encode(random_bytes(24)).decode()


async def enrol_link(uow: UnitOfWork, clock: Clock, token: str) -> Link:
    """A link of enrolment that is good now. Raises ``link.unknown``, ``link.expired``."""
    link = await find_link(uow, clock, token)
    if link.kind != "enrol":
        raise NotFound("link.unknown")
    return link


async def lock_person(uow: UnitOfWork, person_id: str) -> None:
    """Enrolments and losses of one person queue here until the transaction ends (SQLite's writers do anyway)."""
    await uow.execute(sa.select(person_table.c.id).where(person_table.c.id == person_id).with_for_update())


async def open_run(
    uow: UnitOfWork,
    clock: Clock,
    *,
    person_id: str,
    realm: str,
    kind: str,
    method: str,
    link: bytes | None,
    **more: Any,
) -> str:
    """A run that is ``identified``; older ones of the person that are under way end. Returns its pass."""
    await end_running(uow, person_id)
    token = new_pass()
    values = {
        "id": new_id(clock), "person_id": person_id, "realm": realm, "link": link, "state": "identified", "kind": kind,
        "method": method, "pass_sha256": sha256_of(token), "created_at": clock.now(),
        "expires_at": clock.now() + dt.timedelta(seconds=LIMITS["enrol.run_seconds"]), **more,
    }  # fmt: skip
    await uow.execute(run_table.insert(), values)
    return token


async def end_running(uow: UnitOfWork, person_id: str) -> None:
    """None of the person's pages goes on; a passkey that was registered and never finished ends with them."""
    t, k = run_table.c, passkey_table.c
    unfinished = sa.select(t.passkey_id).where(t.person_id == person_id, t.state == "registered")
    mine = k.id.in_(unfinished), k.state == "suspended"
    await uow.execute(passkey_table.update().where(*mine).values(state="revoked"))
    await uow.execute(
        run_table.update().where(t.person_id == person_id, t.state.in_(RUNNING)).values(state="ended", email=None)
    )


async def running(uow: UnitOfWork, clock: Clock, token: str) -> Run:
    """The run of a pass, in whatever state. Raises ``pass.missing``, ``pass.expired``."""
    run = await run_of(uow, run_table.c.pass_sha256, sha256_of(token)) if token else None
    if run is None:
        raise Refused("pass.missing")
    if run.state in RUNNING and clock.now() >= run.expires_at:
        raise Refused("pass.expired")
    return run


async def run_of(uow: UnitOfWork, column: sa.Column[Any], value: Any) -> Run | None:
    """By a unique column."""
    row = (await uow.execute(row_by(column), {"value": value})).first()
    return None if row is None else Run.of(row)


async def run_by_id(uow: UnitOfWork, run_id: str) -> Run:
    """By id. Raises ``enrol.no_such_run``."""
    run = await run_of(uow, run_table.c.id, run_id)
    if run is None:
        raise NotFound("enrol.no_such_run")
    return run


async def move(uow: UnitOfWork, run_id: str, old: str, new: str, **values: Any) -> None:
    """By compare-and-swap. Raises ``enrol.moved``."""
    if not await swap_state(uow, run_table.c.id, run_id, old, new, **values):
        raise Conflict("enrol.moved")
