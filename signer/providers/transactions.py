"""One order at a signing service: asked for at most once, looked at with pauses, used only when the value verifies.

What is durable, and so what a crash means:

* The row stands before the service is asked, and *asked* (``submitted_at``) is written before the request leaves. After a
  crash or a lost answer in between, the transaction is looked for by its name, which follows from the order; it is never
  asked for a second time. A service that still does not know it after ``provider.lost_seconds`` never got it: the order
  ends, and the person is asked again under a new one.
* Only where the connection itself failed, nothing was sent, and the next look asks anew.
* A verified value is kept in the row, so whoever comes later gets the same.

Word from outside (``hint``) makes us look sooner. It is believed in nothing.
"""

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from core.certificates import Certificate
from core.clock import Clock
from core.db import Database, UnitOfWork, insert_new, row_by
from core.errors import Broken, NotFound, Refused, ServiceError, Unavailable
from core.jobs import Again
from core.limits import LIMITS
from core.logs import logger
from core.values import Digest
from signer.credentials import Credential
from signer.providers.model import Asked, Outcome, OutcomeState, Provider, plain_serial, transaction_id
from signer.providers.records import transaction_table
from signer.providers.values import value_of

__all__ = ["Describe", "Pauses", "Transactions", "Wanted"]

_RUNNING: Final = ("pending", "confirmed")
_GRACE: Final = dt.timedelta(seconds=15)
"""After the person's time is over, for an approval in the last second to reach us."""
_BROKEN: Final = frozenset({"provider.wrong_signature", "provider.other_certificate"})
_ENDS: Final = {
    OutcomeState.REFUSED: ("refused", "provider.refused"),
    OutcomeState.EXPIRED: ("expired", "provider.expired"),
    OutcomeState.FAILED: ("failed", "provider.failed"),
}

Describe = Callable[[str], Awaitable[str]]
"""Order id → what the service's app shows; no personal data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be signed under an order."""

    order_id: str
    credential: Credential
    """Made by ``Accounts`` for this service."""
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """Seconds."""

    first: float = LIMITS["provider.poll_seconds"]
    longest: float = LIMITS["provider.poll_most_seconds"]
    hint: float = LIMITS["provider.hint_seconds"]
    lost: float = LIMITS["provider.lost_seconds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transactions:
    """The table and the rules around it."""

    db: Database
    clock: Clock
    user_of: Callable[[Credential], Awaitable[str]]
    """How the service knows the owner. Raises ``provider.not_linked``."""
    pauses: Pauses = field(default_factory=Pauses)

    async def signature(self, provider: Provider, wanted: Wanted, describe: Describe) -> bytes:
        """The verified raw value; ask once, else look.

        Raises ``core.jobs.Again`` while the person has not decided. Raises for good: ``provider.refused``,
        ``provider.expired``, ``provider.failed``, ``provider.rejected``, ``provider.not_allowed``,
        ``provider.lost_answer``, ``provider.no_answer``, ``provider.wrong_signature``, ``provider.other_certificate``;
        ``provider.other_digest`` for an order that was asked for something else.
        """
        row = await self._opened(provider, wanted)
        if row.state in _RUNNING and row.submitted_at is None:
            row = await self._ask(provider, wanted, row, await describe(wanted.order_id))
        elif row.state in _RUNNING:
            row = await self.look(provider, wanted)
        if row.state in _RUNNING:
            raise Again(self._pause(row))
        return _result(row, wanted)

    async def look(self, provider: Provider, wanted: Wanted) -> sa.Row[Any]:
        """Ask the service what has become of it, unless somebody did a moment ago; the row as it stands then."""
        row = await self._row(wanted.order_id)
        if row.state not in _RUNNING or row.submitted_at is None or not await self._may_look(row):
            return row
        asked = _asked(wanted, row, "", "")
        try:
            outcome = await provider.outcome(asked, row.tran_code or "")
        except ServiceError as error:
            logger().warning("provider.silent", id=wanted.order_id, code=error.code)
            outcome = None
        await self._judge(row, wanted, outcome)
        return await self._row(wanted.order_id)

    async def find(self, provider: str, name: str) -> sa.Row[Any] | None:
        """A running transaction by the service's or our name for it."""
        async with self.db.read() as uow:
            row = (await uow.execute(row_by(transaction_table.c.transaction_id), {"value": name})).first()
        return row if row is not None and row.provider == provider and row.state in _RUNNING else None

    def until_look(self, row: sa.Row[Any]) -> float:
        """Seconds until the service may be asked about it again."""
        since = row.polled_at or row.submitted_at
        if since is None:
            return 0.0
        gap = min(self.pauses.hint, self.pauses.first)
        waited: float = (self.clock.now() - since).total_seconds()
        return max(0.0, gap - waited)

    # ------------------------------------------------------------------------------------------------------- steps
    async def _opened(self, provider: Provider, wanted: Wanted) -> sa.Row[Any]:
        """The order's row, made where there is none. Raises ``provider.other_digest``."""
        values = {
            "order_id": wanted.order_id, "provider": provider.name,
            "transaction_id": transaction_id(provider.name, wanted.order_id), "credential_id": wanted.credential.id,
            "digest": wanted.digest.value, "state": "pending",
            "deadline": self.clock.now() + dt.timedelta(seconds=LIMITS["provider.wait_seconds"]),
        }  # fmt: skip
        async with self.db.write() as uow:
            await uow.execute(insert_new(uow, transaction_table).values(**values))
            row = await _read(uow, wanted.order_id)
        if (row.digest, row.credential_id, row.provider) != (
            wanted.digest.value, wanted.credential.id, provider.name,
        ):  # fmt: skip
            raise Broken("provider.other_digest", order=wanted.order_id)
        return row

    async def _ask(self, provider: Provider, wanted: Wanted, row: sa.Row[Any], description: str) -> sa.Row[Any]:
        """Submit, if nobody has. Errors become the row's state; only *not sent* leaves it open for another try."""
        user = await self.user_of(wanted.credential)
        if not await self._claim(wanted.order_id):
            return await self._row(wanted.order_id)
        try:
            taken = await provider.submit(_asked(wanted, row, user, description))
        except Unavailable as error:
            logger().warning("provider.not_asked", id=wanted.order_id, code=error.code)
            if error.code == "provider.unreachable":
                await self._unsent(row)
        except ServiceError as error:
            known = error.code in {"provider.not_allowed", "provider.no_certificate"}
            await self._end(wanted.order_id, "failed", error.code if known else "provider.rejected")
        else:
            seconds = min(taken.seconds or LIMITS["provider.wait_seconds"], LIMITS["provider.wait_most_seconds"])
            await self._change(
                wanted.order_id, ("pending",), state="confirmed", tran_code=taken.tran_code or None,
                deadline=self.clock.now() + dt.timedelta(seconds=seconds),
            )  # fmt: skip
        return await self._row(wanted.order_id)

    async def _unsent(self, row: sa.Row[Any]) -> None:
        """Nothing has left this machine: the next pass may ask, until the time is over."""
        if self.clock.now() >= row.deadline:
            await self._end(row.order_id, "failed", "provider.no_answer")
        else:
            await self._change(row.order_id, ("pending",), submitted_at=None)

    async def _judge(self, row: sa.Row[Any], wanted: Wanted, outcome: Outcome | None) -> None:
        """What the service said, or None where it said nothing one could understand."""
        now = self.clock.now()
        if outcome is not None and outcome.state is OutcomeState.SIGNED:
            await self._settle(row, wanted, outcome.value)
        elif outcome is not None and outcome.state in _ENDS:
            await self._end(row.order_id, *_ENDS[outcome.state])
        elif outcome is not None and outcome.state is OutcomeState.UNKNOWN and row.state == "pending":
            if now - row.submitted_at >= dt.timedelta(seconds=self.pauses.lost):
                await self._end(row.order_id, "failed", "provider.lost_answer")
        elif now >= row.deadline + _GRACE:
            ended = ("failed", "provider.no_answer") if outcome is None else ("expired", "provider.expired")
            await self._end(row.order_id, *ended)

    async def _settle(self, row: sa.Row[Any], wanted: Wanted, answer: bytes) -> None:
        try:
            value = _verified(answer, wanted)
        except Broken as error:
            logger().error("provider.untrue", id=row.order_id, code=error.code)
            await self._end(row.order_id, "failed", error.code)
        else:
            await self._change(row.order_id, _RUNNING, state="done", value=value, settled_at=self.clock.now())

    # -------------------------------------------------------------------------------------------------------- rows
    async def _row(self, order_id: str) -> sa.Row[Any]:
        async with self.db.read() as uow:
            return await _read(uow, order_id)

    async def _claim(self, order_id: str) -> bool:
        """One caller asks; the others look."""
        t = transaction_table.c
        async with self.db.write() as uow:
            done = await uow.execute(
                transaction_table.update().where(t.order_id == order_id, t.state == "pending", t.submitted_at.is_(None))
                .values(submitted_at=self.clock.now())
            )  # fmt: skip
        return bool(done.rowcount == 1)

    async def _may_look(self, row: sa.Row[Any]) -> bool:
        """One caller looks at a time, and not more often than the service should bear."""
        if self.until_look(row) > 0:
            return False
        t, now = transaction_table.c, self.clock.now()
        same = t.polled_at.is_(None) if row.polled_at is None else t.polled_at == row.polled_at
        async with self.db.write() as uow:
            done = await uow.execute(
                transaction_table.update().where(t.order_id == row.order_id, same).values(polled_at=now)
            )
        return bool(done.rowcount == 1)

    async def _end(self, order_id: str, state: str, code: str) -> None:
        await self._change(order_id, _RUNNING, state=state, code=code, settled_at=self.clock.now())

    async def _change(self, order_id: str, while_in: tuple[str, ...], **values: Any) -> None:
        """Nothing happens to a row that has ended."""
        t = transaction_table.c
        async with self.db.write() as uow:
            await uow.execute(
                transaction_table.update().where(t.order_id == order_id, t.state.in_(while_in)).values(**values)
            )

    def _pause(self, row: sa.Row[Any]) -> float:
        """Rarer the longer a person takes."""
        if row.submitted_at is None:
            return self.pauses.first
        waited: float = (self.clock.now() - row.submitted_at).total_seconds()
        return min(self.pauses.longest, self.pauses.first + waited / 20)


async def _read(uow: UnitOfWork, order_id: str) -> sa.Row[Any]:
    row: sa.Row[Any] | None = (await uow.execute(row_by(transaction_table.c.order_id), {"value": order_id})).first()
    if row is None:
        raise NotFound("provider.no_such_transaction", order=order_id)
    return row


def _asked(wanted: Wanted, row: sa.Row[Any], user: str, description: str) -> Asked:
    return Asked(
        transaction_id=row.transaction_id, user=user, serial=plain_serial(wanted.credential.key.name),
        digest=wanted.digest, description=description[: LIMITS["provider.description_letters"]],
    )  # fmt: skip


def _verified(answer: bytes, wanted: Wanted) -> bytes:
    assert wanted.credential.certificate is not None
    certificate = Certificate.parse(wanted.credential.certificate)
    return value_of(answer, wanted.digest, certificate, wanted.credential.key.algorithm)


def _result(row: sa.Row[Any], wanted: Wanted) -> bytes:
    """The kept value, verified once more: it came from a table; or the stored end, in the words of the first time."""
    if row.state == "done":
        return _verified(row.value, wanted)
    kind = Broken if row.code in _BROKEN else Refused
    raise kind(row.code, provider=row.provider)
