"""The two public lists of QR seals: who may seal (key list) and what became of each seal (status lists).

A list is signed outside any transaction and put in the place of the one before by compare-and-swap on its sequence, so
two publishers never give one number to two lists, and a reader who refuses older sequences is safe from replay.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from core.clock import Clock
from core.db import Database, UnitOfWork, UtcDateTime, insert_new, metadata, row_by
from core.directory.records import Directory
from core.errors import Conflict
from core.formats import key_list, status_list
from core.formats.cms import CmsProfile
from core.formats.key_list import KeyEntry, KeyList
from core.formats.status_list import Status, StatusList
from core.limits import LIMITS
from core.signing import SigningKey
from core.values import Digest
from signer.copies import store
from signer.credentials import Credential, Credentials
from signer.keystores.model import KeyPurpose

__all__ = ["KEYS", "Published", "Publisher", "all_published", "publication_table", "published", "seal_keys"]

publication_table = sa.Table(
    "publication",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
    sa.Column("issued_at", UtcDateTime, nullable=False),
    sa.Column("next_update", UtcDateTime, nullable=False),
)
"""The newest list of each name; whoever serves them needs no key."""

KEYS = "qr-seal-keys"
"""Name of the key list, and of its files without their endings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One list as it is served; ``signature`` is a detached CMS, empty where the body carries its own."""

    name: str
    sequence: int
    body: bytes
    signature: bytes
    issued_at: dt.datetime
    next_update: dt.datetime


async def seal_keys(uow: UnitOfWork, directory: Directory, credentials: Credentials, clock: Clock) -> KeyList:
    """Every QR key there ever was, as it stands now, with its agency; unsigned and without a number."""
    agencies = {agency.id: agency for agency in await directory.agencies(uow)}
    keys = tuple(
        KeyEntry(
            kid=Digest.of(each.key.spki).value[:4], spki=each.key.spki, agency=agencies[each.owner].code,
            name=agencies[each.owner].name, valid_from=each.created_at.replace(microsecond=0),
            valid_to=each.created_at.replace(microsecond=0) + dt.timedelta(days=LIMITS["qr.key_days"]),
            status="active" if active else "retired",
        )
        for each, active in await credentials.all(uow, KeyPurpose.QR)
    )  # fmt: skip
    now = clock.now().replace(microsecond=0)
    until = now + dt.timedelta(hours=LIMITS["qr.list_hours"])
    return KeyList(sequence=0, issued_at=now, next_update=until, document_types={}, keys=keys)


async def published(uow: UnitOfWork, name: str) -> Published | None:
    """The newest list of that name; whoever serves it needs no key."""
    row = (await uow.execute(row_by(publication_table.c.name), {"value": name})).first()
    return None if row is None else Published(**row._mapping)  # noqa: SLF001


async def all_published(uow: UnitOfWork) -> list[Published]:
    """The newest list of every name."""
    rows = await uow.execute(sa.select(publication_table).order_by(publication_table.c.name))
    return [Published(**row._mapping) for row in rows]  # noqa: SLF001


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """Signs and stores the lists; signer role only."""

    db: Database
    clock: Clock
    directory: Directory
    credentials: Credentials
    open_key: Callable[[Credential, str], SigningKey]

    async def all(self) -> list[Published]:
        """The key list, and a status list for each agency and year that has seals."""
        async with self.db.read() as uow:
            series = await store.sealed_years(uow)
        return [await self.keys(), *[await self.statuses(agency_id, year) for agency_id, year in series]]

    async def keys(self) -> Published:
        """The key list with its detached CMS."""
        async with self.db.read() as uow:
            before = await self._before(uow, KEYS)  # first: what is read after it is at least as new
            listed = await seal_keys(uow, self.directory, self.credentials, self.clock)
            signer = await self.credentials.of(uow, "lists", KeyPurpose.LIST)
        assert signer.certificate is not None
        body = key_list.write(replace(listed, sequence=before + 1))
        profile = CmsProfile(signer.certificate, signer.chain[:-1], signer.key.algorithm)
        attributes = profile.signed_attributes(Digest.of(body, profile.digest).value)
        value = await self.open_key(signer, KEYS).sign(Digest.of(attributes, profile.digest))
        return await self._put(KEYS, before, body, profile.signed_data(attributes, value), listed)

    async def statuses(self, agency_id: str, year: int) -> Published:
        """The status list of one agency and year, signed with the agency's QR key."""
        async with self.db.read() as uow:
            agency = await self.directory.agency(uow, agency_id)
            key = await self.credentials.of(uow, agency.id, KeyPurpose.QR)
            name = f"qr-status-{agency.code}-{year}"
            before = await self._before(uow, name)
            bits = _packed(await store.statuses(uow, agency.id, year))
        now = self.clock.now().replace(microsecond=0)
        listed = StatusList(
            issuer=agency.code, year=year, sequence=before + 1, issued_at=now,
            next_update=now + dt.timedelta(hours=LIMITS["qr.list_hours"]), entries=bits,
        )  # fmt: skip
        body = await status_list.write(listed, self.open_key(key, name), Digest.of(key.key.spki).value[:4])
        return await self._put(name, before, body, b"", listed)

    async def current_keys(self, uow: UnitOfWork) -> KeyList:
        """The keys as they stand now."""
        return await seal_keys(uow, self.directory, self.credentials, self.clock)

    async def behind(self, uow: UnitOfWork) -> list[tuple[str, int]]:
        """(agency, year) whose list is missing, near its end, or older than the last change it should tell."""
        found = []
        soon = self.clock.now() + dt.timedelta(hours=LIMITS["qr.list_hours"]) / 2
        for agency_id, year in await store.sealed_years(uow):
            agency = await self.directory.agency(uow, agency_id)
            listed = await published(uow, f"qr-status-{agency.code}-{year}")
            changed = await store.last_change(uow, agency_id, year)
            # lists tell whole seconds: one signed in the second of a change may not know it
            if listed is None or listed.next_update < soon or (changed is not None and listed.issued_at <= changed):
                found.append((agency_id, year))
        return found

    async def _before(self, uow: UnitOfWork, name: str) -> int:
        before = await published(uow, name)
        return 0 if before is None else before.sequence

    async def _put(
        self, name: str, before: int, body: bytes, signature: bytes, listed: KeyList | StatusList
    ) -> Published:
        made = Published(
            name=name, sequence=before + 1, body=body, signature=signature, issued_at=listed.issued_at,
            next_update=listed.next_update,
        )  # fmt: skip
        values: dict[str, Any] = {c.name: getattr(made, c.name) for c in publication_table.columns}
        t = publication_table.c
        async with self.db.write() as uow:
            done = (
                await uow.execute(insert_new(uow, publication_table), values)
                if before == 0
                else await uow.execute(
                    publication_table.update().where(t.name == name, t.sequence == before).values(values)
                )
            )
            if done.rowcount != 1:
                raise Conflict("qr.list_overtaken", list=name)
        return made


def _packed(statuses: dict[int, Status]) -> bytes:
    """Two bits an index, the lowest index in the lowest bits."""
    packed = bytearray(max(statuses, default=-1) // 4 + 1)
    for index, status in statuses.items():
        packed[index // 4] |= int(status) << (index % 4 * 2)
    return bytes(packed)
