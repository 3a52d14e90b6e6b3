"""The signing origin, served by the process that holds the keys: its pages, and the answers of passkeys.

The process verifies each answer itself; nothing that the web process says counts as one. The challenge is the digest
of the record over exactly the bytes to be signed. Only this origin's own name is answered, and no file is served that
would let another origin use its passkeys (``/.well-known/webauthn``).
"""

import asyncio

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from api.bootstrap import Service
from api.sign import approve, enrol, pages
from api.sign.matters import MATTERS, Matters
from api.sign.webauthn import request_options
from api.signing import relying_party
from api.web.access import ANYONE
from api.web.gate import Gate
from api.web.metrics import Metrics
from api.web.pace import Pace
from api.web.problems import on_error, on_http, on_invalid
from core.errors import BadInput, Conflict, ServiceError
from core.limits import LIMITS
from signer.activation import redeem

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

    @app.get("/approvals/{copy_id}", dependencies=[ANYONE])
    async def question(copy_id: str) -> JSONResponse:
        """What waits, in words, and the options for ``navigator.credentials.get``; who has the copy's id may ask."""
        order, opened = await service.copies.question(copy_id)
        async with service.db.read() as uow:
            record = await redeem.record(uow, opened.tx)
        said = {"tx": opened.tx, "role": order.role, "title": record.title, "pages": record.pages, "asks": record.description,
                "client": record.client, "realm": record.realm, "expires": record.expires}  # fmt: skip
        options = request_options(opened.challenge, rp)
        return JSONResponse({**said, "publicKey": options}, headers={"cache-control": "no-store"})

    @app.post("/approvals/{copy_id}", dependencies=[ANYONE], status_code=202)
    async def approve_copy(copy_id: str, answer: approve.Answer, request: Request) -> JSONResponse:
        """The passkey's answer: verified here, kept as evidence, spent once by the ceremony that goes on now."""
        if request.headers.get("origin", rp.origin) != rp.origin:  # another site's page cannot send it on
            raise BadInput("activation.wrong_origin")
        order, opened = await service.copies.question(copy_id)
        if answer.tx != opened.tx:
            raise Conflict("activation.not_open")
        async with service.db.write() as uow:
            await redeem.approve(uow, service.clock, rp, opened.tx, answer.credential.assertion())
        service.reception.go_on(copy_id)
        return JSONResponse({"copy": copy_id, "role": order.role, "state": "approved"}, 202)

    return Gate(
        app, hosts=frozenset({rp.rp_id}), secure=rp.origin.startswith("https:"), pace=pace, metrics=Metrics(),
        clock=service.clock,
    )  # fmt: skip
