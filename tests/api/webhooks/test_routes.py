"""The portal's routes: own endpoints only, secrets shown once, the feed of one's agencies."""

import datetime as dt
import json
from types import SimpleNamespace

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError

from api.clients.model import Scope
from api.portal.webhooks import router
from api.web.access import Access
from api.web.pace import Pace
from api.web.problems import on_error, on_invalid
from audit.outbox import EventType
from core.errors import ServiceError
from core.limits import LIMITS
from core.sealed import Box
from tests.api.webhooks.conftest import AGENCY

SCOPES = [Scope.WEBHOOKS_WRITE, Scope.EVENTS_READ]


@pytest.fixture
async def door(post, clock):
    """The router alone, over the post office's database; a function that calls it as ``post.client`` or another."""
    app = FastAPI()
    app.include_router(router, prefix="/api/v1")
    app.add_exception_handler(ServiceError, on_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.state.parts = SimpleNamespace(
        service=SimpleNamespace(
            db=post.db, clock=clock, settings=SimpleNamespace(outbound_private=f"{post.receiver.place}, other:80")
        ),
        clients=post.clients, pace=Pace(clock), box=Box(bytes(32), "webhooks"), answers=Box(bytes(32), "answers"),
    )  # fmt: skip
    mine = await post.clients.new_secret(post.client.id, overlap=dt.timedelta())
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://door/api/v1") as http:

        async def call(method, path, key=mine, **more):
            return await http.request(method, path, headers={"authorization": f"Bearer {key}"}, **more)

        yield call


async def make(post, door, **change):
    answer = await door("POST", "/webhooks", json={"url": post.receiver.url, **change})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def stranger(post, scopes=SCOPES, agency=AGENCY):
    other = await post.clients.add("Cổng khác", [agency], scopes)
    return await post.clients.new_secret(other.id, dt.timedelta())


async def test_an_endpoint_is_made_shown_changed_and_deleted(post, door):
    made = await make(post, door, types=["copy.released"])
    assert made["secret"].startswith("whsec_")
    path = f"/webhooks/{made['id']}"
    shown = (await door("GET", path)).json()
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert (await door("GET", "/webhooks")).json() == {"items": [shown]}
    changed = (await door("PATCH", path, json={"types": [], "url": "https://portal.example/hook"})).json()
    assert (changed["types"], changed["url"]) == ([], "https://portal.example/hook")
    assert (await door("DELETE", path)).status_code == 204
    assert (await door("GET", path)).status_code == 404


async def test_a_secret_is_shown_once_and_kept_nowhere_on_the_way(post, door):
    answer = await door("POST", "/webhooks", json={"url": post.receiver.url, "scheme": "v1a"})
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["secret"].startswith("whpk_")
    assert answer.headers["location"] == f"/api/v1/webhooks/{answer.json()['id']}"
    rotated = await door("POST", f"/webhooks/{answer.json()['id']}/rotate", json={"overlap_hours": 0})
    assert rotated.json()["secret"] != answer.json()["secret"]
    assert rotated.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("body", "status"),
    [({"url": "http://portal.example/hook"}, 400), ({"url": "http://other:81/"}, 400), ({"url": "ftp://portal.example/"}, 400),
     ({"url": "https://user:pw@portal.example/"}, 400), ({"url": "https://a.vn/" + "x" * 2000}, 422), ({"url": ""}, 400),
     ({}, 422), ({"url": "https://a.vn", "types": ["copy.born"]}, 422), ({"url": "https://a.vn", "scheme": "v2"}, 422),
     ({"url": "https://a.vn", "secret": "mine"}, 422)],
)  # fmt: skip
async def test_what_is_no_endpoint_is_refused(post, door, body, status):
    assert (await door("POST", "/webhooks", json=body)).status_code == status
    assert (await door("GET", "/webhooks")).json() == {"items": []}


async def test_an_endpoint_cannot_be_moved_to_the_clear_either(post, door):
    made = await make(post, door)
    answer = await door("PATCH", f"/webhooks/{made['id']}", json={"url": "http://portal.example/"})
    assert (answer.status_code, answer.json()["code"]) == (400, "webhook.not_https")


async def test_another_clients_endpoint_does_not_exist(post, door):
    made = await make(post, door)
    await post.happen("copy-1")
    await post.courier.fan_out()
    endpoint = f"/webhooks/{made['id']}"
    [delivery] = (await door("GET", f"{endpoint}/deliveries")).json()["items"]
    key = await stranger(post)
    calls = [
        ("GET", endpoint, None), ("PATCH", endpoint, {"active": False}), ("DELETE", endpoint, None),
        ("POST", f"{endpoint}/rotate", {}), ("POST", f"{endpoint}/test", None), ("GET", f"{endpoint}/deliveries", None),
        ("POST", f"{endpoint}/deliveries/{delivery['id']}/replay", None),
        ("POST", f"{endpoint}/replay", {"since": "2026-01-01T00:00:00Z"}),
    ]  # fmt: skip
    for method, path, body in calls:
        answer = await door(method, path, key=key, json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "webhook.no_such_endpoint"), path
    assert (await door("GET", "/webhooks", key=key)).json() == {"items": []}
    assert (await door("GET", endpoint)).json()["active"] is True


@pytest.mark.parametrize("strange", ["x", "%00" * 26, "A" * 26, "..%2f..%2fetc"])
async def test_an_id_that_cannot_be_one_is_refused_at_the_door(door, strange):
    assert (await door("GET", f"/webhooks/{strange}")).status_code in {404, 422}


async def test_every_route_asks_for_a_scope(post, door):
    for route in router.routes:
        [access] = [d.call for d in route.dependant.dependencies if isinstance(d.call, Access)]
        assert access.scope == (Scope.EVENTS_READ if route.path == "/events" else Scope.WEBHOOKS_WRITE)
    key = await stranger(post, [Scope.VERIFY])
    assert (await door("GET", "/webhooks", key=key)).json()["code"] == "web.no_scope"
    assert (await door("GET", "/events", key=key)).json()["code"] == "web.no_scope"


async def test_off_and_on_again(post, door):
    path = f"/webhooks/{(await make(post, door))['id']}"
    off = (await door("PATCH", path, json={"active": False})).json()
    assert (off["active"], off["disabled_code"]) == (False, "webhook.by_owner")
    refused = await door("POST", f"{path}/test")
    assert (refused.status_code, refused.json()["code"]) == (409, "webhook.disabled")
    assert (await door("PATCH", path, json={"active": True})).json()["disabled_code"] is None


async def test_a_try_a_failure_and_a_replay_stand_in_the_log(post, door):
    path = f"/webhooks/{(await make(post, door))['id']}"
    post.receiver.answers = [(500, {}), (200, {})]
    assert (await door("POST", f"{path}/test")).status_code == 202
    await post.courier.hand_over()
    assert await post.jobs.settle(10)
    [failed] = (await door("GET", f"{path}/deliveries?state=failed")).json()["items"]
    assert (failed["type"], failed["code"], failed["due_at"]) == ("webhook.test", "webhook.not_taken", None)
    assert [(a["n"], a["status"]) for a in failed["attempts"]] == [(1, 500)]
    replay = f"{path}/deliveries/{failed['id']}/replay"
    assert (await door("POST", replay)).json() == {"replayed": 1}
    assert (await door("POST", replay)).json()["code"] == "webhook.under_way"
    await post.courier.hand_over()
    assert await post.jobs.settle(10)
    [done] = (await door("GET", f"{path}/deliveries")).json()["items"]
    assert (done["state"], [a["status"] for a in done["attempts"]]) == ("delivered", [500, 200])
    assert (await door("POST", f"{path}/replay", json={"since": "2026-01-01T00:00:00Z"})).json() == {"replayed": 0}
    assert (await door("POST", f"{path}/replay", json={"since": "2026-01-01T00:00:00"})).status_code == 422  # no zone
    assert (await door("GET", f"{path}/deliveries?state=lost")).status_code == 422


async def test_the_log_comes_in_pages(post, door):
    path = f"/webhooks/{(await make(post, door))['id']}/deliveries"
    await post.happen(*(f"copy-{n}" for n in range(5)))
    await post.courier.fan_out()
    seen, after = [], ""
    for _ in range(3):
        page = (await door("GET", f"{path}?limit=2{after}")).json()
        seen += [item["id"] for item in page["items"]]
        after = f"&after={page['next']}"
    assert page["next"] is None
    assert len(set(seen)) == 5
    assert seen == sorted(seen, reverse=True)
    assert (await door("GET", f"{path}?limit={LIMITS['web.page'] + 1}")).status_code == 422


async def test_the_feed_goes_on_from_its_number_and_shows_ones_agencies_only(post, door):
    await post.happen("copy-1", "copy-2")
    await post.happen("copy-1", type_=EventType.COPY_RECALLED, successor="c" * 26)
    await post.happen("copy-9", agency="b" * 26)
    first = (await door("GET", "/events?limit=2")).json()
    rest = (await door("GET", f"/events?after={first['next']}")).json()
    assert [e["data"]["copy_id"] for e in first["items"] + rest["items"]] == ["copy-1", "copy-2", "copy-1"]
    assert rest["items"][0]["data"]["successor"] == "c" * 26
    assert (await door("GET", f"/events?after={rest['next']}")).json() == {
        "items": [], "next": rest["next"], "webhooks_disabled": []
    }  # fmt: skip
    recalled = (await door("GET", "/events?type=copy.recalled&type=copy.voided")).json()["items"]
    assert [e["type"] for e in recalled] == ["copy.recalled"]
    other = await stranger(post, agency="b" * 26)
    assert [e["data"]["copy_id"] for e in (await door("GET", "/events", key=other)).json()["items"]] == ["copy-9"]


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", f"after={2**63}", "type=copy.born", "limit=0", "limit=100000"]
)
async def test_a_strange_question_to_the_feed_is_refused(door, query):
    assert (await door("GET", f"/events?{query}")).status_code == 422


async def test_the_feed_and_the_webhook_tell_the_same(post, door):
    await make(post, door)
    await post.happen("copy-1")
    await post.courier.fan_out()
    await post.courier.hand_over()
    assert await post.jobs.settle(10)
    [event] = (await door("GET", "/events")).json()["items"]
    sent = json.loads(post.receiver.bodies[0])
    assert {name: event[name] for name in ("type", "timestamp", "data")} == sent
    assert post.receiver.heard[0]["webhook-id"] == event["id"]


async def test_the_feed_tells_which_webhook_is_off_and_why(post, door):
    made = await make(post, door)
    post.receiver.answers = [(410, {})]
    await post.happen("copy-1")
    await post.courier.fan_out()
    await post.courier.hand_over()
    assert await post.jobs.settle(10)
    [off] = (await door("GET", "/events")).json()["webhooks_disabled"]
    assert (off["id"], off["disabled_code"]) == (made["id"], "webhook.gone")
