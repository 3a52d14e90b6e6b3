"""``/pki``: what the addresses inside our certificates lead to. Keys are the signer's; this door carries bytes.

* OCSP by POST, and by GET for caches (RFC 6960 appendix A, RFC 5019); lists and CA certificates (RFC 5280 §4.2.1.13,
  §4.2.2.1); time-stamps (RFC 3161 §3.4).
* What was made for one asker is never kept by caches; what is the same for all is, for ``ca.answer_seconds`` at most.
"""

import base64
import datetime as dt
import hashlib
from email.utils import format_datetime
from typing import Any, Final

from cryptography import x509
from fastapi import APIRouter, Request, Response

from api.portal.answers import TAGGED
from api.web.access import ANYONE
from api.web.parts import Parts, WebParts
from ca_bridge.responder import Failure, failure, is_malformed, made_at
from core.certificates import Certificate
from core.errors import BadInput, NotFound
from core.limits import LIMITS
from signer.keystores.model import KeyPurpose

__all__ = ["router"]

router = APIRouter(prefix="/pki", tags=["PKI"])
_OCSP: Final = "application/ocsp-response"
_BYTES: Final = {"type": "string", "format": "binary"}
_AUTHORITIES: Final = frozenset({"root", "issuing"})


def _binary(media_type: str) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {media_type: {"schema": _BYTES}}}}


def _made(media_type: str, *statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"content": {media_type: {"schema": _BYTES}}} for status in statuses or (200,)}


_ANSWERS: Final = _made(_OCSP, 200, 400)
"""A question that cannot be read is answered in OCSP's own words."""


@router.post(
    "/ocsp",
    dependencies=[ANYONE],
    response_class=Response,
    responses=_ANSWERS,
    openapi_extra=_binary("application/ocsp-request"),
)
async def ask_ocsp(request: Request, parts: Parts) -> Response:
    """Status of one or several certificates."""
    return _status(await parts.signer.ask("ocsp", await _body(request, "application/ocsp-request")))


@router.get("/ocsp/{encoded:path}", dependencies=[ANYONE], response_class=Response, responses={**TAGGED, **_ANSWERS})
async def get_ocsp(encoded: str, request: Request, parts: Parts) -> Response:
    """The same, with the base64 of the request in the address."""
    try:
        if len(encoded) > LIMITS["pki.get_letters"]:
            raise ValueError("too long")
        asked = base64.b64decode(encoded, validate=True)
    except ValueError:
        return _status(failure(Failure.MALFORMED))
    answer = await parts.signer.ask("ocsp", asked)
    made = made_at(answer)
    return _status(answer) if made is None else _cacheable(request, parts, answer, _OCSP, made)


@router.get(
    "/crl/{slug}.crl",
    dependencies=[ANYONE],
    response_class=Response,
    responses={**TAGGED, **_made("application/pkix-crl")},
)
async def get_crl(slug: str, request: Request, parts: Parts) -> Response:
    """The list of an authority's revoked certificates."""
    answer = await parts.signer.ask("crl", slug=_authority(slug))
    made = x509.load_der_x509_crl(answer).last_update_utc
    return _cacheable(request, parts, answer, "application/pkix-crl", made)


@router.get(
    "/certs/{slug}.cer",
    dependencies=[ANYONE],
    response_class=Response,
    responses={**TAGGED, **_made("application/pkix-cert")},
)
async def get_ca_certificate(slug: str, request: Request, parts: Parts) -> Response:
    """An authority's own certificate."""
    async with parts.service.db.read() as uow:
        held = await parts.service.credentials.of(uow, _authority(slug), KeyPurpose.CA)
    assert held.certificate is not None
    made = Certificate.parse(held.certificate).not_before
    return _cacheable(request, parts, held.certificate, "application/pkix-cert", made)


@router.post(
    "/tsa", dependencies=[ANYONE], response_class=Response, responses=_made("application/timestamp-reply"),
    openapi_extra=_binary("application/timestamp-query"),
)  # fmt: skip
async def make_timestamp(request: Request, parts: Parts) -> Response:
    """A time-stamp token, or the reason why there is none."""
    answer = await parts.signer.ask("timestamp", await _body(request, "application/timestamp-query"))
    return Response(answer, headers={"cache-control": "no-store"}, media_type="application/timestamp-reply")


def _authority(slug: str) -> str:
    if slug not in _AUTHORITIES:
        raise NotFound("web.no_such_thing")
    return slug


async def _body(request: Request, media_type: str) -> bytes:
    """Raises ``web.wrong_type``, ``web.too_large``."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != media_type:
        raise BadInput("web.wrong_type")
    body = await request.body()
    if len(body) > LIMITS["pki.request_bytes"]:
        raise BadInput("web.too_large", most=LIMITS["pki.request_bytes"])
    return body


def _status(answer: bytes) -> Response:
    """For this asker alone."""
    return Response(answer, 400 if is_malformed(answer) else 200, {"cache-control": "no-store"}, media_type=_OCSP)


def _cacheable(request: Request, parts: WebParts, body: bytes, media_type: str, made: dt.datetime) -> Response:
    """RFC 5019 §6.2, with a life far shorter than nextUpdate: a revocation should be seen soon.

    Only the entity tag makes a 304: two lists may be made in the second that Last-Modified counts in.
    """
    tag, life = f'"{hashlib.sha256(body).hexdigest()[:32]}"', LIMITS["ca.answer_seconds"]
    headers = {
        "etag": tag, "last-modified": format_datetime(made, usegmt=True),
        "expires": format_datetime(parts.service.clock.now() + dt.timedelta(seconds=life), usegmt=True),
        "cache-control": f"max-age={life}, public, no-transform, must-revalidate",
    }  # fmt: skip
    given = {t.strip().removeprefix("W/") for t in request.headers.get("if-none-match", "").split(",")}
    if given & {tag, "*"}:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=media_type)
