"""Uses of time-stamp keys against the register of tokens, both ways.

A row of the register does not only name what was signed: from its TSTInfo and the key's certificate the digest is made again.
So a signature that is no time-stamp, or one with another time than that of its use, has no counterpart here.
"""

import datetime as dt
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import sqlalchemy as sa
from asn1crypto import tsp

from audit.keyuse.model import Finding, KeyVersion
from ca_bridge.records import token_table
from core.db import Database
from core.formats.cms import ID_TST_INFO, CmsProfile
from core.limits import LIMITS
from core.values import Digest
from signer.credentials import credential_table
from signer.keystores.booked import Book, without_result, without_use
from signer.keystores.model import KeyPurpose, KeyRef

__all__ = ["MadeTokens"]

_PIECE: Final = 500
_t = token_table.c
_BY_DIGEST = sa.select(token_table).where(_t.signed.in_(sa.bindparam("values", expanding=True)))
_PAGE = (
    sa.select(_t.signed, _t.serial, _t.at)
    .where(
        _t.at <= sa.bindparam("until"), _t.at >= sa.bindparam("after"),
        sa.or_(_t.at > sa.bindparam("after"), _t.signed > sa.bindparam("last")),
    )
    .order_by(_t.at, _t.signed)
    .limit(_PIECE)
)  # fmt: skip
_LAST: Final = b"\xff" * 64
"""No digest is greater."""


class MadeTokens:
    """Compares inside a span of time."""

    def __init__(self, db: Database, book: Book) -> None:
        self._db, self._book = db, book

    async def compare(self, after: dt.datetime, made_after: dt.datetime, until: dt.datetime) -> list[Finding]:
        """``made_after``: before it there was no book. What is older than the first token was made before there was a register."""
        async with self._db.read() as uow:
            first = (await uow.execute(sa.select(sa.func.min(_t.at)))).scalar_one_or_none()
        if first is None:
            return []
        begin = first - dt.timedelta(microseconds=1)
        return [*await self._uses(max(after, begin), until), *await self._tokens(made_after, until)]

    async def _uses(self, after: dt.datetime, until: dt.datetime) -> list[Finding]:
        strange, profiles = [], await self._profiles()
        async for uses in self._book.pages(KeyPurpose.TSA, after, until):
            async with self._db.read() as uow:
                rows = (await uow.execute(_BY_DIGEST, {"values": [bytes(use.input) for use in uses]})).all()
            tokens = {bytes(row.signed): row for row in rows}
            for use in uses:
                mine = profiles.get(KeyVersion(use.place, use.name, use.version), [])
                token = tokens.get(bytes(use.input))
                if token is None or not any(_is_token(use, token, profile) for profile in mine):
                    strange.append(use)
        return [without_result(use) for use in await self._book.unproven(strange)]

    async def _profiles(self) -> dict[KeyVersion, list[CmsProfile]]:
        """What each time-stamp key's signatures look like, one for each of its certificates."""
        t = credential_table.c
        query = sa.select(t.key, t.certificate).where(t.purpose == KeyPurpose.TSA.value, t.certificate.is_not(None))
        async with self._db.read() as uow:
            rows = (await uow.execute(query)).all()
        made: dict[bytes, list[CmsProfile]] = {}
        for row in rows:
            ref = KeyRef.from_json(json.loads(row.key))
            profile = CmsProfile(bytes(row.certificate), (), ref.algorithm, content_type=ID_TST_INFO)
            made.setdefault(ref.spki, []).append(profile)
        return {key: made.get(spki, []) for key, spki in (await self._book.keys(KeyPurpose.TSA)).items()}

    async def _tokens(self, after: dt.datetime, until: dt.datetime) -> list[Finding]:
        found = []
        async for rows in self._pages(after, until):
            held = await self._book.holds([bytes(row.signed) for row in rows], rows[0].at, rows[-1].at)
            found += [without_use(f"token {row.serial}", row.at) for row in rows if bytes(row.signed) not in held]
        return found

    async def _pages(self, after: dt.datetime, until: dt.datetime) -> AsyncIterator[list[Any]]:
        last = _LAST
        while True:
            async with self._db.read() as uow:
                rows = list((await uow.execute(_PAGE, {"after": after, "last": last, "until": until})).all())
            if rows:
                after, last = rows[-1].at, bytes(rows[-1].signed)
                yield rows
            if len(rows) < _PIECE:
                return


def _is_token(use: Any, token: Any, profile: CmsProfile) -> bool:
    """Whether the key was given this TSTInfo and nothing else, at the time that stands in it."""
    if abs(use.at - token.at) > dt.timedelta(seconds=LIMITS["keyuse.horizon_seconds"]):
        return False
    info = bytes(token.info)
    attributes = profile.signed_attributes(Digest.of(info, profile.digest).value)
    if Digest.of(attributes, profile.digest).value != bytes(use.input):
        return False
    read = tsp.TSTInfo.load(info, strict=True)
    told = f"{read['serial_number'].native:030x}", read["gen_time"].native
    return told == (token.serial, token.at.replace(microsecond=0))
