"""The public application: routers of all doors, one renderer of errors, the gate around everything."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from api.desk.routes import router as desk_router
from api.desk.sessions import known_session
from api.desk.stores import StoreWatch
from api.portal import (
    batches,
    copies,
    enrolments,
    register,
    signature_requests,
    statistics,
    uploads,
    verifications,
    webhooks,
)
from api.web import citizen, docs, health, mcp, oauth, pki, providers
from api.web.gate import Gate
from api.web.parts import WebParts
from api.web.problems import on_broken, on_error, on_http, on_invalid
from core.errors import ServiceError
from core.values import Realm

__all__ = ["make_app", "make_operator_app"]

VERSION = "1"


def _bare(title: str, parts: WebParts) -> FastAPI:
    app = FastAPI(
        title=title, version=VERSION, docs_url=None, redoc_url=None, openapi_url=None, swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.state.parts = parts
    app.state.stores = StoreWatch(parts.signer, parts.service.realm)
    app.add_exception_handler(ServiceError, on_error)
    app.add_exception_handler(Exception, on_broken)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    return app


def routes(parts: WebParts) -> FastAPI:
    """All public routes, without the gate."""
    app = _bare("Dauso", parts)
    app.router.routes[:0] = citizen.hot  # first: asked most
    app.router.routes.append(mcp.route)
    app.include_router(citizen.router)
    app.include_router(desk_router)
    app.include_router(docs.router)
    app.include_router(health.router)
    app.include_router(oauth.router)
    app.include_router(pki.router)
    app.include_router(providers.router)
    for each in (
        copies,
        batches,
        uploads,
        register,
        enrolments,
        signature_requests,
        statistics,
        verifications,
        webhooks,
    ):
        app.include_router(each.router, prefix="/api/v1")
    if parts.service.realm is Realm.TRAINING:
        from api.training import guide  # noqa: PLC0415 - no other realm has it, or loads what it draws with

        app.include_router(guide.router)
    return app


def make_app(parts: WebParts) -> ASGIApp:
    """What the public listener serves."""
    return Gate(
        routes(parts), hosts=parts.service.settings.hosts, secure=parts.base_url.startswith("https:"), pace=parts.pace,
        metrics=parts.metrics, clock=parts.service.clock, traces=bool(parts.service.settings.traces_url),
        known=known_session(parts.service),
    )  # fmt: skip


def make_operator_app(parts: WebParts) -> ASGIApp:
    """What the operator's listener serves: numbers, no decisions."""
    app = _bare("Dauso operator", parts)
    app.include_router(health.router)
    app.include_router(health.operator)
    return app
