"""The signing origin, served by the process that holds the keys: its pages, and the answers of passkeys.

The process verifies each answer itself; nothing that the web process says counts as one. The challenge is the digest
of the record over exactly the bytes to be signed. Only this origin's own name is answered, and no file is served that
would let another origin use its passkeys (``/.well-known/webauthn``).
"""

import asyncio

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from api.bootstrap import Service
from api.sign import approve, enrol, pages
from api.sign.known import known_link
from api.sign.matters import MATTERS, Matters
from api.signing import relying_party
from api.web.gate import Gate
from api.web.metrics import Metrics
from api.web.pace import Pace
from api.web.problems import on_error, on_http, on_invalid
from core.errors import ServiceError
from core.limits import LIMITS

__all__ = ["make_sign_app"]


def make_sign_app(service: Service, matters: Matters = MATTERS) -> ASGIApp:
    """The application with its gate; only its own host name is answered. ``matters``: by kind of link."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.add_exception_handler(ServiceError, on_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    rp, pace = relying_party(service.settings), Pace(service.clock)
    app.state.service, app.state.rp, app.state.pace, app.state.matters = service, rp, pace, matters
    app.state.room = asyncio.Semaphore(LIMITS["web.waiting"])
    app.include_router(pages.router)
    app.include_router(approve.router)
    enrol.mount(app, service)

    return Gate(
        app, hosts=frozenset({rp.rp_id}), secure=rp.origin.startswith("https:"), pace=pace, metrics=Metrics(),
        clock=service.clock, known=known_link(service),
    )  # fmt: skip
