"""Pages of the signing origin: rendered here, small, in one language at a time, nothing from anywhere else.

The host a person sees and every address on a page come from the settings, never from the request.
"""

import html
from functools import cache
from typing import Any

import qrcode
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from api.sign.shown import moment_text
from api.web.access import ANYONE
from api.web.pages import TYPES, Markup, build_of, static_of
from api.web.problems import language_of as accepted
from core.errors import NotFound
from core.messages import LANGUAGES, sentence
from core.values import Realm

__all__ = ["environment", "language_of", "qr_svg", "render", "router"]

_QUIET = 4


def static() -> dict[str, bytes]:
    """Our files beside the templates, by name."""
    return static_of("api.sign")


def build() -> str:
    """Stands in the address of every static file: other bytes, other address."""
    return build_of("api.sign")


@cache
def environment() -> Environment:
    """Autoescaped, strict: a missing value is an error, never an empty place on a page."""
    made = Environment(
        loader=PackageLoader("api.sign"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["moment"] = moment_text
    return made


def language_of(request: Request) -> str:
    """``?lang=`` if it names one of ours, else what the browser asks for; Vietnamese unless English comes first."""
    wanted = request.query_params.get("lang", "")
    return wanted if wanted in LANGUAGES else accepted(request)


def render(request: Request, template: str, realm: Realm, *, status: int = 200, **values: Any) -> Response:
    """One page, never kept by anybody."""
    lang = language_of(request)

    def t(code: str, /, **given: Any) -> Markup:
        """From our catalogue: only what it is filled with is foreign."""
        return Markup(sentence(code, lang, **{name: _escaped(value) for name, value in given.items()}))

    page = environment().get_template(template).render(
        t=t, qr=lambda url: qr_svg(url, sentence("sign.qr", lang)), lang=lang, other=LANGUAGES[1 - LANGUAGES.index(lang)], training=realm is Realm.TRAINING, static=f"/static/{build()}",
        here=request.url.path, host=request.app.state.rp.rp_id, **values,
    )  # fmt: skip
    headers = {"cache-control": "no-store", "content-language": lang, "vary": "accept-language"}
    return HTMLResponse(page, status, headers)


def _escaped(value: Any) -> str:
    return str(value) if isinstance(value, Markup) else html.escape(str(value))


def qr_svg(url: str, label: str) -> Markup:
    """A QR code of an ASCII address as an inline drawing; ``label`` says to who cannot see it what it is."""
    code = qrcode.QRCode(None, qrcode.constants.ERROR_CORRECT_M, border=0)
    code.add_data(url)
    code.make(fit=True)
    rows = code.modules
    side = len(rows) + 2 * _QUIET
    parts = []
    for y, row in enumerate(rows):
        start = None
        for x, black in enumerate([*row, False]):
            if black and start is None:
                start = x
            elif not black and start is not None:
                parts.append(f"M{start + _QUIET} {y + _QUIET}h{x - start}v1h-{x - start}z")
                start = None
    return Markup(
        f'<svg class="qr" role="img" aria-label="{html.escape(label)}" viewBox="0 0 {side} {side}" width="240" height="240" '
        f'shape-rendering="crispEdges"><path fill="#fff" d="M0 0h{side}v{side}H0z"/><path fill="#000" d="{"".join(parts)}"/></svg>'
    )


router = APIRouter(include_in_schema=False)


@router.get("/static/{version}/{name}", dependencies=[ANYONE])
async def static_file(version: str, name: str) -> Response:
    """Style and script. Raises ``web.no_such_thing``."""
    data = static().get(name)
    if data is None:
        raise NotFound("web.no_such_thing")
    # kept for good under the address of these very bytes; an older page may still ask while servers change
    kept = "public, max-age=31536000, immutable" if version == build() else "no-store"
    return Response(data, media_type=TYPES[name[name.rfind(".") :]], headers={"cache-control": kept})
