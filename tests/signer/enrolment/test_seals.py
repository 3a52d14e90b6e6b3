"""At a start every seal's certificate is compared with its key, by a signature."""

import asyncio
import dataclasses

import pytest
import sqlalchemy as sa
import structlog

from core.errors import Broken, NotFound, Unavailable
from core.limits import LIMITS
from signer.enrolment.seals import SealProofs
from signer.keystores.model import KeyPurpose
from signer.keystores.registry import KeyState, Registry
from signer.keystores.uses import use_table
from tests.signer.requests.conftest import home, office  # noqa: F401 - fixtures


@pytest.fixture
async def proofs(office):  # noqa: F811
    return SealProofs(
        db=office.db, clock=office.clock, credentials=office.records.credentials, store=office.keys.booked
    )


async def state_of(office):  # noqa: F811
    async with office.db.read() as uow:
        seal = await office.records.credentials.of(uow, office.ids["agency"], KeyPurpose.SEAL)
        return seal, (await Registry(office.clock).find(uow, seal.key))


async def test_a_seal_whose_certificate_is_its_keys_stays_and_the_proof_is_booked(office, proofs):  # noqa: F811
    await asyncio.wait_for(proofs.prove_all(), 10)
    seal, key = await state_of(office)
    assert key.state is KeyState.ACTIVE
    async with office.db.read() as uow:
        t = use_table.c
        rows = (await uow.execute(sa.select(t.event).where(t.name == seal.key.name))).scalars().all()
    assert "startup" in rows


async def test_a_seal_with_another_keys_certificate_is_stopped(office, proofs):  # noqa: F811
    seal, key = await state_of(office)
    async with office.db.read() as uow:
        other = await office.records.credentials.of(uow, "report", KeyPurpose.REPORT)
    swapped = dataclasses.replace(seal, certificate=other.certificate)
    try:
        assert await proofs._prove(swapped) == ""
        _, now = await state_of(office)
        assert (now.state, now.why) == (KeyState.STOPPED, "credential.wrong_key")
    finally:
        async with office.db.write() as uow:
            await Registry(office.clock).resume(uow, key.id, "test")


async def test_a_store_that_is_away_is_waited_for(office, proofs, monkeypatch):  # noqa: F811
    monkeypatch.setitem(LIMITS, "keys.away_seconds", 0)
    real, calls = proofs.store, []

    class Away:
        name, not_for_production = real.name, real.not_for_production

        async def sign(self, *args, **kwargs):
            calls.append(args)
            if len(calls) < 3:
                raise Unavailable("key.sealed")
            return await real.sign(*args, **kwargs)

    await asyncio.wait_for(dataclasses.replace(proofs, store=Away()).prove_all(), 10)
    assert len(calls) == 3
    _, key = await state_of(office)
    assert key.state is KeyState.ACTIVE


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("key.denied", key="k"),
        Unavailable("key.no_such_store", store="transit:m"),
        NotFound("key.missing", key="k"),
    ],
)
async def test_a_start_with_a_wrong_login_mount_or_path_stops_no_seal(office, proofs, monkeypatch, error):  # noqa: F811
    monkeypatch.setitem(LIMITS, "keys.away_seconds", 0.01)
    real, mended = proofs.store, asyncio.Event()

    class Elsewhere:
        name, not_for_production = real.name, real.not_for_production

        async def sign(self, *args, **kwargs):
            if not mended.is_set():
                raise error
            return await real.sign(*args, **kwargs)

    with structlog.testing.capture_logs() as lines:
        proving = asyncio.create_task(dataclasses.replace(proofs, store=Elsewhere()).prove_all())
        await asyncio.sleep(0.3)
        _, key = await state_of(office)
        assert key.state is KeyState.ACTIVE and not proving.done()
        mended.set()
        await asyncio.wait_for(proving, 10)
    assert [line["code"] for line in lines if line["event"] == "seal.not_looked_at"] == [error.code]
    _, key = await state_of(office)
    assert key.state is KeyState.ACTIVE


async def test_a_key_that_is_gone_is_stopped_and_does_not_stop_the_others(office, proofs):  # noqa: F811
    class Gone:
        name, not_for_production = "software", True

        async def sign(self, *args, **kwargs):
            raise Broken("key.damaged", key="x")

    _, key = await state_of(office)
    try:
        await asyncio.wait_for(dataclasses.replace(proofs, store=Gone()).prove_all(), 10)
        _, now = await state_of(office)
        assert now.state is KeyState.STOPPED
    finally:
        async with office.db.write() as uow:
            await Registry(office.clock).resume(uow, key.id, "test")


async def test_the_signer_goes_on_when_every_seal_is_proven(office, proofs):  # noqa: F811
    """Work of a signer that ends would end the process."""
    serving = asyncio.create_task(proofs.serve())
    await asyncio.sleep(1)
    assert not serving.done()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
