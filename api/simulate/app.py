"""The simulated service over HTTP: its own paths, the operator's page, and a control door for tests.

A tool for one machine. It listens on the loopback address unless told otherwise and turns away forms of other sites.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, Template, select_autoescape
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from api.simulate.service import Fault, Simulator, Transaction, faults_of
from api.web.pages import t
from core.errors import BadInput, NotFound, ServiceError
from core.messages import sentence

__all__ = ["make_simulator_app"]

_MOST: Final = 256 * 1024
_SHOWN: Final = 50


def make_simulator_app(simulator: Simulator) -> Starlette:
    """All routes over one state."""
    doors = _Doors(simulator)
    return Starlette(
        routes=[
            Route("/v1/credentials/get_certificate", doors.get_certificate, methods=["POST"]),
            Route("/v1/signatures/sign", doors.sign, methods=["POST"]),
            Route("/v1/signatures/sign/{name}/status", doors.status, methods=["POST"]),
            Route("/", doors.page),
            Route("/transactions/{code}/{verb}", doors.pressed, methods=["POST"]),
            Route("/faults", doors.ticked, methods=["POST"]),
            Route("/control/faults", doors.faults, methods=["GET", "PUT"]),
            Route("/control/transactions", doors.listed),
            Route("/control/transactions/{code}/{verb}", doors.decided, methods=["POST"]),
            Route("/control/ca.pem", doors.anchor),
        ],
        exception_handlers={ServiceError: _on_error},
    )


class _Doors:
    """One method a route."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    # what the real service has
    async def get_certificate(self, request: Request) -> Response:
        status, said = await self._simulator.get_certificate(await _json(request))
        return JSONResponse(said, status)

    async def sign(self, request: Request) -> Response:
        status, said = await self._simulator.sign(await _json(request))
        return JSONResponse(said, status)

    async def status(self, request: Request) -> Response:
        status, said = await self._simulator.status(request.path_params["name"])
        return JSONResponse(said, status)

    # the operator's page
    async def page(self, _: Request) -> Response:
        return HTMLResponse(_render(self._simulator), headers={"cache-control": "no-store"})

    async def pressed(self, request: Request) -> Response:
        self._decide(request)
        return RedirectResponse("/", 303)

    async def ticked(self, request: Request) -> Response:
        _require_own(request)
        async with request.form(max_files=0, max_fields=len(Fault)) as form:
            self._simulator.faults = faults_of(",".join(str(each) for each in form.getlist("fault")))
        return RedirectResponse("/", 303)

    # the control door
    async def faults(self, request: Request) -> Response:
        if request.method == "PUT":
            _require_own(request)
            wanted = (await _json(request)).get("faults")
            if not isinstance(wanted, list):
                raise BadInput("web.unreadable")
            self._simulator.faults = faults_of(",".join(map(str, wanted)))
        return JSONResponse({"faults": sorted(self._simulator.faults)})

    async def listed(self, _: Request) -> Response:
        return JSONResponse({"transactions": [_plain(each) for each in self._simulator.transactions]})

    async def decided(self, request: Request) -> Response:
        self._decide(request)
        return JSONResponse({})

    async def anchor(self, _: Request) -> Response:
        return PlainTextResponse(self._simulator.people.anchor, media_type="application/x-pem-file")

    def _decide(self, request: Request) -> None:
        _require_own(request)
        code, verb = request.path_params["code"], request.path_params["verb"]
        if verb not in {"approve", "refuse"}:
            raise NotFound("simulate.unknown_transaction")
        self._simulator.decide(code, verb == "approve")


async def _json(request: Request) -> dict[str, Any]:
    """Raises ``web.unreadable``."""
    try:
        given = json.loads(await _body(request))
    except (ValueError, RecursionError) as error:
        raise BadInput("web.unreadable") from error
    if not isinstance(given, dict):
        raise BadInput("web.unreadable")
    return given


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST:
            raise BadInput("web.too_large", most=_MOST)
    return bytes(body)


def _require_own(request: Request) -> None:
    """A page of another site may not press our buttons (Fetch metadata)."""
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise BadInput("web.unreadable")


async def _on_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    status = 400 if isinstance(error, BadInput) else 404
    return JSONResponse({"code": error.code, "title": error.say("vi"), "title_en": error.say("en")}, status)


def _plain(each: Transaction) -> dict[str, Any]:
    return {
        "transaction_id": each.id, "tran_code": each.code, "user_id": each.person.number, "state": each.state,
        "digest": each.digest.hex(), "description": each.description,
    }  # fmt: skip


@cache
def _template() -> Template:
    text = (files("api.simulate") / "templates" / "simulator.html").read_text(encoding="utf-8")
    return Environment(autoescape=select_autoescape(default_for_string=True)).from_string(text)


def _render(simulator: Simulator) -> str:
    newest = simulator.transactions[::-1]
    return _template().render(
        waiting=[t for t in newest if t.state == "waiting"], ended=[t for t in newest if t.state != "waiting"][:_SHOWN],
        faults=list(Fault), on=simulator.faults, people=simulator.people.all, plain=sentence, t=t,
    )  # fmt: skip
