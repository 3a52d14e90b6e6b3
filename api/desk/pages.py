"""How the desk's pages are made: one environment, one frame around every answer, errors as pages with a way back."""

import datetime as dt
import re
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any, Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined

from api.desk.sessions import DeskPerson
from api.web.pages import build_of, static_of, t
from api.web.problems import status_of
from api.web.shell import build as citizen_build
from core.clock import VIETNAM
from core.errors import BadInput, ServiceError
from core.limits import LIMITS
from core.messages import codes, sentence
from core.values import Realm

__all__ = ["NAV", "DeskRoute", "back", "build", "form_of", "page", "safe_next", "static", "wants_json"]

NAV: Final[list[tuple[tuple[str, ...], str, str]]] = [
    (("certifier",), "/desk/inbox", "desk.inbox"),
    (("certifier",), "/desk/new", "desk.new"),
    (("clerk",), "/desk/seals", "desk.seals"),
    (("administrator",), "/desk/admin", "desk.admin"),
    ((), "/desk/steps", "desk.steps"),
    ((), "/desk/statistics", "desk.statistics"),
    ((), "/desk/account", "desk.account"),
]
"""(roles, one of which must run, or any role; path; name) in the order of the page's menu."""
_ACCOUNT: Final = "/desk/account"
"""What remains for who holds no role any more."""

_HEADERS: Final = {
    "cache-control": "no-store",
    # with no-referrer browsers say "Origin: null" in a form's POST, and a page of ours could not be told from another
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=()",
}
_NEXT: Final = re.compile(r"^/desk(/[a-z0-9-]+){0,5}$")
_CODE: Final = re.compile(r"^desk\.[a-z_]{1,40}$")


# ------------------------------------------------------------------------------------------------------------- files
def static() -> dict[str, bytes]:
    """Style and script, by name."""
    return static_of("api.desk")


def build() -> str:
    """Stands in the address of every static file: other bytes, other address."""
    return build_of("api.desk")


# ------------------------------------------------------------------------------------------------------------- pages
@cache
def environment() -> Environment:
    """Autoescaped, strict: a missing value is an error, never an empty place on a page."""
    made = Environment(loader=PackageLoader("api.desk"), autoescape=True, undefined=StrictUndefined)
    made.globals |= {
        "t": t, "plain": sentence, "en": lambda code, **values: sentence(code, "en", **values), "day": day_text,
        "moment": moment_text, "limits": LIMITS, "known": lambda code: code in codes(),
    }  # fmt: skip
    return made


def day_text(at: dt.date | dt.datetime) -> str:
    """``25/11/2026`` as in Viet Nam."""
    return (at.astimezone(VIETNAM) if isinstance(at, dt.datetime) else at).strftime("%d/%m/%Y")


def moment_text(at: dt.datetime) -> str:
    """``10:03 25/11/2026`` as in Viet Nam."""
    return at.astimezone(VIETNAM).strftime("%H:%M %d/%m/%Y")


def page(
    request: Request, template: str, *, who: DeskPerson | None, title: str, status: int = 200,
    problem: ServiceError | None = None, typed: dict[str, Any] | None = None, **values: Any,
) -> Response:  # fmt: skip
    """One page. ``title``: message code; ``problem``: what to say above the form; ``typed``: what stays in it."""
    service = request.app.state.parts.service
    said = request.query_params.get("said", "")
    given = {
        "who": who, "title": title, "problem": problem, "typed": typed or {}, "static": f"/desk/static/{build()}",
        "icon": f"/v/static/{citizen_build()}/icon.svg", "training": service.realm is Realm.TRAINING,
        "said": said if _CODE.fullmatch(said) and said in codes() else None, "here": request.url.path,
        "nav": [] if who is None else [(path, name) for roles, path, name in NAV if path == _ACCOUNT or _may(who, roles)],
        "idle": LIMITS["desk.idle_seconds"], "system": service.settings.system_name,
        "stores": () if who is None else request.app.state.stores.said(), **values,
    }  # fmt: skip
    body = environment().get_template(template).render(given)
    return HTMLResponse(re.sub(r"\n\s+", "\n", body) if "</textarea>" not in body else body, status)


def _may(who: DeskPerson, roles: tuple[str, ...]) -> bool:
    return any(who.has(role) for role in roles) if roles else bool(who.roles)


def back(path: str, said: str | None = None) -> Response:
    """After a POST that worked: another page by GET. ``said``: a message code that the next page shows once."""
    return RedirectResponse(path if said is None else f"{path}?said={said}", 303)


def safe_next(given: str | None) -> str:
    """A path of the desk, and nothing that a browser could read as another place."""
    return given if given is not None and _NEXT.fullmatch(given) else "/desk"


async def form_of(request: Request) -> dict[str, str]:
    """The text fields of a form, stripped; of several with one name the last."""
    form = await request.form(max_files=LIMITS["web.files_per_copy"], max_fields=1_000)
    return {name: value.strip() for name, value in form.multi_items() if isinstance(value, str)}


def wants_json(request: Request) -> bool:
    """A script asks, not a person who waits for a page."""
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/html" not in accept


# ------------------------------------------------------------------------------------------------------------ errors
class DeskRoute(APIRoute):
    """Every answer of the desk is kept by nobody; what is refused is said on a page."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wraps the route."""
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                answer = await inner(request)
            except ServiceError as error:
                if wants_json(request):
                    raise
                answer = _refused(request, error)
            except RequestValidationError:
                if wants_json(request):
                    raise
                answer = _refused(request, BadInput("web.invalid"))
            finally:
                await request.close()  # the files of a form, which the routes read themselves
            for name, value in _HEADERS.items():
                answer.headers.setdefault(name, value)
            return answer

        return handler


def _refused(request: Request, error: ServiceError) -> Response:
    asked = safe_next(request.url.path)
    reading = request.method == "GET"
    if error.code == "desk.signed_out" and reading:
        if _came_from_elsewhere(request):
            return page(request, "continue.html", who=None, title="desk.continue", path=asked)
        return RedirectResponse("/desk/login" if asked == "/desk" else f"/desk/login?next={asked}", 303)
    if error.code == "desk.locked":
        return page(
            request, "locked.html", who=None, title="desk.locked_title", path=asked, reading=reading, status=403
        )
    who: DeskPerson | None = getattr(request.state, "who", None)
    return page(request, "error.html", who=who, title="desk.refused_title", problem=error, status=status_of(error))


def _came_from_elsewhere(request: Request) -> bool:
    """SameSite=Strict keeps our cookies out of the first step from another site, as from the signing page back to here."""
    return (
        request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}
        and request.headers.get("sec-fetch-mode") == "navigate"
    )
