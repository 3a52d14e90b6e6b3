"""``dauso demo``: the main job on a sample, then addresses with which a newcomer can walk every page. No network."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from api import bootstrap
from api.cli import demo
from api.roles import ProcessRole
from core.settings import Settings
from signer.copies import store
from tests.api.cli.test_commands import dauso, rows
from tests.flows.phones import give_phone

ROLES = ["certifier", "clerk", "administrator", "administrator"]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """(home, what it said as JSON, what a person sees the second time)."""
    home = tmp_path_factory.mktemp("demo") / "home"
    (said,) = rows(dauso(home, "demo", "--no-serve", "--json"))
    return home, said, dauso(home, "demo", "--no-serve").stdout


def test_it_does_not_use_up_the_cards_of_a_signer_and_leaves_nothing(tmp_path):
    env = {
        "DAUSO_KEYS": "transit",
        "DAUSO_VAULT_URL": "http://127.0.0.1:1",
        "DAUSO_VAULT_SECRET_ID_FILE": str(tmp_path / "card"),
    }
    (told,) = rows(dauso(tmp_path / "home", "demo", "--no-serve", "--json", code=1, env=env))
    assert told["error"] == "demo.no_cards"
    assert not (tmp_path / "home").exists()


def test_the_sample_is_certified_checked_and_named_training(shown):
    _, said, _ = shown
    assert (said["verdict"], said["realm"]) == ("genuine", "training")
    assert "TẬP HUẤN" in said["sentence"]
    assert Path(said["file"]).read_bytes().startswith(b"%PDF")
    assert (said["guide"], said["desk"]) == ("http://localhost:8000/training", "http://localhost:8000/desk")


def test_each_sample_official_has_two_ways_in_and_a_number_that_is_nobodys(shown):
    _, said, _ = shown
    assert [each["role"] for each in said["invited"]] == ROLES
    for each in said["invited"]:
        assert re.fullmatch(r"http://localhost:8000/desk/register#[A-Za-z0-9_-]{32}", each["desk"])
        assert re.fullmatch(r"http://sign\.localhost:8001/e/[A-Za-z0-9_-]{32}", each["sign"])
        assert each["number"].startswith("999")


def test_a_person_sees_whole_addresses_and_the_second_time_fresh_ones(shown):
    _, said, seen = shown
    lines = [line.strip() for line in seen.splitlines()]
    assert any(line.endswith("http://localhost:8000/training") for line in lines)
    for each in said["invited"]:
        assert any(each["name"] in line and each["number"] in line for line in lines)
        assert each["desk"] not in seen
    assert len(re.findall(r"(?m)desk/register#[A-Za-z0-9_-]{32}$", seen)) == len(ROLES)
    assert len(re.findall(r"(?m)/e/[A-Za-z0-9_-]{32}$", seen)) == len(ROLES)


def test_when_the_official_practises_with_a_phone_the_next_sample_waits_for_it(shown):
    home, said, _ = shown

    async def enrol() -> None:
        async with bootstrap.open_service(Settings(home=home), ProcessRole.SIGNER) as service:
            async with service.db.read() as uow:
                people = await service.directory.people(uow)
            official = next(person.id for person, _ in people if person.name == said["invited"][0]["name"])
            await give_phone(service, official)

    async def waiting() -> list[str]:
        async with bootstrap.open_service(Settings(home=home), ProcessRole.WEB) as service, service.db.read() as uow:
            return [copy.state for copy in await store.all_copies(uow)]

    asyncio.run(enrol())
    (again,) = rows(dauso(home, "demo", "--no-serve", "--json"))
    assert again["verdict"] == "genuine"
    assert asyncio.run(waiting()).count("awaiting_certifier") == 1


def test_it_is_no_way_to_make_samples_in_a_real_home(tmp_path):
    dauso(tmp_path / "real", "init", "--realm", "production")
    refused = dauso(tmp_path / "real", "demo", "--no-serve", "--json", code=1)
    assert json.loads(refused.stdout or refused.stderr)["error"] == "home.not_training"


def test_addresses_are_those_of_this_machine_unless_the_settings_name_others(tmp_path):
    here = demo._for_here(Settings(web_bind="127.0.0.1:9000", sign_bind="127.0.0.1:9001"), tmp_path)
    assert (here.url, here.sign_url, here.home) == (
        "http://localhost:9000", "http://sign.localhost:9001", tmp_path,
    )  # fmt: skip
    named = Settings(web_url="https://tap-huan.example/", sign_url="https://ky.example", home=tmp_path)
    there = demo._for_here(named, None)
    assert (there.url, there.sign_url, there.home) == ("https://tap-huan.example", "https://ky.example", tmp_path)
