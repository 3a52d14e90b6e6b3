"""The house: docs agree with code, codes have sentences, nothing is said twice."""

import gettext
import io
import re
from pathlib import Path

from babel.messages import mofile, pofile

from audit.outbox import EventType
from core import limits
from core.messages import LANGUAGES, codes
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


def _po(language):
    with (ROOT / f"core/locale/{language}/LC_MESSAGES/dauso.po").open("rb") as file:
        return pofile.read_po(file, abort_invalid=True)


def test_both_languages_have_the_same_codes_with_the_same_placeholders():
    vi, en = ({m.id: m.string for m in _po(language) if m.id} for language in LANGUAGES)
    assert vi.keys() == en.keys()
    for code, text in vi.items():
        assert text, code
        assert en[code], code
        assert set(re.findall(r"{(\w+)", text)) == set(re.findall(r"{(\w+)", en[code])), code


def test_the_compiled_sentences_are_those_of_the_sources():
    for language in LANGUAGES:
        target = io.BytesIO()
        mofile.write_mo(target, _po(language))
        compiled = gettext.GNUTranslations(io.BytesIO(target.getvalue()))
        with (ROOT / f"core/locale/{language}/LC_MESSAGES/dauso.mo").open("rb") as file:
            assert gettext.GNUTranslations(file)._catalog == compiled._catalog, "run: make messages"


def test_no_code_is_written_twice():
    for language in LANGUAGES:
        ids = re.findall(
            r'^msgid "([^"]+)"', (ROOT / f"core/locale/{language}/LC_MESSAGES/dauso.po").read_text(), re.MULTILINE
        )
        assert len(ids) == len(set(ids))


def test_the_settings_table_is_the_code():
    rows = re.findall(r"^\| `DAUSO_([A-Z0-9_]+)` \|", (ROOT / "docs/reference/settings.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(name.upper() for name in Settings.model_fields)


def test_the_limits_table_is_the_code():
    rows = dict(
        re.findall(r"^\| `([a-z0-9._]+)` \| (\d+) \|", (ROOT / "docs/reference/limits.md").read_text(), re.MULTILINE)
    )
    assert {k: int(v) for k, v in rows.items()} == limits.LIMITS


def test_the_errors_table_is_the_code():
    rows = re.findall(r"^\| `([a-z_.0-9]+)` \|", (ROOT / "docs/reference/errors.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(codes())


def test_the_events_table_is_the_code():
    rows = re.findall(r"^\| `([a-z_.]+)` \|", (ROOT / "docs/reference/events.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(EventType)


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
