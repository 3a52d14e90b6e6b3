"""What one line of an audit file tells, and what is no such line."""

import datetime as dt
import json

import pytest

from audit.keyuse import Call, KeyVersion, Operation
from audit.keyuse.lines import LineReader, RawLine, in_order, time_of
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
        ("transit/config/keys", "read"), ("transit/cache-config", "read"),
    ],
)  # fmt: skip
def test_harmless_operations_are_not_told(path, operation):
    assert read(entry(path=path, operation=operation, answer={})) == []


@pytest.mark.parametrize(
    "path",
    ["sys/policies/acl/signer", "sys/audit/to-file", "sys/mounts/transit", "sys/mounts/transit/tune", "sys/mounts/other",
     "sys/generate-root/attempt", "sys/seal", "sys/namespaces/x", "sys/config/auditing/request-headers/x",
     "sys/storage/raft/snapshot-force", "auth/approle/role/signer", "auth/approle/role/signer/secret-id",
     "auth/approle/role/signer/policies", "auth/cert/certs/signer", "auth/kubernetes/config", "auth/userpass/users/somebody",
     "auth/userpass/users/login", "auth/token/create", "auth/token/create-orphan", "auth/token/roles/x", "auth/token/revoke",
     "identity/entity", "identity/group/id/x", "identity/entity-alias", "identity/lookup/a/b"],
)  # fmt: skip
def test_changes_of_the_servers_rules_are_told_and_their_reading_is_not(path):
    mount = "/".join(path.split("/")[: 2 if path.startswith("auth/") else 1])
    (found,) = read(entry(path=path, mount=mount, mount_type="any", answer=None))
    assert (found.kind, found.done) == ("rules", True)
    (found,) = read(entry(path=path, mount=f"ns/{mount}", mount_type="any", answer=None, space="ns"))
    assert found.kind == "rules"
    assert read(entry(path=path, mount=mount, mount_type="any", operation="read", answer={})) == []


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("sys/audit-hash/to-file", "sys"), ("sys/capabilities-self", "sys"), ("sys/wrapping/unwrap", "sys"),
        ("sys/wrapping/lookup", "sys"), ("sys/leases/renew", "sys"), ("auth/token/renew-self", "auth/token"),
        ("auth/token/lookup", "auth/token"), ("auth/token/revoke-self", "auth/token"), ("auth/approle/login", "auth/approle"),
        ("auth/my-auth/userpass/login/somebody", "auth/my-auth/userpass"), ("identity/lookup/entity", "identity"),
    ],
)  # fmt: skip
def test_log_ins_renewals_and_questions_are_no_change_of_rules(path, mount):
    assert read(entry(path=path, mount=mount, answer={})) == []
    assert read(entry(path=path, mount=f"ns/{mount}", answer={}, space="ns")) == []


def test_the_line_with_which_a_device_begins_is_no_change_of_rules():
    by, line = reader(), json.loads(entry("request", path="sys/audit/test", mount="sys"))
    del line["request"]["mount_point"]
    read(json.dumps(line, separators=(",", ":")).encode() + b"\n", by)
    assert by.unanswered(AT) == []


@pytest.mark.parametrize(
    ("path", "operation", "kind"),
    [
        ("sys/remount", "update", "remount"),
        ("sys/mounts/transit", "delete", "unmount"),
        ("sys/raw/core/x", "read", "raw"),
        ("sys/mounts/other", "delete", "rules"),
    ],
)
def test_moving_ending_or_opening_a_mount_is_more_than_a_change_of_rules(path, operation, kind):
    (found,) = read(entry(path=path, mount="sys", operation=operation, answer={}))
    assert (found.kind, found.done) == (kind, True)


def test_only_our_own_namespaces_mount_is_ours_when_it_ends():
    ended = [entry(path="sys/mounts/transit", mount=f"{space}sys", operation="delete", space=space.strip("/"))
             for space in ("", "tenant/")]  # fmt: skip
    assert [o.kind for o in read(b"".join(ended), reader(namespace="tenant"))] == ["rules", "unmount"]


def test_a_mount_that_was_moved_is_known_by_its_accessor_also_by_the_next_run():
    def on(mount, path, **more):
        line = json.loads(entry(path=f"{mount}/{path}", mount=mount, **more))
        line["request"]["mount_accessor"] = "transit_12cccc01"
        return json.dumps(line, separators=(",", ":")).encode() + b"\n"

    by, later = reader(), reader()
    assert read(on("transit", "keys/k", operation="read"), by) == []
    moved = on("x", "export/signing-key/k", operation="read", answer={}) + on("x", f"sign/{KEY.name}", answer={})
    later.load(json.loads(json.dumps(by.dump())))
    assert [(o.kind, o.place, o.done) for o in read(moved, by)] == [
        ("moved export", "transit", True),
        ("moved sign", "transit", True),
    ]
    assert len(read(moved, later)) == 2
    assert read(moved) == []


def without_data(line, **members):
    """The same response with these members instead of its data."""
    made = json.loads(line)
    del made["response"]["data"]
    made["response"] |= members
    return json.dumps(made, separators=(",", ":")).encode() + b"\n"


@pytest.mark.parametrize("values", [(digest(),), (digest(1), digest(2))])
def test_an_answer_that_is_wrapped_hides_no_signature(values):
    asked, said = sign(*values).splitlines(keepends=True)
    wrapped, *calls = read(asked + without_data(said, wrap_info={"ttl": 60}))
    assert (wrapped.kind, wrapped.done, wrapped.name) == ("sign_wrapped", True, KEY.name)
    assert [(c.key, c.input) for c in calls] == [(KEY, hashed(v)) for v in values]
    wrapped, foreign = read(
        without_data(sign(*values, role="thief").splitlines(keepends=True)[1], wrap_info={"ttl": 60})
    )
    assert (wrapped.kind, foreign.kind, foreign.done) == ("sign_wrapped", "sign", True)


@pytest.mark.parametrize(
    "said", [{}, {"data": None}, {"data": {"batch_results": []}}, {"data": {"batch_results": "x"}}]
)
def test_an_answer_without_an_error_counts_as_signed(said):
    (call, other) = read(without_data(sign(digest(1), digest(2)).splitlines(keepends=True)[1], **said))
    assert (call.input, other.input, call.key) == (hashed(digest(1)), hashed(digest(2)), KEY)


@pytest.mark.parametrize("batch", [[[{"input": shown("x")}]], {"input": shown("x")}, shown("x"), ["x"]])
def test_a_batch_of_another_shape_is_nothing_when_it_was_refused_and_unreadable_when_not(batch):
    more = {"path": f"transit/sign/{KEY.name}", "data": {"batch_input": batch, "input": shown("decoy")}}
    (refused,) = read(entry(**more, answer=None, error="failed to parse batch input"))
    assert refused.kind == "sign_refused"
    with pytest.raises(ValueError, match="batch_input"):
        read(entry(**more, answer={"signature": shown("s")}))
    by = reader()
    read(entry("request", **more), by)
    (nobody_knows,) = by.unanswered(AT)
    assert (nobody_knows.kind, nobody_knows.done) == ("unreadable", True)


def test_a_role_is_told_by_its_way_in_and_not_by_who_made_a_token():
    forged = json.loads(sign(digest()).splitlines()[1])
    forged["auth"]["display_name"] = "token-approle"  # auth/token/create with meta role_name=dauso-signer
    (found,) = read(json.dumps(forged, separators=(",", ":")).encode() + b"\n")
    assert (found.kind, found.known) == ("sign", False)
    forged["auth"] |= {"display_name": "cert-somebody", "metadata": {"role_name": "dauso-signer"}}
    (found,) = read(json.dumps(forged, separators=(",", ":")).encode() + b"\n")
    assert (found.kind, found.known) == ("sign", False)
    forged["auth"]["metadata"] = {"cert_name": "dauso-signer"}
    assert isinstance(read(json.dumps(forged, separators=(",", ":")).encode() + b"\n")[0], Call)


def test_any_request_without_response_counts_as_carried_out():
    by = reader()
    for path, mount in (
        ("transit/export/signing-key/k", "transit"),
        ("auth/token/create", "auth/token"),
        ("transit/keys/k", "transit"),
    ):
        read(entry("request", path=path, mount=mount, operation="read" if mount == "transit" else "update"), by)
    assert [(o.kind, o.done) for o in by.unanswered(AT)] == [("export", True), ("rules", True)]


def test_a_request_that_stands_in_two_files_counts_once_over_two_runs():
    by, later = reader(), reader()
    old = sign(digest(0), at=AT - dt.timedelta(hours=1), request="0" * 36)
    line = sign(digest(), request="f" * 36)
    read(old + line, by)
    later.load(json.loads(json.dumps(by.dump())))
    assert read(line, later) == []
    assert len(later.dump()["seen"]) == 1


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
    assert (call.key, call.asked) == (KeyVersion("transit", KEY.name, 0), shown("1"))


def as_vault(data: bytes) -> bytes:
    """The same lines in the alphabet's order, each row of a batch with every member."""
    lines = []
    for line in data.splitlines():
        told = json.loads(line)
        for row in ((told.get("response") or {}).get("data") or {}).get("batch_results", ()):
            row |= {"error": shown(""), "signature": shown("")} | row
        lines.append(json.dumps(told, separators=(",", ":"), sort_keys=True).encode() + b"\n")
    return b"".join(lines)


@pytest.mark.parametrize(
    "data",
    [
        sign(digest()), sign(digest(1), digest(2), digest(3), failed={1}), sign(digest(), error="no"), noise(2),
        entry("request", path="transit/sign/k", data={"input": shown("x"), "key_version": 1}),
        entry(path="sys/policies/acl/mine", data={"policy": shown("p")}, mount="sys", mount_type="system"),
        entry(path=f"transit/export/signing-key/{KEY.name}", operation="read"),
    ],
)  # fmt: skip
def test_vault_tells_the_same_in_an_order_of_its_own(data):
    one, two = reader(), reader()
    assert read(as_vault(data), one) == read(data, two)
    late = AT + dt.timedelta(hours=1)
    assert one.unanswered(late) == two.unanswered(late)
    assert [time_of(line) for line in as_vault(data).splitlines(keepends=True)] == [AT] * data.count(b"\n")


@pytest.mark.parametrize("cut", [1, 40, 200, 800])
def test_the_second_of_two_lines_in_one_is_whole_in_either_order(cut):
    whole = as_vault(sign(digest())).splitlines(keepends=True)[1]
    both = in_order(whole[:cut] + whole)
    with pytest.raises(ValueError):
        reader().read(both)
    assert read(both[both.rfind(b'{"time":"') :]) == read(whole)


def test_what_a_caller_sends_does_not_look_like_a_line():
    """Names in a body stand in the file as they were sent."""
    bait = {
        "time": shown("x"),
        "type": 1,
        "list": [{"auth": 1}, {'{"time":"': 2, '},"time":"2026-11-25T09:00:00.000Z","type":"request"}': 3}],
    }
    data = {"input": shown("x"), "key_version": 1, **bait}
    line = as_vault(
        entry(path=f"transit/sign/{KEY.name}", data=data, answer={"signature": shown("s"), "key_version": 1})
    )
    assert time_of(line) == AT
    assert json.loads(in_order(line)) == json.loads(line)
    assert [call.key for call in read(line)] == [KEY]
    data |= {"request": {"id": shown("another's")}}
    asked, said = (
        entry(
            kind,
            path=f"transit/sign/{KEY.name}",
            data=data,
            answer={"signature": shown("s"), "key_version": 1},
            request="r1",
        )
        for kind in ("request", "response")
    )
    by = reader()
    assert len(read(as_vault(asked) + as_vault(said), by)) == 1
    assert by.unanswered(AT + dt.timedelta(hours=1)) == []


def test_the_time_stands_at_the_beginning_of_a_line():
    assert time_of(noise()) == AT
    assert time_of(b'{"time":"yesterday","type"') is None
    assert time_of(b"") is None
