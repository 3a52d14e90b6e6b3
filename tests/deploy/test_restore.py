"""docs/operate/keys.md, "Restore": an older database freezes the log; what the guide types lets it go on, and nothing less."""

import asyncio
import json
import logging
import re
import shlex
import shutil
import subprocess
import uuid
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from api import bootstrap
from api.cli.app import app
from api.roles import ProcessRole
from audit.events import Leaf, LeafType, commit
from core.errors import Broken, Unavailable
from core.ids import new_id
from core.values import Realm
from tests.api.cli.test_commands import runner
from tests.deploy.kit import ROOT
from tests.flows import town

PAGE = ROOT / "docs/operate/keys.md"
TWO = "Nguyễn Văn Mẫu; Lê Thị Hữu"


async def _leaves(settings, count):
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        log = service.copies.signing.log
        for _ in range(count):
            leaf = Leaf(type=LeafType.DECISION_APPLIED, time=service.clock.now(), tenant_id="h1", event_id=new_id(service.clock),
                        doc_commit=commit(b"s" * 32, b"x"), digest_alg="sha256")  # fmt: skip
            async with service.db.write() as uow:
                await log.append(uow, leaf)
        return await log.sequence()


async def _require_frozen(settings):
    with pytest.raises(Broken) as frozen:
        await _leaves(settings, 1)
    assert frozen.value.code == "log.frozen"


@pytest.fixture(params=["sqlite", "postgresql"])
async def restored(request, tmp_path):
    """Settings of a home of two leaves, whose mark stands at five: the three newest went with the old disk."""
    if request.param == "sqlite":
        settings = await town.build(tmp_path / "home")
        await _leaves(settings, 2)
        database = settings.home / "db" / "dauso.db"
        shutil.copy(database, tmp_path / "backup.db")
        await _leaves(settings, 3)
        for each in database.parent.glob("dauso.db-*"):
            each.unlink()
        shutil.copy(tmp_path / "backup.db", database)
        return settings
    make, name = request.getfixturevalue("postgres"), "r" + uuid.uuid4().hex[:12]
    settings = await town.build(tmp_path / "home", make(name))
    await _leaves(settings, 2)
    backup = make(f"{name}b", name)
    await _leaves(settings, 3)
    return settings.model_copy(update={"database_url": backup})


def _environment(settings):
    return {"DAUSO_HOME": str(settings.home), "DAUSO_DATABASE_URL": settings.database_url}


def _shell(settings, line, typed=""):
    """As it stands in the guide, typed into a shell."""
    env = town.environment() | _environment(settings)
    return subprocess.run(
        shlex.split(line), cwd=settings.home.parent, env=env, input=typed, capture_output=True, text=True
    )


async def _dauso(settings, line, typed="", **env):
    """The same in this process, which is faster."""
    words, env = shlex.split(line)[1:], _environment(settings) | env
    told = await asyncio.to_thread(runner.invoke, app, words, input=typed, env=env)
    logging.getLogger("dbos").handlers.clear()  # they hold the output of that command, which is closed now
    structlog.reset_defaults()
    return told


def _guide(heading):
    """The command of a section."""
    section = re.search(rf"^## {heading}\n(.*?)^## ", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1]
    return re.search(r"`(dauso log release[^`]*)`", section)[1]


async def test_a_restored_database_freezes_the_log_until_two_people_release_it(restored, tmp_path):
    mark = restored.home / "highwater" / "mark.json"
    old = json.loads(mark.read_text())
    await _require_frozen(restored)
    line = _guide("Restore")
    for typed, code in (
        (f"{TWO}\nđĩa hỏng\n2\n", "log.not_typed"),
        ("Nguyễn Văn Mẫu; nguyễn văn mẫu\n", "log.needs_two"),
        ("\n", "keys.nobody_present"),
        (f"{TWO}\n\n", "log.no_reason"),
    ):
        refused = await _dauso(restored, line, typed)
        assert (refused.exit_code, code in refused.stderr) == (1, True), refused.stderr
    assert "TRACE" not in refused.stderr.upper()
    assert json.loads(mark.read_text()) == old
    await _require_frozen(restored)
    done = _shell(restored, line, f"{TWO}\nđĩa hỏng, không có bản sao mới hơn\n5\n")
    assert done.returncode == 0, done.stderr
    assert "OLDER than what was published" in done.stderr
    assert "Nguyễn Văn Mẫu" not in done.stdout, "names stand on the paper and beside the mark alone"
    (kept,) = mark.parent.glob("mark-5-*.json")
    value = json.loads(kept.read_text())
    assert (value["mark"], value["record"]["present"]) == (old, TWO.split("; "))
    (paper,) = (restored.home / "protocols").glob("log-release-*.pdf")
    told = await _dauso(restored, f"dauso verify {paper}")
    assert "TOTAL-PASSED" in told.stdout, told.stdout
    shown = await _dauso(restored, "dauso log show")
    assert "TWO HISTORIES: 3 published leaves are not here any more" in shown.stdout, shown.stderr
    leaf = json.loads((await _dauso(restored, "dauso log show --last 1 --json")).stdout)["leaves"][0]
    assert (leaf["type"], leaf["mark_old"]["size"], leaf["mark_new"]["size"]) == ("log_released", 5, 2)
    assert "log.not_frozen" in (await _dauso(restored, line)).stderr
    assert await _leaves(restored, 1) == 4


async def test_a_mark_that_is_lost_freezes_too_and_is_no_release(tmp_path):
    settings = await town.build(tmp_path / "home")
    await _leaves(settings, 2)
    (settings.home / "highwater" / "mark.json").unlink()
    await _require_frozen(settings)
    done = await _dauso(settings, _guide("Lose a node"), f"{TWO}\nmất máy\n2\n")
    assert (done.exit_code, "THE MARK IS LOST" in done.stderr) == (0, True), done.stderr
    assert "THE MARK WAS LOST" in (await _dauso(settings, "dauso log show")).stdout
    assert await _leaves(settings, 1) == 4


async def test_a_newer_database_that_is_found_after_a_release_is_told_as_another_history(tmp_path):
    settings = await town.build(tmp_path / "home")
    await _leaves(settings, 2)
    database, newer = settings.home / "db" / "dauso.db", tmp_path / "newer.db"
    shutil.copy(database, tmp_path / "backup.db")
    await _leaves(settings, 3)
    shutil.copy(database, newer)
    shutil.copy(tmp_path / "backup.db", database)
    released = await _dauso(settings, "dauso log release --yes --reason x")  # realm training
    assert released.exit_code == 0, released.stderr
    shutil.copy(newer, database)
    await _require_frozen(settings)
    done = await _dauso(settings, "dauso log release", f"{TWO}\ntìm thấy đĩa cũ\n3\n")
    assert (done.exit_code, "A DIFFERENT HISTORY" in done.stderr) == (0, True), done.stderr
    assert "what was published before is another one" in (await _dauso(settings, "dauso log show")).stdout
    assert await _leaves(settings, 1) == 7


async def test_no_other_command_works_while_the_log_is_frozen_and_yes_is_for_training_alone(tmp_path):
    settings = await town.build(tmp_path / "home", realm=Realm.PRODUCTION)
    await _leaves(settings, 2)
    mark = settings.home / "highwater" / "mark.json"
    mark.write_text(json.dumps({"size": 9, "root": "00" * 32}))
    for line, code in (
        ("dauso keys rotate lists --purpose list", "log.frozen"),
        ("dauso log release --yes --reason x --json", "keys.yes_needs_training"),
        (f"dauso log release --out {mark}", "keys.file_exists"),
    ):
        told = await _dauso(settings, line, f"{TWO}\ny\n")
        assert (told.exit_code, code in told.stderr + told.stdout) == (1, True), (line, told.stderr)
    assert json.loads(mark.read_text())["size"] == 9


async def test_with_approle_nothing_is_given_up_before_there_are_cards_to_sign_the_paper_with(tmp_path):
    settings = await town.build(tmp_path / "home")
    await _leaves(settings, 2)
    mark = settings.home / "highwater" / "mark.json"
    mark.write_text(json.dumps({"size": 9, "root": "00" * 32}))
    given = {"DAUSO_VAULT_URL": "http://127.0.0.1:1", "DAUSO_VAULT_ROLE": "dauso-signer"}
    for line, code in (
        ("dauso log release --yes --reason x --json", "keys.needs_cards"),
        (f"dauso --cards {tmp_path} log release --yes --reason x --json", "keys.no_card"),
    ):
        told = await _dauso(settings, line, **given)
        assert (told.exit_code, json.loads(told.stdout)["error"]) == (1, code)
    assert json.loads(mark.read_text())["size"] == 9


async def test_a_paper_that_cannot_be_signed_now_is_left_unsigned_and_the_leaf_waits(tmp_path):
    settings = await town.build(tmp_path / "home")
    await _leaves(settings, 2)
    (settings.home / "highwater" / "mark.json").unlink()
    keys = settings.home / "keys"
    keys.rename(tmp_path / "away")
    told = json.loads((await _dauso(settings, "dauso log release --yes --reason x --json")).stdout.splitlines()[-1])
    assert (told["good"], told["signed"], Path(told["protocol"]).is_file()) == (True, False, True)
    shutil.rmtree(keys, ignore_errors=True)
    (tmp_path / "away").rename(keys)
    assert await _leaves(settings, 0) == 3
    assert "THE MARK WAS LOST" in (await _dauso(settings, "dauso log show")).stdout


async def test_what_was_released_is_told_even_if_the_signer_cannot_be_closed(tmp_path, monkeypatch):
    settings = await town.build(tmp_path / "home")
    await _leaves(settings, 2)
    (settings.home / "highwater" / "mark.json").unlink()
    opened = bootstrap.open_service

    @asynccontextmanager
    async def broken(*given):
        async with opened(*given) as service:
            yield service
        raise Unavailable("database.unavailable")

    monkeypatch.setattr(bootstrap, "open_service", broken)
    told = await _dauso(settings, "dauso log release --yes --reason x --json")
    assert told.exit_code == 0, told.stderr
    done = json.loads(told.stdout.splitlines()[-1])
    assert (done["good"], done["signed"]) == (True, True)
    assert "keys.signer_not_closed" in told.stderr
