"""What docs/signing.md tells a portal's engineer to type works as it stands there, with a person's phone beside it."""

import asyncio
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.flows import house, phones, town

PAGE = Path(__file__).resolve().parents[2] / "docs/signing.md"
MARK = "-- the next block --"
WHO = ("Phạm Thị Ổn", "001085000017")


def blocks():
    """(commands, what the page says they print) in the order of the page."""
    found = re.findall(r"^```sh\n(.*?)^```\n(?:\s*^```text\n(.*?)^```\n)?", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(found) == PAGE.read_text().count("```sh")
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """(settings, phone of the person whom the page names)."""
    settings = asyncio.run(town.build(tmp_path_factory.mktemp("signing")))
    return settings, asyncio.run(phones.enrol_in(settings, *WHO))[1]


def sign_when_asked(folder, bind, settings, hand, seen):
    """The person: waits for the link that the page puts into link.txt, then reads and approves."""

    async def work():
        async with phones.sign_door_at(bind, settings) as door:
            phone = phones.PhoneClient(door, hand, link.read_text().strip(), settings.sign_url)
            seen.append((await phone.sign())["state"])

    link, until = folder / "link.txt", time.monotonic() + 60
    while not (link.exists() and link.read_text().endswith("\n")):
        if time.monotonic() > until:
            return
        time.sleep(0.05)
    asyncio.run(work())


@pytest.mark.slow
def test_the_page_runs_from_top_to_bottom(home, tmp_path):
    settings, hand = home
    (tmp_path / "don.pdf").write_bytes(phones.paper())
    script = f"\necho '{MARK}'\n".join(commands for commands, _ in blocks())
    bind, seen = f"127.0.0.1:{house.free_port()}", []
    with house.processes(settings.home, DAUSO_SIGN_BIND=bind) as (url, _):
        person = threading.Thread(target=sign_when_asked, args=(tmp_path, bind, settings, hand, seen))
        person.start()
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120,
            env={**town.environment(), "DAUSO": url, "DAUSO_HOME": str(settings.home), "DAUSO_WEB_URL": url},
        )  # fmt: skip
        person.join(90)
    assert done.returncode == 0, done.stdout + done.stderr
    assert seen == ["signed"]
    printed = [part.strip("\n") for part in done.stdout.split(MARK)]
    assert printed == [said.strip("\n") for _, said in blocks()]
