"""Prepared reads: fresh each time, typed like any other."""

import sqlalchemy as sa

from core.directory.records import Directory, agency_table
from core.values import Realm


async def test_a_prepared_read_sees_what_was_committed_a_moment_ago_and_reads_types_alike(db, clock):
    t = agency_table.c
    statement = sa.select(t.code, t.name, t.wording, t.valid_from, t.valid_to).where(
        t.code == sa.bindparam("which"), t.realm == "training"
    )
    prepared = db.prepared(statement)
    assert await prepared.first(which="H1") is None
    async with db.write() as uow:
        await Directory(clock).add_agency(
            uow, realm=Realm.TRAINING, code="H1", name="UBND xã", parent="tỉnh", wording={"a": [1]}
        )
    row = await prepared.first(which="H1")
    assert (row.code, row.name, row.wording, row.valid_from, row.valid_to) == (
        "H1",
        "UBND xã",
        {"a": [1]},
        clock.now(),
        None,
    )
    async with db.write() as uow:
        await uow.execute(agency_table.update().values(name="UBND phường"))
    assert (await prepared.first(which="H1")).name == "UBND phường"
    assert await prepared.first(which="' OR 1=1 --") is None
    assert db.prepared(statement) is prepared
