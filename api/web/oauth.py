"""The token endpoint of OAuth 2 for portals' backends: client credentials, nothing else."""

from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from api.web.access import ANYONE
from api.web.parts import Parts
from core.errors import BadInput

__all__ = ["router"]

router = APIRouter(tags=["OAuth 2"])


class TokenOut(BaseModel):
    """RFC 6749 §5.1."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    scope: str


@router.post("/oauth2/token", dependencies=[ANYONE], response_model=TokenOut, openapi_extra={"requestBody": {"required": True, "content": {
    "application/x-www-form-urlencoded": {"schema": {"type": "object", "required": ["grant_type"], "properties": {
        "grant_type": {"type": "string", "enum": ["client_credentials"]}, "scope": {"type": "string"},
        "client_id": {"type": "string"}, "client_secret": {"type": "string"},
        "client_assertion_type": {"type": "string"}, "client_assertion": {"type": "string"},
    }}}}}})  # fmt: skip
async def create_token(request: Request, parts: Parts) -> JSONResponse:
    """An access token for ten minutes, by secret or by a signed assertion."""
    form: dict[str, str] = {}
    async with request.form(max_files=0, max_fields=20) as given:
        for name, value in given.multi_items():
            if name in form or not isinstance(value, str):  # RFC 6749 §3.2: no parameter twice
                raise BadInput("web.unreadable")
            form[name] = value
    answer: dict[str, Any] = await parts.clients.token(request.headers.get("authorization", ""), form)
    return JSONResponse(answer, headers={"cache-control": "no-store"})
