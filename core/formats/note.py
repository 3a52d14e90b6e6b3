"""C2SP signed notes, checkpoints and ``tlog-proof``; Ed25519 log keys (type 01)."""

import base64
import binascii
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from core.formats.merkle import leaf_hash, verify_inclusion

__all__ = ["Checkpoint", "NoteKey", "checkpoint_text", "open_checkpoint", "proof_text", "sign_note", "verify_proof"]

_MAX_LINES = 100


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A verifier key: name and raw Ed25519 public key."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """``SHA-256(name ‖ LF ‖ 0x01 ‖ key)[:4]``."""
        return hashlib.sha256(self.name.encode() + b"\n\x01" + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(b'' + bytes([1]) + self.public).decode()}"

    @classmethod
    def parse(cls, vkey: str) -> "NoteKey":
        """From ``name+hex+base64``. Raises ``ValueError``."""
        parts = vkey.split("+", 2)
        if len(parts) != 3:
            raise ValueError("a vkey has three parts")
        raw = base64.b64decode(parts[2], validate=True)
        if len(raw) != 33 or raw[0] != 1:
            raise ValueError("not an Ed25519 log key")
        key = cls(parts[0], raw[1:])
        if not key.name or "+" in key.name or any(c.isspace() for c in key.name) or key.id.hex() != parts[1]:
            raise ValueError("name or key id is wrong")
        return key


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A verified tree head."""

    origin: str
    size: int
    root: bytes


def checkpoint_text(origin: str, size: int, root: bytes) -> str:
    """Three lines, no extensions."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def sign_note(text: str, key: NoteKey, signature: bytes) -> str:
    """The note with its one signature line; ``signature`` is Ed25519 over ``text``."""
    return f"{text}\n— {key.name} {base64.b64encode(key.id + signature).decode()}\n"


def open_checkpoint(note: str, key: NoteKey) -> Checkpoint:
    """Verify and parse. Raises ``ValueError``: no line of ``key``, a bad one, or a malformed text."""
    cut = note.rfind("\n\n")
    if cut < 0 or not note.endswith("\n") or any(ord(c) < 32 and c != "\n" for c in note):
        raise ValueError("not a signed note")
    text, lines = note[: cut + 1], note[cut + 2 :].splitlines()
    if not 1 <= len(lines) <= _MAX_LINES:
        raise ValueError("no or too many signature lines")
    verified = False
    for line in lines:
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "—":
            raise ValueError("malformed signature line")
        blob = _unbase64(parts[2])
        if parts[1] != key.name or blob[:4] != key.id:
            continue  # unknown keys are ignored; a known one that fails rejects the note
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(blob[4:], text.encode())
        except InvalidSignature as error:
            raise ValueError("the log's signature does not verify") from error
        verified = True
    if not verified:
        raise ValueError("no signature of the log")
    return _parse_text(text, key.name)


def _parse_text(text: str, origin: str) -> Checkpoint:
    rows = text.split("\n")
    if len(rows) < 4 or rows[0] != origin or not rows[1].isascii() or not rows[1].isdigit():
        raise ValueError("malformed checkpoint")
    if rows[1] != str(int(rows[1])):
        raise ValueError("leading zero in the size")
    root = _unbase64(rows[2])
    if len(root) != 32:
        raise ValueError("the root has 32 bytes")
    return Checkpoint(rows[0], int(rows[1]), root)


def _unbase64(text: str) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("bad base64") from error
    if base64.b64encode(value).decode() != text:
        raise ValueError("base64 is not canonical")
    return value


def proof_text(index: int, path: list[bytes], checkpoint: str) -> str:
    """``c2sp.org/tlog-proof@v1``."""
    hashes = "".join(base64.b64encode(h).decode() + "\n" for h in path)
    return f"c2sp.org/tlog-proof@v1\nindex {index}\n{hashes}\n{checkpoint}"


def verify_proof(proof: str, entry: bytes, key: NoteKey) -> Checkpoint:
    """The entry is in the log under a checkpoint of ``key``. Raises ``ValueError``."""
    head, separator, checkpoint = proof.partition("\n\n")
    rows = head.split("\n")
    if not separator or rows[0] != "c2sp.org/tlog-proof@v1":
        raise ValueError("not a tlog-proof")
    rows = rows[1:]
    if rows and rows[0].startswith("extra "):
        rows = rows[1:]
    if not rows or not rows[0].startswith("index ") or rows[0][6:] != str(int(rows[0][6:])):
        raise ValueError("no index")
    opened = open_checkpoint(checkpoint, key)
    path = [_unbase64(row) for row in rows[1:]]
    if not verify_inclusion(int(rows[0][6:]), opened.size, leaf_hash(entry), path, opened.root):
        raise ValueError("the entry is not in the log")
    return opened
