"""Decisions about what is printed: the wording and the seal's picture with its true size."""

import re
from dataclasses import fields
from string import Formatter
from typing import Annotated, Any, ClassVar, Final

import sqlalchemy as sa
from pydantic import Field

from core.approvals.model import Decision
from core.db import UnitOfWork, row_by
from core.directory.model import Agency
from core.errors import BadInput, Conflict
from core.limits import LIMITS
from signer.copies.pictures import picture_table, read_png
from signer.copies.wording import Wording
from signer.decisions.room import Kind, Payload, Room, Text, Words, both

__all__ = ["CHANGEABLE", "LAYOUTS", "PLACES", "ChangeSeal", "ChangeWording", "checked", "picture_of", "tenths"]

PLACES: Final[dict[str, dict[str, Any]]] = {
    "number": {"number": 1523},
    "book": {"volume": 1, "year": 2026, "kind": "SCTĐT/BS"},
    "attestation_title": {},
    "attestation_number": {"number": "1523/ĐT", "book": "01/2026-SCTĐT/BS"},
    "attestation_date": {"day": "05", "month": "11", "year": 2026},
    "sao_y_title": {},
    "so_hoa_title": {},
    "check_at": {"host": "host"},
    "code_line": {"code": "code"},
    "access_line": {"code": "code"},
    "system_line": {"system": "system", "parent": "parent"},
    "trust_line": {},
    "footer": {"page": 1, "pages": 2, "code": "code"},
}
"""What stands in a pattern's places, by a sample. Every place but a book's kind must be used: the law wants what it says."""
_OPTIONAL: Final = frozenset({("book", "kind"), ("system_line", "system")})
LAYOUTS: Final = ("band", "page")
_DEFAULTS: Final = {field.name: field.default for field in fields(Wording)}
CHANGEABLE: Final = tuple(name for name in _DEFAULTS if name not in {"book_kind", "seal_diameter_mm"})
"""``book_kind`` begins another series of numbers and comes with an agency; the seal's size comes with its picture."""
_SPEC: Final = re.compile(r"(0?[1-9]?d)?")
_LEAST_PIXELS: Final = 200
_LEAST_TENTHS, _MOST_TENTHS = 200, 450


class _Wording(Payload):
    after: dict[str, Text | bool]
    before: dict[str, str | bool] = Field(default_factory=dict)


class _Seal(Payload):
    document: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the PNG, its name in the document store."""
    tenths: int
    """Diameter in tenths of a millimetre."""
    document_before: str = ""
    tenths_before: int = 0


def require_pattern(name: str, text: str) -> None:
    """Only the places of that line, each that must be there, no reach into objects. Raises ``decision.pattern``."""
    known = PLACES[name]
    wrong = BadInput("decision.pattern", name=name, known=", ".join(f"{{{place}}}" for place in known) or "–")
    used = set()
    try:
        for _, place, spec, conversion in Formatter().parse(text):
            if place is None:
                continue
            if place not in known or conversion or not _SPEC.fullmatch(spec or ""):
                raise wrong
            used.add(place)
        text.format(**known)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise wrong from error
    if {place for place in known if (name, place) not in _OPTIONAL} - used:
        raise wrong


def _require_value(name: str, value: str | bool) -> None:
    if name not in CHANGEABLE or type(value) is not type(_DEFAULTS[name]):
        raise BadInput("decision.malformed")
    if name == "layout" and value not in LAYOUTS:
        raise BadInput("decision.malformed")
    if name in PLACES:
        require_pattern(name, str(value))


def checked(values: dict[str, Any]) -> dict[str, Any]:
    """Lines by name, as they would be printed. Raises ``decision.malformed``, ``decision.pattern``."""
    wanted: _Wording = ChangeWording().read({"after": values})
    for name, value in wanted.after.items():
        _require_value(name, value)
    return dict(wanted.after)


def _now(agency: Agency, names: list[str]) -> dict[str, Any]:
    wording = Wording.of(agency.wording)
    return {name: getattr(wording, name) for name in names}


class ChangeWording(Kind):
    """Other texts or another layout on copies from now on."""

    name: ClassVar[str] = "wording.change"
    shape: ClassVar[type[Payload]] = _Wording

    async def complete(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> dict[str, Any]:
        """Raises ``decision.pattern``, ``decision.nothing_to_change``."""
        wanted: _Wording = self.read(payload)
        if wanted.before:  # what stands now is read here, never told
            raise BadInput("decision.malformed")
        checked(wanted.after)
        before = _now(agency, sorted(wanted.after))
        changed = {name: value for name, value in wanted.after.items() if before[name] != value}
        if not changed:
            raise Conflict("decision.nothing_to_change")
        return {"after": changed, "before": {name: before[name] for name in changed}}

    async def words(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> Words:
        """Each line that changes, before and after."""
        wanted: _Wording = self.read(payload)
        said: Words = []
        for name in sorted(wanted.after):
            label = both(f"decision.wording_{name}")
            said.append((f"{label} · {both('decision.w_before')}", _said(wanted.before.get(name, ""))))
            said.append((f"{label} · {both('decision.w_after')}", _said(wanted.after[name])))
        return said

    async def apply(self, uow: UnitOfWork, room: Room, agency: Agency, decision: Decision) -> dict[str, Any]:
        """Raises ``decision.overtaken`` where a line is no longer what it was."""
        wanted: _Wording = self.read(decision.payload)
        checked(wanted.after)
        if _now(agency, sorted(wanted.after)) != dict(wanted.before):
            raise Conflict("decision.overtaken")
        wording = {**agency.wording, **wanted.after}
        Wording.of(wording)
        await room.directory.set_wording(uow, agency.id, wording)
        return {}


def _said(value: str | bool) -> str:
    if isinstance(value, bool):
        return both("decision.w_yes" if value else "decision.w_no")
    return f"“{value}”"


def tenths(agency: Agency) -> int:
    """The seal's diameter as it stands, in tenths of a millimetre."""
    return round(Wording.of(agency.wording).seal_diameter_mm * 10)


async def picture_of(uow: UnitOfWork, owner: str) -> str:
    """Name of the picture's document; empty for none."""
    row = (await uow.execute(row_by(picture_table.c.owner), {"value": owner})).first()
    return "" if row is None else str(row.document)


def _millimetres(value: int) -> str:
    return f"{value // 10},{value % 10} mm"


class ChangeSeal(Kind):
    """Another picture of the agency's seal, or another size."""

    name: ClassVar[str] = "seal.change"
    shape: ClassVar[type[Payload]] = _Seal

    async def examine(self, room: Room, payload: dict[str, Any]) -> None:
        """A PNG with a clear ground, nearly square, read in the sandbox. Raises ``decision.seal_*``, ``copy.bad_picture``."""
        wanted: _Seal = self.read(payload)
        png = await room.documents.get(wanted.document)
        if len(png) > LIMITS["decision.picture_bytes"]:
            raise BadInput("decision.seal_large", most=LIMITS["decision.picture_bytes"])
        found, _ = await room.sandbox.run(read_png, png, {})
        if not found["alpha"]:
            raise BadInput("decision.seal_ground")
        narrow, wide = sorted((int(found["width"]), int(found["height"])))
        if narrow < _LEAST_PIXELS or wide * 20 > narrow * 21:  # its field is a square: anything else would be pulled
            raise BadInput("decision.seal_shape", least=_LEAST_PIXELS)

    async def complete(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> dict[str, Any]:
        """Raises ``decision.seal_size``, ``decision.nothing_to_change``."""
        wanted: _Seal = self.read(payload)
        if wanted.document_before or wanted.tenths_before:
            raise BadInput("decision.malformed")
        if not _LEAST_TENTHS <= wanted.tenths <= _MOST_TENTHS:
            raise BadInput("decision.seal_size", least=_LEAST_TENTHS // 10, most=_MOST_TENTHS // 10)
        before = await picture_of(uow, agency.id), tenths(agency)
        if before == (wanted.document, wanted.tenths):
            raise Conflict("decision.nothing_to_change")
        return {**wanted.model_dump(), "document_before": before[0], "tenths_before": before[1]}

    async def words(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> Words:
        """Sizes, and the first digits of both pictures' digests."""
        wanted: _Seal = self.read(payload)
        none = both("decision.w_no_picture")
        return [
            (both("decision.w_seal_size_before"), _millimetres(wanted.tenths_before)),
            (both("decision.w_seal_size_after"), _millimetres(wanted.tenths)),
            (both("decision.w_seal_before"), wanted.document_before[:16] or none),
            (both("decision.w_seal_after"), wanted.document[:16]),
        ]

    async def apply(self, uow: UnitOfWork, room: Room, agency: Agency, decision: Decision) -> dict[str, Any]:
        """Raises ``decision.overtaken``."""
        wanted: _Seal = self.read(decision.payload)
        if (await picture_of(uow, agency.id), tenths(agency)) != (wanted.document_before, wanted.tenths_before):
            raise Conflict("decision.overtaken")
        t = picture_table.c
        values = {"owner": agency.id, "document": wanted.document, "set_at": room.clock.now()}
        await uow.execute(sa.delete(picture_table).where(t.owner == agency.id))
        await uow.execute(picture_table.insert(), values)
        wording = {**agency.wording, "seal_diameter_mm": wanted.tenths / 10}
        Wording.of(wording)
        await room.directory.set_wording(uow, agency.id, wording)
        return {}
