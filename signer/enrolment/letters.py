"""Notices to people about their own enrolment: written with what they tell, sent until they have left."""

import asyncio
import datetime as dt
import json
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from core.clock import Clock
from core.db import Database, UnitOfWork
from core.errors import Unavailable
from core.ids import new_id
from core.limits import LIMITS
from core.logs import code_of, logger
from core.messages import LANGUAGES, sentence
from core.sealed import Box
from signer.enrolment.messenger import Messenger
from signer.enrolment.people import People
from signer.enrolment.records import notice_table

__all__ = ["Letters", "worded"]

_AT_ONCE: Final = 20


def worded(code: str, /, **values: str) -> tuple[str, str]:
    """(subject, text) of a letter, Vietnamese and then English: messages ``mail.<code>`` and ``mail.<code>_subject``."""
    subject = sentence(f"mail.{code}_subject", LANGUAGES[0], **values)
    return subject, "\n\n".join(sentence(f"mail.{code}", language, **values) for language in LANGUAGES) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Letters:
    """The outbox."""

    db: Database
    clock: Clock
    people: People
    messenger: Messenger
    box: Box
    bell: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(
        self, uow: UnitOfWork, person_id: str, code: str, /, *, also: str | None = None, **values: str
    ) -> bool:
        """To the person's known address and to ``also``; false where there is none. Leaves after the commit."""
        known = await self.people.contact(uow, person_id)
        addresses = sorted({each for each in (known, also) if each})
        subject, text = worded(code, **values)
        for to in addresses:
            notice_id = new_id(self.clock)
            plain = json.dumps({"to": to, "subject": subject, "text": text}).encode()
            row: dict[str, Any] = {
                "id": notice_id, "person_id": person_id, "sealed": self.box.seal(plain, notice_id.encode()), "state": "open",
                "tries": 0, "next_at": self.clock.now(),
            }  # fmt: skip
            await uow.execute(notice_table.insert(), row)
        self.bell.set()
        return bool(addresses)

    async def flush(self) -> int:
        """Send what is due; returns how many letters left."""
        t = notice_table.c
        async with self.db.read() as uow:
            query = sa.select(notice_table).where(t.state == "open", t.next_at <= self.clock.now()).limit(_AT_ONCE)
            due = (await uow.execute(query.order_by(t.next_at))).all()
        return sum([await self._send(row) for row in due])

    async def _send(self, row: sa.Row[Any]) -> bool:
        """Taken first by moving its next time, so that two processes do not send it twice."""
        t = notice_table.c
        rest = dt.timedelta(seconds=LIMITS["messenger.rest_seconds"] * 2 ** min(row.tries, 6))
        mine = t.id == row.id, t.state == "open", t.tries == row.tries
        async with self.db.write() as uow:
            values = {"tries": row.tries + 1, "next_at": self.clock.now() + rest}
            if (await uow.execute(notice_table.update().where(*mine).values(**values))).rowcount != 1:
                return False
        state: str | None = None
        try:
            letter = json.loads(self.box.open(row.sealed, row.id.encode()))
            await self.messenger.send(letter["to"], letter["subject"], letter["text"])
            state = "sent"
        except Unavailable as error:
            state = "failed" if row.tries + 1 >= LIMITS["messenger.tries"] else None
            logger().warning("notice.not_sent", id=row.id, code=error.code, count=row.tries + 1)
        except Exception as error:  # noqa: BLE001 - one letter that cannot be written must not silence all the others
            state = "failed"
            logger().warning("notice.failed", id=row.id, code=code_of(error))
        if state is not None:
            async with self.db.write() as uow:
                await uow.execute(notice_table.update().where(t.id == row.id).values(state=state, sealed=None))
        return state == "sent"

    async def serve(self) -> None:
        """Until cancelled; nothing that goes wrong with one letter, or with the database for a while, ends it."""
        while True:
            self.bell.clear()
            try:
                while await self.flush():
                    pass
            except Exception as error:  # noqa: BLE001 - looked at again after a rest
                logger().warning("notice.waits", code=code_of(error))
            try:
                await asyncio.wait_for(self.bell.wait(), LIMITS["messenger.rest_seconds"])
            except TimeoutError:
                continue
            await asyncio.sleep(0.2)  # the bell rings inside the transaction that writes: let it commit
