"""What the guides for operators name exists: commands with their options, settings, limits, codes, values, files."""

import re
import shlex

import pytest
import typer.main
import yaml

from api.cli.app import app
from core.limits import LIMITS
from core.messages import codes
from tests.deploy.kit import CHART, DEPLOY, ROOT, SETTINGS

PAGES = [ROOT / "docs/operate" / name for name in ("keys.md", "deployment.md", "containers.md")]
page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)


def spans(text):
    """Inline code and indented blocks, without line breaks inside."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^    (.+)$", text, re.MULTILINE)
    return blocks + [" ".join(each.split()) for each in re.findall(r"`([^`]+)`", text)]


_STARTS = re.compile(r"^(?:.* -- |docker compose exec signer )?dauso |^docker compose run --rm (?:-T )?signer ")


def commands(text):
    """What follows the program's name, wherever it is started."""
    for span in spans(text):
        for part in re.split(r" \| | && | > ", span):
            if found := _STARTS.match(part):
                yield part[found.end() :].strip()


@page
def test_every_command_with_its_options(path):
    root = typer.main.get_command(app)
    seen = list(commands(path.read_text()))
    assert seen or path.name == "containers.md"
    for line in seen:
        words, at = shlex.split(line.replace("…", "X").replace("[", "").replace("]", "")), root
        while words and hasattr(at, "commands"):
            if words[0].startswith("--"):  # an option of the program, with its value
                assert words[0] in {option for parameter in at.params for option in parameter.opts}, line
                words = words[2:]
            assert words[0] in at.commands, line
            at = at.commands[words.pop(0)]
        known = {option for parameter in at.params for option in parameter.opts}
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in known, line


@page
def test_every_setting_limit_and_code(path):
    text = path.read_text()
    for name in re.findall(r"`(DAUSO_[A-Z0-9_]+)", text):
        assert (
            name in SETTINGS
            or any(each.startswith(name) for each in SETTINGS)
            or name in {"DAUSO_REALM", "DAUSO_PYTHON"}
        ), name
    areas = {name.partition(".")[0] for name in LIMITS} | {"log", "key", "home", "keyuse"}
    for name in re.findall(r"`([a-z]+\.[a-z_0-9]+)`", text):
        if name.partition(".")[0] in areas and not name.endswith((".md", ".json", ".sock", ".crt", ".key", ".new")):
            known = codes() | set(LIMITS) | {"key.resume", "key.rule", "store.policy"}
            assert name in known or _value(name), name


def _value(name):
    """Of the chart."""
    at = yaml.safe_load((CHART / "values.yaml").read_text())
    for part in name.split("."):
        if not isinstance(at, dict) or part not in at:
            return False
        at = at[part]
    return True


_OPERATORS = ("deploy/secrets", "deploy/data", "deploy/.env", "deploy/settings.env")
"""Made by operators, ignored by git."""


@page
def test_every_file(path):
    text = path.read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (path.parent / target).exists(), target
    for name in re.findall(r"(?:sudo )?\b(deploy/[\w./-]*\w)", text):
        assert (ROOT / name).exists() or name.startswith(_OPERATORS), name


def test_services_that_are_started_are_those_of_compose():
    services = set(yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"])
    text = (ROOT / "docs/operate/deployment.md").read_text()
    for found in re.findall(r"docker compose (?:run --rm(?: -T)?|exec(?: -T)?) (\w+)", text):
        assert found in services, found


def test_lines_that_a_shell_reads_are_whole():
    for path in PAGES:
        for line in re.findall(r"^    (.+)$", path.read_text(), re.MULTILINE):
            assert shlex.split(line), line
