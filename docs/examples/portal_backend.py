"""A portal's backend in one file: makes copies, is told by webhooks, asks where it was not told.

    DAUSO=https://dauso.example.gov.vn DAUSO_KEY=dauso_… PORTAL=https://portal.example.gov.vn/hooks \
    python portal_backend.py H99.1 scan.jpg "Giấy khai sinh" dossier-number

Standard library and httpx2. What it stores (the secret, dossiers, seen events) belongs in the portal's database.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2


class Dauso:
    """The portal's side of the door."""

    def __init__(self, url: str, key: str) -> None:
        self.http = httpx2.Client(base_url=f"{url}/api/v1", headers={"authorization": f"Bearer {key}"}, timeout=60)
        self._known: dict[str, tuple[str, dict]] = {}

    def call(self, method: str, path: str, key: str | None = None, **more) -> httpx2.Response:
        """Sends again after no answer, 429 and 503: safe for a POST because of its key, and only because of it."""
        headers = {**more.pop("headers", {}), **({"idempotency-key": key} if key else {})}
        for attempt in range(6):
            try:
                answer = self.http.request(method, path, headers=headers, **more)
            except httpx2.TransportError:
                answer = None
            if answer is not None and answer.status_code not in {429, 503}:
                if answer.status_code >= 400:
                    raise RuntimeError(answer.json()["code"])  # stable codes: docs/reference/errors.md
                return answer
            time.sleep(float(answer.headers.get("retry-after", 1)) if answer is not None else 2.0**attempt / 4)
        raise RuntimeError("dauso does not answer")

    def make_copy(self, agency: str, scan: bytes, kind: str, dossier: str, **facts) -> str:
        """The copy's id. The dossier is the key: asked twice for the same dossier, it is made once."""
        file = self.call("POST", "/files", f"{dossier}.file", content=scan).json()["file"]
        wanted = {"agency": agency, "kind": kind, "dossier": dossier, "files": [file], **facts}
        return self.call("POST", "/copies", f"{dossier}.copy", json=wanted).json()["id"]

    def look(self, copy_id: str) -> dict:
        """The copy as it is now; an entity tag spares the answer that we have already."""
        tag, known = self._known.get(copy_id, ("", {}))
        answer = self.call("GET", f"/copies/{copy_id}", headers={"if-none-match": tag} if tag else {})
        if answer.status_code == 200:
            tag, known = self._known[copy_id] = answer.headers["etag"], answer.json()
        return known


def is_from_dauso(secret: str, headers, body: bytes, now: float) -> bool:
    """Standard Webhooks: HMAC-SHA256 over id.time.body, compared in constant time; old messages are no messages."""
    message_id, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not sent.isdigit() or abs(now - int(sent)) > 300:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mine = base64.b64encode(hmac.digest(key, f"{message_id}.{sent}.".encode() + body, hashlib.sha256)).decode()
    given = [each.partition(",")[2].encode() for each in headers.get("webhook-signature", "").split()]
    return any(hmac.compare_digest(mine.encode(), each) for each in given)


def listen(port: int, secrets: list[str], told) -> ThreadingHTTPServer:
    """Answers webhooks on ``port``; ``told(event)`` is called once for each event, however often it is delivered."""
    seen: set[str] = set()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(min(int(self.headers.get("content-length", 0)), 65_536))
            good = any(is_from_dauso(secret, self.headers, body, time.time()) for secret in secrets)
            if good and self.headers["webhook-id"] not in seen:
                told(json.loads(body))
                seen.add(self.headers["webhook-id"])
            self.send_response(204 if good else 401)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", port), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    dauso = Dauso(os.environ["DAUSO"], os.environ["DAUSO_KEY"])
    portal = os.environ["PORTAL"]
    made = dauso.call("POST", "/webhooks", f"hook.{portal}", json={"url": portal}).json()
    listen(int(os.environ.get("PORT", "8080")), [made["secret"]], print)
    agency, file, kind, dossier = sys.argv[1:]
    copy_id = dauso.make_copy(agency, Path(file).read_bytes(), kind, dossier, regime="so_hoa")
    while (copy := dauso.look(copy_id))["state"] not in {"released", "refused", "voided"}:
        time.sleep(1)
    print(json.dumps(copy, ensure_ascii=False))
