"""A portal's word on who somebody is, where policy allows its level: six digits by a second channel, and a delay after.

It is the weakest of the three ways, so it never goes over a stronger one: not for officials, not for whoever proved
identity by a log-in, not for a phone whose owner could not be told. Guesses are counted for the person, not for the word:
a portal that repeats its word gets no more of them.
"""

import datetime as dt
import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from core.clock import Clock
from core.db import Database, UnitOfWork, swap_state
from core.errors import Conflict, Refused
from core.ids import new_id, random_bytes
from core.limits import LIMITS
from core.logs import logger
from core.values import Realm
from signer.enrolment.letters import Letters, worded
from signer.enrolment.messenger import Messenger
from signer.enrolment.openings import Openings
from signer.enrolment.people import People
from signer.enrolment.records import code_table, run_table
from signer.enrolment.runs import Run, lock_person, move, sha256_of
from signer.links import Link, find_link, make_link

__all__ = ["Vouching"]

_DIGITS: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouching:
    """Words, codes, and the run that a right code opens."""

    db: Database
    clock: Clock
    realm: Realm
    people: People
    openings: Openings
    messenger: Messenger
    letters: Letters
    levels: frozenset[str]
    """Assurance levels at which a portal's word is taken; empty: never."""
    key: bytes
    """32 bytes: for codes."""

    # ------------------------------------------------------------------------------------------------------ the word
    async def vouched(
        self, uow: UnitOfWork, *, person_id: str, level: str, email: str, subject: str, expires_at: dt.datetime
    ) -> str:
        """A portal says who this is; returns the token of the link.

        Raises ``enrol.level``, ``enrol.official_by_portal``, ``enrol.proven_by_login``, ``enrol.no_address``,
        ``people.bad_email``.
        """
        if level not in self.levels:
            raise Refused("enrol.level")
        await self._require_room(uow, person_id)
        sealed = self.people.seal_email(person_id, email)
        await self.end_vouched(uow, person_id)
        token = await make_link(
            uow, self.clock, kind="enrol", subject=[person_id], person_id=person_id, expires_at=expires_at
        )
        values = {
            "id": new_id(self.clock), "person_id": person_id, "realm": self.realm, "link": sha256_of(token), "state": "asserted",
            "kind": "first", "method": "portal", "level": level, "email": sealed, "created_at": self.clock.now(),
            "subject": hmac.digest(self.key, f"portal {subject}".encode(), hashlib.sha256), "expires_at": expires_at,
        }  # fmt: skip
        await uow.execute(run_table.insert(), values)
        return token

    async def _require_room(self, uow: UnitOfWork, person_id: str) -> None:
        """Asked when the word is given, and again when it is used: either may have changed since."""
        if await self.people.roles(uow, person_id):
            raise Refused("enrol.official_by_portal")
        if await self.people.proven_by_login(uow, person_id):
            raise Refused("enrol.proven_by_login")
        if await self.people.has_phone(uow, person_id) and await self.people.contact(uow, person_id) is None:
            raise Refused("enrol.no_address")

    @staticmethod
    async def end_vouched(uow: UnitOfWork, person_id: str) -> None:
        """The newest word of a portal counts."""
        t = run_table.c
        mine = t.person_id == person_id, t.state == "asserted"
        await uow.execute(run_table.update().where(*mine).values(state="ended", email=None))

    @staticmethod
    async def carry_over(uow: UnitOfWork, person_id: str, token: str) -> None:
        """A portal's word, if there is one, holds for the person's newest link."""
        t = run_table.c
        mine = t.person_id == person_id, t.state == "asserted"
        await uow.execute(run_table.update().where(*mine).values(link=sha256_of(token)))

    async def is_vouched(self, uow: UnitOfWork, person_id: str) -> bool:
        """Whether a portal has given its word on who this is, and it may still be used."""
        t = run_table.c
        mine = t.person_id == person_id, t.state == "asserted", t.expires_at > self.clock.now()
        return (await uow.execute(sa.select(t.id).where(*mine).limit(1))).first() is not None

    async def vouched_run(self, uow: UnitOfWork, link: Link) -> Run | None:
        """What a portal said for this link, if it may still be used."""
        t = run_table.c
        query = sa.select(run_table).where(t.link == link.sha256, t.state == "asserted")
        row = (await uow.execute(query)).first()
        return None if row is None or self.clock.now() >= row.expires_at else Run.of(row)

    # ------------------------------------------------------------------------------------------------------ the code
    async def send_code(self, token: str) -> int:
        """Six digits to the address that the portal named; returns for how many seconds they are good.

        Raises ``enrol.no_portal_word``, ``enrol.code_too_soon``, ``enrol.code_too_often``, ``enrol.codes_day``,
        ``messenger.*``.
        """
        code = f"{int.from_bytes(random_bytes(8)) % 10**_DIGITS:0{_DIGITS}d}"
        now, seconds = self.clock.now(), LIMITS["enrol.code_seconds"]
        async with self.db.write() as uow:
            run = await self._vouched(uow, token)
            await lock_person(uow, run.person_id)
            await self._require_pause(uow, run)
            t = code_table.c
            await uow.execute(code_table.update().where(t.run_id == run.id, t.state == "sent").values(state="ended"))
            values = {
                "id": new_id(self.clock), "run_id": run.id, "mac": self._code_mac(run.id, code), "tries": 0, "state": "sent",
                "sent_at": now, "expires_at": now + dt.timedelta(seconds=seconds),
            }  # fmt: skip
            await uow.execute(code_table.insert(), values)
            assert run.email is not None
            to = self.people.open_email(run.person_id, run.email)
        subject, text = worded("code", code=code, minutes=str(seconds // 60))
        await self.messenger.send(to, subject, text)
        return seconds

    async def _require_pause(self, uow: UnitOfWork, run: Run) -> None:
        t, rest = code_table.c, LIMITS["enrol.code_rest_seconds"]
        query = sa.select(t.sent_at).where(t.run_id == run.id).order_by(t.sent_at.desc())
        sent = (await uow.execute(query)).scalars().all()
        if len(sent) >= LIMITS["enrol.codes"]:
            raise Refused("enrol.code_too_often")
        codes, guesses = await self._today(uow, run.person_id)
        if max(codes, guesses) >= LIMITS["enrol.codes_day"]:
            raise Refused("enrol.codes_day")
        if sent and self.clock.now() - sent[0] < dt.timedelta(seconds=rest):
            raise Refused("enrol.code_too_soon", retry_after=rest)

    async def _today(self, uow: UnitOfWork, person_id: str) -> tuple[int, int]:
        """(codes, guesses) of the last 24 hours, whichever word of whichever portal they belong to."""
        c, r = code_table.c, run_table.c
        query = (
            sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(c.tries), 0))
            .select_from(code_table.join(run_table, c.run_id == r.id))
            .where(r.person_id == person_id, c.sent_at > self.clock.now() - dt.timedelta(hours=24))
        )
        codes, guesses = (await uow.execute(query)).one()
        return int(codes), int(guesses)

    async def answer_code(self, token: str, code: str) -> str:
        """A pass for the right digits.

        Raises ``enrol.no_code``, ``enrol.code_spent``, ``enrol.codes_day``, ``enrol.wrong_code`` and what ``vouched`` does.
        """
        t = code_table.c
        async with self.db.write() as uow:  # the try is counted, and stays counted, before the guess is looked at
            run = await self._vouched(uow, token)
            await lock_person(uow, run.person_id)
            query = sa.select(code_table).where(t.run_id == run.id, t.state == "sent").order_by(t.id.desc()).limit(1)
            row = (await uow.execute(query)).first()
            if row is None or self.clock.now() >= row.expires_at:
                raise Refused("enrol.no_code")
            _, guesses = await self._today(uow, run.person_id)
            if guesses >= LIMITS["enrol.codes_day"]:
                raise Refused("enrol.codes_day")
            free = t.id == row.id, t.state == "sent", t.tries < LIMITS["enrol.code_tries"]
            if (await uow.execute(code_table.update().where(*free).values(tries=t.tries + 1))).rowcount != 1:
                logger().warning("enrol.code_spent", id=run.id)
                raise Refused("enrol.code_spent")
        if not hmac.compare_digest(row.mac, self._code_mac(run.id, code)):
            await self._missed(run, guesses + 1)
            raise Refused("enrol.wrong_code", left=max(0, LIMITS["enrol.code_tries"] - row.tries - 1))
        async with self.db.write() as uow:
            await lock_person(uow, run.person_id)
            if not await swap_state(uow, t.id, row.id, "sent", "used"):
                raise Conflict("enrol.code_spent")
            await self._require_room(uow, run.person_id)
            return await self._identified(uow, run)

    async def _missed(self, run: Run, guesses: int) -> None:
        """The day's last guess: whoever owns the known address is told, not whom the portal named."""
        if guesses < LIMITS["enrol.codes_day"]:
            return
        logger().warning("enrol.codes_day", id=run.id, count=guesses)
        async with self.db.write() as uow:
            await self.letters.write(uow, run.person_id, "guessed")

    async def _identified(self, uow: UnitOfWork, run: Run) -> str:
        if await self.people.waiting(uow, run.person_id) is not None:
            raise Conflict("enrol.waiting")
        await move(uow, run.id, "asserted", "ended", email=None)
        return await self.openings.open(
            uow, run.person_id, method="portal", link=run.link, level=run.level, email=run.email, subject=run.subject
        )

    async def _vouched(self, uow: UnitOfWork, token: str) -> Run:
        run = await self.vouched_run(uow, await find_link(uow, self.clock, token))
        if run is None:
            raise Refused("enrol.no_portal_word")
        return run

    def _code_mac(self, run_id: str, code: str) -> bytes:
        return hmac.digest(self.key, f"code {run_id} {code}".encode(), hashlib.sha256)
