"""One line of an OpenBao or Vault audit file: JSON, a ``request`` before the call is handled and a ``response`` after it.

What is relied on (each seen on OpenBao 2.6.2 and Vault 1.21.4, ``tests/audit/keyuse/test_live.py``):

* The response line repeats the request. Strings of ``data`` are ``hmac-sha256:…`` under the device's key, numbers are plain.
  A file with plain strings (``log_raw``) also shows tokens: that is a finding, and nothing in it can be compared.
* An input counts as signed unless its refusal is told: a top-level ``error``, or one in its row of a batch, which answers with
  success though items failed. A wrapped answer has no ``data`` at all, and holds the signature for whoever unwraps it.
* A request without response: the server ended in between, or the line was taken out. It counts as carried out.
* A mount keeps its accessor when it is moved: calls on it are ours under any path.
* A role's name is told by whoever logged in with it; whoever makes a token writes the same beside it as he likes. The token's
  display name begins with the way in that it came by.
* A request that a standby forwards stands twice under one id: it counts once.
* The file is written by one program, which writes keys in one order and escapes nothing in them: lines that name no mount of
  ours are set aside without being parsed. Vault's order is that of the alphabet, with time and type last: they are put first.
* Vault writes every member of a batch's row, a hash of nothing where there was no error; it numbers only what it signed.
"""

import datetime as dt
import json
import re
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any, Final

from audit.keyuse.hashing import read_hmac
from audit.keyuse.model import Call, KeyVersion, Operation
from core.limits import LIMITS

__all__ = ["LOGINS", "LineReader", "RawLine", "in_order", "time_of"]

LOGINS: Final[Mapping[str, str]] = {"approle": "role_name", "kubernetes": "role", "cert": "cert_name"}
"""Mount of a way in → the member of ``metadata`` that names the role."""

_REQUEST_ID = re.compile(rb'"request":\{(?:"id":"([^"]{1,200})")?')
"""The first of that name is the server's own; what was sent comes after it. Vault does not begin it with the id."""
_RULES = re.compile(rb'"path":"(?:[^"]*/)?(?:sys/(?!audit-hash/)|identity/|auth/(?!token/(?:lookup|renew)-self"))')
"""May be one of the server's own rules; left out is what is asked most."""
_LAST = re.compile(rb',"time":"([^"]{20,40})","type":"(request|response)"\}\n\Z')
_START = re.compile(rb'(?<![:,\[])\{"')
"""No value begins here: a line does. Inside a string there is a backslash between the two."""
_FREE = re.compile(
    r"sys/(?:audit-hash/.+|capabilities(?:-self|-accessor)?|wrapping/(?:unwrap|lookup)|leases/(?:lookup|renew)(?:/.*)?"
    r"|renew(?:/.*)?|mfa/validate)|auth/token/(?:(?:lookup|renew)(?:-self|-accessor)?|revoke-self)|identity/lookup/[^/]+"
)
"""Writes that change nothing for anybody else."""
_LOGIN = re.compile(r"login(?:/[^/]+)?|oidc/(?:auth_url|callback)")
_HARMLESS: Final = frozenset({"verify", "random", "hash"})
_MOUNTS_OWN: Final = frozenset({"config", "cache-config"})
"""Settings of a whole mount; reading them shows no key."""
_SETTINGS: Final = frozenset({"rules", *_MOUNTS_OWN})
"""Kinds of operations that a ceremony makes: known again by what they set."""
_READS: Final = frozenset({"read", "list", "scan", "help"})
_AFTER_KEYS: Final = frozenset({"read", "list", "scan", "help", "update", "create"})


class RawLine(ValueError):
    """The device writes strings in clear."""


def in_order(line: bytes) -> bytes:
    """Time and type first, as OpenBao writes them; also of the second of two lines in one, after a cut."""
    found = None if line[:9] == b'{"time":"' else _LAST.search(line, max(len(line) - 100, 0))
    if found is None:
        return line
    start = max((each.start() for each in _START.finditer(line)), default=0)
    rest = line[start + 1 : found.start()]
    return line[:start] + b'{"time":"%b","type":"%b",%b}\n' % (found[1], found[2], rest)


def time_of(line: bytes) -> dt.datetime | None:
    """The time of a line; None where there is none."""
    line = in_order(line)
    if line[:9] != b'{"time":"':
        return None
    try:
        return dt.datetime.fromisoformat(line[9 : line.index(b'"', 9)].decode())
    except ValueError:
        return None


class LineReader:
    """Reads lines of all files of one device; remembers requests that wait for their response, and ids seen lately."""

    def __init__(
        self, mounts: Collection[str], signers: Collection[str], namespace: str = "", logins: Mapping[str, str] = LOGINS
    ) -> None:
        """``mounts``: ours, inside ``namespace``; ``signers``: entity ids, role or display names that may sign."""
        self._mounts = frozenset(mounts)
        self._namespace = namespace.strip("/")
        self._signers = frozenset(signers)
        self._logins = logins
        self._accessors: dict[str, str] = {}
        """Of mounts → where they were first."""
        self._mine = self._pattern()
        self._open: OrderedDict[bytes, bytes | list[Call | Operation]] = OrderedDict()
        self._seen: OrderedDict[str, dt.datetime] = OrderedDict()

    def read(self, line: bytes) -> list[Call | Operation]:
        """What the line tells. Raises ``ValueError`` for what is no such line, ``RawLine`` for one in clear."""
        line = in_order(line)
        if line[:9] != b'{"time":"' or line[-2:] != b"}\n" or line.find(b'{"time":"', 1) > 0:
            _parsed(line)  # cut, or two lines in one after a cut
        if not self._mine.search(line) and not _RULES.search(line):
            return []
        if b'"type":"request"' in line[:120] and (found := _REQUEST_ID.search(line)) and found[1]:
            if found[1].decode("ascii", "replace") not in self._seen:
                self._open[found[1]] = line
            return []
        entry = _parsed(line)
        number = str(entry["request"]["id"])
        if entry.get("type") == "request" and number not in self._seen:
            self._open[number.encode()] = line
            return []
        self._open.pop(number.encode(), None)
        if entry.get("type") != "response" or not self._first_time(number, _time(entry)):
            return []
        return self._told(entry, answered=True)

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
            try:
                line = [] if entry.get("error") else self._told(entry, answered=False)
            except ValueError:  # nobody knows what became of what nobody can read
                line = [self._operation(entry, "unreadable", *self._place(entry)[:2])]
            self._open[number] = line
        return line

    def dump(self) -> dict[str, Any]:
        """For the next run, nothing of the caller but the entity: requests that wait, ids of the last horizon, mounts' accessors."""
        waiting = [[n.decode(), [_to_json(each) for each in self._asked(n)]] for n in list(self._open)]
        newest = max(self._seen.values(), default=None)
        horizon = dt.timedelta(seconds=LIMITS["keyuse.horizon_seconds"])
        seen = [n for n, at in self._seen.items() if newest is not None and at >= newest - horizon]
        return {
            "waiting": waiting,
            "seen": seen,
            "seen_at": newest and newest.isoformat(),
            "accessors": self._accessors,
        }

    def load(self, kept: dict[str, Any]) -> None:
        """As ``dump`` gave them."""
        waiting = kept.get("waiting", ())
        self._open.update({number.encode(): [_from_json(each) for each in items] for number, items in waiting})
        self._seen.update({number: dt.datetime.fromisoformat(kept["seen_at"]) for number in kept.get("seen", ())})
        self._accessors.update(kept.get("accessors", {}))
        self._mine = self._pattern()

    def _pattern(self) -> re.Pattern[bytes]:
        """What a line of ours holds."""
        points = sorted({m.rpartition("/")[2] for m in self._mounts} | self._mounts)
        pattern = rb'"mount_point":"(?:[^"]*/)?(?:' + b"|".join(re.escape(each.encode()) for each in points) + rb')/"'
        if self._accessors:
            known = b"|".join(re.escape(each.encode()) for each in sorted(self._accessors))
            pattern += rb'|"mount_accessor":"(?:' + known + rb')"'
        return re.compile(pattern)

    def _told(self, entry: dict[str, Any], *, answered: bool) -> list[Call | Operation]:
        """``answered``: by a response; without one the call counts as carried out."""
        request = entry["request"]
        place, rest, moved = self._place(entry)
        if place not in self._mounts:
            return self._rules(entry)
        operation = str(request.get("operation"))
        signs = rest.startswith("sign/") and operation in {"update", "create"}
        kind, name = ("sign", rest.split("/")[1]) if signs else _kind(rest, operation)
        if moved and kind:
            return [self._operation(entry, f"moved {kind}", place, name)]
        if signs:
            return self._calls(entry, place, name, answered=answered)
        return [self._operation(entry, kind, place, name)] if kind else []

    def _first_time(self, number: str, at: dt.datetime) -> bool:
        if number in self._seen:
            return False
        self._seen[number] = at
        if len(self._seen) > LIMITS["keyuse.seen_requests"]:
            self._seen.popitem(last=False)
        return True

    def _place(self, entry: dict[str, Any]) -> tuple[str, str, bool]:
        """(mount as our references name it, rest of the path, whether it was moved away from there); outside of our
        namespace an empty mount."""  # noqa: D209
        request = entry["request"]
        place, rest = self._named(request)
        accessor = str(request.get("mount_accessor") or (entry.get("response") or {}).get("mount_accessor") or "")
        if place in self._mounts and accessor and accessor not in self._accessors:
            self._accessors[accessor] = place
            self._mine = self._pattern()
        home = self._accessors.get(accessor, place)
        return home, rest, home != place

    def _named(self, request: dict[str, Any]) -> tuple[str, str]:
        space = str((request.get("namespace") or {}).get("path") or "").strip("/")
        point = str(request.get("mount_point") or "").strip("/")
        path = str(request.get("path") or "")
        if space and point.startswith(f"{space}/"):
            point = point.removeprefix(f"{space}/")
        rest = path.removeprefix(f"{space}/") if space else path
        return self._inside(f"{space}/{point}" if space else point), rest.removeprefix(f"{point}/")

    def _inside(self, place: str) -> str:
        if not self._namespace:
            return place
        return place.removeprefix(f"{self._namespace}/") if place.startswith(f"{self._namespace}/") else ""

    def _calls(self, entry: dict[str, Any], place: str, name: str, *, answered: bool) -> list[Call | Operation]:
        request, who, known = entry["request"], *self._caller(entry)
        data = request.get("data") or {}
        if answered and _failed(entry):
            return [self._operation(entry, "sign_refused", place, name)]
        signed = [(value, row) for value, row in _signed(data, entry.get("response") or {}) if "signature" in row]
        if not signed:
            return [self._operation(entry, "sign_refused", place, name)]
        wrapped = "wrap_info" in (entry.get("response") or {}) or request.get("wrap_ttl")
        found = [self._operation(entry, "sign_wrapped", place, name)] if wrapped else []
        if not known:
            return [*found, self._operation(entry, "sign", place, name)]
        at, calls = _time(entry), list[Call]()
        for value, row in signed:
            hashed, version = read_hmac(value), row.get("key_version")
            if hashed is None:
                raise RawLine("input") if isinstance(value, str) else ValueError("input")
            key = KeyVersion(place, name, version if isinstance(version, int) else 0)
            asked = "" if key.version else str(data.get("key_version") or "")
            calls.append(Call(key, hashed, at, str(request["id"]), who, asked))
        return [*found, *calls]

    def _caller(self, entry: dict[str, Any]) -> tuple[str, bool]:
        auth = entry.get("auth") or {}
        shown, told = str(auth.get("display_name") or ""), auth.get("metadata") or {}
        names = {auth.get("entity_id"), shown}
        names |= {
            told.get(member) for way, member in self._logins.items() if shown == way or shown.startswith(f"{way}-")
        }
        return str(auth.get("entity_id") or ""), not self._signers.isdisjoint(n for n in names if n)

    def _operation(self, entry: dict[str, Any], kind: str, place: str, name: str) -> Operation:
        who, known = self._caller(entry)
        done = not _failed(entry) and kind != "sign_refused"
        at, number = _time(entry), str(entry["request"]["id"])
        path, data = self._sent(entry["request"]) if kind in _SETTINGS else ("", None)
        return Operation(kind, place, name, done, at, number, who, known, path, data)

    def _sent(self, request: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
        """(path inside our namespace, body); nothing of another namespace, and no body of what takes away."""
        space = str((request.get("namespace") or {}).get("path") or "").strip("/")
        path = str(request.get("path") or "")
        path = path.removeprefix(f"{space}/") if space else path
        if space != self._namespace or request.get("operation") not in {"update", "create"}:
            return "", None
        return path, request.get("data") or {}

    def _rules(self, entry: dict[str, Any]) -> list[Call | Operation]:
        """Whatever is written under ``sys``, ``auth`` and ``identity``, in any namespace, but what changes nothing."""
        request = entry["request"]
        space = str((request.get("namespace") or {}).get("path") or "").strip("/")
        path = str(request.get("path") or "")
        path = path.removeprefix(f"{space}/") if space else path
        operation, name = request.get("operation"), "/".join(path.split("/")[:3])
        if path.partition("/")[0] not in {"sys", "auth", "identity"}:
            return []
        if path.startswith("sys/raw/"):  # the storage itself, in clear
            return [self._operation(entry, "raw", "", name)]
        if operation in _READS or _changes_nothing(str(request.get("mount_point") or ""), space, path):
            return []
        if path == "sys/remount":
            return [self._operation(entry, "remount", "", name)]
        mount = self._inside(f"{space}/{path.removeprefix('sys/mounts/')}".strip("/"))
        if operation == "delete" and path.startswith("sys/mounts/") and mount in self._mounts:
            return [self._operation(entry, "unmount", mount, "")]
        return [self._operation(entry, "rules", "", name)]


def _parsed(line: bytes) -> dict[str, Any]:
    entry = json.loads(line)
    if not isinstance(entry, dict) or not isinstance(entry.get("request"), dict) or "id" not in entry["request"]:
        raise ValueError("not a line of an audit file")
    return entry


def _changes_nothing(point: str, space: str, path: str) -> bool:
    """``point``: where what answers ``path`` is mounted; nowhere for the line with which a device begins."""
    if not point:
        return path == "sys/audit/test"
    mount = point.removeprefix(f"{space}/") if space else point
    if mount.startswith("auth/") and path.startswith(mount) and _LOGIN.fullmatch(path.removeprefix(mount)):
        return True
    return _FREE.fullmatch(path) is not None


def _failed(entry: dict[str, Any]) -> bool:
    answer = (entry.get("response") or {}).get("data")
    return bool(entry.get("error")) or (isinstance(answer, dict) and set(answer) == {"error"})


def _signed(data: dict[str, Any], response: dict[str, Any]) -> list[tuple[Any, dict[str, Any]]]:
    """Each input with what became of it: ``signature`` where nothing says that it was refused, nothing where it was."""
    batch = data.get("batch_input")
    items = [data] if batch is None else batch
    if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
        raise ValueError("batch_input")
    answer = response.get("data") or {}
    rows = [answer] if batch is None else answer.get("batch_results")
    if not isinstance(rows, list) or len(rows) != len(items) or not all(isinstance(row, dict) for row in rows):
        rows = [{}] * len(items)
    made = {"signature": "", "key_version": data.get("key_version")}
    return [(each.get("input"), {} if _refused(row) else made | row) for each, row in zip(items, rows, strict=True)]


def _refused(row: dict[str, Any]) -> bool:
    return "error" in row and not row.get("key_version")


def _to_json(item: Call | Operation) -> list[Any]:
    at = item.at.isoformat()
    if isinstance(item, Call):
        return ["call", *item.key, item.input.hex(), at, *item[3:]]
    return ["operation", *item[:4], at, *item[5:]]


def _from_json(kept: list[Any]) -> Call | Operation:
    if kept[0] == "call":
        place, name, version, value, at, *rest = kept[1:]
        return Call(KeyVersion(place, name, version), bytes.fromhex(value), dt.datetime.fromisoformat(at), *rest)
    kind, place, name, done, at, *rest = kept[1:]
    return Operation(kind, place, name, done, dt.datetime.fromisoformat(at), *rest)


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
    if first in _HARMLESS or operation == "help" or (first in _MOUNTS_OWN and operation == "read"):
        return "", ""
    return first, parts[-1] if parts and first not in _MOUNTS_OWN else ""
