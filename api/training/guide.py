"""``/training``: the guided practice, in realm training alone. Pages without which a class of villagers would need a teacher each.

One page a step: a drawing, few words, what to press, how it stands, and what the helper says. Everything works without
a script; with one the page follows what happens on the phone.
"""

import re
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined

from api.desk.sessions import require_own_page
from api.sign.pages import qr_svg
from api.sign.shown import moment_text
from api.training.practice import Keeper, Practice, Standing, begin, standing, with_strange_paper
from api.web.access import ANYONE
from api.web.pages import TYPES, build_of, static_of, t
from api.web.parts import Parts, WebParts
from api.web.problems import status_of
from api.web.shell import build as citizen_build
from core.errors import Conflict, NotFound, ServiceError
from core.messages import sentence

__all__ = ["STEPS", "router"]

STEPS: Final = ("person", "enrol", "sign", "result", "refuse", "lost", "end")
_PAGE: Final = {
    "cache-control": "no-store",
    # with no-referrer browsers say "Origin: null" in a form's POST, and a page of ours could not be told from another
    "referrer-policy": "same-origin",
}


class GuideRoute(APIRoute):
    """What is refused is said on a page with a way back."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wraps the route."""
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                answer = await inner(request)
            except ServiceError as error:
                answer = _page(request, "guide_problem.html", status=status_of(error), problem=error)
            for name, value in _PAGE.items():
                answer.headers.setdefault(name, value)
            return answer

        return handler


router = APIRouter(prefix="/training", route_class=GuideRoute, include_in_schema=False)


# ------------------------------------------------------------------------------------------------------------- pages
@router.get("", dependencies=[ANYONE])
async def home(request: Request, parts: Parts) -> Response:
    """What it is, and where this visitor stands."""
    practice = _keeper(request, parts).read(request)
    found = None if practice is None else (await standing(parts, practice))[0]
    return _page(request, "guide_home.html", practice=practice, found=found, next=_next(found))


@router.get("/step/{step}", dependencies=[ANYONE])
async def step_page(request: Request, parts: Parts, step: str) -> Response:
    """One step. Raises ``training.no_such_step``."""
    if step not in STEPS:
        raise NotFound("training.no_such_step")
    practice = _keeper(request, parts).read(request)
    if practice is None:
        return RedirectResponse("/training", 303)
    found, _ = await standing(parts, practice)
    place = STEPS.index(step)
    return _page(
        request, f"steps/{step}.html", practice=practice, found=found, step=step, place=place,
        before=STEPS[place - 1] if place else None, after=STEPS[place + 1] if place + 1 < len(STEPS) else None,
        lost=f"{parts.service.settings.sign_url.rstrip('/')}/e/lost",
        usable=moment_text(found.usable_from) or "", elsewhere=parts.service.settings.sign_url.startswith("https:"),
    )  # fmt: skip


@router.post("/start", dependencies=[ANYONE])
async def start(request: Request, parts: Parts) -> Response:
    """Somebody new to play; what the device had before is left behind."""
    require_own_page(request, parts.base_url)
    return _keeper(request, parts).give(RedirectResponse("/training/step/person", 303), await begin(parts))


@router.post("/refuse", dependencies=[ANYONE])
async def strange_paper(request: Request, parts: Parts) -> Response:
    """A paper that should be refused."""
    require_own_page(request, parts.base_url)
    keeper = _keeper(request, parts)
    practice = await with_strange_paper(parts, _mine(keeper, request))
    return keeper.give(RedirectResponse("/training/step/refuse", 303), practice)


@router.post("/leave", dependencies=[ANYONE])
async def leave(request: Request, parts: Parts) -> Response:
    """The next person on this device begins afresh."""
    require_own_page(request, parts.base_url)
    return _keeper(request, parts).take(RedirectResponse("/training", 303))


@router.get("/state", dependencies=[ANYONE])
async def state(request: Request, parts: Parts) -> JSONResponse:
    """For the page's script: a mark that is another one when there is news."""
    practice = _keeper(request, parts).read(request)
    return JSONResponse({"mark": "" if practice is None else (await standing(parts, practice))[0].mark})


@router.get("/file", dependencies=[ANYONE])
async def file(request: Request, parts: Parts) -> Response:
    """The signed paper, as a portal gets it. Raises ``request.not_completed``."""
    practice = _mine(_keeper(request, parts), request)
    view = (await standing(parts, practice))[1]["sign"]
    released = view.documents[0].released
    if view.state != "completed" or released is None:
        raise Conflict("request.not_completed", request=view.id)
    headers = {"content-disposition": 'attachment; filename="tap-huan.pdf"', "cache-control": "private, no-store"}
    return Response(await parts.service.documents.get(released), media_type="application/pdf", headers=headers)


@router.get("/static/{version}/{name}", dependencies=[ANYONE])
async def static_file(version: str, name: str) -> Response:
    """Style and script. Raises ``web.no_such_thing``."""
    data = _static().get(name)
    if data is None:
        raise NotFound("web.no_such_thing")
    kept = "public, max-age=31536000, immutable" if version == _build() else "no-cache"
    return Response(data, headers={"cache-control": kept}, media_type=TYPES[name[name.rfind(".") :]])


# ------------------------------------------------------------------------------------------------------------ inside
def _mine(keeper: Keeper, request: Request) -> Practice:
    found = keeper.read(request)
    if found is None:
        raise Conflict("training.no_practice")
    return found


def _keeper(request: Request, parts: WebParts) -> Keeper:
    """One for the process: its key is read once."""
    known: Keeper | None = getattr(request.app.state, "training_keeper", None)
    if known is None:
        known = request.app.state.training_keeper = Keeper(parts.service.settings)
    return known


def _next(found: Standing | None) -> str:
    """The first step that is not done yet."""
    done = frozenset() if found is None else found.done - {"person", "result"}
    return next((step for step in ("enrol", "sign", "refuse", "lost") if step not in done), "end")


def _static() -> dict[str, bytes]:
    return static_of("api.training")


def _build() -> str:
    return build_of("api.training")


def _grouped(number: str) -> str:
    """Twelve digits as people read them out."""
    return " ".join(number[at : at + 3] for at in range(0, len(number), 3))


@cache
def _environment() -> Environment:
    made = Environment(loader=PackageLoader("api.training"), autoescape=True, undefined=StrictUndefined)
    made.globals |= {
        "t": t, "plain": sentence, "steps": STEPS, "qr": lambda url: qr_svg(url, sentence("sign.qr")),
        "grouped": _grouped,
    }  # fmt: skip
    return made


def _page(request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
    parts: WebParts = request.app.state.parts
    body = _environment().get_template(template).render(
        static=f"/training/static/{_build()}", shared=f"/v/static/{citizen_build()}", mark=_mark(values.get("found")),
        system=parts.service.settings.system_name, **values,
    )  # fmt: skip
    return HTMLResponse(re.sub(r"\s*\n\s*", "\n", body), status)


def _mark(found: Standing | None) -> str:
    return "" if found is None else found.mark
