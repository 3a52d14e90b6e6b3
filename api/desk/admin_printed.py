"""What is printed on copies: the wording with a sample of the page, and the seal at its true size."""

import base64
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from starlette.datastructures import UploadFile

from api.desk.admin import Admin, propose, room_of
from api.desk.pages import DeskRoute, form_of, page
from api.desk.sessions import DeskPerson
from api.web.parts import Parts, WebParts
from core.errors import BadInput, ServiceError
from core.limits import LIMITS
from core.values import Regime
from signer.copies.wording import Wording
from signer.decisions.preview import page_picture, seal_picture
from signer.decisions.templates import CHANGEABLE, LAYOUTS, PLACES, checked, picture_of, tenths

__all__ = ["router"]

router = APIRouter(prefix="/admin", route_class=DeskRoute, include_in_schema=False)

_SWITCHES: Final = frozenset(f.name for f in fields(Wording) if f.type in {"bool", bool}) & set(CHANGEABLE)
_WIDTH: Final = 1000
_SIZE: Final = re.compile(r"([0-9]{1,3})(?:[.,]([0-9]))?")


def _uri(picture: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(picture).decode()}"


# ----------------------------------------------------------------------------------------------------------- wording
def _typed(form: Mapping[str, str]) -> dict[str, Any]:
    """Every line of the form: a box that is not ticked says no."""
    return {name: name in form if name in _SWITCHES else form.get(name, "") for name in CHANGEABLE}


def _now(who: DeskPerson) -> dict[str, Any]:
    wording = Wording.of(who.agency.wording)
    return {name: getattr(wording, name) for name in CHANGEABLE}


async def _wording_page(
    request: Request, parts: WebParts, who: DeskPerson, values: dict[str, Any], problem: ServiceError | None = None,
    regime: Regime = Regime.CERTIFIED_COPY,
) -> Response:  # fmt: skip
    picture = "" if problem else _uri(await _sample(parts, who, values, regime))
    now = _now(who)
    return page(
        request, "admin_templates.html", who=who, title="desk.templates", typed=values, names=CHANGEABLE,
        switches=_SWITCHES, layouts=LAYOUTS, places=PLACES, picture=picture, problem=problem, regime=regime,
        regimes=list(Regime), changed=[name for name in CHANGEABLE if values[name] != now[name]],
        status=400 if problem else 200, most=LIMITS["decision.text_letters"],
    )  # fmt: skip


async def _sample(parts: WebParts, who: DeskPerson, values: Mapping[str, Any], regime: Regime) -> bytes:
    async with parts.service.db.read() as uow:
        seal = await picture_of(uow, who.agency.id)
    wording = {**who.agency.wording, **values}
    return await page_picture(room_of(parts), who.agency, wording, seal, regime, _WIDTH)


@router.get("/templates")
async def templates(request: Request, parts: Parts, who: Admin) -> Response:
    """The lines as they stand, beside the page they make."""
    return await _wording_page(request, parts, who, _now(who))


@router.post("/templates")
async def change_templates(request: Request, parts: Parts, who: Admin) -> Response:
    """Look at a change, or propose it (``do``); what was typed stays."""
    form = await form_of(request)
    values, now = _typed(form), _now(who)
    regime = next((each for each in Regime if each.value == form.get("regime")), Regime.CERTIFIED_COPY)
    try:
        checked(values)
        if form.get("do") == "propose":
            after = {name: value for name, value in values.items() if value != now[name]}
            return await propose(parts, who, "wording.change", {"after": after})
    except ServiceError as error:
        return await _wording_page(request, parts, who, values, error)
    return await _wording_page(request, parts, who, values, regime=regime)


# -------------------------------------------------------------------------------------------------------------- seal
async def _seal_page(
    request: Request, parts: WebParts, who: DeskPerson, problem: ServiceError | None = None
) -> Response:
    async with parts.service.db.read() as uow:
        seal = await picture_of(uow, who.agency.id)
    size = tenths(who.agency)
    picture = await seal_picture(room_of(parts), who.agency, seal, size)
    return page(
        request, "admin_seal.html", who=who, title="desk.seal_image", picture=_uri(picture), tenths=size,
        drawn=parts.service.realm == "training", has=bool(seal), problem=problem, status=400 if problem else 200,
    )  # fmt: skip


@router.get("/seal-image")
async def seal(request: Request, parts: Parts, who: Admin) -> Response:
    """The seal beside a ruler."""
    return await _seal_page(request, parts, who)


@router.post("/seal-image")
async def change_seal(request: Request, parts: Parts, who: Admin) -> Response:
    """Propose another picture or another size. The file is read by the signer's sandbox, not here."""
    form = await request.form(max_files=1, max_fields=10)
    try:
        size = _tenths(str(form.get("size", "")))
        png = await _png(form.get("file"))
        if png:
            name = await parts.service.documents.put(png)
        else:
            async with parts.service.db.read() as uow:
                name = await picture_of(uow, who.agency.id)
        if not name:
            raise BadInput("decision.seal_missing")
        return await propose(parts, who, "seal.change", {"document": name, "tenths": size})
    except ServiceError as error:
        return await _seal_page(request, parts, who, error)


async def _png(file: Any) -> bytes:
    """Raises ``decision.seal_large``."""
    if not isinstance(file, UploadFile):
        return b""
    most = LIMITS["decision.picture_bytes"]
    data = await file.read(most + 1)
    if len(data) > most:
        raise BadInput("decision.seal_large", most=most)
    return data


def _tenths(text: str) -> int:
    """Millimetres as people write them, ``36,5`` or ``36.5``. Raises ``decision.malformed``."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise BadInput("decision.malformed")
    return int(found[1]) * 10 + int(found[2] or 0)
