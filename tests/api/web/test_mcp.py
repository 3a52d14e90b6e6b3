"""Assistants ask through the protocol's own client, over HTTP."""

import asyncio
import json

import httpx2
import pytest
from mcp import Client

from api.web.handles import Handles
from core.messages import sentence
from tests.api.portal.conftest import paper
from tests.flows import house, town


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    """(url, a released copy as its portal sees it, that portal's client)."""
    home = asyncio.run(town.build(tmp_path_factory.mktemp("mcp")))
    _, key = asyncio.run(house.add_client(home, "H1"))
    with house.processes(home.home) as (url, _):
        with httpx2.Client(base_url=f"{url}/api/v1", headers={"authorization": f"Bearer {key}"}, timeout=60) as portal:
            officer = portal.get("/agencies/H1/people").json()["items"][0]["id"]
            file = portal.post("/files", content=town.scan()).json()["file"]
            made = portal.post("/copies?wait=20", json=paper(officer, files=[file])).json()
            assert made["state"] == "released", made
            yield url, made, portal


async def ask(url, tool, **given):
    async with Client(f"{url}/mcp") as client:
        return await client.call_tool(tool, given)


async def test_the_tools_are_read_only_and_four(door):
    async with Client(f"{door[0]}/mcp") as client:
        tools = (await client.list_tools()).tools
    assert {t.name for t in tools} == {"check_code", "check_file_digest", "state_of_request", "which_office_certifies"}
    assert all(t.annotations.read_only_hint for t in tools)


async def test_a_valid_code_is_to_be_compared_and_never_called_genuine(door):
    url, made, _ = door
    said = (await ask(url, "check_code", code=made["code"].lower())).structured_content
    assert said["state"] == "valid"
    assert sentence("page.caution", "vi").rstrip(".") in said["sentence"]
    assert said["facts"]["agency"] == "UBND xã Đường Lâm"
    text = json.dumps(said, ensure_ascii=False)
    assert "genuine" not in text
    assert "Phạm Thị Ổn" not in text


async def test_every_code_that_is_none_gets_the_same_answer(door):
    found = []
    for code in ("0000-0000-0000-0000", "x", "", "\0", "A" * 5000, "'; --"):
        said = dict((await ask(door[0], "check_code", code=code)).structured_content)
        said.pop("checked_at")
        found.append(said)
    assert found[0]["state"] == "invalid"
    assert all(each == found[0] for each in found)


async def test_a_digest_finds_a_released_file_and_nothing_else(door):
    url, made, _ = door
    said = (await ask(url, "check_file_digest", sha256=made["sha256"])).structured_content
    assert (said["state"], said["facts"]["agency_code"]) == ("released", "H1")
    for other in ("0" * 64, "zz", ""):
        assert (await ask(url, "check_file_digest", sha256=other)).structured_content["state"] == "unknown"


async def test_a_handle_opens_the_state_of_its_request_and_an_id_does_not(door):
    url, made, _ = door
    said = (await ask(url, "state_of_request", handle=made["handle"])).structured_content
    assert said["state"] == "released"
    assert made["id"] not in made["handle"]
    changed = made["handle"][:-4] + ("AAAA" if made["handle"][-4:] != "AAAA" else "BBBB")
    for other in (made["id"], changed, "h1_", "", "h1_" + "é" * 20):
        assert (await ask(url, "state_of_request", handle=other)).structured_content["state"] == "unknown"


async def test_an_office_is_found_without_accents_and_without_its_people(door):
    said = (await ask(door[0], "which_office_certifies", query="duong lam")).structured_content
    assert [office["code"] for office in said["offices"]] == ["H1"]
    assert "Lê Thị Hữu" not in json.dumps(said, ensure_ascii=False)
    assert (await ask(door[0], "which_office_certifies", query="không có")).structured_content["offices"] == []


async def test_a_recalled_copy_says_so_at_once(door):
    url, made, portal = door
    people = portal.get("/agencies/H1/people").json()["items"]
    official = next(p["id"] for p in people if p["roles"][0]["role"] == "certifier")
    portal.post(f"/copies/{made['id']}/recall", json={"reason": "sai tên", "by": official}).raise_for_status()
    for tool, given in (("check_code", {"code": made["code"]}), ("check_file_digest", {"sha256": made["sha256"]})):
        said = (await ask(url, tool, **given)).structured_content
        assert (said["state"], said["recall"]["reason"]) == ("revoked", "sai tên")
    assert (await ask(url, "state_of_request", handle=made["handle"])).structured_content["state"] == "recalled"


async def test_a_wrong_call_is_an_answer_not_a_failure(door):
    url, _, _ = door
    for tool, given in (("make_copy", {}), ("check_code", {}), ("check_code", {"code": 5})):
        assert (await ask(url, tool, **given)).is_error
    for body in (b"", b"{", b"[]", b"null", b'{"jsonrpc":"2.0"}', b"[" * 20_000, b"\xff"):
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        answer = httpx2.post(f"{url}/mcp", content=body, headers=headers)
        assert 400 <= answer.status_code < 500, body
    assert httpx2.get(f"{url}/mcp").status_code == 405
    foreign = {**headers, "origin": "https://evil.example"}
    assert httpx2.post(f"{url}/mcp", content=b"{}", headers=foreign).status_code == 403


def test_handles_of_another_key_do_not_open():
    mine, other = Handles(b"k" * 32), Handles(b"o" * 32)
    assert mine.read(mine.write("a" * 26)) == "a" * 26
    assert other.read(mine.write("a" * 26)) is None
    assert mine.write("a" * 26) == Handles(b"k" * 32).write("a" * 26)
