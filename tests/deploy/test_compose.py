"""deploy/compose.yaml is what its comments say: who reaches what, who knows what, nobody as root."""

import ipaddress
import json
import os
import re
import stat
import subprocess
import tomllib

import pytest
import yaml

from tests.deploy.kit import DEPLOY, ROOT, SECRET_SETTINGS, SETTINGS, compose

pytestmark = pytest.mark.live
OURS = {"web", "signer", "worker", "auditor"}


def services():
    return compose()["services"]


def on(network):
    return {name for name, each in services().items() if network in each["networks"]}


def secrets_of(name):
    return {each["source"] for each in services()[name].get("secrets", [])}


def file_of(kind, source):
    """Name of the file that a config or secret is."""
    return compose()[kind][source]["file"].removeprefix("./secrets/")


def test_the_loader_of_docker_compose_takes_it():
    assert set(services()) == OURS | {"database", "openbao", "objects"}


@pytest.mark.parametrize("name", sorted(OURS | {"database", "openbao", "objects"}))
def test_nobody_is_root_and_nothing_can_be_written_but_what_is_named(name):
    each = services()[name]
    user, _, group = each["user"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert each["read_only"] is True
    assert each["cap_drop"] == ["ALL"]
    assert not each.get("cap_add")
    assert not each.get("privileged")
    assert each["security_opt"] == ["no-new-privileges:true"]
    assert each["logging"]["options"], "logs that grow without end"


def test_only_the_signer_and_the_auditor_reach_openbao_and_they_do_not_meet():
    reach = {name for network in services()["openbao"]["networks"] for name in on(network)} - {"openbao"}
    assert reach == {"signer", "auditor"}
    assert on("keys") == {"openbao", "signer"}
    assert on("audit-keys") == {"openbao", "auditor"}


def test_each_relation_has_a_network_of_its_own():
    networks = compose()["networks"]
    for name in networks:
        assert len(on(name)) == (1 if name in {"door", "signing-door", "webhooks"} else 2), name
        assert bool(networks[name].get("internal")) == (name not in {"door", "signing-door", "webhooks"}), name


def test_the_database_is_reached_by_our_roles_and_the_store_of_documents_by_those_who_write_them():
    def around(name):
        return {who for network in services()[name]["networks"] for who in on(network)} - {name}

    assert around("database") == OURS
    assert around("objects") == {"web", "signer"}


def test_what_opens_keys_is_the_signers_alone():
    assert {n for n in services() if "signer-key.pem" in secrets_of(n)} == {"signer"}
    assert {n for n in services() if "people-key" in secrets_of(n)} == {"signer"}
    for name in ("web", "worker"):
        assert not {
            k for k in services()[name]["environment"] if "VAULT" in k or k in {"DAUSO_KEYS", "DAUSO_HIGHWATER"}
        }
        assert not {v["target"] for v in services()[name].get("volumes", [])} - {"/run/dauso"}
        assert services()[name]["environment"]["DAUSO_DATABASE_URL"].count(f"//dauso_{name}@") == 1


def test_no_secret_stands_in_the_file_and_every_setting_exists():
    for name, each in services().items():
        for key, value in (each.get("environment") or {}).items():
            assert key not in SECRET_SETTINGS
            assert not re.search(r"PASSWORD(?!_FILE)|SECRET|TOKEN", key), key
            assert not re.search(r"://[^/@]*:[^/@]+@", value or ""), key
            if key.startswith("DAUSO_"):
                assert key in SETTINGS, (name, key)
    for name, each in compose()["secrets"].items():
        assert set(each) <= {"file", "name"}, name


@pytest.mark.parametrize("name", sorted(OURS | {"database", "openbao", "objects"}))
def test_what_a_read_only_container_is_given_is_a_file_that_is_mounted(name):
    """Compose copies what stands in the file or in its own environment into the container, and Docker refuses that for a root
    that is read-only (docker/compose #12031)."""
    each = services()[name]
    assert each["read_only"]
    for kind in ("configs", "secrets"):
        for used in each.get(kind) or []:
            assert set(compose()[kind][used["source"]]) == {"file", "name"}, used


def test_web_and_worker_read_the_realm_that_was_prepared(made):
    for name in ("web", "worker"):
        (config,) = services()[name]["configs"]
        assert config["target"] == "/var/lib/dauso/home/home.json"
        assert json.loads((made / file_of("configs", config["source"])).read_text()) == {"realm": "production"}


def test_the_realm_is_said_once_and_stays(tmp_path):
    def prepare(folder, realm):
        command = [DEPLOY / "prepare-secrets", tmp_path / folder, tmp_path / "d"]
        return subprocess.run(command, env=os.environ | {"DAUSO_REALM": realm}, capture_output=True, text=True)

    assert prepare("s", "training").returncode == 0
    assert json.loads((tmp_path / "s" / "home.json").read_text()) == {"realm": "training"}
    assert "never changes" in prepare("s", "production").stderr
    assert prepare("t", "Training").returncode == 2
    assert not (tmp_path / "t").exists()


def test_each_of_ours_knows_its_own_password_and_the_auditor_nothing_else(made):
    known = {}
    for name in OURS:
        (source,) = [each["source"] for each in services()[name]["secrets"] if each["target"] == "environment"]
        known[name] = dict(line.split("=", 1) for line in (made / file_of("secrets", source)).read_text().splitlines())
    assert len({each["PGPASSWORD"] for each in known.values()}) == len(OURS)
    for name in OURS - {"signer"}:
        assert known[name]["PGPASSWORD"] == (made / f"database-{name}").read_text()
        assert f"//dauso_{name}@" in services()[name]["environment"]["DAUSO_DATABASE_URL"]
        assert f"database-{name}" in secrets_of("database")
    assert set(known["auditor"]) == set(known["worker"]) == {"PGPASSWORD"}
    assert secrets_of("auditor") == {"auditor-env", "ca.pem", "auditor.pem", "auditor-key.pem"}
    assert {
        key for key in services()["auditor"]["environment"] if not key.startswith(("DAUSO_VAULT_", "DAUSO_AUDIT_"))
    } == {"DAUSO_DATABASE_URL", "DAUSO_TRANSIT_MOUNTS"}
    assert [(v["target"], v["read_only"]) for v in services()["auditor"]["volumes"]] == [("/var/log/openbao", True)]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_every_file_belongs_to_the_one_user_that_reads_it(made):
    for name, each in services().items():
        user = int(each["user"].partition(":")[0])
        for kind in ("configs", "secrets"):
            for used in each.get(kind) or []:
                found = (made / file_of(kind, used["source"])).stat()
                readable = stat.S_IMODE(found.st_mode) == 0o444 or (found.st_uid, stat.S_IMODE(found.st_mode)) == (
                    user,
                    0o400,
                )
                assert readable, (name, used)


def test_what_certificates_and_addresses_hang_on_is_told_to_web_and_signer_alike():
    for key in (
        "DAUSO_HOST",
        "DAUSO_SIGN_URL",
        "DAUSO_WEB_URL",
        "DAUSO_PKI_URL",
        "DAUSO_WEB_PROXIES",
        "DAUSO_SIGNER_SOCKET",
    ):
        assert services()["web"]["environment"][key] == services()["signer"]["environment"][key]


def test_a_proxy_on_this_machine_is_believed():
    """It reaches a published port from the gateway of that port's network; without that every visitor has one address."""
    believed = services()["web"]["environment"]["DAUSO_WEB_PROXIES"].split(",")
    nets = [compose()["networks"][name]["ipam"]["config"][0] for name in ("door", "signing-door")]
    assert believed == [each["gateway"] for each in nets]
    first, second = (ipaddress.ip_network(each["subnet"]) for each in nets)
    assert not first.overlaps(second)
    assert all(ipaddress.ip_address(each["gateway"]) in ipaddress.ip_network(each["subnet"]) for each in nets)


@pytest.mark.parametrize(("said", "healthy"), [(0, True), (2, True), (1, False)])
def test_a_sealed_store_is_alive_and_one_that_does_not_answer_is_not(tmp_path, said, healthy):
    """The very line of the health check, with a ``bao`` that ends as ``bao status`` does: 0 open, 2 sealed, 1 no answer."""
    (tmp_path / "bao").write_text(f'#!/bin/sh\n[ "$*" = status ] || exit 9\necho Sealed; exit {said}\n')
    (tmp_path / "bao").chmod(0o755)
    kind, line = services()["openbao"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    done = subprocess.run(
        ["/bin/sh", "-c", line], env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True
    )
    assert (done.returncode == 0) is healthy
    assert done.stdout == b""


def test_who_waits_for_whom():
    waits = {
        name: {who: how["condition"] for who, how in (each.get("depends_on") or {}).items()}
        for name, each in services().items()
    }
    assert waits["signer"] == {
        "database": "service_healthy",
        "openbao": "service_healthy",
        "objects": "service_started",
    }
    assert waits["auditor"] == {"database": "service_healthy", "openbao": "service_healthy"}
    assert waits["web"] == {"database": "service_healthy", "objects": "service_started"}, "the signer may be away"
    assert waits["worker"] == {"database": "service_healthy"}
    for name in {who for each in waits.values() for who, how in each.items() if how == "service_healthy"}:
        assert services()[name]["healthcheck"]["test"]


def test_images_are_named_by_version():
    for name, each in services().items():
        tag = each["image"].rpartition(":")[2]
        assert re.search(r"\d+\.\d+", tag), (name, tag)
        assert tag != "latest"


def test_doors_stand_open_on_this_machine_alone():
    for name, each in services().items():
        for port in each.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", name


def test_openbao_has_two_audit_devices_raft_and_tls():
    text = (DEPLOY / "openbao" / "server.hcl").read_text()
    assert len(re.findall(r'^audit "', text, re.MULTILINE)) == 2
    assert 'storage "raft"' in text
    assert "tls_disable" not in text
    assert text.count("initialize ") == 1
    assert not re.search(r'password\s*=\s*"', text)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What deploy/prepare-secrets makes."""
    folder = tmp_path_factory.mktemp("prepared")
    env = os.environ | {"DAUSO_REALM": "production"}
    subprocess.run([DEPLOY / "prepare-secrets", folder / "s", folder / "d"], env=env, check=True, capture_output=True)
    return folder / "s"


def test_every_secret_that_is_read_is_made(tmp_path):
    done = subprocess.run([DEPLOY / "prepare-secrets", tmp_path / "s", tmp_path / "d"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = {each.name: each for each in (tmp_path / "s").iterdir()}
    for kind in ("configs", "secrets"):
        for name in compose()[kind]:
            assert file_of(kind, name) in made, name
    loose = {name for name, each in made.items() if stat.S_IMODE(each.stat().st_mode) & 0o077} - {"ca.pem"}
    assert loose == set()
    before = {name: each.read_bytes() for name, each in made.items()}
    subprocess.run([DEPLOY / "prepare-secrets", tmp_path / "s", tmp_path / "d"], check=True, capture_output=True)
    assert {name: each.read_bytes() for name, each in made.items()} == before, "what exists is kept"


def test_git_and_images_are_kept_free_of_secrets():
    done = subprocess.run(
        ["git", "check-ignore", "deploy/secrets/database", "deploy/data/x", "deploy/.env", "deploy/settings.env"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert len(done.stdout.split()) == 4
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    assert not {line for line in lines if "deploy" in line}


def test_nothing_goes_into_the_image_but_what_a_lock_names():
    text = (ROOT / "Dockerfile").read_text()
    installs = re.findall(r"/opt/\w+/bin/pip (?:install|wheel) ([^&\\\n]*)", text)
    assert len(installs) == len(re.findall(r"\bpip (?:install|wheel|download)\b", text)) > 0
    for line in installs:
        locked = re.search(r"--require-hashes --only-binary :all: -r (requirements/\w+\.txt)$", line.strip())
        assert locked or "--no-index" in line, line
        if locked:
            pins = re.findall(r"^([a-z0-9][\w.-]*)(?:\[[^]]*\])?==\S+ ", (ROOT / locked[1]).read_text(), re.MULTILINE)
            assert pins
    need = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert set(need) <= set(pins), "what builds is locked, too"
    for name in re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE):
        assert (ROOT / name).exists()


def test_the_image_runs_as_the_user_that_compose_and_chart_name():
    text = (ROOT / "Dockerfile").read_text()
    assert "--uid 10001 --gid 10001" in text
    assert "\nUSER 10001:10001\n" in text
    assert '\nENTRYPOINT ["dauso"]\n' in text, "the chart gives arguments alone"
    for name in OURS:
        assert services()[name]["user"] == "10001:10001"
        assert services()[name]["entrypoint"][-1] == "dauso"
    for each in services()["signer"]["volumes"]:  # a new volume takes owner and mode of the folder that it covers
        assert each["target"] in re.search(r"install -d -o dauso -g dauso -m 0700 (.*)", text)[1].split()
    values = yaml.safe_load((DEPLOY / "helm/dauso/Chart.yaml").read_text())
    assert (
        values["appVersion"]
        == re.search(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    )
