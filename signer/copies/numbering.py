"""A copy's line in the book: taking a number, giving it up, taking another for the same paper; and taking a copy back."""

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from audit.events import Leaf, LeafType, commit
from audit.outbox import EventType, Outbox
from core.db import UnitOfWork
from core.directory.model import Agency
from core.directory.records import Directory
from core.errors import Refused
from core.formats import canonical_json
from core.ids import new_id, random_bytes
from core.limits import LIMITS
from core.values import Digest, Realm
from signer.ceremony import SigningDesk
from signer.copies import store
from signer.copies.model import CertifiedCopy
from signer.copies.register import Register
from signer.records import copy_table

__all__ = ["Numbering", "attested"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbering:
    """Works inside the caller's transaction."""

    signing: SigningDesk
    directory: Directory
    register: Register

    async def take(
        self, uow: UnitOfWork, agency: Agency, kind: str, columns: dict[str, Any], *, content: str,
        copy_id: str | None = None, **paper: Any,
    ) -> str:  # fmt: skip
        """The number, the copy's row and its leaf; returns the copy's id."""
        clock = self.signing.clock
        entry = await self.register.reserve(uow, agency, kind, columns)
        copy_id, salt = copy_id or new_id(clock), random_bytes(32)
        await uow.execute(
            copy_table.insert(),
            dict(
                id=copy_id, realm=agency.realm, agency_id=agency.id, entry_id=entry.id, state="numbered",
                seal_id=random_bytes(10), status_year=entry.year,
                status_index=await self.register.next_in(uow, agency.id, "status", entry.year) - 1,
                content=content, salt=salt, created_at=clock.now(), **paper,
            ),
        )  # fmt: skip
        compared = attested(content, paper["facts"], entry.columns)
        await self.log(uow, copy_id, agency.realm, LeafType.NUMBER_RESERVED, salt, compared)
        return copy_id

    async def void(self, uow: UnitOfWork, copy_id: str, reason: str) -> CertifiedCopy:
        """The number keeps its line. Raises ``copy.already_released``, ``copy.already_voided``."""
        copy = await store.get(uow, copy_id)
        if copy.state == "released":
            raise Refused("copy.already_released", copy=copy_id)
        if copy.state == "voided":
            raise Refused("copy.already_voided", copy=copy_id)
        await self.register.void(uow, copy.entry_id, reason)
        await self.signing.orders.drop(uow, [o for o in (copy.certifier_order, copy.seal_order) if o is not None])
        voided = await store.move(uow, copy, "voided", reason=reason, settled_at=self.signing.clock.now())
        await self.log(uow, copy_id, copy.realm, LeafType.NUMBER_VOIDED, copy.salt, copy.seal_id)
        return voided

    async def renew(self, uow: UnitOfWork, copy: CertifiedCopy, reason: str) -> CertifiedCopy:
        """Void the number and number the same paper again: both or neither; returns the new copy."""
        await self.void(uow, copy.id, reason)
        old = await self.register.entry(uow, copy.entry_id)
        agency = await self.directory.agency(uow, copy.agency_id)
        renewed = await self.take(
            uow, agency, old.kind, old.columns, regime=copy.regime, facts=copy.facts, content=copy.content,
            content_length=copy.content_length, certifier_id=copy.certifier_id, clerk_id=copy.clerk_id,
        )  # fmt: skip
        await self.tell(uow, EventType.COPY_VOIDED, copy, successor=renewed)
        return await store.get(uow, renewed)

    async def recall(
        self, uow: UnitOfWork, copy_id: str, reason: str, successor: str | None, *, by: str | None,
        since: dt.datetime | None, guard: Callable[[UnitOfWork, CertifiedCopy], Awaitable[None]] | None,
    ) -> CertifiedCopy:  # fmt: skip
        """As ``CopyDesk.recall`` says it."""
        if not reason.strip() or len(reason) > LIMITS["recall.reason_letters"]:
            raise Refused("copy.no_recall_reason", most=LIMITS["recall.reason_letters"])
        now = self.signing.clock.now()
        copy = await store.get(uow, copy_id)
        if copy.state != "released" or copy.settled_at is None:
            raise Refused("copy.not_released", copy=copy_id)
        if since is not None and not copy.settled_at <= since <= now:
            raise Refused("copy.bad_recall_time")
        if successor is not None:
            after = await store.get(uow, successor)
            fit = after.id != copy.id and after.agency_id == copy.agency_id and after.state == "released"
            if not fit or after.recalled_at is not None:
                raise Refused("copy.bad_successor", copy=successor)
        if guard is not None:
            await guard(uow, copy)
        recalled = await store.recall(
            uow, copy, now, recall_reason=reason.strip(), successor=successor, recalled_by=by, recall_from=since or now
        )
        await self.log(uow, copy.id, copy.realm, LeafType.COPY_RECALLED, copy.salt, copy.seal_id)
        await self.tell(uow, EventType.COPY_RECALLED, copy, successor=successor)
        return recalled

    async def tell(self, uow: UnitOfWork, type_: EventType, copy: CertifiedCopy, successor: str | None = None) -> None:
        """Portals hear of it if the transaction commits; last in it (``audit/outbox.py``)."""
        outbox = Outbox(self.signing.clock)
        await outbox.append(
            uow, type_, realm=copy.realm, agency_id=copy.agency_id, subject=copy.id, successor=successor
        )

    async def log(self, uow: UnitOfWork, copy_id: str, realm: Realm, kind: LeafType, salt: bytes, value: bytes) -> Leaf:
        """One leaf that commits to ``value``."""
        leaf = Leaf(
            type=kind, time=self.signing.clock.now(), tenant_id=realm.value, event_id=f"{copy_id}.{kind.value}",
            doc_commit=commit(salt, Digest.of(value).value), digest_alg="sha256",
        )  # fmt: skip
        await self.signing.log.append(uow, leaf)
        return leaf


def attested(content: str, facts: dict[str, Any], columns: dict[str, Any]) -> bytes:
    """What was compared, as the ``number_reserved`` leaf commits to it: the log's signature covers it for good."""
    return canonical_json.encode({"content": content, "facts": facts, "columns": columns})
