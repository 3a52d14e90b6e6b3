"""What schemathesis has to be told of our door; loaded by its own process, see test_openapi.py."""

import re
import uuid

import schemathesis


@schemathesis.serializer("application/ocsp-request", "application/timestamp-query", "application/offset+octet-stream")
def as_bytes(context, value):
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.hook
def filter_case(context, case):
    """HTTP ignores headers that it does not know (RFC 9110 §5.1)."""
    return "x-schemathesis-unknown-property" not in (case.headers or {})


@schemathesis.hook
def before_call(context, case, kwargs):
    """A key is for one request; the same few keys over and over would only ever hear 422."""
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and re.fullmatch(r"[!-~]{1,255}", key):
        fresh = uuid.uuid4().hex
        case.headers["Idempotency-Key"] = fresh + key[32:] if len(key) > 32 else key + fresh
