"""What one line of an audit file tells, and what is no such line."""

import datetime as dt
import json

import pytest

from audit.keyuse import Call, KeyVersion, Operation
from audit.keyuse.lines import LineReader, RawLine, time_of
from core.limits import LIMITS
from tests.audit.keyuse.makers import AT, KEY, WHO, digest, entry, hashed, noise, shown, sign


def reader(mounts=("transit",), signers=("dauso-signer",), namespace=""):
    return LineReader(mounts, signers, namespace)


def read(data: bytes, by=None):
    by = by or reader()
    return [item for line in data.splitlines(keepends=True) for item in by.read(line)]


def test_a_signature_is_a_call_with_key_version_and_hashed_input():
    (call,) = read(sign(digest()))
    assert call == Call(KEY, hashed(digest()), AT, call.request, WHO)


def test_each_signed_item_of_a_batch_is_a_call_and_a_failed_one_is_none():
    calls = read(sign(digest(1), digest(2), digest(3), failed={1}))
    assert [c.input for c in calls] == [hashed(digest(1)), hashed(digest(3))]


def test_the_hash_named_in_the_path_does_not_hide_the_key():
    (call,) = read(sign(digest(), path=f"transit/sign/{KEY.name}/sha2-256"))
    assert call.key == KEY


def test_other_mounts_and_other_lines_tell_nothing():
    assert read(sign(digest(), key=KEY._replace(place="foreign")) + noise(3)) == []


def test_a_mount_inside_a_namespace_is_named_with_it_or_inside_our_own():
    line = sign(digest(), space="tenant")
    assert read(line, reader()) == []
    assert read(line, reader(mounts=("tenant/transit",)))[0].key.place == "tenant/transit"
    assert read(line, reader(namespace="tenant"))[0].key.place == "transit"
    assert read(sign(digest()), reader(namespace="tenant")) == []


def test_a_forwarded_request_stands_twice_and_counts_once():
    line = sign(digest(), request="f" * 36)
    assert len(read(line + line)) == 1


def test_a_caller_that_may_not_sign_is_named_and_its_call_matches_nothing():
    (found,) = read(sign(digest(), role="thief"))
    assert isinstance(found, Operation)
    assert (found.kind, found.done, found.known, found.who) == ("sign", True, False, WHO)


@pytest.mark.parametrize("name", [WHO, "dauso-signer", "approle"])
def test_a_signer_is_known_by_entity_role_or_display_name(name):
    assert isinstance(read(sign(digest()), reader(signers=(name,)))[0], Call)


def test_a_refused_signature_is_no_call():
    path = f"transit/sign/{KEY.name}"
    denied = entry(path=path, data={"input": shown("AA==")}, answer={"error": shown("no")}, error="permission denied")
    (found,) = read(denied)
    assert (found.kind, found.done) == ("sign_refused", False)


@pytest.mark.parametrize(
    ("path", "operation", "kind", "name"),
    [
        ("transit/export/signing-key/k", "read", "export", "k"),
        ("transit/byok-export/d/k", "read", "byok-export", "k"),
        ("transit/backup/k", "read", "backup", "k"),
        ("transit/restore/k", "update", "restore", "k"),
        ("transit/keys/k/config", "update", "config", "k"),
        ("transit/keys/k/rotate", "update", "rotate", "k"),
        ("transit/keys/k/csr", "update", "csr", "k"),
        ("transit/keys/k/import", "update", "import", "k"),
        ("transit/keys/k", "delete", "delete", "k"),
        ("transit/config/keys", "update", "config", ""),
        ("transit/decrypt/k", "update", "decrypt", "k"),
        ("transit/wrapping_key", "read", "wrapping_key", ""),
        ("transit/what-comes-next/k", "update", "what-comes-next", "k"),
    ],
)
def test_other_operations_are_named_and_done_only_where_the_server_did_them(path, operation, kind, name):
    (done,) = read(entry(path=path, operation=operation, answer={"name": shown("k")}))
    assert (done.kind, done.name, done.place, done.done) == (kind, name, "transit", True)
    (quietly,) = read(entry(path=path, operation=operation, answer={"error": shown("no")}))
    (denied,) = read(entry(path=path, operation=operation, answer=None, error="permission denied"))
    assert (quietly.done, denied.done) == (False, False)


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("transit/keys/k", "read"), ("transit/keys", "list"), ("transit/keys/k", "update"),
        ("transit/verify/k", "update"), ("transit/random/32", "update"), ("transit/export/x/k", "help"),
    ],
)  # fmt: skip
def test_harmless_operations_are_not_told(path, operation):
    assert read(entry(path=path, operation=operation, answer={})) == []


@pytest.mark.parametrize(
    "path",
    ["sys/policies/acl/signer", "sys/audit/to-file", "sys/mounts/transit", "sys/mounts/transit/tune", "sys/remount",
     "sys/generate-root/attempt", "sys/raw/x", "auth/approle/role/signer"],
)  # fmt: skip
def test_changes_of_the_servers_rules_are_told_and_their_reading_is_not(path):
    (found,) = read(entry(path=path, mount="sys", mount_type="system", answer=None))
    assert (found.kind, found.done) == ("rules", True)
    assert read(entry(path=path, mount="sys", mount_type="system", operation="read", answer={})) == []


def test_other_mounts_questions_for_hashes_and_secret_ids_are_no_change_of_rules():
    lines = [entry(path=p, mount="sys", mount_type="system", answer={}) for p in
             ("sys/mounts/other", "sys/audit-hash/to-file", "auth/approle/role/signer/secret-id", "sys/health")]  # fmt: skip
    assert read(b"".join(lines)) == []


def test_a_request_without_response_is_told_after_a_while_once():
    by = reader()
    asked, said = sign(digest()).splitlines(keepends=True)
    assert read(asked, by) == []
    assert by.unanswered(AT - dt.timedelta(seconds=1)) == []
    (call,) = by.unanswered(AT)
    assert (call.key, call.input) == (KEY, hashed(digest()))
    assert by.unanswered(AT) == []
    read(asked + said, again := reader())
    assert again.unanswered(AT) == []


def test_a_request_that_was_refused_needs_no_response():
    by = reader()
    path = f"transit/sign/{KEY.name}"
    read(entry("request", path=path, data={"input": shown("AA==")}, error="permission denied"), by)
    assert by.unanswered(AT) == []


def test_requests_that_wait_go_over_to_the_next_run_without_names():
    by, later = reader(), reader()
    asked, said = sign(digest(1), digest(2)).splitlines(keepends=True)
    read(asked, by)
    kept = json.loads(json.dumps(by.dump()))
    assert "dauso-signer" not in str(kept)
    later.load(kept)
    assert [c.input for c in later.unanswered(AT)] == [hashed(digest(1)), hashed(digest(2))]
    later.load(kept)
    assert len(read(said, later)) == 2
    assert later.unanswered(AT) == []


def test_requests_that_wait_are_bounded(monkeypatch):
    monkeypatch.setitem(LIMITS, "keyuse.open_requests", 2)
    by = reader()
    for text in range(4):
        read(sign(digest(text)).splitlines(keepends=True)[0], by)
    assert len(by.unanswered(AT - dt.timedelta(hours=1))) == 2


@pytest.mark.parametrize(
    "line",
    [
        b"\n", b"{}\n", b"[]\n", b"not json\n", b'{"time":"2026-11-25T03:00:00Z","type":"resp\n',
        sign(digest())[:300] + b"\n", sign(digest())[:300] + noise(),
        b"\xff\xfe\n",
    ],
)  # fmt: skip
def test_what_is_no_whole_line_is_refused(line):
    with pytest.raises(ValueError):
        read(line[: line.index(b"\n") + 1])


def test_inputs_in_clear_are_refused():
    data = {"input": "AAAA", "key_version": 1}
    raw = entry(path=f"transit/sign/{KEY.name}", data=data, answer={"signature": "vault:v1:AA==", "key_version": 1})
    with pytest.raises(RawLine):
        read(raw)


def test_a_version_that_the_server_does_not_say_is_none_of_ours():
    data = {"input": shown("x"), "key_version": shown("1")}
    (call,) = read(entry(path=f"transit/sign/{KEY.name}", data=data, answer={"signature": shown("s")}))
    assert call.key == KeyVersion("transit", KEY.name, 0)


def test_the_time_stands_at_the_beginning_of_a_line():
    assert time_of(noise()) == AT
    assert time_of(b'{"time":"yesterday","type"') is None
    assert time_of(b"") is None
