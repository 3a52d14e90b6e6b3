"""One line of an OpenBao or Vault audit file: JSON, a ``request`` before the call is handled and a ``response`` after it.

What is relied on (each seen on OpenBao 2.6.2, ``tests/audit/keyuse/test_live.py``):

* The response line repeats the request. Strings of ``data`` are ``hmac-sha256:…`` under the device's key, numbers are plain.
  A file with plain strings (``log_raw``) also shows tokens: that is a finding, and nothing in it can be compared.
* A signature was made where the response holds one: a batch answers with success though items failed; most failures have
  a top-level ``error``, but not all.
* A request without response: the server ended in between, so no signature went out, though one may have been made.
* A request that a standby forwards stands twice under one id: it counts once.
* The file is written by one program, which writes keys in one order and escapes nothing in them: lines that name no mount of
  ours are set aside without being parsed.
"""

import datetime as dt
import json
import re
from collections import OrderedDict
from collections.abc import Collection
from typing import Any, Final

from audit.keyuse.hashing import read_hmac
from audit.keyuse.model import Call, KeyVersion, Operation
from core.limits import LIMITS

__all__ = ["LineReader", "RawLine", "time_of"]

_REQUEST_ID = re.compile(rb'"request":\{"id":"([^"]{1,64})"')
_RULES = re.compile(
    rb'"path":"(?:sys/(?:policies|policy|audit/|mounts|remount|raw|generate-root|rekey|auth/|plugins/)|auth/[^"]+/role/[^"/]+")'
)
_HARMLESS: Final = frozenset({"verify", "random", "hash"})
_READS: Final = frozenset({"read", "list", "scan", "help"})
_AFTER_KEYS: Final = frozenset({"read", "list", "scan", "help", "update", "create"})


class RawLine(ValueError):
    """The device writes strings in clear."""


def time_of(line: bytes) -> dt.datetime | None:
    """The time at the beginning of a line; None where there is none."""
    if line[:9] != b'{"time":"':
        return None
    try:
        return dt.datetime.fromisoformat(line[9 : line.index(b'"', 9)].decode())
    except ValueError:
        return None


class LineReader:
    """Reads lines of all files of one device; remembers requests that wait for their response, and ids seen lately."""

    def __init__(self, mounts: Collection[str], signers: Collection[str], namespace: str = "") -> None:
        """``mounts``: ours, inside ``namespace``; ``signers``: entity ids, role or display names that may sign."""
        self._mounts = frozenset(mounts)
        self._namespace = namespace.strip("/")
        self._signers = frozenset(signers)
        points = sorted({m.rpartition("/")[2] for m in mounts} | set(mounts))
        joined = b"|".join(re.escape(each.encode()) for each in points)
        self._mine = re.compile(rb'"mount_point":"(?:[^"]*/)?(?:' + joined + rb')/"')
        self._open: OrderedDict[bytes, bytes | list[Call | Operation]] = OrderedDict()
        self._seen: OrderedDict[str, None] = OrderedDict()

    def read(self, line: bytes) -> list[Call | Operation]:
        """What the line tells. Raises ``ValueError`` for what is no such line, ``RawLine`` for one in clear."""
        if line[:9] != b'{"time":"' or line[-2:] != b"}\n" or line.find(b'{"time":"', 1) > 0:
            _parsed(line)  # cut, or two lines in one after a cut
        if self._mine.search(line):
            if b'"type":"request"' in line[:120] and (found := _REQUEST_ID.search(line)):
                if b"/sign/" in line and found[1].decode("ascii", "replace") not in self._seen:
                    self._open[found[1]] = line
                return []
            return self._engine(_parsed(line))
        return self._rules(_parsed(line)) if _RULES.search(line) else []

    def unanswered(self, before: dt.datetime) -> list[Call | Operation]:
        """Requests from before that time whose response never came; they are forgotten. A version that is not told is 0."""
        found: list[Call | Operation] = []
        while self._open:
            number = next(iter(self._open))
            waiting = self._asked(number)
            if waiting and waiting[0].at > before and len(self._open) <= LIMITS["keyuse.open_requests"]:
                break
            del self._open[number]
            found += waiting
        return found

    def _asked(self, number: bytes) -> list[Call | Operation]:
        line = self._open[number]
        if isinstance(line, bytes):
            entry = _parsed(line)
            line = self._open[number] = [] if entry.get("error") else self._calls(entry, answered=False)
        return line

    def dump(self) -> list[list[Any]]:
        """Requests that wait, for the next run: ids, keys, keyed hashes and times, nothing of the caller but the entity."""
        return [[n.decode(), [_to_json(each) for each in self._asked(n)]] for n in list(self._open)]

    def load(self, kept: list[list[Any]]) -> None:
        """As ``dump`` gave them."""
        self._open.update({number.encode(): [_from_json(each) for each in waiting] for number, waiting in kept})

    def _engine(self, entry: dict[str, Any]) -> list[Call | Operation]:
        request = entry["request"]
        self._open.pop(str(request["id"]).encode(), None)
        if entry.get("type") != "response" or not self._first_time(str(request["id"])):
            return []
        place, rest = self._place(request)
        if place not in self._mounts:
            return []
        if rest.startswith("sign/") and request.get("operation") in {"update", "create"}:
            return self._calls(entry, answered=True)
        kind, name = _kind(rest, str(request.get("operation")))
        return [self._operation(entry, kind, place, name)] if kind else []

    def _first_time(self, number: str) -> bool:
        if number in self._seen:
            return False
        self._seen[number] = None
        if len(self._seen) > LIMITS["keyuse.seen_requests"]:
            self._seen.popitem(last=False)
        return True

    def _place(self, request: dict[str, Any]) -> tuple[str, str]:
        """(mount as our references name it, rest of the path); an empty mount for one outside of our namespace."""
        space = str((request.get("namespace") or {}).get("path") or "").strip("/")
        point = str(request.get("mount_point") or "").strip("/")
        path = str(request.get("path") or "")
        if space and point.startswith(f"{space}/"):
            point = point.removeprefix(f"{space}/")
        rest = path.removeprefix(f"{space}/") if space else path
        place = f"{space}/{point}" if space else point
        if self._namespace:
            inside = place.startswith(f"{self._namespace}/")
            place = place.removeprefix(f"{self._namespace}/") if inside else ""
        return place, rest.removeprefix(f"{point}/")

    def _calls(self, entry: dict[str, Any], *, answered: bool) -> list[Call | Operation]:
        request, who, known = entry["request"], *self._caller(entry)
        place, rest = self._place(request)
        name = rest.removeprefix("sign/").split("/")[0]
        data = request.get("data") or {}
        batch = data.get("batch_input")
        given = [each.get("input") for each in batch] if isinstance(batch, list) else [data.get("input")]
        answer = (entry.get("response") or {}).get("data") or {}
        if answered:
            rows = answer.get("batch_results") if isinstance(batch, list) else [answer]
            rows = rows if isinstance(rows, list) else []
        else:
            rows = [{"signature": "", "key_version": data.get("key_version")}] * len(given)
        at, found = _time(entry), list[Call | Operation]()
        if not any("signature" in row for row in rows):
            return [self._operation(entry, "sign_refused", place, name)]
        if not known:
            return [self._operation(entry, "sign", place, name)]
        for value, row in zip(given, rows, strict=False):
            if "signature" not in row:
                continue
            hashed = read_hmac(value)
            if hashed is None:
                raise RawLine("input")
            version = row.get("key_version")
            key = KeyVersion(place, name, version if isinstance(version, int) else 0)
            found.append(Call(key, hashed, at, str(request["id"]), who))
        return found

    def _caller(self, entry: dict[str, Any]) -> tuple[str, bool]:
        auth = entry.get("auth") or {}
        told = auth.get("metadata") or {}
        names = {
            auth.get("entity_id"),
            auth.get("display_name"),
            told.get("role_name"),
            told.get("role"),
            told.get("cert_name"),
        }
        return str(auth.get("entity_id") or ""), not self._signers.isdisjoint(n for n in names if n)

    def _operation(self, entry: dict[str, Any], kind: str, place: str, name: str) -> Operation:
        who, known = self._caller(entry)
        answer = (entry.get("response") or {}).get("data")
        failed = bool(entry.get("error")) or (isinstance(answer, dict) and set(answer) == {"error"})
        done = not failed and entry.get("type") == "response" and kind != "sign_refused"
        return Operation(kind, place, name, done, _time(entry), str(entry["request"]["id"]), who, known)

    def _rules(self, entry: dict[str, Any]) -> list[Call | Operation]:
        request = entry["request"]
        if entry.get("type") != "response" or request.get("operation") in _READS:
            return []
        path = str(request.get("path"))
        if path.startswith("sys/mounts/") and not any(path[11:].startswith(m) for m in self._mounts):
            return []
        if not self._first_time(str(request["id"])):
            return []
        return [self._operation(entry, "rules", "", "/".join(path.split("/")[:3]))]


def _parsed(line: bytes) -> dict[str, Any]:
    entry = json.loads(line)
    if not isinstance(entry, dict) or not isinstance(entry.get("request"), dict) or "id" not in entry["request"]:
        raise ValueError("not a line of an audit file")
    return entry


def _to_json(item: Call | Operation) -> list[Any]:
    at = item.at.isoformat()
    if isinstance(item, Call):
        return ["call", *item.key, item.input.hex(), at, item.request, item.who]
    return ["operation", *item[:4], at, *item[5:]]


def _from_json(kept: list[Any]) -> Call | Operation:
    if kept[0] == "call":
        place, name, version, value, at, request, who = kept[1:]
        return Call(KeyVersion(place, name, version), bytes.fromhex(value), dt.datetime.fromisoformat(at), request, who)
    kind, place, name, done, at, request, who, known = kept[1:]
    return Operation(kind, place, name, done, dt.datetime.fromisoformat(at), request, who, known)


def _time(entry: dict[str, Any]) -> dt.datetime:
    return dt.datetime.fromisoformat(str(entry["time"]))


def _kind(rest: str, operation: str) -> tuple[str, str]:
    """(kind, key) of what is neither a signature nor harmless; an empty kind for the harmless."""
    first, _, tail = rest.partition("/")
    parts = tail.split("/") if tail else []
    if first == "keys":
        name = parts[0] if parts else ""
        if len(parts) > 1:
            return parts[1], name
        return ("" if operation in _AFTER_KEYS else operation), name
    if first in _HARMLESS or operation == "help":
        return "", ""
    return first, parts[-1] if parts and first not in {"config", "cache-config"} else ""
