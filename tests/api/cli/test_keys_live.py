"""``dauso keys`` as an operator meets it beside a live server: decisions of the real desk, identities handed over for one ceremony."""

import asyncio
import base64
import json
import os
import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from api import bootstrap
from api.cli import ceremonies
from api.roles import ProcessRole
from core.errors import ServiceError
from core.settings import Settings
from core.values import Digest
from signer.keystores.memory import spki_of
from signer.keystores.model import KeyPurpose
from signer.keystores.policies import Identity, policy_for
from signer.keystores.registry import Registry
from signer.keystores.transit.answers import Kept
from tests import scanner
from tests.api.cli.test_commands import dauso, rows
from tests.conftest import live_or_skip
from tests.flows import stores
from tests.flows.deciding import administrators, decide
from tests.openbao import binary
from tests.signer.keyceremony.papers import authority, certificate_over
from tests.vault import server_kind

pytestmark = pytest.mark.live


class House:
    """A home in files with a server beside it, and what an operator does about them."""

    def __init__(self, home, server):
        self.home, self.server, self.folder = home, server, home.parent
        self.token = self.folder / "operator-token"
        self.token.write_text(scanner.secret(server.admin_token()))
        given = stores.transit(server, self.folder)
        self.env = {f"DAUSO_{name.upper()}": str(value) for name, value in given.items()}

    def signer(self, work):
        """``work`` with an open signer that knows the files alone; what it returns."""

        async def run():
            async with bootstrap.open_service(Settings(home=self.home), ProcessRole.SIGNER) as service:
                return await work(service)

        return asyncio.run(run())

    def decided(self, kind, payload):
        return self.signer(lambda service: decide(service, self.people, kind, payload))

    def key(self, owner, purpose):
        """Row of the registry that is used now."""

        async def look(service):
            async with service.db.read() as uow:
                used = await service.credentials.of(
                    uow, owner or (await service.directory.agency(uow, "H1")).id, purpose
                )
                return await Registry(service.clock).find(uow, used.key)

        return self.signer(look)

    def init(self, identities, *more, code=0, **how):
        line = (
            "init",
            "--store",
            "transit",
            "--mounts",
            "transit",
            "--hand-over",
            identities,
            "--folder",
            self.folder / "handed",
        )
        return self.run(*line, "--token-file", self.token, "--yes", *more, code=code, **how)

    def hand_over(self, identity="importer"):
        """By the real ceremony; options for the next command."""
        told, role = self.init(identity, as_json=False), f"dauso-{identity}"
        file = self.folder / "handed" / f"{role}.secret-id"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        scanner.secret(file.read_text())
        role_id = self.server.role_id(role)
        line = next(line for line in told.stdout.splitlines() if line.strip().startswith(f"→ {role}"))
        assert f"--role-id {role_id} --secret-id-file {file}" in line, "as the next command wants it"
        return "--role-id", role_id, "--secret-id-file", file

    def run(self, *arguments, code=0, typed="", as_json=True, env=None, cards=None, group="keys"):
        """``dauso keys …``; its last line, or all of its answer."""
        own = ["--cards", cards] if cards else []
        more = ["--json"] if as_json else []
        done = dauso(self.home, *own, group, *arguments, *more, code=code, input=typed, env=env or self.env)
        return json.loads(done.stdout.splitlines()[-1]) if as_json else done

    def listed(self, purpose):
        return [row for row in rows(dauso(self.home, "keys", "list", "--json")) if row["purpose"] == purpose]

    def in_server(self):
        names = self.server.raw("LIST", "transit/keys").json().get("data", {}).get("keys", [])
        return {name for name in names if not name.endswith("/")}  # "import/" is where a key's import is kept


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    if binary() is None:
        live_or_skip("OpenBao (bao)")
    home = tmp_path_factory.mktemp("entering") / "home"
    with server_kind()(home.parent / "bao") as server:
        dauso(home, "init", "--realm", "training", "--json")
        dauso(home, "agency", "add", "--code", "H1", "--name", "UBND xã Đường Lâm", "--parent", "UBND tỉnh Ví Dụ")
        made = House(home, server)
        made.people = made.signer(administrators)
        yield made


def pem(key, passphrase=""):
    how = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


# --------------------------------------------------------------------------------------------------------------- import
def asked(key, certificate):
    return {
        "purpose": "seal", "owner": "", "algorithm": "ecdsa-p256-sha256", "spki_sha256": Digest.of(spki_of(key)).hex,
        "certificate": base64.b64encode(certificate.der).decode(),
    }  # fmt: skip


def test_a_decided_seal_comes_in_by_the_importer_that_was_handed_out(house, tmp_path):
    root, root_key = authority("Gốc")
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    certificate = certificate_over(key, root, root_key)
    file, wrong, chain, bad = (tmp_path / name for name in ("key.pem", "wrong.pem", "chain.pem", "bad.pem"))
    file.write_bytes(pem(key, scanner.secret("mat khau cua tep")))
    wrong.write_bytes(pem(other))
    chain.write_bytes(root.parsed.public_bytes(serialization.Encoding.PEM))
    bad.write_bytes(authority("Khác")[0].parsed.public_bytes(serialization.Encoding.PEM))
    before = house.in_server()

    told = house.run("import", "--key-file", wrong, "--yes", code=1)
    assert (told["error"], told["good"], told["signed"]) == ("key.import_not_decided", False, True)
    decision = house.decided("key.import", asked(key, certificate))
    assert house.run("import", "--key-file", wrong, "--yes", code=1)["error"] == "key.import_not_decided"
    passphrase = {"typed": "mat khau cua tep\n"}
    told = house.run("import", "--key-file", file, "--chain", bad, "--yes", code=1, **passphrase)
    assert told["error"] == "keys.wrong_chain"
    for typed, code in (("khac\n", "keys.unreadable_key"), ("mat khau cua tep\n\n", "keys.no_token")):
        assert house.run("import", "--key-file", file, "--yes", code=1, typed=typed)["error"] == code
    nothing = tmp_path / "dauso-importer.secret-id"
    nothing.write_text("hvs.nothing")
    told = house.run(
        "import", "--key-file", file, "--role-id", "x", "--secret-id-file", nothing, "--yes", code=1, **passphrase
    )
    assert told["error"].startswith("vault."), told
    assert house.in_server() == before, "nothing came in"

    options = house.hand_over()
    told = house.run("import", "--key-file", file, "--chain", chain, *options, "--yes", **passphrase)
    assert (told["good"], told["signed"]) == (True, True)
    values = {fact["value"] for fact in told["facts"]}
    assert {decision, Digest.of(spki_of(key)).hex, certificate.sha256.hex()} <= values
    (name,) = house.in_server() - before
    assert decision in name
    row = house.listed("seal")[-1]
    assert (row["key"], row["store"]) == (name, "transit")
    assert "imported from elsewhere on" in row["came"]
    assert not options[-1].exists(), "it was good once"
    told = house.run("import", "--key-file", file, *options, "--yes", code=1, **passphrase)
    assert told["error"] == "keys.no_card"
    told = house.run("import", "--key-file", file, "--yes", code=1, **passphrase)
    assert told["error"] == "key.import_used"


def test_what_a_person_does_not_confirm_is_not_brought_in(house, tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "key.pem").write_bytes(pem(key))
    house.decided("key.import", asked(key, certificate_over(key)))
    before = house.in_server()
    told = house.run("import", "--key-file", tmp_path / "key.pem", code=1, typed="Nguyễn Văn Mẫu\nn\n")
    assert told["error"] == "keys.not_confirmed"
    assert house.in_server() == before


# ----------------------------------------------------------------------------------------------------------------- move
def test_moved_keys_are_the_same_and_the_whole_says_so(house):
    old = {owner: house.key(owner, purpose) for owner, purpose in (("log", KeyPurpose.LOG), ("root", KeyPurpose.CA))}
    assert house.run("move", "log", "root", "--yes", code=1)["error"] == "keys.move_not_decided"
    for key in old.values():
        house.decided("key.move", {"key": key.id})
    before = house.in_server()
    assert house.run("move", "log", "root", "--yes", code=1, typed="\n")["error"] == "keys.no_token"
    told = house.run("move", "log", "root", code=1, typed="Nguyễn Văn Mẫu\nn\n")
    assert told["error"] == "keys.not_confirmed"
    assert house.run("move", "log", "nowhere", "--yes", code=1)["error"] == "directory.no_such_agency"
    assert house.in_server() == before

    paper = house.folder / "moved.pdf"
    told = house.run("move", "log", "root", *house.hand_over(), "--yes", "--out", paper, as_json=False).stdout
    assert "once lay in a file" in told
    assert "Name of the log, unchanged" in told
    for owner, key in old.items():
        assert f"/desk/admin/keys/{key.id}" in told
        row = next(row for row in house.listed(key.ref.purpose.value) if row["owner"] == owner)
        assert (row["store"], row["spki_sha256"]) == ("transit", Digest.of(key.ref.spki).hex)
        assert "it once lay in a file" in row["came"]
    (seen,) = rows(dauso(house.home, "verify", paper, "--json", code=3))
    assert [each["role"] for each in seen["signatures"]] == ["report"]
    assert house.run("move", "log", *house.hand_over(), "--yes", code=1)["error"] == "keys.not_in_files"
    told = [row["detail"] for row in rows(dauso(house.home, "doctor", "keys", "--json", code=1, env=house.env))]
    assert sum("it once lay in a file" in detail for detail in told) == len(old)
    assert any("NOT FOR PRODUCTION" in detail for detail in told), "while the files are open"


def test_an_operators_token_does_in_the_importers_place(house):
    key = house.key("", KeyPurpose.QR)
    house.decided("key.move", {"key": key.id})
    told = house.run("move", "H1", "--yes", typed=house.token.read_text() + "\n")
    assert told["good"]
    assert house.listed("qr")[-1]["spki_sha256"] == Digest.of(key.ref.spki).hex


def test_files_that_do_not_open_are_said(house):
    house.decided("key.move", {"key": house.key("lists", KeyPurpose.LIST).id})
    options, key_file = house.hand_over(), house.home / "key-file"
    kept = key_file.read_bytes()
    try:
        key_file.rename(house.folder / "away")
        assert house.run("move", "lists", "--yes", code=1)["error"] == "key.no_such_store"
        key_file.write_bytes(os.urandom(32))
        told = house.run("move", "lists", *options, "--yes", code=1)
        assert told["error"] == "key.damaged"
        assert (told["good"], told["signed"]) == (False, False), "the sheets' key is in those files too"
    finally:
        key_file.write_bytes(kept)
    assert house.listed("list")[-1]["store"] == "software"
    assert house.run("move", "lists", *house.hand_over(), "--yes")["good"]


# ------------------------------------------------------------------------------------------------------- hand over, end
def test_identities_are_handed_out_as_what_comes_next_wants_them(house):
    assert house.init("signer,nobody", code=1)["error"] == "keys.unknown_identity"
    assert house.init("web", code=1)["error"] == "keys.unknown_identity"
    told = house.init("signer,enroller,custodian", as_json=False).stdout
    files = house.folder / "handed"
    for prefix, role in (("", "dauso-signer"), ("ENROLLER_", "dauso-enroller")):
        assert f"→ DAUSO_VAULT_{prefix}ROLE={role}\n" in told
        assert f"→ DAUSO_VAULT_{prefix}ROLE_ID={house.server.role_id(role)}\n" in told
        assert f"→ DAUSO_VAULT_{prefix}SECRET_ID_FILE={files / role}.secret-id " in told
    assert f"→ dauso-custodian: --role-id {house.server.role_id('dauso-custodian')} --secret-id-file" in told
    assert "DAUSO_VAULT_CUSTODIAN" not in told, "it is for one ceremony, and no setting"
    first = (files / "dauso-signer.secret-id").read_text()
    house.init("signer")
    assert (files / "dauso-signer.secret-id").read_text() != first, "a new one, once more"
    assert house.init("")["good"], "nobody is handed anything"
    none = house.folder / "no-token"
    none.write_text(" ")
    line = ("init", "--store", "transit", "--mounts", "transit", "--token-file", none, "--yes")
    assert house.run(*line, code=1)["error"] == "keys.no_token"
    assert house.run(*line[:-2], house.folder / "nowhere", "--yes", code=1)["error"] == "cli.no_such_file"


def test_a_decided_end_waits_for_its_custodian(house):
    key = house.key("", KeyPurpose.QR)
    assert key.ref.store == "transit"
    house.run("rotate", "H1", "--purpose", "qr", "--yes")
    house.decided("key.disable", {"key": key.id, "why": "Đổi khóa", "revoke": ""})
    told = house.run("disable", key.id, "--yes")
    assert any(": due, " in fact["value"] for fact in told["facts"]), "the signer's own identity may not"
    told = house.run("disable", key.id, *house.hand_over("custodian"), "--yes")
    assert any(": done, " in fact["value"] for fact in told["facts"]), told
    assert Kept.of(house.server.api("GET", f"transit/keys/{key.ref.name}")["data"]).is_disabled(key.ref.version)


# -------------------------------------------------------------------------------------------------------- taking stock
def test_a_ceremony_reads_the_server_with_a_persons_rights_and_finds_what_was_changed(house):
    house.init("")
    line = ("ceremony", "--yes", "--token-file", house.token)
    told = house.run(*line, code=None)
    values = {fact["value"] for fact in told["facts"]}
    assert policy_for(Identity.IMPORTER, ("transit",)).sha256 in values
    assert "to-file (file)" in values, "audit devices, which the service's own identities may not see"
    policy = policy_for(Identity.CUSTODIAN, ("transit",))
    house.server.add_policy(policy.name, policy.hcl() + "# by hand\n")
    try:
        assert house.run(*line, code=1)["error"] == "keys.policy_differs"
        assert house.init("", code=1)["error"].startswith("keys."), "and nothing is overwritten"
    finally:
        house.server.add_policy(policy.name, policy.hcl())
    told = house.run("ceremony", "--yes", code=1, typed="\n")
    assert told["error"] == "keys.no_token"


# ------------------------------------------------------------------------------------- AppRole: a secret id is good once
def names(folder):
    return {each.name for each in folder.iterdir()}


BOTH = {"dauso-signer.secret-id", "dauso-enroller.secret-id"}


@pytest.fixture
def laid(house, tmp_path):
    """(settings, folder): what the signer's own start needs lies there, as ``keys init`` hands it over."""
    folder = tmp_path / "signer"
    house.init("signer,enroller", "--folder", folder)
    env = house.env | {"DAUSO_VAULT_WRAPPED": "true"}
    for prefix, role in (("", "dauso-signer"), ("ENROLLER_", "dauso-enroller")):
        env |= {
            f"DAUSO_VAULT_{prefix}ROLE": role, f"DAUSO_VAULT_{prefix}ROLE_ID": house.server.role_id(role),
            f"DAUSO_VAULT_{prefix}SECRET_ID_FILE": str(folder / f"{role}.secret-id"),
        }  # fmt: skip
    return env, folder


def test_a_ceremony_has_cards_of_its_own_and_never_takes_the_signers(house, laid, tmp_path):
    env, signers = laid
    before = {each.name: each.read_text() for each in signers.iterdir()}
    assert set(before) == BOTH
    rotate = ("rotate", "lists", "--purpose", "list", "--yes")
    for line in (
        rotate,
        ("ceremony", "--yes"),
        ("move", "log", "--yes"),
        ("disable", house.listed("seal")[0]["key"], "--yes"),
    ):
        assert house.run(*line, code=1, env=env)["error"] == "keys.needs_cards"
    told = house.run(*rotate, cards=tmp_path, code=1, env=env)
    assert told["error"] == "keys.no_card"

    cards = tmp_path / "cards"
    line = ("--folder", cards, "--out", tmp_path / "init.pdf")
    told = house.init("signer,enroller", *line, env=env)
    assert (told["good"], told["signed"]) == (True, True), "with what it lent itself"
    assert names(cards) == BOTH
    for wrong, code in (
        (("rotate", "H99.1", "--purpose", "document"), "keys.person_enrols"), (("rotate", "H99.1"), "directory.no_such_agency"),
        (("rotate", "lists", "--purpose", "list", "--at", "25/11/2020"), "keys.switch_time"), (("disable", "nobody"), "key.unknown"),
        (("import", "--key-file", tmp_path / "none"), "cli.no_such_file"), (("move", "nowhere"), "directory.no_such_agency"),
    ):  # fmt: skip
        assert house.run(*wrong, "--yes", cards=cards, code=1, env=env)["error"] == code
    assert names(cards) == BOTH, "a slip of the hand costs nothing"

    told = house.run(*rotate, cards=cards, env=env)
    assert (told["good"], told["signed"]) == (True, True)
    assert names(cards) == set()
    assert house.run(*rotate, cards=cards, code=1, env=env)["error"] == "keys.no_card"

    house.init("signer,enroller", "--folder", cards)
    line = ("ceremony", "--yes", "--token-file", house.token)
    told = house.run(*line, cards=cards, code=None, env=env)
    values = [f"{each['what']} {each['value']}" for each in told["facts"]]
    assert told["signed"]
    assert not any("key.denied" in each or "login_failed" in each for each in values)
    assert {each.name: each.read_text() for each in signers.iterdir()} == before


AGENCY = ("add", "--code", "H2", "--name", "UBND xã Mới", "--parent", "UBND tỉnh Ví Dụ")


def test_no_other_command_takes_the_signers_cards_either(house, laid, tmp_path):
    env, signers = laid
    before = {each.name: each.read_text() for each in signers.iterdir()}
    for group, *line in (
        ("agency", *AGENCY), ("agency", "rekey", "H1"), ("lists", "publish", "--out", tmp_path / "lists"),
    ):  # fmt: skip
        assert house.run(*line, group=group, code=1, env=env)["error"] == "keys.needs_cards"
    assert not (tmp_path / "lists").exists()
    cards = tmp_path / "cards"
    house.init("signer,enroller", "--folder", cards)
    wording = house.run(*AGENCY, "--wording", tmp_path / "none", group="agency", cards=cards, code=1, env=env)
    assert (wording["error"], names(cards)) == ("cli.no_such_file", BOTH)
    assert house.run(*AGENCY, group="agency", cards=cards, env=env)["code"] == "H2"
    assert names(cards) == set()
    assert {row["store"] for row in house.listed("seal") if row["owner"] == "H2"} == {"transit"}
    assert {each.name: each.read_text() for each in signers.iterdir()} == before


def test_a_home_is_made_with_one_set_of_cards(house, laid, tmp_path):
    env, signers = laid
    before = {each.name: each.read_text() for each in signers.iterdir()}
    cards, home = tmp_path / "cards", tmp_path / "home"
    new = ("init", "--realm", "training", "--json")
    (told,) = rows(dauso(home, *new, code=1, env=env))
    assert (told["error"], home.exists()) == ("keys.needs_cards", False)
    prepare = (
        "keys",
        "init",
        "--store",
        "transit",
        "--hand-over",
        "signer,enroller",
        "--folder",
        cards,
        "--token-file",
        house.token,
    )
    said = dauso(home, *prepare, "--out", tmp_path / "init.pdf", input="Nguyễn Thị Chứng\ny\n", env=env).stdout
    assert f"dauso --cards {cards} init" in said, "what comes next"
    (told,) = rows(dauso(home, "--cards", cards, *new, env=env))
    assert told["realm"] == "training"
    assert names(cards) == set()
    assert {each.name: each.read_text() for each in signers.iterdir()} == before


def test_an_agencys_own_custodian_gets_in_by_the_name_of_its_card(house, tmp_path):
    cards = tmp_path / "cards"
    line = ("init", "--store", "transit", "--agency", "H88", "--hand-over", "custodian,importer", "--folder", cards)
    house.run(*line, "--token-file", house.token, "--yes")
    for identity, role in ((Identity.CUSTODIAN, "dauso-custodian-h88"), (Identity.IMPORTER, "dauso-importer-h88")):
        file = cards / f"{role}.secret-id"
        scanner.secret(file.read_text())
        act = ceremonies.Disable(
            settings=Settings(home=house.home, vault_url=house.server.url), key="x", role_id=house.server.role_id(role),
            secret_id_file=file, out=None, yes=True,
        )  # fmt: skip

        async def enter(act=act, identity=identity, file=file):
            async with act.handed(identity, act.role_id, file) as vault:
                return (await vault.call("GET", "auth/token/lookup-self"))["policies"]

        other = Identity.IMPORTER if identity is Identity.CUSTODIAN else Identity.CUSTODIAN
        with pytest.raises(ServiceError, match=r"keys\.other_card"):
            asyncio.run(enter(identity=other))
        assert asyncio.run(enter()) == [role]


def test_stock_is_taken_of_an_agencys_own_mount_too(house):
    more = ("--agency", "H88", "--cidr", "127.0.0.0/8")
    house.run("init", "--store", "transit", *more, "--hand-over", "", "--token-file", house.token, "--yes")
    line = ("ceremony", "--yes", "--token-file", house.token)
    told = house.run(*line, *more, code=None)
    assert policy_for(Identity.SIGNER, ("transit-h88",), "H88").sha256 in {fact["value"] for fact in told["facts"]}
    told = house.run(*line, *more[:2], code=1)
    assert told["error"] == "keys.role_differs"
