"""deploy/compose.yaml is what its comments say: who reaches what, who knows what, nobody as root."""

import re
import stat
import subprocess

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


def test_every_secret_that_is_read_is_made(tmp_path):
    done = subprocess.run([DEPLOY / "prepare-secrets", tmp_path / "s", tmp_path / "d"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = {each.name: each for each in (tmp_path / "s").iterdir()}
    for name, each in compose()["secrets"].items():
        assert each["file"].rpartition("/")[2] in made, name
    loose = {name for name, each in made.items() if stat.S_IMODE(each.stat().st_mode) & 0o077} - {"ca.pem"}
    assert loose == set()
    before = {name: each.read_bytes() for name, each in made.items()}
    subprocess.run([DEPLOY / "prepare-secrets", tmp_path / "s", tmp_path / "d"], check=True, capture_output=True)
    assert {name: each.read_bytes() for name, each in made.items()} == before, "what exists is kept"


def test_git_and_images_are_kept_free_of_secrets():
    done = subprocess.run(
        ["git", "check-ignore", "deploy/secrets/database", "deploy/data/x"], cwd=ROOT, capture_output=True, text=True
    )
    assert len(done.stdout.split()) == 2
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    assert not {line for line in lines if "deploy" in line}


def test_the_image_runs_as_the_user_that_compose_and_chart_name():
    text = (ROOT / "Dockerfile").read_text()
    assert "--uid 10001" in text
    assert "USER 10001" in text
    values = yaml.safe_load((DEPLOY / "helm/dauso/Chart.yaml").read_text())
    assert (
        values["appVersion"]
        == re.search(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    )
