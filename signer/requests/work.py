"""Entry of the sandbox for the last look at a signed paper: validation data goes in, then the whole file is judged."""

import base64
from importlib.resources import files
from typing import Any

from signer.formats import pades
from verification import worker
from verification.worker import judge

__all__ = ["finish", "warm"]


def finish(payload: bytes, arguments: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The signed file in; the finished one with the facts of ``verification.worker`` about it out.

    ``arguments``: certificates, ocsps, crls (base64 of DER), and what ``judge`` takes. Raises ``pades.unreadable``.
    """
    parts = {kind: [base64.b64decode(each) for each in arguments[kind]] for kind in ("certificates", "ocsps", "crls")}
    document = pades.append_dss(payload, **parts)
    facts, _ = judge(document, {"at": arguments["at"], "anchors": arguments["anchors"]})
    return facts, document


def warm() -> None:
    """Everything once before the walls, on the page that the checker keeps for this: libraries import lazily."""
    worker.warm()
    page = (files("verification") / "warm" / "page.pdf").read_bytes()
    nothing: dict[str, Any] = {"certificates": [], "ocsps": [], "crls": [], "anchors": []}
    finish(page, {**nothing, "at": "2026-11-26T00:00:00+00:00"})
