"""A real OpenBao beside a demo: started with it, sealed with a file of the same folder, set up by itself. For nothing else."""

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2

from core.errors import NotFound, Unavailable
from core.limits import LIMITS
from core.settings import Settings
from signer.keystores.policies import Identity, policy_for

__all__ = ["beside"]

_CONFIG: Final = """\
disable_mlock = true
log_level = "warn"
api_addr = "{url}"
cluster_addr = "http://127.0.0.1:{cluster}"
listener "tcp" {{
  address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster}"
  tls_disable = true
}}
storage "raft" {{
  path = "{folder}/raft"
  node_id = "demo"
  performance_multiplier = 1
}}
seal "static" {{
  current_key_id = "demo"
  current_key = "file://{folder}/seal"
}}
audit "file" "to-file" {{
  options {{
    file_path = "{folder}/audit.log"
  }}
}}
initialize "setup" {{
{requests}
}}
"""
_REQUEST: Final = """\
  request "{name}" {{
    operation = "update"
    path = "{path}"
    data = {{
{data}
    }}
  }}"""
_ROLES: Final = {Identity.SIGNER: "vault", Identity.ENROLLER: "vault_enroller"}


@contextmanager
def beside(settings: Settings) -> Iterator[Settings]:
    """The settings with which keys are made and used in it, while the block lasts.

    Raises ``demo.no_openbao`` without ``bao`` on PATH, ``demo.openbao_failed`` where it does not come up.
    """
    program = shutil.which("bao")
    if program is None:
        raise NotFound("demo.no_openbao")
    folder = settings.home.resolve() / "openbao"
    (folder / "raft").mkdir(parents=True, exist_ok=True, mode=0o700)
    port = int(_kept(folder / "port", lambda: str(20_000 + 2 * secrets.randbelow(5_000))))
    given = _settings(folder, port)
    config = folder / "server.hcl"
    if not config.exists():
        _write(config, _config(folder, port, given))
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - found on PATH, arguments of our own
            [program, "server", f"-config={config}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder,
            env={"PATH": os.environ.get("PATH", ""), "HOME": str(folder)}, start_new_session=True,
        )  # fmt: skip
    try:
        _wait(given, process)
        yield settings.model_copy(update=given)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(LIMITS["demo.openbao_seconds"])
        except subprocess.TimeoutExpired:
            process.kill()


def _settings(folder: Path, port: int) -> dict[str, Any]:
    """Role ids are names, secret ids lie in files: both are chosen here and told to the server at its first start."""
    found: dict[str, Any] = {
        "keys": "transit", "vault_url": f"http://127.0.0.1:{port}", "transit_mounts": "transit", "vault_wrapped": False,
    }  # fmt: skip
    for identity, prefix in _ROLES.items():
        file = folder / f"{identity}.secret-id"
        _kept(file, lambda: secrets.token_hex(16))
        found |= {
            f"{prefix}_role": f"dauso-{identity}", f"{prefix}_secret_id_file": file,
            f"{prefix}_role_id": _kept(folder / f"{identity}.role-id", lambda: secrets.token_hex(8)),
        }  # fmt: skip
    return found


def _config(folder: Path, port: int, given: dict[str, Any]) -> str:
    seal = folder / "seal"
    if not seal.exists():
        seal.touch(mode=0o600)
        seal.write_bytes(secrets.token_bytes(32))
    wanted = [
        ("transit", "sys/mounts/transit", '      type = "transit"'), ("approle", "sys/auth/approle", '      type = "approle"')
    ]  # fmt: skip
    for identity, prefix in _ROLES.items():
        policy, role = policy_for(identity, ("transit",)), f"auth/approle/role/dauso-{identity}"
        secret = given[f"{prefix}_secret_id_file"].read_text()
        wanted += [
            (f"{identity}-policy", f"sys/policies/acl/{policy.name}", f"      policy = <<EOT\n{policy.hcl()}EOT"),
            (f"{identity}-role", role, f'      token_policies = ["{policy.name}"]\n      token_ttl = "1h"'),
            (f"{identity}-role-id", f"{role}/role-id", f'      role_id = "{given[f"{prefix}_role_id"]}"'),
            (f"{identity}-secret-id", f"{role}/custom-secret-id", f'      secret_id = "{secret}"'),
        ]  # fmt: skip
    rows = "\n".join(_REQUEST.format(name=name, path=path, data=data) for name, path, data in wanted)
    return _CONFIG.format(url=given["vault_url"], port=port, cluster=port + 1, folder=folder, requests=rows)


def _kept(file: Path, make: Any) -> str:
    """The file's content, made at the first start."""
    if not file.exists():
        _write(file, make())
    return file.read_text()


def _write(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)


def _wait(given: dict[str, Any], process: subprocess.Popen[bytes]) -> None:
    """Until it is open and has set itself up: who was told to it last may then come in."""
    until = time.monotonic() + LIMITS["demo.openbao_seconds"]
    prefix = list(_ROLES.values())[-1]
    body = {"role_id": given[f"{prefix}_role_id"], "secret_id": given[f"{prefix}_secret_id_file"].read_text()}
    with httpx2.Client(timeout=2, trust_env=False) as client:
        while time.monotonic() < until and process.poll() is None:
            try:
                if client.post(f"{given['vault_url']}/v1/auth/approle/login", json=body).status_code == 200:
                    return
            except httpx2.HTTPError:
                pass
            time.sleep(0.1)
    raise Unavailable("demo.openbao_failed")
