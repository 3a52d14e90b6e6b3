"""``dauso keys`` and ``dauso doctor keys`` as an operator meets them."""

import asyncio
import datetime as dt
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from api.cli.app import app
from core.approvals.records import Approvals, decision_table
from core.clock import VIETNAM, SystemClock
from core.db import Database
from core.directory.records import Directory, person_table
from core.errors import Unavailable
from core.settings import Settings
from core.values import Realm
from signer.keystores.policies import Identity, policy_for
from signer.keystores.records import key_table
from signer.keystores.registry import Registry
from tests.api.cli.test_commands import dauso, rows, runner
from tests.flows import town


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A training home with one agency."""
    home = tmp_path_factory.mktemp("keys") / "home"
    dauso(home, "init", "--realm", "training", "--json")
    dauso(home, "agency", "add", "--code", "H1", "--name", "UBND xã Đường Lâm", "--parent", "UBND tỉnh Ví Dụ")
    return home


def listed(home, *more):
    return rows(dauso(home, "keys", "list", "--json", *more))


def seal(home):
    return [row for row in listed(home) if row["purpose"] == "seal"]


# ------------------------------------------------------------------------------------------------------------- policies
def test_a_policy_is_printed_as_the_server_takes_it(tmp_path):
    told = dauso(tmp_path, "keys", "policy", "--identity", "signer", "--mounts", "transit-a,transit-b").stdout
    assert told.strip() == policy_for(Identity.SIGNER, ["transit-a", "transit-b"]).hcl().strip()
    every = rows(dauso(tmp_path, "keys", "policy", "--agency", "H71.1", "--json"))
    assert [row["policy"] for row in every] == [f"dauso-{each}-h71-1" for each in Identity]
    assert len({row["bundle_sha256"] for row in every}) == 1


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--store", "pkcs11"), "keys.no_policies"),
        (("--identity", "root"), "keys.unknown_identity"),
        (("--mounts", "*"), "key.bad_mounts"),
    ],
)
def test_a_policy_that_cannot_be_made_is_refused(tmp_path, options, code):
    assert rows(dauso(tmp_path, "keys", "policy", "--json", *options, code=1))[0]["error"] == code


# --------------------------------------------------------------------------------------------------------- list, rotate
def test_keys_are_listed_with_owner_and_place(home):
    row = seal(home)[0]
    assert (row["owner"], row["store"], row["state"], row["version"]) == ("H1", "software", "active", 1)
    assert len(row["spki_sha256"]) == 64
    assert "H1" in dauso(home, "keys", "list").stdout


def test_a_rotation_leaves_a_signed_protocol(home, tmp_path):
    before = seal(home)[-1]
    paper = tmp_path / "paper.pdf"
    (done,) = rows(dauso(home, "keys", "rotate", "H1", "--purpose", "seal", "--yes", "--out", paper, "--json"))
    assert done["good"]
    assert done["signed"]
    assert done["protocol"] == str(paper)
    assert stat.S_IMODE(paper.stat().st_mode) == 0o600
    assert before["spki_sha256"] in {each["value"] for each in done["facts"]}
    (seen,) = rows(dauso(home, "verify", paper, "--json", code=3))
    assert [each["role"] for each in seen["signatures"]] == ["report"]
    assert seen["verdict"] != "genuine"
    after = seal(home)
    assert len(after) == 2  # the old one stays for a while
    assert after[-1]["active_from"] is not None


def test_a_switch_at_a_time_waits_and_a_second_one_is_refused_with_a_protocol(home, tmp_path):
    (done,) = rows(dauso(home, "keys", "rotate", "lists", "--purpose", "list", "--at", _tomorrow(), "--yes", "--json"))
    assert done["good"]
    assert Path(done["protocol"]).parent == home / "protocols"
    waits = [row for row in listed(home) if row["purpose"] == "list"]
    assert [row["state"] for row in waits] == ["active", "waits"]
    (again,) = rows(dauso(home, "keys", "rotate", "lists", "--purpose", "list", "--yes", "--json", code=1))
    assert (again["good"], again["error"], again["signed"]) == (False, "keys.rotation_waits", True)


def test_a_qr_key_is_rotated_and_its_list_published(home, tmp_path):
    told = dauso(home, "keys", "rotate", "H1", "--purpose", "qr", "--yes", "--out", tmp_path / "qr.pdf").stdout
    assert "Sequence" in told
    assert "SHA-256" in told


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("log", "--purpose", "log"), "keys.log_key_stays"),
        (("issuing", "--purpose", "ca"), "keys.ca_key_stays"),
        (("H1", "--at", "tomorrow"), "keys.bad_time"),
        (("H1", "--at", "25/11/2020"), "keys.switch_time"),
        (("H1", "--purpose", "qr", "--at", "25/11/2020"), "keys.qr_at_once"),
        (("H99.1", "--purpose", "document"), "keys.person_enrols"),
        (("H99.1",), "directory.no_such_agency"),
        (("H1", "--purpose", "tsa"), "keys.no_such_owner"),
    ],
)
def test_what_cannot_be_rotated_says_why_and_leaves_no_protocol(home, arguments, code, monkeypatch):
    opens_no_store(monkeypatch)
    before = sorted((home / "protocols").glob("*")) if (home / "protocols").exists() else []
    assert rows(dauso(home, "keys", "rotate", *arguments, "--yes", "--json", code=1))[0]["error"] == code
    assert (sorted((home / "protocols").glob("*")) if (home / "protocols").exists() else []) == before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("disable", "nobody"), "key.unknown"),
        (("destroy", "nobody"), "key.unknown"),
        (("disable", "nobody", "--role-id", "x"), "keys.half_card"),
        (("move", "log", "H99.1"), "directory.no_such_agency"),
        (("move", "log", "--role-id", "x", "--secret-id-file", "no/dauso-importer.secret-id"), "keys.no_card"),
        (("move", "log", "--role-id", "x", "--secret-id-file", "dauso-custodian.secret-id"), "keys.other_card"),
        (("move", "log", "--role-id", "x", "--secret-id-file", "importer.secret-id"), "keys.other_card"),
        (("import",), "keys.which_key"),
        (("import", "--key-file", "no/key.pem"), "cli.no_such_file"),
    ],
)
def test_a_slip_of_the_hand_opens_no_store(home, arguments, code, monkeypatch):
    opens_no_store(monkeypatch)
    assert rows(dauso(home, "keys", *arguments, "--yes", "--json", code=1))[0]["error"] == code


def opens_no_store(monkeypatch):
    """Opening one may cost a secret id that is good once."""

    def never(*_):
        raise AssertionError

    monkeypatch.setattr("api.bootstrap.open_ring", never)


def test_a_person_says_who_is_there_and_agrees(home, tmp_path):
    paper = tmp_path / "asked.pdf"
    base = ["--home", str(home), "keys", "rotate", "report", "--purpose", "report", "--json", "--out", str(paper)]
    for typed, code in (("\n", "keys.nobody_present"), ("Nguyễn Văn Mẫu\nn\n", "keys.not_confirmed")):
        result = runner.invoke(app, base, input=typed)
        assert (result.exit_code, json.loads(result.stdout.splitlines()[-1])["error"]) == (1, code)
        assert not paper.exists()
    result = runner.invoke(app, base, input="Nguyễn Văn Mẫu; Lê Thị Hữu\ny\n")
    assert result.exit_code == 0, result.stderr
    assert "Nguyễn Văn Mẫu" not in result.stdout.splitlines()[-1]  # names stand on the paper alone
    assert paper.exists()


def test_yes_is_refused_in_production(tmp_path):
    home = tmp_path / "home"
    dauso(home, "init", "--realm", "production", "--json")
    (told,) = rows(dauso(home, "keys", "rotate", "lists", "--purpose", "list", "--yes", "--json", code=1))
    assert told["error"] == "keys.yes_needs_training"


# ------------------------------------------------------------------------------------------------------ import, endings
def test_what_nobody_decided_is_neither_imported_nor_ended(home, tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    file = tmp_path / "key.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (told,) = rows(dauso(home, "keys", "import", "--key-file", file, "--yes", "--json", code=1))
    assert told["error"] == "key.import_not_decided"
    assert rows(dauso(home, "keys", "import", "--yes", "--json", code=1))[0]["error"] == "keys.which_key"
    assert rows(dauso(home, "keys", "disable", "nobody", "--yes", "--json", code=1))[0]["error"] == "key.unknown"


# ------------------------------------------------------------------------------------------------------ stores, doctor
def test_the_software_store_is_prepared_with_a_warning(home, tmp_path):
    told = dauso(home, "keys", "init", "--yes", "--out", tmp_path / "init.pdf").stdout
    assert "NOT FOR PRODUCTION" in told
    assert "CHƯA KÝ" not in told


def test_a_server_is_prepared_by_command_before_there_is_a_home(openbao, tmp_path):
    token = tmp_path / "token"
    token.write_text(openbao.admin_token())
    arguments = [
        "--home", str(tmp_path / "home"), "keys", "init", "--store", "transit", "--mounts", "transit-cli", "--agency", "cli",
        "--token-file", str(token), "--folder", str(tmp_path / "handed"), "--out", str(tmp_path / "init.pdf"), "--json",
    ]  # fmt: skip
    result = runner.invoke(app, arguments, input="Nguyễn Văn Mẫu\ny\n", env={"DAUSO_VAULT_URL": openbao.url})
    assert result.exit_code == 0, result.stderr
    done = json.loads(result.stdout.splitlines()[-1])
    assert done["good"]
    assert not done["signed"]  # there is no key for it yet, and the paper says so
    files = {each.name: each for each in (tmp_path / "handed").iterdir()}
    assert set(files) == {"dauso-signer-cli.secret-id", "dauso-enroller-cli.secret-id"}
    assert all(stat.S_IMODE(each.stat().st_mode) == 0o600 for each in files.values())
    shown = result.stdout + result.stderr
    for value in [token.read_text(), *(each.read_text() for each in files.values())]:
        assert value not in shown


def test_doctor_keys_looks_at_stores_and_keys_alone(home):
    found = rows(dauso(home, "doctor", "keys", "--json"))
    names = [row["check"] for row in found]
    assert "database" not in names
    assert all(row["good"] for row in found), found
    store = next(row for row in found if row["check"] == "key store software")
    assert "NOT FOR PRODUCTION" in store["detail"]
    assert next(row for row in found if row["check"] == "keys")["good"]
    assert rows(dauso(home, "doctor", "cellar", "--json", code=1))[0]["error"] == "cli.no_such_part"


def test_doctor_keys_finds_a_key_that_is_gone(home):
    row = seal(home)[-1]
    file = home / "keys" / f"{row['key']}.v1.key"
    hidden = file.rename(file.with_suffix(".away"))
    try:
        found = rows(dauso(home, "doctor", "keys", "--json", code=1))
        bad = [each for each in found if not each["good"]]
        assert any("key.missing" in each["detail"] for each in bad)
    finally:
        hidden.rename(file)


def test_a_ceremony_counts_every_key_and_says_what_is_well(home, tmp_path):
    (done,) = rows(dauso(home, "keys", "ceremony", "--yes", "--out", tmp_path / "all.pdf", "--json"))
    assert done["good"]
    assert done["signed"]
    digests = {each["value"] for each in done["facts"]}
    assert {row["spki_sha256"] for row in listed(home) if row["purpose"] in {"seal", "log", "tsa"}} <= digests


def test_a_ceremony_that_finds_something_not_well_fails_and_goes_on_to_its_end(home, tmp_path):
    file = home / "keys" / f"{seal(home)[-1]['key']}.v1.key"
    hidden = file.rename(file.with_suffix(".away"))
    try:
        (done,) = rows(dauso(home, "keys", "ceremony", "--yes", "--out", tmp_path / "bad.pdf", "--json", code=1))
    finally:
        hidden.rename(file)
    assert (done["good"], done["signed"]) == (False, True)
    told = [f"{each['what']} {each['value']}" for each in done["facts"]]
    assert any("NOT WELL" in each and "key.missing" in each for each in told)
    assert any("Something is not well" in each for each in told)


def test_a_ceremony_whose_protocol_nobody_can_sign_fails(home, tmp_path, monkeypatch):
    async def away(*_):
        raise Unavailable("key.sealed")

    monkeypatch.setattr("signer.keyceremony.paper.ProtocolDesk.issue", away)
    paper = tmp_path / "bare.pdf"
    line = ("keys", "rotate", "H1", "--yes", "--out", paper)
    (done,) = rows(dauso(home, *line, "--json", code=1))
    assert (done["good"], done["signed"], done["error"]) == (False, False, "keys.unsigned")
    assert paper.exists(), "what was done is told all the same"
    assert done["facts"]


MEMORY = """
import ctypes, resource
import api.cli.ceremonies as ceremonies
from api.cli.app import app
from api.cli.ceremonies import base

def look(*_):
    print("dumpable", ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), "core", *resource.getrlimit(resource.RLIMIT_CORE))
    raise SystemExit(0)

base.secret = ceremonies.policies = look
app()
"""


@pytest.mark.parametrize("command", [("init", "--store", "transit", "--mounts", "transit-a"), ("policy",)])
def test_the_memory_of_a_command_about_keys_is_nobodys_and_lands_on_no_disk(tmp_path, command):
    told = subprocess.run(
        [sys.executable, "-P", "-c", MEMORY, "--home", str(tmp_path), "keys", *command],
        input="Nguyễn Văn Mẫu\ny\n", capture_output=True, text=True, check=False, cwd="/",
        env=town.environment() | {"DAUSO_VAULT_URL": "http://127.0.0.1:9"},
    )  # fmt: skip
    assert "dumpable 0 core 0 0" in told.stdout, told.stderr


def _tomorrow():
    return f"{(SystemClock().now() + dt.timedelta(days=1)).astimezone(VIETNAM):%d/%m/%Y %H:%M}"


async def _decided(home, kind, name):
    """What the desk of decisions leaves behind after the second yes."""
    clock = SystemClock()
    registry, approvals = Registry(clock), Approvals(clock)
    async with Database(Settings(home=home).database) as db, db.write() as uow:
        await registry.fill(uow)
        key_id = (await uow.execute(sa.select(key_table.c.id).where(key_table.c.name == name))).scalar_one()
        agency = (await Directory(clock).agencies(uow))[0]
        person = (await uow.execute(sa.select(person_table.c.id).limit(1))).scalar_one()
        made = await approvals.propose(
            uow, realm=Realm.TRAINING, agency_id=agency.id, kind=kind, payload={"key": key_id}, proposed_by=person
        )
        if kind == "key.disable":
            await registry.disable(uow, key_id, made.id)
        else:
            await uow.execute(
                key_table.update().where(key_table.c.id == key_id).values(
                    destroy_after=clock.now(), disabled_at=clock.now() - dt.timedelta(days=99)
                )
            )  # fmt: skip
            await registry.order_destruction(uow, key_id, made.id)
        await uow.execute(
            decision_table.update().where(decision_table.c.id == made.id).values(state="applied", votes=2)
        )
    return made.id


def test_a_decided_end_is_done_in_the_store_and_written_down(home, tmp_path):
    dauso(
        home, "person", "add", "--agency", "H1", "--name", "Đỗ Văn Thư", "--role", "clerk", "--number", "1/QĐ", "--json"
    )
    name = next(row for row in listed(home) if row["purpose"] == "qr")["key"]
    for kind, state in (("disable", "disabled"), ("destroy", "destroyed")):
        refused = rows(dauso(home, "keys", kind, name, "--yes", "--json", code=1))[0]
        assert refused["error"] in {
            "keys.not_decided",
            "key.unknown",
        }  # the registry is filled by the first decision here
        decision = asyncio.run(_decided(home, f"key.{kind}", name))
        (done,) = rows(dauso(home, "keys", kind, name, "--yes", "--out", tmp_path / f"{kind}.pdf", "--json"))
        assert done["good"]
        told = [each["value"] for each in done["facts"]]
        assert any(decision in each for each in told)
        assert state in told
    assert not (home / "keys" / f"{name}.v1.key").exists()
