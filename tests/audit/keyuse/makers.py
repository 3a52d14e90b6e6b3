"""Lines as OpenBao 2.6.2 writes them, a device's keyed hash, and a side of ours that says what a test wants."""

import base64
import datetime as dt
import hashlib
import hmac
import itertools
import json

from audit.keyuse import Cause, Doubt, Judgement, KeyVersion, Permit, Rules, Signal

SALT = b"device"
AT = dt.datetime(2026, 11, 25, 3, 0, tzinfo=dt.UTC)
KEY = KeyVersion("transit", "seal-1.p256", 1)
WHO = "7d0ed487-c162-bf95-3939-c98e6b975809"
RULES = Rules(device="to-file", mounts=frozenset({"transit"}), signers=frozenset({"dauso-signer"}), live=True)
_numbers = itertools.count(1)


def at(seconds) -> dt.datetime:
    return AT + dt.timedelta(seconds=seconds)


def digest(text="a") -> bytes:
    return hashlib.sha256(str(text).encode()).digest()


def shown(text: str) -> str:
    return "hmac-sha256:" + hmac.new(SALT, text.encode(), hashlib.sha256).hexdigest()


def hashed(value: bytes) -> bytes:
    return bytes.fromhex(shown(base64.b64encode(value).decode()).partition(":")[2])


async def ask(text: str) -> str:
    return shown(text)


def number() -> str:
    return f"00000000-0000-4000-8000-{next(_numbers):012d}"


def stamp(at) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f") + "123Z"


def entry(
    kind="response", *, path, data=None, answer=None, at=AT, request=None, error="", role="dauso-signer", who=WHO,
    mount="transit", operation="update", mount_type="transit", space="",
):  # fmt: skip
    """One line, as bytes with its end."""
    made = {
        "time": stamp(at), "type": kind,
        "auth": {"client_token": shown("t"), "accessor": shown("a"), "display_name": "approle", "policies": ["default"],
                 "metadata": {"role_name": role}, "entity_id": who, "token_type": "service"},
        "request": {"id": request or number(), "client_id": who, "operation": operation, "mount_point": f"{mount}/",
                    "mount_type": mount_type, "namespace": {"id": "root"} | ({"path": f"{space}/"} if space else {}),
                    "path": path, "data": data, "remote_address": "127.0.0.1", "remote_port": 1},
    }  # fmt: skip
    if kind == "response":
        made["response"] = {"mount_point": f"{mount}/", "mount_type": mount_type, "data": answer}
    if error:
        made["error"] = error
    return json.dumps(made, separators=(",", ":")).encode() + b"\n"


def sign(*values: bytes, key=KEY, at=AT, failed=(), batch=None, **more) -> bytes:
    """A request and its response: one value plain, several as a batch; ``failed``: places of items that were not signed."""
    request = more.pop("request", None) or number()
    given = [shown(base64.b64encode(v).decode()) for v in values]
    rows = [
        {"error": shown("e"), "key_version": 0, "reference": shown("")} if i in failed
        else {"key_version": key.version, "reference": shown(""), "signature": shown(f"s{i}")}
        for i in range(len(values))
    ]  # fmt: skip
    if batch if batch is not None else len(values) > 1:
        data = {"batch_input": [{"input": g, "reference": shown("r")} for g in given], "key_version": key.version}
        answer = {"batch_results": rows}
    else:
        data, answer = {"input": given[0], "key_version": key.version}, rows[0]
    path = more.pop("path", f"{key.place}/sign/{key.name}")
    asked = entry("request", path=path, data=data, at=at, request=request, mount=key.place, **more)
    said = entry(path=path, data=data, answer=answer, at=at, request=request, mount=key.place, **more)
    return asked + said


def noise(count=1, at=AT) -> bytes:
    """What else stands in such a file."""
    one = [entry(kind, path="auth/token/lookup-self", mount="auth/token", mount_type="token", operation="read", at=at)
           for kind in ("request", "response")]  # fmt: skip
    return b"".join(one) * count


def may(value=None, *, at=AT, ref="order", kind="order", key=KEY) -> Cause:
    return Cause(id=ref, kind=kind, key=key, input=digest() if value is None else value, signal=Signal.MAY, at=at)


def must(value=None, *, at=AT, ref="order", kind="order", key=KEY) -> Cause:
    return Cause(id=ref, kind=kind, key=key, input=digest() if value is None else value, signal=Signal.MUST, at=at)


class Side:
    """Satisfies ``CauseSource``."""

    def __init__(self, *causes, explained=None, permits="", until=None, results=None, findings=()):
        self.all = sorted(causes, key=lambda c: c.at)
        self.explained, self.permits, self.until = explained or {}, permits, until
        self.results, self.findings = results or {}, list(findings)
        self.memories = []
        self.spans = []

    async def begin(self, start, end, memory):
        self.memories.append(memory)
        return min(end, self.until or end)

    async def causes(self, after, until):
        self.spans.append((after, until))
        yield [c for c in self.all if after < c.at <= until]

    async def explain(self, calls, hashes):
        return [self.explained.get(c.key, Judgement(Doubt.NOTHING)) for c in calls]

    async def result_of(self, uses):
        return [self.results.get(u.id, Judgement(Doubt.NOTHING)) for u in uses]

    async def permitted(self, operation, hashes):
        return Permit("keyuse.decided", self.permits) if self.permits else None

    async def counterparts(self, after, until):
        found, self.findings = self.findings, []
        return found

    def remember(self):
        return {"seen": str(len(self.memories))}
