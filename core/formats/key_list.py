"""The public list of seal keys, plain JSON; the caller adds the detached CMS (QR seal, section 6)."""

import base64
import binascii
import datetime as dt
import json
from dataclasses import dataclass

from core.errors import BadInput

__all__ = ["KeyEntry", "KeyList", "read", "write"]

_LIST = {"sequence", "issued_at", "next_update", "document_types", "keys"}
_KEY = {"kid", "alg", "spki", "agency", "name", "valid_from", "valid_to", "status"}


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One seal key: ``kid`` 4 bytes, ``spki`` DER of a P-256 key, ``status`` active, retired or revoked."""

    kid: bytes
    spki: bytes
    agency: str
    name: str
    valid_from: dt.datetime
    valid_to: dt.datetime
    status: str = "active"


@dataclass(frozen=True, slots=True)
class KeyList:
    """All seal keys, old ones too, and the table of document types (code to name)."""

    sequence: int
    issued_at: dt.datetime
    next_update: dt.datetime
    document_types: dict[str, str]
    keys: tuple[KeyEntry, ...]


def write(keys: KeyList) -> bytes:
    """UTF-8 JSON, sorted keys."""
    entries = [
        {
            "kid": key.kid.hex(), "alg": "ES256", "spki": base64.b64encode(key.spki).decode(), "agency": key.agency,
            "name": key.name, "valid_from": key.valid_from.isoformat(), "valid_to": key.valid_to.isoformat(),
            "status": key.status,
        }
        for key in keys.keys
    ]  # fmt: skip
    value = {
        "sequence": keys.sequence,
        "issued_at": keys.issued_at.isoformat(),
        "next_update": keys.next_update.isoformat(),
        "document_types": keys.document_types,
        "keys": entries,
    }
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("duplicate name")
    return value


def _time(value: object) -> dt.datetime:
    at = dt.datetime.fromisoformat(_text(value))
    if at.tzinfo is None:
        raise ValueError("no zone")
    return at


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 400:
        raise ValueError("text")
    return value


def _entry(value: object) -> KeyEntry:
    if not isinstance(value, dict) or set(value) != _KEY or value["alg"] != "ES256":
        raise ValueError("key")
    entry = KeyEntry(
        bytes.fromhex(_text(value["kid"])), base64.b64decode(_text(value["spki"]), validate=True),
        _text(value["agency"]), _text(value["name"]), _time(value["valid_from"]), _time(value["valid_to"]),
        _text(value["status"]),
    )  # fmt: skip
    if len(entry.kid) != 4 or entry.status not in {"active", "retired", "revoked"} or entry.valid_to < entry.valid_from:
        raise ValueError("key")
    return entry


def read(data: bytes) -> KeyList:
    """Strict: exact names, no duplicates, zoned times. Raises ``qr.key_list_malformed``."""
    try:
        if len(data) > 1 << 20:
            raise ValueError("size")
        value = json.loads(data, object_pairs_hook=_unique)
        if not isinstance(value, dict) or set(value) != _LIST or type(value["sequence"]) is not int:
            raise ValueError("list")
        if not isinstance(value["keys"], list) or not isinstance(value["document_types"], dict):
            raise ValueError("list")
        types = {code: _text(name) for code, name in value["document_types"].items()}
        keys = tuple(_entry(entry) for entry in value["keys"])
        return KeyList(value["sequence"], _time(value["issued_at"]), _time(value["next_update"]), types, keys)
    except (ValueError, binascii.Error, RecursionError):
        raise BadInput("qr.key_list_malformed") from None
