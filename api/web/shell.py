"""The citizen's page as it is served: the same bytes for everybody, made once, with everything it needs around it."""

import datetime as dt
import hashlib
import html
import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Final

from api.web.answers import Answer, time_text
from api.web.pages import Markup, build_of, environment, static_of
from core.messages import sentence
from core.values import Realm
from verification.report import SignatureReport

__all__ = ["Shell", "render", "shell", "static"]

_OFFLINE: Final = ("citizen.css", "citizen.js", "seal.js", "icon.svg")
"""What the page needs without a network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """All of it, as bytes."""

    page: bytes
    worker: bytes
    manifest: bytes


def static() -> dict[str, bytes]:
    """Files of ours beside the templates, by name."""
    return static_of("api.web")


def build() -> str:
    """Stands in the address of every static file: other bytes, other address."""
    return build_of("api.web")


def render(host: str, realm: Realm, answer: Answer | None = None) -> bytes:
    """The page, with or without a result on it; line breaks and indents of the sources left out."""
    page = environment().get_template("citizen.html").render(
        training=realm is Realm.TRAINING, answer=answer, static=f"/v/static/{build()}", plain=sentence,
        shown_host=Markup(f'<b class="here">{html.escape(host)}</b>'), when=_when,
    )  # fmt: skip
    return re.sub(r"\s*\n\s*", "\n", page).encode()


def _when(signature: SignatureReport) -> str:
    """When it was made, as a time stamp proves or else as it says itself."""
    return time_text(dt.datetime.fromisoformat(signature.signed_at)) if signature.signed_at else "–"


@cache
def shell(host: str, realm: Realm) -> Shell:
    """For one door."""
    page = render(host, realm)
    needed = ["/v", *(f"/v/static/{build()}/{name}" for name in _OFFLINE)]
    version = hashlib.sha256(page + build().encode()).hexdigest()[:12]
    worker = static()["worker.js"].decode().replace("__VERSION__", version)
    worker = worker.replace("__NEEDED__", json.dumps(needed))
    icons = [{"src": f"/v/static/{build()}/icon.svg", "sizes": "any", "type": "image/svg+xml"}]
    icons += [
        {"src": f"/v/static/{build()}/icon-{n}.png", "sizes": f"{n}x{n}", "type": "image/png"} for n in (192, 512)
    ]
    manifest = {
        "name": sentence("page.title"), "short_name": sentence("page.short_title"), "lang": "vi", "start_url": "/v",
        "scope": "/v", "id": "/v", "display": "standalone", "background_color": "#ffffff", "theme_color": "#0b3d66",
        "icons": icons,
    }  # fmt: skip
    return Shell(page=page, worker=worker.encode(), manifest=json.dumps(manifest, ensure_ascii=False).encode())
