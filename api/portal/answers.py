"""Answers of the portal's door: entity tags, conditional requests, pages of lists."""

import hashlib
from collections.abc import Sequence
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

__all__ = ["TAGGED", "created", "download", "page", "tagged"]

TAGGED: dict[int | str, dict[str, Any]] = {304: {"description": "As the caller has it already."}}
"""For ``responses`` of a route whose answers carry an entity tag."""


def created(status: int) -> dict[int | str, dict[str, Any]]:
    """For ``responses`` of a route that says where the thing it made is."""
    where = {"description": "Where it is.", "required": True, "schema": {"type": "string"}}
    return {status: {"headers": {"Location": where}}}


def download(media_type: str) -> dict[int | str, dict[str, Any]]:
    """For ``responses`` of a route that gives a file."""
    return {200: {"content": {media_type: {"schema": {"type": "string", "format": "binary"}}}}}


def tagged(request: Request, value: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON with a strong entity tag; 304 where the caller has it already (RFC 9110 §13.1.2)."""
    body = value.model_dump_json().encode()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    known = {"etag": tag, "cache-control": "private, no-cache", **(headers or {})}
    given = request.headers.get("if-none-match", "")
    if request.method in {"GET", "HEAD"} and (
        given == "*" or tag in {t.strip().removeprefix("W/") for t in given.split(",")}
    ):
        return Response(status_code=304, headers=known)
    return Response(body, status, known, media_type="application/json")


def page(items: Sequence[BaseModel | dict[str, Any]], limit: int, last: str | None, **more: Any) -> JSONResponse:
    """``items`` has one more than ``limit`` where there is a page after; ``last`` names the last one shown."""
    shown = [i.model_dump(mode="json") if isinstance(i, BaseModel) else i for i in items[:limit]]
    return JSONResponse(
        {"items": shown, "next": last if len(items) > limit else None, **more}, headers={"cache-control": "no-store"}
    )
