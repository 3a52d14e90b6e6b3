"""The house: docs agree with code, codes have sentences, nothing is said twice."""

import json
import re
from pathlib import Path

from core import limits
from core.messages import codes
from core.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("core", "audit", "verification", "ca_bridge", "signer", "api")
SOURCE = [p for room in ROOMS for p in (ROOT / room).rglob("*.py")]


def test_every_code_in_the_source_has_a_sentence_in_both_languages():
    raised = set()
    for path in SOURCE:
        raised |= set(
            re.findall(
                r'(?:BadInput|Refused|NotFound|Conflict|Unavailable|Broken|Finding)\(\s*"([a-z_]+\.[a-z_.0-9]+)"',
                path.read_text(),
            )
        )
    assert len(raised) > 60
    assert raised <= codes(), raised - codes()


def test_no_code_stands_in_two_tables_and_each_has_vietnamese_and_english():
    seen = set()
    for path in (ROOT / "core/messages").glob("*.json"):
        table = json.loads(path.read_text())
        assert not seen & set(table), path
        seen |= set(table)
        for code, entry in table.items():
            assert set(entry) == {"vi", "en"} and all(entry.values()), code


def test_the_settings_table_is_the_code():
    rows = re.findall(r"^\| `DAUSO_([A-Z_]+)` \|", (ROOT / "docs/reference/settings.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(name.upper() for name in Settings.model_fields)


def test_the_limits_table_is_the_code():
    rows = dict(
        re.findall(r"^\| `([a-z._]+)` \| (\d+) \|", (ROOT / "docs/reference/limits.md").read_text(), re.MULTILINE)
    )
    assert {k: int(v) for k, v in rows.items()} == limits.LIMITS


def test_the_errors_table_is_the_code():
    rows = re.findall(r"^\| `([a-z_.0-9]+)` \|", (ROOT / "docs/reference/errors.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(codes())


def test_every_ceremony_has_a_page():
    for page, source in (
        ("1-sign", "signer/ceremony.py"),
        ("2-issue", "ca_bridge/issuance.py"),
        ("3-verify", "verification/verify.py"),
    ):
        assert source in (ROOT / f"docs/flows/{page}.md").read_text()
        assert (ROOT / source).is_file()


def test_importing_reads_no_settings_and_opens_nothing():
    for path in SOURCE:
        assert not re.search(r"^settings = Settings\(|^engine = ", path.read_text(), re.MULTILINE), path
