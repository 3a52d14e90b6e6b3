"""What explains an operation that is no signature: a decision of two administrators, or that it sets what our servers hold anyway."""

import datetime as dt
from typing import Any, Final

import sqlalchemy as sa

from audit.keyuse.model import Inputs, Operation, Permit
from core.db import Database
from signer.credentials import credential_table
from signer.keystores.policies import bundle_sha256
from signer.keystores.prepared import Prepared
from signer.keystores.records import import_table, key_table, policy_table, work_table
from signer.keystores.registry import NEVER_OWNED

__all__ = ["Permits"]

_STEPS: Final = {
    "disable": frozenset({"soft-delete", "rotate", "config"}), "destroy": frozenset({"soft-delete", "rotate", "config", "delete"}),
}  # fmt: skip
"""What an act of two administrators is done by, with either product; a destruction ends first what was restored."""
_SKEW: Final = dt.timedelta(seconds=5)
_WORK: Final = sa.select(work_table.c.id).join(key_table, key_table.c.id == work_table.c.key_id)
_NOBODYS: Final = (
    work_table.c.decision_id.is_(None), key_table.c.why == NEVER_OWNED,
    ~sa.exists().where(credential_table.c.key.like('%"' + key_table.c.name + '"%')),
)  # fmt: skip
"""The end of a key that was made, and that no credential ever named: nobody can miss it."""


class Permits:
    """Of one store."""

    def __init__(self, db: Database, prepared: Prepared, store: str) -> None:
        self._db, self._prepared, self._store = db, prepared, store

    async def permitted(self, operation: Operation, hashes: Inputs) -> Permit | None:
        """None for nothing: then it is a finding."""
        if operation.data is not None:
            permit = await self._prepared_for(operation, hashes)
            if permit is not None or operation.kind != "config":
                return permit
        k, w, i = key_table.c, work_table.c, import_table.c
        decision = ""
        acts = [act for act, steps in _STEPS.items() if operation.kind in steps and _fits(operation, act)]
        if acts:
            ordered = (
                k.store == self._store, k.place == operation.place, k.name == operation.name,
                w.act.in_(acts), w.ordered_at <= operation.at + _SKEW,
                sa.or_(w.done_at.is_(None), w.done_at >= operation.at - _SKEW),
            )  # fmt: skip
            decision = await self._one(
                _WORK.with_only_columns(w.decision_id).where(*ordered, w.decision_id.is_not(None))
            )
            if not decision and (work := await self._one(_WORK.where(*ordered, *_NOBODYS))):
                return Permit("keyuse.never_owned", work)
        if operation.kind in {"import", "wrapping_key"}:
            named = sa.literal(operation.name).startswith(i.purpose + "-" + i.id + ".")
            decision = await self._one(sa.select(i.id).where(
                named if operation.kind == "import" else sa.true(),
                i.decided_at <= operation.at + _SKEW, i.expires_at >= operation.at - _SKEW,
                sa.or_(i.used_at.is_(None), i.used_at >= operation.at - _SKEW),
            ))  # fmt: skip
        return Permit("keyuse.decided", decision) if decision else None

    async def _prepared_for(self, operation: Operation, hashes: Inputs) -> Permit | None:
        """A call whose body, string by string, is one that a ceremony sends there; a policy also as it was decided by then."""
        for call in self._prepared.calls(operation.path):
            if operation.data not in (await hashes.shown(call.body), await hashes.shown(call.body, numbers=True)):
                continue
            decided = await self._policies_at(operation.at + _SKEW) if call.bundle else None
            if decided is None:
                return Permit("keyuse.as_prepared")
            if decided.sha256 == bundle_sha256(call.bundle):
                return Permit("keyuse.decided", decided.id)
        return None

    async def _policies_at(self, at: dt.datetime) -> Any:
        """The decision that held then; None before the first."""
        t = policy_table.c
        query = sa.select(t.id, t.sha256).where(t.store == self._store, t.decided_at <= at)
        async with self._db.read() as uow:
            return (await uow.execute(query.order_by(t.decided_at.desc(), t.id.desc()).limit(1))).first()

    async def _one(self, query: sa.Select[Any]) -> str:
        async with self._db.read() as uow:
            return (await uow.execute(query.limit(1))).scalar_one_or_none() or ""


def _fits(operation: Operation, act: str) -> bool:
    """Of a key's settings an act changes one, and nothing beside it: least of all whether the key may be taken out."""
    if operation.kind != "config":
        return True
    names = set(operation.data or {})
    return names == {"min_encryption_version"} or (act == "destroy" and operation.data == {"deletion_allowed": True})
