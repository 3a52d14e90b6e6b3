"""Entries of the sandbox: inspect, prepare, draw, read."""

import datetime as dt
import io
from typing import Any

import pypdfium2

from core.errors import BadInput
from signer.formats import placing
from signer.formats.fields import Placed, fill
from signer.formats.stamp import StampText, draw
from signer.formats.typeface import typeface
from signer.papers import inspecting, rendering
from signer.papers.model import Placement
from signer.papers.rehearsal import rehearse
from signer.papers.spots import find_spot
from verification import worker

__all__ = ["inspect", "pictures", "prepare", "text", "warm"]


_NOWHERE = Placement(kind="none")
_ANY_DAY = "2026-01-01T00:00:00+00:00"


def inspect(payload: bytes, arguments: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """``arguments``: placements, size (bytes of a CMS). Returns ``PaperFacts`` as JSON, and the facts of a rehearsal.

    What a paper could never pass is said now, when its portal can still give another.
    """
    placements = [Placement.from_json(row) for row in arguments["placements"]]
    facts = inspecting.inspect(payload, placements)
    given = next((each for each in placements if each.kind == "field"), None)
    if given is None and facts.certified == 2 and facts.empty_fields:
        given = Placement(kind="field", field=facts.empty_fields[0])
    if given is None and facts.certified == 2:
        return {"facts": facts.to_json(), "rehearsal": None}, b""
    tried, _ = prepare(
        payload,
        {"placement": (given or _NOWHERE).to_json(), "field": "Dauso-rehearsal", "size": arguments["size"], "signer_name": "-",
         "signed_at": _ANY_DAY, "reason": None, "stamp": None},
    )  # fmt: skip
    return {"facts": facts.to_json(), "rehearsal": tried["facts"], "field": tried["field"]}, b""


def prepare(payload: bytes, arguments: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The update to append, where its holes are, and its rehearsal; the document itself stays with who gave it.

    ``arguments``: placement, field, size (bytes of the CMS), signed_at, signer_name, reason, stamp.
    """
    placement = Placement.from_json(arguments["placement"])
    stamp = None if arguments["stamp"] is None else draw(StampText.from_json(arguments["stamp"]))
    field = placement.field if placement.kind == "field" else str(arguments["field"])

    def place(writer: Any) -> Placed:
        if placement.kind == "field":
            return placing.old_field(writer, field, draw=stamp)
        spot = find_spot(payload, writer, placement)
        if spot is None:
            return placing.new_field(writer, field, page=0, box=None, draw=None)
        page = placing.page_box(placing.page_at(writer, spot.page))
        box = page.rect(spot.x, spot.y, spot.width, spot.height)
        return placing.new_field(writer, field, page=spot.page, box=box, draw=stamp)

    stream = io.BytesIO(payload)
    if payload[-1:] not in {b"\n", b"\r"}:  # what is appended begins a line, or no reader finds its first object
        stream.seek(0, io.SEEK_END)
        stream.write(b"\n")
    try:
        holes = fill(
            stream, field=field, size=int(arguments["size"]), signed_at=dt.datetime.fromisoformat(arguments["signed_at"]),
            signer_name=arguments["signer_name"], reason=arguments["reason"], docmdp=None, appearance=None, place=place,
        )  # fmt: skip
    except pypdfium2.PdfiumError as error:
        raise BadInput("pades.unreadable") from error
    document, at = stream.getvalue(), dt.datetime.fromisoformat(arguments["signed_at"])
    answer = {"field": field, "contents": holes.contents, "size": holes.size, "byte_range": holes.byte_range}
    return answer | rehearse(document, holes, field=field, at=at), document[len(payload) :]


def pictures(payload: bytes, arguments: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """``arguments``: pages, width. Returns sizes of the pictures, all pages' number, and the pictures one after the other."""
    made, count = rendering.pictures(payload, arguments["pages"], arguments["width"])
    return {"sizes": [len(picture) for picture in made], "pages": count}, b"".join(made)


def text(payload: bytes, arguments: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """``arguments``: page."""
    return {"text": rendering.text(payload, arguments["page"])}, b""


def warm() -> None:
    """Every reader and every letter once before the walls: libraries import lazily, the typeface takes 150 ms."""
    import pikepdf  # noqa: PLC0415
    from pikepdf import Array, Dictionary, Name  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    picture = io.BytesIO()
    Image.effect_noise((60, 80), 50).convert("RGB").save(picture, "JPEG")
    target = io.BytesIO()
    with pikepdf.new() as pdf:
        page = pdf.add_blank_page(page_size=(300, 300))
        font = pdf.make_indirect(Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica))
        scan = pdf.make_stream(
            picture.getvalue(), Type=Name.XObject, Subtype=Name.Image, Width=60, Height=80, BitsPerComponent=8,
            ColorSpace=Name.DeviceRGB, Filter=Name.DCTDecode,
        )  # fmt: skip
        page.Resources = Dictionary(Font=Dictionary(F=font), XObject=Dictionary(I=scan))
        page.Contents = pdf.make_stream(b"BT /F 12 Tf 20 200 Td (Here) Tj ET q 60 0 0 80 20 20 cm /I Do Q")
        page.Annots = Array([])
        pdf.save(target, object_stream_mode=pikepdf.ObjectStreamMode.disable)
    document = target.getvalue()
    typeface()
    worker.warm()  # earlier signatures are read by the checker's engine
    at = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)
    anchor = Placement(kind="anchor", text="Here", width=120, height=40).to_json()
    inspect(document, {"placements": [anchor], "size": 2_000})
    stamp = StampText(signer="Nguyễn Văn A", signed_at=at, reason="Thử").to_json()
    wanted = {"placement": anchor, "field": "A", "size": 2_000, "signed_at": at.isoformat(), "signer_name": "A",
              "reason": "B", "stamp": stamp}  # fmt: skip
    _, update = prepare(document, wanted)
    for page_document in (document, document + update):
        pictures(page_document, {"pages": [0], "width": 200})
        assert "Here" in text(page_document, {"page": 0})[0]["text"]
