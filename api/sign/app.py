"""``/approvals``: what waits for a person, and the passkey's answer to it (WebAuthn level 3 JSON forms).

The process that holds the keys verifies the answer itself; nothing that the web process says counts as one. The
challenge is the digest of the record over exactly the bytes to be signed.
"""

import base64
import binascii

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from api.bootstrap import Service
from api.signing import relying_party
from api.web.access import ANYONE
from api.web.gate import Gate
from api.web.metrics import Metrics
from api.web.pace import Pace
from api.web.problems import on_error, on_http, on_invalid
from core.errors import BadInput, Conflict, ServiceError
from core.limits import LIMITS
from signer.activation import redeem
from signer.activation.passkeys import Assertion

__all__ = ["make_sign_app"]


class _Answer(BaseModel):
    """AuthenticatorAssertionResponseJSON."""

    model_config = ConfigDict(extra="ignore")
    clientDataJSON: str = Field(max_length=8_192)  # noqa: N815 - the standard's names
    authenticatorData: str = Field(max_length=8_192)  # noqa: N815
    signature: str = Field(max_length=4_096)


class _Credential(BaseModel):
    """AuthenticationResponseJSON."""

    model_config = ConfigDict(extra="ignore")
    rawId: str = Field(max_length=2_048)  # noqa: N815
    response: _Answer


class Approval(BaseModel):
    """One answer."""

    model_config = ConfigDict(extra="forbid")
    tx: str = Field(pattern=r"^[0-9a-z]{26}$")
    credential: _Credential


def make_sign_app(service: Service) -> ASGIApp:
    """The application with its gate; only its own host name is answered."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.add_exception_handler(ServiceError, on_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    rp = relying_party(service.settings)

    @app.get("/approvals/{copy_id}", dependencies=[ANYONE])
    async def question(copy_id: str) -> JSONResponse:
        """What waits, in words, and the options for ``navigator.credentials.get``; who has the copy's id may ask."""
        order, opened = await service.copies.question(copy_id)
        async with service.db.read() as uow:
            record = await redeem.record(uow, opened.tx)
        options = {
            "challenge": _text(opened.challenge), "rpId": rp.rp_id, "userVerification": "required",
            "timeout": LIMITS["activation.seconds"] * 1000, "allowCredentials": [],
        }  # fmt: skip
        said = {"tx": opened.tx, "role": order.role, "title": record.title, "pages": record.pages, "asks": record.description,
                "client": record.client, "realm": record.realm, "expires": record.expires}  # fmt: skip
        return JSONResponse({**said, "publicKey": options}, headers={"cache-control": "no-store"})

    @app.post("/approvals/{copy_id}", dependencies=[ANYONE], status_code=202)
    async def approve(copy_id: str, answer: Approval, request: Request) -> JSONResponse:
        """The passkey's answer: verified here, kept as evidence, spent once by the ceremony that goes on now."""
        if request.headers.get("origin", rp.origin) != rp.origin:  # another site's page cannot send it on
            raise BadInput("activation.wrong_origin")
        order, opened = await service.copies.question(copy_id)
        if answer.tx != opened.tx:
            raise Conflict("activation.not_open")
        assertion = Assertion(
            credential_id=_bytes(answer.credential.rawId), client_data=_bytes(answer.credential.response.clientDataJSON),
            authenticator_data=_bytes(answer.credential.response.authenticatorData),
            signature=_bytes(answer.credential.response.signature),
        )  # fmt: skip
        async with service.db.write() as uow:
            await redeem.approve(uow, service.clock, rp, opened.tx, assertion)
        service.reception.go_on(copy_id)
        return JSONResponse({"copy": copy_id, "role": order.role, "state": "approved"}, 202)

    return Gate(
        app, hosts=frozenset({rp.rp_id}), secure=rp.origin.startswith("https:"), pace=Pace(service.clock),
        metrics=Metrics(), clock=service.clock,
    )  # fmt: skip


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    """Base64url without padding, as WebAuthn's JSON has it. Raises ``activation.malformed``."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise BadInput("activation.malformed") from error
