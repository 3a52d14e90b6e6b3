"""What happened to identities, passkeys and credentials: kept here with details, committed to in the log without any."""

import hashlib
from dataclasses import dataclass

from audit.events import Leaf, LeafType, commit
from audit.log import Log
from core.clock import Clock
from core.db import UnitOfWork
from core.formats import canonical_json
from core.ids import new_id, random_bytes
from core.values import Realm
from signer.enrolment.records import fact_table

__all__ = ["Facts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Works inside the caller's transaction."""

    clock: Clock
    log: Log
    realm: Realm

    async def note(self, uow: UnitOfWork, type_: LeafType, person_id: str, /, **details: str | None) -> None:
        """One fact and its leaf: a salted commitment to the canonical JSON of person, time and details.

        ``details``: ids, states, digests; never a name, a number or an address.
        """
        fact_id, at, salt = new_id(self.clock), self.clock.now(), random_bytes(32)
        said = {name: value for name, value in details.items() if value is not None}
        whole = {"d": "dauso/enrolment/v1", "type": type_.value, "person": person_id, "at": at.isoformat(), **said}
        values = {"id": fact_id, "person_id": person_id, "realm": self.realm, "type": type_, "at": at,
                  "details": whole, "salt": salt}  # fmt: skip
        await uow.execute(fact_table.insert(), values)
        digest = hashlib.sha256(canonical_json.encode(whole)).digest()
        leaf = Leaf(
            type=type_, time=at, tenant_id=self.realm.value, event_id=f"{fact_id}.{type_.value}",
            doc_commit=commit(salt, digest), digest_alg="sha256",
        )  # fmt: skip
        await self.log.append(uow, leaf)
