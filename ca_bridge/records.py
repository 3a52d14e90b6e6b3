"""Tables of issued certificates and time-stamp tokens."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from core.db import UnitOfWork, UtcDateTime, append_only, insert_new, metadata
from core.errors import Conflict, NotFound

__all__ = [
    "CertificateState", "certificate_table", "crl_table", "next_crl_number", "revoke", "revoked", "states", "token_table",
]  # fmt: skip

certificate_table = sa.Table(
    "issued_certificate",
    metadata,
    sa.Column("serial", sa.String(40), primary_key=True),
    sa.Column("realm", sa.String(16), nullable=False),
    sa.Column("issuer", sa.Text, nullable=False),
    sa.Column("profile", sa.String(16), nullable=False),
    sa.Column("der", sa.LargeBinary),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("ordered_at", UtcDateTime, nullable=False),
    sa.Column("revoked_at", UtcDateTime),
    sa.Column("reason", sa.Integer),
    sa.CheckConstraint("status in ('ordered', 'good', 'revoked')", name="status"),
)
"""The serial stands here before anything is signed with it."""


crl_table = sa.Table(
    "crl_number",
    metadata,
    sa.Column("issuer", sa.Text, primary_key=True),
    sa.Column("last", sa.Integer, nullable=False),
)
"""The last CRL number of each issuer: it only grows, whatever the clock does (RFC 5280 §5.2.3)."""


token_table = sa.Table(
    "timestamp_token",
    metadata,
    sa.Column("signed", sa.LargeBinary, primary_key=True),
    sa.Column("serial", sa.String(30), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("info", sa.LargeBinary, nullable=False),
    sa.Index("ix_timestamp_token_at", "at"),
)
append_only(token_table)
"""Time-stamps of the embedded authority, before they are made. ``info``: TSTInfo, DER; ``signed``: digest of the signed
attributes, which is what the key was given and follows from ``info`` and the certificate."""


async def next_crl_number(uow: UnitOfWork, issuer: str) -> int:
    """1, 2, 3 …; concurrent callers queue on the row."""
    t = crl_table.c
    await uow.execute(insert_new(uow, crl_table), {"issuer": issuer, "last": 0})
    step = crl_table.update().where(t.issuer == issuer).values(last=t.last + 1).returning(t.last)
    return int((await uow.execute(step)).scalar_one())


async def revoke(uow: UnitOfWork, serial: int, reason: int, at: dt.datetime) -> None:
    """``good → revoked``; repeating it is harmless. Raises ``ca.no_such_certificate``."""
    t = certificate_table.c
    done = await uow.execute(
        certificate_table.update()
        .where(t.serial == f"{serial:040x}", t.status == "good")
        .values(status="revoked", revoked_at=at, reason=reason)
    )
    if done.rowcount == 1:
        return
    row = (await uow.execute(sa.select(t.status).where(t.serial == f"{serial:040x}"))).first()
    if row is None:
        raise NotFound("ca.no_such_certificate")
    if row.status != "revoked":
        raise Conflict("ca.not_issued")


_t = certificate_table.c
_REVOKED = (
    sa.select(_t.serial, _t.revoked_at, _t.reason)
    .where(_t.issuer == sa.bindparam("by"), _t.status == "revoked")
    .order_by(_t.serial)
)
_STATES = sa.select(_t.serial, _t.status, _t.revoked_at, _t.reason).where(
    _t.serial.in_(sa.bindparam("serials", expanding=True))
)


async def revoked(uow: UnitOfWork, issuer: str) -> list[tuple[int, dt.datetime, int]]:
    """(serial, time, reason) of an issuer, by serial."""
    return [(int(row.serial, 16), row.revoked_at, row.reason) for row in await uow.execute(_REVOKED, {"by": issuer})]


@dataclass(frozen=True, slots=True)
class CertificateState:
    """``revoked`` is (time, reason) of a revoked certificate."""

    status: str
    revoked: tuple[dt.datetime, int] | None


async def states(uow: UnitOfWork, serials: Sequence[int]) -> dict[int, CertificateState]:
    """What is known of each serial; an unknown one is left out."""
    return {
        int(row.serial, 16): CertificateState(
            row.status, None if row.revoked_at is None else (row.revoked_at, int(row.reason))
        )
        for row in await uow.execute(_STATES, {"serials": [f"{s:040x}" for s in serials]})
    }
