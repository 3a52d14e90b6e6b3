"""docs/operate/keys.md, "Restore": an older database freezes the log, and what the guide types lets it go on, and nothing less."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from api import bootstrap
from api.roles import ProcessRole
from audit.events import Leaf, LeafType, commit
from core.errors import Broken
from core.ids import new_id
from tests.flows import town

PAGE = Path(__file__).resolve().parents[2] / "docs/operate/keys.md"


async def _leaves(settings, count):
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        log = service.copies.signing.log
        for _ in range(count):
            leaf = Leaf(type=LeafType.DECISION_APPLIED, time=service.clock.now(), tenant_id="h1", event_id=new_id(service.clock),
                        doc_commit=commit(b"s" * 32, b"x"), digest_alg="sha256")  # fmt: skip
            async with service.db.write() as uow:
                await log.append(uow, leaf)
        return await log.sequence()


async def test_a_restored_database_freezes_the_log_until_a_person_writes_the_mark_anew(tmp_path):
    settings = await town.build(tmp_path / "home")
    await _leaves(settings, 2)
    database, mark = settings.home / "db" / "dauso.db", settings.home / "highwater" / "mark.json"
    shutil.copy(database, tmp_path / "backup.db")
    await _leaves(settings, 3)
    kept = mark.read_bytes()
    for each in database.parent.glob("dauso.db-*"):
        each.unlink()
    shutil.copy(tmp_path / "backup.db", database)
    with pytest.raises(Broken) as frozen:
        await _leaves(settings, 1)
    assert frozen.value.code == "log.frozen"
    mark.unlink()
    with pytest.raises(Broken) as frozen:
        await _leaves(settings, 1)
    assert frozen.value.code == "log.frozen", "a mark that is gone is no release"
    mark.write_bytes(kept)
    line = re.search(r"^    (dauso log show .*mark\.new)$", PAGE.read_text(), re.MULTILINE)[1]
    env = town.environment() | {"DAUSO_HOME": str(settings.home)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line.replace("python3", sys.executable)],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "mark.new").replace(mark)
    await _leaves(settings, 1)
