"""What docs/portal.md tells a portal's engineer to type works as it stands there."""

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from tests.flows import house, town

PAGE = Path(__file__).resolve().parents[2] / "docs/portal.md"
MARK = "-- the next block --"


def blocks():
    """(commands, what the page says they print) in the order of the page."""
    found = re.findall(r"^```sh\n(.*?)^```\n(?:\s*^```text\n(.*?)^```\n)?", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(found) == PAGE.read_text().count("```sh")
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return asyncio.run(town.build(tmp_path_factory.mktemp("quickstart"))).home


@pytest.mark.slow
def test_the_page_runs_from_top_to_bottom(home, tmp_path):
    (tmp_path / "scan.jpg").write_bytes(town.scan())
    script = f"\necho '{MARK}'\n".join(commands for commands, _ in blocks())
    with house.processes(home) as (url, _):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120,
            env={**town.environment(), "DAUSO": url, "DAUSO_HOME": str(home), "DAUSO_WEB_URL": url},
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    printed = [part.strip("\n") for part in done.stdout.split(MARK)]
    assert printed == [said.strip("\n") for _, said in blocks()]
