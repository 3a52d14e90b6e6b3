"""Trees, proofs, tiles and notes against the published and computed vectors (``tests/assets/tlog.json``)."""

import base64
import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from core.formats import merkle
from core.formats.note import NoteKey, checkpoint_text, open_checkpoint, proof_text, sign_note, verify_proof

V = json.loads((Path(__file__).parents[2] / "assets" / "tlog.json").read_text())["vectors"]
LOG = V["tessera_log"]
ENTRIES = [e.encode() for e in LOG["entries_utf8"]]
LEAVES = [merkle.leaf_hash(e) for e in ENTRIES]


def raw(text: str) -> bytes:
    return base64.b64decode(text)


def subtree(start: int, end: int) -> bytes:
    return merkle.root_of(LEAVES[start:end])


def grown(size: int) -> tuple[merkle.Frontier, dict[tuple[int, int], bytes]]:
    """The tree of the ``roots`` vector's entries, as the log's leader makes it."""
    frontier, tiles = merkle.Frontier(0, []), dict[tuple[int, int], bytearray]()
    for i in range(size):
        frontier.append(
            merkle.leaf_hash(b"leaf %d" % i), lambda level, n, h: tiles.setdefault((level, n), bytearray()).extend(h)
        )
    return frontier, {place: bytes(hashes) for place, hashes in tiles.items()}


@pytest.mark.parametrize("size", sorted(map(int, V["roots"]["root_by_size"])))
def test_the_root_of_each_size(size):
    assert grown(size)[0].root() == raw(V["roots"]["root_by_size"][str(size)])


@pytest.mark.parametrize("name", ["tiles_size_300", "tiles_size_70000"])
def test_tiles_hold_the_hashes_that_are_served(name):
    _, tiles = grown(V[name]["size"])
    for path, wanted in V[name]["tiles"].items():
        level, index = path.removeprefix("tile/").split(".p/")[0].split("/", 1)
        n = int(index.replace("x", "").replace("/", ""))
        body = tiles[int(level), n]
        assert len(body) == wanted["bytes"] == 32 * wanted["width"]
        assert hashlib.sha256(body).hexdigest() == wanted["sha256_hex"]


def test_the_published_log_its_root_and_its_proofs():
    assert merkle.root_of(LEAVES) == raw(LOG["root"])
    wanted = V["inclusion_3_in_15"]
    assert LEAVES[3] == raw(wanted["leaf_hash"])
    assert merkle.inclusion_proof(3, 15, subtree) == [raw(h) for h in wanted["proof"]]
    wanted = V["consistency_5_to_15"]
    proof = merkle.consistency_proof(5, 15, subtree)
    assert proof == [raw(h) for h in wanted["proof"]]
    assert merkle.verify_consistency(5, 15, raw(wanted["old_root"]), raw(wanted["new_root"]), proof)


def test_checkpoints_are_written_and_signed_as_published():
    key = NoteKey.parse(LOG["vkey"])
    seed = raw(LOG["skey_published_test_key"].split("+", 4)[4])[1:]
    private = Ed25519PrivateKey.from_private_bytes(seed)
    text = checkpoint_text(LOG["origin"], 15, raw(LOG["root"]))
    assert sign_note(text, key, private.sign(text.encode())) == LOG["checkpoint"]
    old = V["consistency_5_to_15"]
    text = checkpoint_text(LOG["origin"], 5, raw(old["old_root"]))
    assert sign_note(text, key, private.sign(text.encode())) == old["old_checkpoint"]
    assert open_checkpoint(old["old_checkpoint"], key).size == 5


@pytest.mark.parametrize("name", ["note_go", "note_c2sp"])
def test_notes_of_other_programs_have_our_signature_line(name):
    vector = V[name]
    signature = raw(vector["signature_line"].split()[2])[4:]
    assert sign_note(vector["text"], NoteKey.parse(vector["vkey"]), signature) == vector["note"]


def test_the_published_proof_file_is_ours_byte_for_byte():
    text = V["tlog_proof_3_in_15"]["text"]
    path = merkle.inclusion_proof(3, 15, subtree)
    assert proof_text(3, path, LOG["checkpoint"]) == text
    assert verify_proof(text, b"four", NoteKey.parse(LOG["vkey"])).size == 15
