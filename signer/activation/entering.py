"""Entering the signing page: the person behind a link shows a passkey of theirs and gets a *pass*.

Rules:

* The challenge is the SHA-256 of its own kind of record (``dauso/enter/v1``), never that of an activation: an entry is
  no approval and an approval is no entry.
* Only an ``active`` passkey of exactly the link's person opens, each question once and within ``enter.seconds``.
* A pass is a random token, good for one link, one person and ``pass.seconds``; kept is its SHA-256. It ends early with
  its link and with the passkey that opened it. No cookie carries it: the page sends it in a header.
* A pass lets its holder read and refuse. It signs nothing: that takes the passkey again, over the record of what is
  signed.
"""

import base64
import datetime as dt
import hashlib
from typing import NamedTuple

import sqlalchemy as sa

from core.clock import Clock
from core.db import UnitOfWork, UtcDateTime, metadata, row_by, swap_state
from core.errors import Conflict, NotFound, Refused
from core.formats import canonical_json
from core.ids import new_id, random_bytes
from core.limits import LIMITS
from signer.activation import redeem
from signer.activation.passkeys import Assertion, RelyingParty, verify_assertion
from signer.activation.records import passkey_table
from signer.links import Link, link_table

__all__ = ["Asked", "answer", "ask", "challenge_table", "holder", "pass_table"]

challenge_table = sa.Table(
    "enter_challenge",
    metadata,
    sa.Column("tx", sa.String(26), primary_key=True),
    sa.Column("link_sha256", sa.LargeBinary, sa.ForeignKey("approval_link.sha256"), nullable=False, index=True),
    sa.Column("record", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.CheckConstraint("state in ('open', 'spent')", name="state"),
)
pass_table = sa.Table(
    "page_pass",
    metadata,
    sa.Column("sha256", sa.LargeBinary, primary_key=True),
    sa.Column("link_sha256", sa.LargeBinary, sa.ForeignKey("approval_link.sha256"), nullable=False, index=True),
    sa.Column("person_id", sa.String(26), sa.ForeignKey("person.id"), nullable=False),
    sa.Column("passkey_id", sa.String(26), sa.ForeignKey("passkey.id"), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
)


class Asked(NamedTuple):
    """A question to the person's passkey."""

    tx: str
    challenge: bytes


async def ask(uow: UnitOfWork, clock: Clock, link: Link) -> Asked:
    """A new question for the link's person; forgets what has expired for this link."""
    now = clock.now()
    await _forget(uow, link, now)
    ends = now + dt.timedelta(seconds=LIMITS["enter.seconds"])
    tx = new_id(clock)
    record = canonical_json.encode(
        {
            "d": "dauso/enter/v1", "tx": tx, "link": _b64(link.sha256), "person": link.person_id, "exp": int(ends.timestamp()),
            "nonce": _b64(random_bytes(32)),
        }
    )  # fmt: skip
    await uow.execute(
        challenge_table.insert(),
        {
            "tx": tx, "link_sha256": link.sha256, "record": record, "state": "open", "created_at": now, "expires_at": ends,
        },
    )  # fmt: skip
    return Asked(tx, hashlib.sha256(record).digest())


async def answer(uow: UnitOfWork, clock: Clock, rp: RelyingParty, tx: str, assertion: Assertion, *, link: Link) -> str:
    """Verify the person's answer; returns a pass (43 URL-safe letters), which is never seen again.

    Raises ``enter.unknown`` (no question of this link), ``enter.spent``, ``enter.expired``, ``activation.*``.
    """
    row = (await uow.execute(row_by(challenge_table.c.tx), {"value": tx})).first()
    if row is None or row.link_sha256 != link.sha256:
        raise NotFound("enter.unknown")
    if row.state != "open":
        raise Conflict("enter.spent")
    if clock.now() >= row.expires_at:
        raise Refused("enter.expired")
    passkey = (await uow.execute(row_by(passkey_table.c.credential_id), {"value": assertion.credential_id})).first()
    if passkey is None or passkey.person_id != link.person_id or passkey.state != "active":
        raise Refused("activation.foreign_passkey")
    challenge = hashlib.sha256(row.record).digest()
    count = verify_assertion(assertion, challenge=challenge, public_key=passkey.public_key, rp=rp)
    await redeem.advance_count(uow, passkey, count)
    if not await swap_state(uow, challenge_table.c.tx, tx, "open", "spent"):  # somebody sent it twice at once
        raise Conflict("enter.spent")
    return await _make_pass(uow, clock, link, passkey.id)


async def _make_pass(uow: UnitOfWork, clock: Clock, link: Link, passkey_id: str) -> str:
    token = base64.urlsafe_b64encode(random_bytes(32)).rstrip(b"=").decode()
    now = clock.now()
    await uow.execute(
        pass_table.insert(),
        {
            "sha256": _sha256(token), "link_sha256": link.sha256, "person_id": link.person_id, "passkey_id": passkey_id,
            "created_at": now, "expires_at": now + dt.timedelta(seconds=LIMITS["pass.seconds"]),
        },
    )  # fmt: skip
    return token


_p, _k, _n = pass_table.c, passkey_table.c, link_table.c
_HOLDER = (
    sa.select(_p.link_sha256, _p.person_id, _p.expires_at, _k.state, _n.ended_at)
    .join(passkey_table, _k.id == _p.passkey_id)
    .join(link_table, _n.sha256 == _p.link_sha256)
    .where(_p.sha256 == sa.bindparam("sha256"))
)


async def holder(uow: UnitOfWork, clock: Clock, token: str, link: Link) -> str:
    """The person who holds this pass for this link. Raises ``pass.missing``, ``pass.foreign``, ``pass.expired``."""
    if not token:
        raise Refused("pass.missing")
    row = (await uow.execute(_HOLDER, {"sha256": _sha256(token)})).first()
    if row is None:  # never given, or so long ago that it is forgotten
        raise Refused("pass.expired")
    if row.link_sha256 != link.sha256 or row.person_id != link.person_id:
        raise Refused("pass.foreign")
    if clock.now() >= row.expires_at or row.state != "active" or row.ended_at is not None:
        raise Refused("pass.expired")
    return str(row.person_id)


async def _forget(uow: UnitOfWork, link: Link, now: dt.datetime) -> None:
    for table in (challenge_table, pass_table):
        t = table.c
        await uow.execute(table.delete().where(t.link_sha256 == link.sha256, t.expires_at <= now))


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()
