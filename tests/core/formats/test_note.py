"""Notes, checkpoints and proofs against the published vectors."""

import json
from pathlib import Path

import pytest

from core.formats.note import NoteKey, open_checkpoint, verify_proof

V = json.loads((Path(__file__).parents[2] / "assets" / "tlog.json").read_text())["vectors"]
LOG = V["tessera_log"]
KEY = NoteKey.parse(LOG["vkey"])


@pytest.mark.parametrize("name", ["note_c2sp", "note_go", "tessera_log", "vkey_ed25519_log"])
def test_a_published_key_reads_and_writes(name: str) -> None:
    assert str(NoteKey.parse(V[name]["vkey"])) == V[name]["vkey"]


def test_a_published_checkpoint_opens_and_a_changed_one_does_not() -> None:
    assert open_checkpoint(LOG["checkpoint"], KEY).size == 15
    with pytest.raises(ValueError, match="does not verify"):
        open_checkpoint(LOG["checkpoint"].replace("\n15\n", "\n16\n"), KEY)


def test_a_proof_holds_for_its_entry_only() -> None:
    text = V["tlog_proof_3_in_15"]["text"]
    assert verify_proof(text, b"four", KEY).size == 15
    for bad, entry in ((text, b"five"), (text.replace("index 3", "index 4"), b"four"), (text[9:], b"four")):
        with pytest.raises(ValueError):
            verify_proof(bad, entry, KEY)
