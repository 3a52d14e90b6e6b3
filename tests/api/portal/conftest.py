"""One town with its signer at work, and a portal's client that may do everything."""

import asyncio
import datetime as dt

import pytest

from tests.flows import house, town


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A training town, made once a module."""
    return asyncio.run(town.build(tmp_path_factory.mktemp("portal")))


@pytest.fixture
async def open_house(home):
    """(parts, client with an API key, service of the signer)."""
    client_id, key = await house.add_client(home, "H1")
    async with house.signer_here(home) as signer, house.web_here(home) as (parts, client):
        client.headers["authorization"] = f"Bearer {key}"
        client.client_id = client_id
        yield parts, client, signer


def paper(officer: str, **change):
    """A request as a portal sends it, without files."""
    return {
        "agency": "H1", "kind": "Giấy khai sinh", "original_number": "45/2001", "requester": "Phạm Thị Ổn", "fee": 4000,
        "scan": {"officer": officer, "device": "máy quét", "scanned_at": dt.datetime(2026, 11, 25, tzinfo=dt.UTC).isoformat()},
        **change,
    }  # fmt: skip


async def officer_of(client) -> str:
    """Any person of the agency."""
    found = (await client.get("/api/v1/agencies/H1/people")).json()["items"]
    return found[0]["id"]
