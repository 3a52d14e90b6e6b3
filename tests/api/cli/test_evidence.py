"""``dauso evidence verify``: from the file alone; plain words first; 0 holds, 1 does not, 3 nobody can say."""

import asyncio
import base64
import datetime as dt
import json
import logging

import pytest
import structlog
from typer.testing import CliRunner

from api.cli.app import app
from core.formats.note import NoteKey
from core.messages import sentence
from tests.flows import house, phones, town

runner = CliRunner()
WHO = ("Phạm Thị Ổn", "001085000017")


async def _signed(folder):
    """A request signed in a training town; its evidence, its file and what is known from elsewhere, as files."""
    settings = await town.build(folder / "home")
    _, hand = await phones.enrol_in(settings, *WHO)
    _, key = await house.add_client(settings, "H1")
    async with house.signer_here(settings) as service, house.web_here(settings) as (_, client):
        client.headers["authorization"] = f"Bearer {key}"
        file = (await client.post("/api/v1/files", content=phones.paper())).json()["file"]
        body = {
            "agency": "H1", "title": "Đơn đề nghị", "documents": [{"title": "Đơn", "file": file}],
            "deadline": (service.clock.now() + dt.timedelta(days=1)).isoformat(),
            "signers": [{"person": {"name": WHO[0], "national_id": WHO[1]}}],
        }  # fmt: skip
        made = (await client.post("/api/v1/signature-requests", json=body)).json()
        early = await client.get(f"{made['links']['self']}/evidence")
        assert early.json()["code"] == "request.no_evidence"
        async with phones.sign_door(service) as door:
            await phones.PhoneClient(door, hand, made["signing"][0]["url"]).sign()
        seen = (await client.get(f"{made['links']['self']}?wait=20")).json()
        (folder / "evidence.json").write_bytes((await client.get(seen["links"]["evidence"])).content)
        (folder / "signed.pdf").write_bytes((await client.get(seen["documents"][0]["links"]["file"])).content)
        known = {"log-key": service.log_vkey, "origin": settings.sign_url, "anchor": settings.home / "pki" / "root.pem"}
    return [part for name, value in known.items() for part in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """(folder, options that say what is known)."""
    folder = tmp_path_factory.mktemp("evidence")
    return folder, asyncio.run(_signed(folder))


def verify(*arguments, code):
    """Runs away from any home: nothing but the files is there."""
    result = runner.invoke(app, ["--home", "/nowhere", "evidence", "verify", *map(str, arguments)])
    logging.getLogger("dbos").handlers.clear()
    structlog.reset_defaults()
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result


def told(result):
    return json.loads(result.stdout)


def changed(kept, tmp_path, change):
    """The evidence with one thing changed."""
    value = json.loads((kept[0] / "evidence.json").read_text())
    change(value)
    (tmp_path / "evidence.json").write_text(json.dumps(value))
    return tmp_path / "evidence.json"


def test_it_holds_against_what_is_known_and_says_so_first(kept):
    folder, known = kept
    lines = verify(folder / "evidence.json", "--signed", folder / "signed.pdf", *known, code=0).stdout.splitlines()
    assert "TẬP HUẤN" in lines[1]
    assert lines[2].strip() == sentence("evidence.verdict_holds", "vi")
    assert lines[3].strip() == sentence("evidence.verdict_holds", "en")
    said = told(verify(folder / "evidence.json", "--signed", folder / "signed.pdf", *known, "--json", code=0))
    assert (said["verdict"], said["realm"]) == ("holds", "training")
    assert [each["code"] for each in said["findings"]] == ["evidence.sound"]


def test_a_file_that_only_agrees_with_itself_is_not_called_good(kept):
    folder, known = kept
    said = told(verify(folder / "evidence.json", "--json", code=3))
    assert said["verdict"] == "not_compared"
    assert {each["code"] for each in said["findings"]} == {"evidence.not_compared", "evidence.sound"}
    for left_out in range(0, len(known), 2):
        verify(folder / "evidence.json", *known[:left_out], *known[left_out + 2 :], code=3)


def test_another_origin_another_log_and_another_root_are_found(kept, tmp_path):
    folder, known = kept
    pairs = dict(zip(known[::2], known[1::2], strict=True))
    other = asyncio.run(town.build(tmp_path / "home", fresh=True))
    name = pairs["--log-key"].partition("+")[0]
    foreign = {
        "--origin": "https://evil.example", "--anchor": other.home / "pki" / "root.pem",
        "--log-key": NoteKey(name, bytes(32)),
    }  # fmt: skip
    for option, value in foreign.items():
        given = [part for pair in {**pairs, option: value}.items() for part in pair]
        assert told(verify(folder / "evidence.json", *given, "--json", code=1))["verdict"] == "broken"


def test_a_bad_option_is_a_bad_option_and_no_verdict(kept):
    folder, _ = kept
    evidence = folder / "evidence.json"
    assert told(verify(evidence, "--log-key", "x", "--json", code=2))["error"] == "evidence.bad_log_key"
    assert told(verify(evidence, "--anchor", evidence, "--json", code=2))["error"] == "evidence.bad_anchor"
    assert told(verify(folder / "none.json", "--json", code=2))["error"] == "cli.no_such_file"
    assert told(verify(evidence, "--signed", folder / "none.pdf", "--json", code=2))["error"] == "cli.no_such_file"


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff\xfe", b'{"format": "other"}', b"[" * 100_000])
def test_what_is_no_evidence_is_called_unreadable(kept, tmp_path, data):
    (tmp_path / "x.json").write_bytes(data)
    said = told(verify(tmp_path / "x.json", *kept[1], "--json", code=3))
    assert said["verdict"] == "unreadable"


def _flip(text: str) -> str:
    raw = bytearray(base64.b64decode(text))
    raw[-1] ^= 1
    return base64.b64encode(raw).decode()


CHANGES = {
    "the passkey's signature": lambda v: v["steps"][0]["activation"]["assertion"].update(
        signature=_flip(v["steps"][0]["activation"]["assertion"]["signature"])
    ),
    "the record": lambda v: v["steps"][0]["activation"].update(record=_flip(v["steps"][0]["activation"]["record"])),
    "the signature": lambda v: v["steps"][0]["orders"][0].update(
        signature=_flip(v["steps"][0]["orders"][0]["signature"])
    ),
    "the digest": lambda v: v["steps"][0]["orders"][0].update(to_sign="00" * 32),
    "the title": lambda v: v["request"].update(title="Giấy nợ"),
    "the documents": lambda v: v["documents"][0].update(sha256="00" * 32),
    "the leaf": lambda v: v["steps"][0]["orders"][0]["log"].update(leaf=base64.b64encode(b"{}").decode()),
    "the reason in the log": lambda v: v["changes"][0]["said"].update(reason="khác"),
    "the realm": lambda v: v.update(realm="production"),
    "no realm at all": lambda v: v.update(realm="other"),
    "the signers": lambda v: v.update(steps=[]),
    "the history": lambda v: v.update(changes=[]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_is_changed_in_the_file_is_found(kept, tmp_path, what):
    said = told(verify(changed(kept, tmp_path, CHANGES[what]), *kept[1], "--json", code=1))
    assert said["verdict"] == "broken"
    assert any(each["severity"] == "error" for each in said["findings"])


def test_another_file_is_none_of_the_requests(kept, tmp_path):
    folder, known = kept
    (tmp_path / "other.pdf").write_bytes((folder / "signed.pdf").read_bytes() + b"\n")
    said = told(verify(folder / "evidence.json", "--signed", tmp_path / "other.pdf", *known, "--json", code=1))
    assert "evidence.other_file" in {each["code"] for each in said["findings"]}
