"""Programs that look at deploy/, and what they say."""

import functools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import referencing
import yaml

from core.settings import Settings
from tests.conftest import live_or_skip

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "dauso"
TOOLS = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dauso-tools"

SETTINGS = {f"DAUSO_{name.upper()}" for name in Settings.model_fields}
SECRET_SETTINGS = {
    "DAUSO_KEY_PASSPHRASE",
    "DAUSO_PROVIDER_SP_PASSWORD",
    "DAUSO_IDENTITY_CLIENT_SECRET",
    "DAUSO_MAIL_PASSWORD",
}


def tool(name: str) -> str:
    """From PATH, or from where ``tests/deploy/install-tools`` puts things."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:{TOOLS}")
    if found is None:
        live_or_skip(name)
    return found


def path_with_tools() -> str:
    return f"{os.environ['PATH']}:{TOOLS}"


def run(*command: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(each) for each in command], capture_output=True, text=True, timeout=120, **options)


@functools.cache
def compose() -> dict[str, Any]:
    """deploy/compose.yaml as Docker Compose reads it: merged, interpolated, checked against its own schema."""
    done = run(
        tool("compose-config"),
        "-format",
        "json",
        "-no-path-resolution",
        "compose.yaml",
        cwd=DEPLOY,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@functools.cache
def rendered(*values: str) -> list[dict[str, Any]]:
    """The chart's objects; ``values``: ``a.b=c``."""
    done = helm(*values)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def helm(*values: str, file: Path | None = None) -> subprocess.CompletedProcess[str]:
    chosen = [part for value in values for part in ("--set", value)] + (["-f", file] if file else [])
    return run(tool("helm"), "template", "town", CHART, "--kube-version", "1.34.0", *chosen)


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Pod templates by component."""
    found = {}
    for each in objects:
        template = (
            each.get("spec", {}).get("template") if each["kind"] in {"Deployment", "StatefulSet", "Job"} else None
        )
        if template:
            found[template["metadata"]["labels"]["app.kubernetes.io/component"]] = template
    return found


@functools.cache
def _schema(name: str) -> dict[str, Any]:
    folder = TOOLS / "kubernetes-schemas"
    if not folder.is_dir():
        live_or_skip("Kubernetes' schemas")
    return json.loads((folder / name).read_text())


def kubernetes_errors(thing: dict[str, Any]) -> list[str]:
    """What Kubernetes' own schemas say against it; unknown members count."""
    version = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", thing["apiVersion"])
    schema = _schema(f"{thing['kind'].lower()}-{version}.json")
    registry = referencing.Registry()
    for each in (schema, _schema("_definitions.json")):
        registry = referencing.Resource.from_contents(each) @ registry
    found = jsonschema.Draft202012Validator(schema, registry=registry).iter_errors(thing)
    return [f"{each.json_path}: {each.message}" for each in found]
