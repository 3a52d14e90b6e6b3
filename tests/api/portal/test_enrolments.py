"""A portal brings a person in: a link for that person alone, and whether the person can sign by now."""

import pytest

from api.clients.model import Scope
from core.values import Realm
from tests.flows import house, phones, town

PATH = "/api/v1/enrolments"
ON = {"national_id": "001085000017", "name": "Phạm Thị Ổn"}


@pytest.fixture
async def portal(tmp_path):
    """(client, signer, settings) of a production town."""
    settings = await town.build(tmp_path, realm=Realm.PRODUCTION)
    _, key = await house.add_client(settings, "H1")
    async with house.signer_here(settings) as service, house.web_here(settings) as (_, client):
        client.headers["authorization"] = f"Bearer {key}"
        yield client, service, settings


async def test_a_person_gets_a_link_and_reads_as_none_until_enrolled(portal):
    client, service, settings = portal
    made = (await client.post(PATH, json={"agency": "H1", "person": ON})).json()
    assert made["link"].startswith(f"{settings.sign_url}/e/")
    assert "001085" not in str(made)
    standing = (await client.get(f"{PATH}/{made['person']}")).json()
    assert standing == {"state": "none", "usable_from": None}
    again = (await client.post(PATH, json={"agency": "H1", "person": {"id": made["person"]}})).json()
    assert again["person"] == made["person"]
    assert again["link"] != made["link"]
    person, _ = await phones.enrol_person(service, ON["name"], ON["national_id"])
    assert person == made["person"]
    assert (await client.get(f"{PATH}/{person}")).json()["state"] == "active"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"agency": "H1"}, "web.invalid"),
        ({"agency": "H1", "person": {"national_id": "001085000017"}}, "web.invalid"),
        ({"agency": "H1", "person": {**ON, "id": "0" * 26}}, "web.invalid"),
        ({"agency": "H1", "person": {"national_id": "12", "name": "A"}}, "web.invalid"),
        ({"agency": "H9", "person": ON}, "directory.no_such_agency"),
        ({"agency": "H1", "person": {"id": "0" * 26}}, "directory.no_such_person"),
        ({"agency": "H1", "person": ON, "vouched": {"level": "any", "email": "a@b.vn", "subject": "s"}}, "enrol.level"),
    ],
)
async def test_what_cannot_be_brought_in_is_refused_by_name(portal, body, code):
    client, _, _ = portal
    answer = await client.post(PATH, json=body)
    assert (answer.status_code >= 400, answer.json()["code"]) == (True, code)


async def test_officials_are_nobodys_to_bring_in_and_a_reader_brings_in_nobody(portal):
    client, _, settings = portal
    official = (await client.get("/api/v1/agencies/H1/people")).json()["items"][0]["id"]
    answer = await client.post(PATH, json={"agency": "H1", "person": {"id": official}})
    assert answer.json()["code"] == "directory.no_such_person"
    assert (await client.get(f"{PATH}/{official}")).json()["code"] == "directory.no_such_person"
    _, key = await house.add_client(settings, "H1", scopes=(Scope.SIGNATURES_READ,))
    client.headers["authorization"] = f"Bearer {key}"
    assert (await client.post(PATH, json={"agency": "H1", "person": ON})).json()["code"] == "web.no_scope"
