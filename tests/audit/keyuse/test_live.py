"""Against a real OpenBao: what its audit file says is what we take it for, through rotation, restart and a stolen token."""

import asyncio
import base64
import json
import shutil

import pytest

from audit.keyuse import Call, Hashes, Rules, Signal, reconcile_keys
from audit.keyuse.lines import LineReader
from audit.keyuse.listen import Listener
from audit.keyuse.model import Cause, KeyVersion
from core.clock import SystemClock
from core.errors import ServiceError
from core.limits import LIMITS
from core.values import Digest, Message, SignatureAlgorithm
from core.vault import AppRole, Vault, VaultConfig
from signer.keystores.model import KeyPurpose
from signer.keystores.transit import TransitKeyStore
from tests.audit.keyuse.makers import Side
from tests.conftest import live_or_skip
from tests.openbao import AUDIT, OpenBao, binary, cluster
from tests.vault import server_kind

pytestmark = pytest.mark.live

CLOCK = SystemClock()
POLICY = """
path "transit/sign/+" { capabilities = ["update"] }
path "transit/keys/+" { capabilities = ["read", "update"] }
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One of our own: its audit file is rotated, it is stopped and killed."""
    if binary() is None:
        live_or_skip("OpenBao (bao)")
    with server_kind()(tmp_path_factory.mktemp("bao")) as made:
        made.add_policy("signing", POLICY)
        settings = {"token_policies": ["signing"], "token_ttl": "1h"}
        made.api("POST", "auth/approle/role/dauso-signer", settings)
        yield made


@pytest.fixture
def laid_url(sqlite_tables, tmp_path):
    """One database is enough here; ``test_store`` uses both."""
    made = tmp_path / "dauso.db"
    shutil.copy(sqlite_tables, made)
    return f"sqlite+aiosqlite:///{made}"


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """Tests do not wait for half a minute."""
    monkeypatch.setitem(LIMITS, "keyuse.settle_seconds", 0)
    monkeypatch.setitem(LIMITS, "keyuse.horizon_seconds", 0)


def entrance(server, role="dauso-signer"):
    file = server.folder / f"{role}.secret"
    file.write_text(server.secret_id(role))
    login = AppRole(role_id=server.role_id(role), secret_id_file=file, wrapped=False)
    return Vault(VaultConfig(url=server.url, login=login))


@pytest.fixture
async def store(server):
    """The signer's."""
    vault = entrance(server)
    await vault.start()
    yield TransitKeyStore(vault, ["transit"])
    await vault.close()


class Look:
    """The auditor, who begins when he is made; ``did`` notes a cause of ours."""

    def __init__(self, server, db):
        self.server, self.db, self.began, self.causes = server, db, CLOCK.now(), []

    def did(self, ref, *inputs, must=True, kind="order"):
        for value in inputs:
            for signal in (Signal.MAY, Signal.MUST) if must else (Signal.MAY,):
                self.causes.append(
                    Cause(
                        id=f"o{len(self.causes)}", kind=kind, key=KeyVersion(ref.place, ref.name, ref.version), input=value,
                        signal=signal, at=CLOCK.now(),
                    )
                )  # fmt: skip

    async def ask(self, text):
        return self.server.audit_hash(text)

    async def look(self, *files, mounts=("transit",)):
        rules = Rules(device=AUDIT, mounts=frozenset(mounts), signers=frozenset({"dauso-signer"}), live=True)
        await asyncio.sleep(1.1)  # whole seconds decide what a run reads
        report = await reconcile_keys(
            db=self.db, clock=CLOCK, files=files or (self.server.audit_file,), hashes=Hashes(self.ask),
            source=Side(*self.causes), rules=rules, since=self.began,
        )  # fmt: skip
        return report, [f.code for f in report.findings if f.code != "keyuse.rules_changed"]


@pytest.fixture
def auditor(server, db):
    return Look(server, db)


async def new_key(store, algorithm=SignatureAlgorithm.ECDSA_P256_SHA256, purpose=KeyPurpose.SEAL):
    return await store.create(f"{purpose}-{CLOCK.now().timestamp():.6f}".replace(".", "x"), purpose, algorithm)


def digest(text):
    return Digest.of(str(text).encode())


async def sign(store, ref, *items):
    results = await store.sign_batch(ref, items, purpose=ref.purpose, event_id="e")
    assert all(isinstance(r, bytes) for r in results), results


async def test_calls_of_our_store_are_found_with_their_causes(store, auditor):
    """Single, gathered and batched signatures, a message as it is, each input hashed as the server hashes its base64."""
    seal, log = await new_key(store), await new_key(store, SignatureAlgorithm.ED25519, KeyPurpose.LOG)
    auditor.did(seal, digest(1).value, *[digest(n).value for n in range(2, 40)])
    auditor.did(log, b"a checkpoint\n", must=False, kind="use")
    await store.sign(seal, digest(1), purpose=KeyPurpose.SEAL, event_id="e")
    await sign(store, seal, *[digest(n) for n in range(2, 40)])
    await store.sign(log, Message(b"a checkpoint\n"), purpose=KeyPurpose.LOG, event_id="e")
    report, found = await auditor.look()
    assert (found, report.counts["calls"], report.counts["matched"]) == ([], 40, 40)


async def test_the_hash_of_a_value_is_the_one_in_the_file(server, store):
    seal = await new_key(store)
    await sign(store, seal, digest("x"), digest("y"))
    lines = server.audit_file.read_text().splitlines()
    for text in ("x", "y"):
        shown = server.audit_hash(base64.b64encode(digest(text).value).decode())
        assert any(shown in line and "batch_input" in line for line in lines)


async def test_a_stolen_token_of_the_signer_is_found_by_its_call(server, store, auditor):
    seal = await new_key(store)
    thief = entrance(server)
    await thief.start()
    await sign(TransitKeyStore(thief, ["transit"]), seal, digest("stolen"))
    await thief.close()
    report, found = await auditor.look()
    assert found == ["keyuse.call_without_intent"]
    assert report.findings[0].key.name == seal.name
    assert len(report.findings[0].requests[0]) == 36


async def test_another_identity_is_found_even_where_it_signs_what_we_wanted(server, store, auditor):
    seal = await new_key(store)
    auditor.did(seal, digest(1).value, must=False)
    server.api("POST", f"transit/sign/{seal.name}", {
        "input": base64.b64encode(digest(1).value).decode(), "prehashed": True, "key_version": 1,
    })  # fmt: skip
    _, found = await auditor.look()
    assert found == ["keyuse.foreign_caller"]


def by_role(server):
    """A token of the signer's role, as its own log-in gives it."""
    login = {"role_id": server.role_id("dauso-signer"), "secret_id": server.secret_id("dauso-signer")}
    return server.api("POST", "auth/approle/login", login, token="")["auth"]["client_token"]


@pytest.mark.parametrize("batch", [False, True])
async def test_a_signature_that_was_asked_for_wrapped_is_found(server, store, auditor, batch):
    seal = await new_key(store)
    one = {"input": base64.b64encode(digest("wrapped").value).decode()}
    body = {"prehashed": True, "key_version": "1"} | ({"batch_input": [one]} if batch else one)
    answer = server.api("POST", f"transit/sign/{seal.name}", body, by_role(server), wrap="60")
    assert answer["wrap_info"]["token"]
    report, found = await auditor.look()
    assert found == ["keyuse.call_without_intent", "keyuse.forbidden_operation"]
    assert (report.findings[0].key.name, report.findings[0].key.version) == (seal.name, 1)
    assert report.findings[1].what == "sign_wrapped"


async def test_a_token_that_was_made_with_the_signers_name_beside_it_is_not_the_signers(server, store, auditor):
    seal = await new_key(store)
    auditor.did(seal, digest(1).value, must=False)
    made = {"policies": ["admin"], "meta": {"role_name": "dauso-signer"}, "display_name": "approle"}
    token = server.api("POST", "auth/token/create", made)["auth"]["client_token"]
    body = {"input": base64.b64encode(digest(1).value).decode(), "prehashed": True, "key_version": 1}
    server.api("POST", f"transit/sign/{seal.name}", body, token)
    report, found = await auditor.look()
    assert found == ["keyuse.foreign_caller"]
    assert "auth/token/create" in [f.key.name for f in report.findings]


async def test_a_key_that_was_exported_under_another_mount_is_found(server, db):
    server.enable("transit-old")
    server.api("POST", "transit-old/keys/k", {"type": "ecdsa-p256"})
    auditor = Look(server, db)
    server.api("GET", "transit-old/keys/k")
    server.api("POST", "sys/remount", {"from": "transit-old", "to": "elsewhere"})
    for _ in range(100):
        if server.status("POST", "elsewhere/keys/k/config", {"exportable": True}) == 200:
            break
        await asyncio.sleep(0.05)
    assert server.api("GET", "elsewhere/export/signing-key/k")["data"]["keys"]
    report, found = await auditor.look(mounts={"transit-old"})
    assert set(found) == {"keyuse.forbidden_operation"} | ({"keyuse.forbidden_attempt"} & set(found))
    done = {f.what for f in report.findings if f.code == "keyuse.forbidden_operation"}
    assert done == {"remount", "moved config", "moved export"}


async def test_a_made_order_that_the_server_never_saw_is_found(store, auditor):
    seal = await new_key(store)
    auditor.did(seal, digest("elsewhere").value)
    _, found = await auditor.look()
    assert found == ["keyuse.made_without_call"]


async def test_what_the_server_refused_is_no_call(server, store, auditor):
    seal = await new_key(store)
    auditor.did(seal, digest(1).value, must=False)
    poor = server.token_for("default")
    body = {"input": base64.b64encode(digest(1).value).decode(), "key_version": 1}
    assert server.status("POST", f"transit/sign/{seal.name}", body, poor) == 403
    assert server.status("POST", f"transit/sign/{seal.name}", body, "no-token") == 403
    report, found = await auditor.look()
    assert set(found) == {"keyuse.refused_attempt"}
    assert report.counts["calls"] == 0


async def test_forbidden_operations_are_told_with_what_became_of_them(server, store, auditor):
    seal = await new_key(store)
    path = f"transit/keys/{seal.name}"
    assert server.status("GET", f"transit/export/signing-key/{seal.name}") == 400
    server.api("POST", f"{path}/config", {"exportable": True})
    server.api("GET", f"transit/export/signing-key/{seal.name}")
    server.api("POST", f"{path}/rotate")
    server.api("POST", f"{path}/config", {"deletion_allowed": True})
    server.api("DELETE", path)
    server.api("POST", "transit/keys/other", {"type": "ed25519"})
    report, _ = await auditor.look()
    told = {
        (f.code.removeprefix("keyuse."), f.what, f.count) for f in report.findings if f.key and f.key.name == seal.name
    }
    assert told == {
        ("forbidden_attempt", "export", 1), ("forbidden_operation", "export", 1), ("forbidden_operation", "config", 2),
        ("forbidden_operation", "rotate", 1), ("forbidden_operation", "delete", 1),
    }  # fmt: skip


async def test_rotation_restart_and_kill_lose_nothing(server, store, auditor, tmp_path):
    """The file moves away between two calls; the server is stopped, and killed while it signs."""
    seal = await new_key(store)

    async def one(text):
        auditor.did(seal, digest(text).value)
        await store.sign(seal, digest(text), purpose=KeyPurpose.SEAL, event_id="e")

    await one("before")
    _, found = await auditor.look()
    assert found == []
    await one("late in the old file")
    server.rotate_audit(server.audit_file.with_name("audit.log.1"))
    await one("early in the new file")
    _, found = await auditor.look()
    assert found == []
    server.stop()
    server.start()
    await one("after a restart")
    server.kill()
    auditor.did(seal, digest("in vain").value, must=False)
    with pytest.raises(ServiceError):
        await store.sign(seal, digest("in vain"), purpose=KeyPurpose.SEAL, event_id="e")
    server.start()
    await store.sign(seal, digest("in vain"), purpose=KeyPurpose.SEAL, event_id="e")
    report, found = await auditor.look()
    assert (found, report.counts["matched"]) == ([], 2)


def test_a_mount_in_a_namespace_is_found_however_it_is_named(server):
    if server.product == "vault":
        return  # Enterprise alone has namespaces
    server.api("POST", "sys/namespaces/tenant", {})
    server.enable("transit-a", namespace="tenant")
    server.api("POST", "transit-a/keys/k", {"type": "ecdsa-p256"}, namespace="tenant")
    body = {"input": base64.b64encode(digest(1).value).decode(), "prehashed": True, "key_version": "1"}
    server.api("POST", "transit-a/sign/k", body, namespace="tenant")
    server.api("POST", "tenant/transit-a/sign/k", body)
    for mount, namespace, count in (("tenant/transit-a", "", 2), ("transit-a", "tenant", 2), ("transit-a", "", 0)):
        reader = LineReader([mount], ["userpass-admin"], namespace)
        found = [
            item for line in server.audit_file.read_bytes().splitlines(keepends=True) for item in reader.read(line)
        ]
        assert [c.key for c in found if isinstance(c, Call)] == [KeyVersion(mount, "k", 1)] * count


async def test_a_part_that_somebody_took_away_is_missed(server, store, auditor):
    await new_key(store)
    await auditor.look()
    gone = server.audit_file.with_name("gone")
    server.rotate_audit(gone)
    await new_key(store)
    _, found = await auditor.look()
    assert found == ["keyuse.stretch_missing"]


async def test_a_second_device_by_socket_tells_the_same(db, tmp_path, monkeypatch):
    """Both devices hold the same requests, each under a key of its own."""
    copy, number = tmp_path / "second.log", asyncio.get_running_loop().create_future()
    listening = asyncio.create_task(Listener(copy).serve("127.0.0.1", 0, number.set_result))
    port = await number
    server = OpenBao(tmp_path / "bao")
    with (server.folder / "server.hcl").open("a") as config:
        config.write(f'audit "socket" "to-socket" {{\n  options {{\n    address = "127.0.0.1:{port}"\n  }}\n}}\n')
    await asyncio.to_thread(server.start)
    try:
        body = {"input": base64.b64encode(digest(1).value).decode(), "prehashed": True, "key_version": 1}
        began = CLOCK.now()
        await asyncio.to_thread(server.api, "POST", "transit/keys/k1", {"type": "ecdsa-p256"})
        await asyncio.to_thread(server.api, "POST", "transit/sign/k1", body)

        async def ask(text):
            answer = await asyncio.to_thread(server.api, "POST", "sys/audit-hash/to-socket", {"input": text})
            return answer["data"]["hash"]

        await asyncio.sleep(1.5)
        key = KeyVersion("transit", "k1", 1)
        causes = [Cause(id="o", kind="order", key=key, input=digest(1).value, signal=s, at=began) for s in Signal]
        rules = Rules(device="to-socket", mounts=frozenset({"transit"}), signers=frozenset({"userpass-admin"}))
        monkeypatch.setitem(LIMITS, "keyuse.horizon_seconds", 60)
        report = await reconcile_keys(
            db=db, clock=CLOCK, files=[copy], hashes=Hashes(ask), source=Side(*causes), rules=rules, since=began
        )
        assert (report.counts["calls"], report.counts["matched"], report.counts["waiting"]) == (1, 1, 0)
        first, second = (
            {json.loads(line)["request"]["id"] for line in f.read_bytes().splitlines()}
            for f in (server.audit_file, copy)
        )
        assert len(first & second) > 5
    finally:
        await asyncio.to_thread(server.close)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


@pytest.mark.slow
async def test_what_a_standby_answers_or_forwards_counts_once(db, tmp_path, monkeypatch):
    with cluster(tmp_path) as nodes:
        leader = nodes.leader()
        standby = nodes.standbys()[0]
        began = CLOCK.now()
        leader.api("POST", "transit/keys/k1", {"type": "ecdsa-p256"})
        token = leader.admin_token()
        inputs = [digest(n).value for n in range(6)]
        for number, value in enumerate(inputs):
            body = {"input": base64.b64encode(value).decode(), "prehashed": True, "key_version": 1}
            node = leader if number % 2 else standby
            for _ in range(50):
                if node.status("POST", "transit/sign/k1", body, token) == 200:
                    break
                await asyncio.sleep(0.1)
        auditor = Look(leader, db)
        auditor.began = began
        key = KeyVersion("transit", "k1", 1)
        for n, value in enumerate(inputs):
            auditor.causes += [
                Cause(id=f"o{n}", kind="order", key=key, input=value, signal=s, at=began) for s in Signal
            ]
        rules = Rules(device=AUDIT, mounts=frozenset({"transit"}), signers=frozenset({"userpass-admin"}))
        await asyncio.sleep(1.1)
        monkeypatch.setitem(LIMITS, "keyuse.horizon_seconds", 60)
        report = await reconcile_keys(
            db=db, clock=CLOCK, files=[n.audit_file for n in nodes.nodes], hashes=Hashes(auditor.ask),
            source=Side(*auditor.causes), rules=rules, since=began,
        )  # fmt: skip
        assert [f.code for f in report.findings if f.severity == "critical"] == []
        assert (report.counts["calls"], report.counts["matched"], report.counts["waiting"]) == (6, 6, 0)
