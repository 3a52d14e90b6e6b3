"""``kill -9`` between any two numbered steps, then restart: the copy goes on; one number, nothing unlogged."""

import sqlalchemy as sa

from api import bootstrap
from api.checking import Checker
from api.roles import ProcessRole
from audit.records import entry_table as log_entry
from core.formats import canonical_json
from signer.copies import store
from signer.copies.register import entry_table
from signer.records import order_table
from tests.flows import town
from verification.report import Verdict

CEREMONY = ("approve", "check", "spend", "sign", "stamp", "embed", "record")
STEPS = [
    "attest", "compose", "prepare", *(f"certifier.{s}" for s in CEREMONY), "prepare_seal", *(f"seal.{s}" for s in CEREMONY),
    "evidence", "self_check", "release",
]  # fmt: skip


async def test_every_copy_survives_a_kill_at_every_step(tmp_path, database_url, nursery):
    home = tmp_path / "home"
    settings = await town.build(home, database_url)

    def child(step):
        return nursery.bear("tests.flows.kill_child:main", str(home), database_url, step)

    for step in STEPS:
        died = child(step)
        assert died.wait(120) == -9, (step, died.said)
    resumed = child("resume")
    assert resumed.wait(120) == 0, resumed.said

    async with bootstrap.open_service(settings, ProcessRole.WEB) as service:
        async with service.db.read() as uow:
            copies = await store.all_copies(uow)
            numbers = (
                (await uow.execute(sa.select(entry_table.c.number).order_by(entry_table.c.number))).scalars().all()
            )
            orders = (await uow.execute(sa.select(order_table))).all()
            leaves = [canonical_json.decode(e) for e in (await uow.execute(sa.select(log_entry.c.entry))).scalars()]
        released = [await service.documents.get(c.released) for c in copies]
    assert [c.state for c in copies] == ["released"] * len(STEPS)
    assert list(numbers) == list(range(1, len(STEPS) + 1))
    assert all(c.receipt for c in copies)
    events = {leaf["event_id"] for leaf in leaves}
    for order in orders:
        assert order.state == "made"
        assert {f"{order.id}.key_use_intended", f"{order.id}.signature_made"} <= events
    assert all(f"{c.id}.copy_released" in events for c in copies)
    async with Checker.open(settings, []) as checker:
        for document in released[:3]:
            assert (await checker.check(document)).verdict is Verdict.GENUINE
