"""The command line as a clerk and a program meet it: sentences, JSON, exit codes, many files at once."""

import json
import logging
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner

from api.cli.app import app
from core.messages import sentence
from tests.flows import town

runner = CliRunner()


def dauso(home, *arguments, code=0, **more):
    """``code``: None for any; ``more``: ``input`` that is typed, ``env``."""
    result = runner.invoke(app, ["--home", str(home), *map(str, arguments)], **more)
    # both hold the output of this command, which is closed now
    logging.getLogger("dbos").handlers.clear()
    structlog.reset_defaults()
    assert code in {None, result.exit_code}, (result.stdout, result.stderr, result.exception)
    return result


def rows(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A training home made by the commands alone, with one certified copy."""
    home = tmp_path_factory.mktemp("cli") / "home"
    (made,) = rows(dauso(home, "init", "--realm", "training", "--json"))
    assert (made["realm"], Path(made["anchor"]).is_file()) == ("training", True)
    dauso(home, "agency", "add", "--code", "H1", "--name", "UBND xã Đường Lâm", "--parent", "UBND tỉnh Ví Dụ")
    for name, role in (("Lê Thị Hữu", "certifier"), ("Đỗ Văn Thư", "clerk")):
        dauso(home, "person", "add", "--agency", "H1", "--name", name, "--role", role, "--number", "1/QĐ", "--json")
    return home


@pytest.fixture(scope="module")
def copy(home):
    scan = home.parent / "scan.jpg"
    scan.write_bytes(town.scan())
    (row,) = rows(dauso(home, "copy", "certify", scan, "--kind", "Giấy khai sinh", "--out", home.parent, "--json"))
    return row


def test_what_was_made_is_listed(home, copy):
    assert [r["code"] for r in rows(dauso(home, "agency", "list", "--json"))] == ["H1"]
    assert "Lê Thị Hữu" in dauso(home, "person", "list").stdout
    (book,) = rows(dauso(home, "book", "list", "--json"))
    assert book["closed_at"] is None
    assert {"id": copy["id"], "state": "released", "kind": "Giấy khai sinh"} in rows(
        dauso(home, "copy", "list", "--json")
    )
    (shown,) = rows(dauso(home, "copy", "show", copy["id"]))
    assert shown["facts"]["kind"] == "Giấy khai sinh"
    log = json.loads(dauso(home, "log", "show", "--json").stdout)
    assert log["vkey"].split("+")[0] in log["checkpoint"]


def test_one_bad_file_never_stops_the_others_and_the_exit_code_says_so(home, tmp_path):
    good, bad, empty = tmp_path / "good.jpg", tmp_path / "bad.jpg", tmp_path / "empty.pdf"
    good.write_bytes(town.scan("x"))
    bad.write_bytes(b"no picture")
    empty.write_bytes(b"")
    arguments = ("copy", "certify", bad, good, empty, "--kind", "Giấy", "--out", tmp_path)
    result = dauso(home, *arguments, "--json", code=1)
    told = rows(result)
    assert [r.get("error") for r in told] == ["intake.not_a_document", None, "intake.empty"]
    assert told[0]["source"] == str(bad)
    assert Path(told[1]["file"]).is_file()
    plain = dauso(home, *arguments, code=1)
    assert "1 xong / done, 2 không được / not done" in plain.stderr
    assert sentence("intake.warn_low_dpi") in plain.stderr  # 100 dpi


def test_verify_speaks_json_lines_and_exits_by_the_worst_verdict(home, copy, tmp_path):
    (row,) = rows(dauso(home, "verify", copy["file"], "--json"))
    for member in ("file", "verdict", "realm", "sentence", "signatures", "findings"):
        assert member in row
    assert (row["verdict"], row["realm"], row["file"]) == ("genuine", "training", copy["file"])
    for member in ("signer", "level", "indication", "sub_indication", "signed_at", "intact", "trusted"):
        assert member in row["signatures"][0]
    junk, changed = tmp_path / "junk.bin", tmp_path / "changed.pdf"
    junk.write_bytes(b"junk")
    changed.write_bytes(Path(copy["file"]).read_bytes() + b"\n")
    assert rows(dauso(home, "verify", junk, "--json", code=3))[0]["verdict"] == "unknown"
    both = rows(dauso(home, "verify", copy["file"], changed, junk, "--json", code=1))
    assert [r["verdict"] for r in both] == ["genuine", "altered", "unknown"]
    offline = dauso(tmp_path / "none", "verify", copy["file"], "--anchor", home / "pki" / "root.pem", code=3)
    assert "chưa kiểm tra việc thu hồi" in offline.stdout


@pytest.mark.parametrize(
    "arguments",
    [("verify",), ("verify", "no-such-file.pdf"), ("nonsense",), ("copy", "certify"), ("init", "--realm", "moon")],
)
def test_wrong_use_is_exit_code_two(home, arguments):
    assert dauso(home, *arguments, code=2).stdout == ""


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("init", "--realm", "training"), "home.exists"),
        (("copy", "show", "nothing"), "copy.no_such_copy"),
        (("copy", "recall", "nothing", "--reason", "x", "--by", "nobody"), "copy.no_such_copy"),
        (("book", "close", "nothing"), "register.no_such_book"),
        (("agency", "rekey", "H9"), "directory.no_such_agency"),
        (("agency", "picture", "H1", "no-such.png"), "cli.no_such_file"),
        (("agency", "add", "--code", "H8", "--name", "x" * 65, "--parent", "p"), "ca.bad_name"),
    ],
)
def test_a_refusal_is_a_sentence_in_both_languages_with_its_code(home, arguments, error):
    result = dauso(home, *arguments, code=1)
    assert error in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) >= 2


def test_a_home_that_is_not_there_is_said_so(tmp_path):
    assert "home.missing" in dauso(tmp_path / "nowhere", "copy", "list", code=1).stderr


def test_wording_comes_from_a_file_and_a_bad_one_is_refused(home, tmp_path):
    words = tmp_path / "words.json"
    for text, error in (('{"number": "{number}/X"}', None), ("[1]", "wording.unreadable"), ('{"x": 1}', "wording.unknown"),
                        ('{"seal_diameter_mm": "wide"}', "wording.wrong_type")):  # fmt: skip
        words.write_text(text)
        code = f"W{len(text)}"
        arguments = ("agency", "add", "--code", code, "--name", "UBND", "--parent", "UBND tỉnh", "--wording", words)
        result = dauso(home, *arguments, code=0 if error is None else 1)
        assert error is None or error in result.stderr


def test_a_copy_is_recalled_and_a_book_exported(home, copy, tmp_path):
    other = tmp_path / "r.jpg"
    other.write_bytes(town.scan("recall"))
    (row,) = rows(
        dauso(
            home,
            "copy",
            "certify",
            other,
            "--agency",
            "H1",
            "--kind",
            "Giấy",
            "--out",
            tmp_path,
            "--fee",
            4000,
            "--checked",
            "dấu nổi",
            "--notes",
            "gấp",
            "--json",
        )
    )
    people = rows(dauso(home, "person", "list", "--json"))
    clerk, official = (next(p["id"] for p in people if role in str(p)) for role in ("clerk", "certifier"))
    recall = ("copy", "recall", row["id"], "--reason", "nhầm", "--json", "--by")
    assert rows(dauso(home, *recall, clerk, code=1))[0]["error"] == "recall.not_entitled"
    assert rows(dauso(home, *recall, official))[0]["state"] == "recalled"
    assert rows(dauso(home, *recall, official))[0]["state"] == "recalled"  # saying it again is harmless
    assert rows(dauso(home, "verify", row["file"], "--json", code=1))[0]["verdict"] == "recalled"
    book = next(b for b in rows(dauso(home, "book", "list", "--json")))
    dauso(home, "book", "export", book["id"], "--out", tmp_path / "book.csv")
    book_text = (tmp_path / "book.csv").read_text("utf-8-sig")
    assert "Giấy khai sinh" in book_text
    assert "4000" in book_text
    assert "gấp" in book_text
    lists = rows(dauso(home, "lists", "publish", "--out", tmp_path, "--json"))
    assert all(Path(r["file"]).is_file() for r in lists)
    assert copy["id"]


def test_doctor_tells_what_is_well(home):
    checks = {r["check"]: r["good"] for r in rows(dauso(home, "doctor", "--json"))}
    assert checks["database"]
    assert checks["key store software"]


def test_verify_writes_a_signed_sheet_where_the_keys_are(home, copy, tmp_path):
    sheet = tmp_path / "sheet.pdf"
    (row,) = rows(dauso(home, "verify", copy["file"], "--report", sheet, "--json"))
    assert row["verdict"] == "genuine"
    (seen,) = rows(dauso(home, "verify", sheet, "--json", code=3))
    assert [s["role"] for s in seen["signatures"]] == ["report"]


def test_a_sheet_that_cannot_be_made_is_refused_in_plain_words(home, copy, tmp_path):
    sheet = tmp_path / "sheet.pdf"
    with_anchor = ("--anchor", home / "pki" / "root.pem")
    for arguments in ((copy["file"], copy["file"]), (copy["file"], *with_anchor), (copy["file"], "--lists", tmp_path)):
        refused = dauso(home, "verify", *arguments, "--report", sheet, "--json", code=2)
        assert rows(refused)[0]["error"] == "verify.report_alone"
    nowhere = dauso(tmp_path / "none", "verify", copy["file"], "--report", sheet, code=3)
    assert "home.missing" in nowhere.stderr
    assert "cli.cannot_write" in dauso(home, "verify", copy["file"], "--report", tmp_path, code=3).stderr
    assert not sheet.exists()
