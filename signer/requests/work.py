"""Entry of the sandbox for the last look at signed papers: validation data goes in, then each whole file is judged."""

import base64
from importlib.resources import files
from typing import Any

from signer.formats import pades
from verification import worker
from verification.worker import judge

__all__ = ["finish", "warm"]


def finish(payload: bytes, arguments: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Signed files one after the other in; for each, the facts of ``verification.worker`` and what was appended, out.

    ``arguments``: sizes of the files in bytes; certificates, ocsps, crls (base64 of DER), the same for all; and what
    ``judge`` takes. Raises ``pades.unreadable``.
    """
    parts = {kind: [base64.b64decode(each) for each in arguments[kind]] for kind in ("certificates", "ocsps", "crls")}
    facts, updates, at = [], [], 0
    for size in arguments["sizes"]:
        signed = payload[at : at + size]
        at += size
        finished = pades.append_dss(signed, **parts)
        facts.append(judge(finished, {"at": arguments["at"], "anchors": arguments["anchors"]})[0])
        updates.append(finished[size:])
    return {"facts": facts, "sizes": [len(update) for update in updates]}, b"".join(updates)


def warm() -> None:
    """Everything once before the walls, on the page that the checker keeps for this: libraries import lazily."""
    worker.warm()
    page = (files("verification") / "warm" / "page.pdf").read_bytes()
    nothing: dict[str, Any] = {"certificates": [], "ocsps": [], "crls": [], "anchors": []}
    finish(page, {**nothing, "sizes": [len(page)], "at": "2026-11-26T00:00:00+00:00"})
