"""Public lists keep step with the register: after a release, after a recall, after a new agency, near their end."""

import asyncio
import json

from api import bootstrap
from api.roles import ProcessRole
from core.formats import key_list, status_list
from core.formats.status_list import Status
from signer.copies import store
from signer.copies.publication import KEYS, published
from tests.api.portal.conftest import officer_of, paper
from tests.conftest import BentClock
from tests.flows import house, town


async def listed(service, client, name):
    answer = await client.get(f"/.well-known/{name}")
    return answer.content if answer.status_code == 200 else None


async def status_of(service, client, copy_id):
    async with service.db.read() as uow:
        copy = await store.get(uow, copy_id)
    keys = key_list.read(await listed(service, client, KEYS))
    data = await listed(service, client, f"qr-status/H1/{copy.status_year}")
    if data is None:
        return None
    return status_list.read(data, keys.keys[0].spki, "H1", copy.status_year).get(copy.status_index)


async def until(wanted, ask, seconds=10.0):
    for _ in range(int(seconds * 20)):
        if (seen := await ask()) == wanted:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(seen)


async def make(client, text="A"):
    body = json.dumps(paper(await officer_of(client)))
    answer = await client.post(
        "/api/v1/copies?wait=20", data={"request": body}, files=[("file", ("s.jpg", town.scan(text), "image/jpeg"))]
    )
    return answer.json()["id"]


async def test_lists_follow_releases_recalls_and_new_agencies_without_being_asked(tmp_path):
    settings = await town.build(tmp_path)
    _, key = await house.add_client(settings, "H1")
    async with house.signer_here(settings) as service, house.web_here(settings) as (_, client):
        client.headers["authorization"] = f"Bearer {key}"
        copy = await make(client)
        await until(Status.VALID, lambda: status_of(service, client, copy))
        people = (await client.get("/api/v1/agencies/H1/people")).json()["items"]
        official = next(p["id"] for p in people if p["roles"][0]["role"] == "certifier")
        await client.post(f"/api/v1/copies/{copy}/recall", json={"reason": "sai", "by": official})
        assert await status_of(service, client, copy) is Status.RECALLED  # when the recall answers, the list says so
        other = await make(client, "B")
        heir = await make(client, "C")
        await client.post(f"/api/v1/copies/{other}/recall", json={"reason": "sai", "by": official, "successor": heir})
        assert await status_of(service, client, other) is Status.SUPERSEDED
        third = await make(client, "D")
        again = await client.post(
            f"/api/v1/copies/{third}/recall", json={"reason": "sai", "by": official, "successor": other}
        )
        assert again.json()["code"] == "copy.bad_successor"  # a recalled copy takes no other's place


async def test_a_list_near_its_end_is_signed_anew_and_two_publishers_do_not_stop_a_recall(tmp_path):
    settings = await town.build(tmp_path)
    clock = BentClock(town.at(1_795_600_000))
    async with bootstrap.open_service(settings, ProcessRole.SIGNER, clock) as service:
        await service.parts().notices._refresh()
        async with service.db.read() as uow:
            first = await published(uow, KEYS)
        clock.move(hours=20)
        await service.parts().notices._refresh()
        async with service.db.read() as uow:
            second = await published(uow, KEYS)
        assert second.sequence > first.sequence
        assert second.next_update > first.next_update
        async with service.db.read() as uow:
            agency = await service.directory.agency(uow, "H1")
        await asyncio.gather(*(service.parts().notices.now(agency.id, 2026) for _ in range(4)))
        async with service.db.read() as uow:
            assert (await published(uow, "qr-status-H1-2026")).sequence >= 4
        await service.enrolment.agency(code="H7", name="UBND xã Mới", parent="tỉnh")
        await service.parts().notices._refresh()
        async with service.db.read() as uow:
            keys = key_list.read((await published(uow, KEYS)).body)
        assert {k.agency for k in keys.keys} == {"H1", "H7"}
