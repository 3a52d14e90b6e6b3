"""Links to the signing origin: each for one person and one matter, unguessable, with an end.

* The token is in the link and nowhere else: kept is its SHA-256, so a stolen database opens nothing.
* A link only names a matter. Who holds it must still show that person's passkey (``signer.activation.entering``).
* To the outside a link that never was, one that ended and one whose time is over are the same.
"""

import base64
import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from core.clock import Clock
from core.db import UnitOfWork, UtcDateTime, metadata, row_by
from core.errors import BadInput, NotFound
from core.ids import random_bytes
from core.limits import LIMITS

__all__ = ["KINDS", "Link", "end_links", "extend_links", "find_link", "link_table", "make_link"]

KINDS: Final = frozenset({"step", "copies", "decision", "enrol"})
_TOKEN_BYTES: Final = 24

link_table = sa.Table(
    "approval_link",
    metadata,
    sa.Column("sha256", sa.LargeBinary, primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("person_id", sa.String(26), sa.ForeignKey("person.id"), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.CheckConstraint("kind in ('step', 'copies', 'decision', 'enrol')", name="kind"),
)
subject_table = sa.Table(
    "approval_link_subject",
    metadata,
    sa.Column("link_sha256", sa.LargeBinary, sa.ForeignKey("approval_link.sha256"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("subject_id", sa.String(26), nullable=False),
    sa.Index("ix_approval_link_subject_subject_id", "subject_id"),
)
"""What a link is about, in its order: one step, one decision, or copies to be approved together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link in force."""

    sha256: bytes
    kind: str
    subject: tuple[str, ...]
    """Ids, in their order."""
    person_id: str
    expires_at: dt.datetime


_SUBJECTS = (
    sa.select(subject_table.c.subject_id)
    .where(subject_table.c.link_sha256 == sa.bindparam("sha256"))
    .order_by(subject_table.c.position)
)


async def make_link(
    uow: UnitOfWork, clock: Clock, *, kind: str, subject: Sequence[str], person_id: str, expires_at: dt.datetime
) -> str:
    """A new link for ``person_id``; returns its token (32 URL-safe letters), which is never seen again.

    ``subject``: 1 to ``activation.documents`` ids. Raises ``link.malformed``.
    """
    if kind not in KINDS or not 0 < len(subject) <= LIMITS["activation.documents"] or expires_at <= clock.now():
        raise BadInput("link.malformed")
    token = base64.urlsafe_b64encode(random_bytes(_TOKEN_BYTES)).decode()
    sha256 = _sha256(token)
    await uow.execute(
        link_table.insert(),
        {
            "sha256": sha256, "kind": kind, "person_id": person_id, "created_at": clock.now(), "expires_at": expires_at,
        },
    )  # fmt: skip
    rows = [{"link_sha256": sha256, "position": n, "subject_id": each} for n, each in enumerate(subject)]
    await uow.execute(subject_table.insert(), rows)
    return token


async def find_link(uow: UnitOfWork, clock: Clock, token: str) -> Link:
    """The link behind a token. Raises ``link.unknown`` (never made, or ended), ``link.expired``."""
    sha256 = _sha256(token)
    row = (await uow.execute(row_by(link_table.c.sha256), {"value": sha256})).first()
    if row is None or row.ended_at is not None:
        raise NotFound("link.unknown")
    if clock.now() >= row.expires_at:
        raise NotFound("link.expired")
    subject = tuple((await uow.execute(_SUBJECTS, {"sha256": sha256})).scalars())
    return Link(
        sha256=sha256, kind=row.kind, subject=subject, person_id=row.person_id, expires_at=row.expires_at
    )  # fmt: skip


async def end_links(uow: UnitOfWork, clock: Clock, kind: str, subject_id: str) -> None:
    """Every link of this kind that names ``subject_id`` opens nothing from now on, nor do the passes given for it."""
    named = sa.select(subject_table.c.link_sha256).where(subject_table.c.subject_id == subject_id)
    t = link_table.c
    await uow.execute(
        link_table.update()
        .where(t.sha256.in_(named), t.kind == kind, t.ended_at.is_(None))
        .values(ended_at=clock.now())
    )


async def extend_links(uow: UnitOfWork, kind: str, subject_id: str, expires_at: dt.datetime) -> None:
    """Links of this kind that name ``subject_id`` and still open something do so until then, never shorter than before."""
    named = sa.select(subject_table.c.link_sha256).where(subject_table.c.subject_id == subject_id)
    t = link_table.c
    await uow.execute(
        link_table.update()
        .where(t.sha256.in_(named), t.kind == kind, t.ended_at.is_(None), t.expires_at < expires_at)
        .values(expires_at=expires_at)
    )


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
