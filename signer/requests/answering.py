"""What the person says: yes with a passkey, or no with a reason. Each stands or falls in one transaction."""

from audit.outbox import EventType
from core.db import UnitOfWork
from core.errors import Conflict
from signer.activation import redeem
from signer.activation.passkeys import Assertion
from signer.requests import store
from signer.requests.ending import require_idle, settle
from signer.requests.making import require_text
from signer.requests.model import RequestStep
from signer.requests.opening import require_mine
from signer.requests.parts import Parts, tell
from signer.requests.records import step_table
from signer.requests.rights import require_may

__all__ = ["approve", "refuse"]


async def approve(parts: Parts, step_id: str, person_id: str, tx: str, assertion: Assertion) -> None:
    """The approval of exactly what was opened, in time and inside its lease; exactly one answer wins.

    Raises ``request.*``, ``directory.*``, ``activation.*``: then nothing is changed.
    """
    async with parts.signing.db.write() as uow:
        view = await store.locked(uow, step_id=step_id)
        step, now = view.step(step_id), parts.clock.now()
        require_mine(view, step, person_id, now)
        if step.activation_tx != tx or step.state != "open" or not step.leased(now):
            raise Conflict("request.lease_ended", step=step.id)
        await require_may(uow, parts, realm=view.realm, agency_id=view.agency_id, kind=step.kind, person_id=person_id)
        await redeem.approve(uow, parts.clock, parts.signing.relying_party, tx, assertion)
        await store.move_step(uow, step, "approved", approved_at=now)
        await store.touch(uow, view)


async def refuse(parts: Parts, step_id: str, person_id: str, reason: str) -> None:
    """No: the request ends with it, and nothing that was signed before is given out. Raises ``request.*``."""
    why = require_text(reason, "reason")
    async with parts.signing.db.write() as uow:
        view = await store.locked(uow, step_id=step_id)
        step, now = view.step(step_id), parts.clock.now()
        require_mine(view, step, person_id, now)
        require_idle(view, now)
        version = await settle(uow, parts, view, "refused", {"step": step.id, "why": why}, why=why)
        await _mark(uow, step, why)
        await tell(uow, parts, view, version, EventType.REQUEST_REFUSED, step.id)


async def _mark(uow: UnitOfWork, step: RequestStep, why: str) -> None:
    """Whose no it was."""
    t = step_table.c
    await uow.execute(step_table.update().where(t.id == step.id).values(state="refused", why=why))
