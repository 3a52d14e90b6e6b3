"""Papers as portals send them, made here: words in Vietnamese, pages turned and cropped, and what must not be in them."""

import io
from collections.abc import Callable

import pikepdf
import pypdfium2
from pikepdf import Array, Dictionary, Name, Pdf
from PIL import Image, ImageChops
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.generic import pdf_name
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign.fields import SigFieldSpec, append_signature_field

from signer.formats.typeface import typeface

WORDS = ("ĐƠN ĐỀ NGHỊ", "Kính gửi: Ủy ban nhân dân xã Mẫu Sơn", "Người đề nghị", "Người đề nghị")


def saved(pdf: Pdf, **options: object) -> bytes:
    target = io.BytesIO()
    pdf.save(target, object_stream_mode=pikepdf.ObjectStreamMode.disable, **options)
    return target.getvalue()


def paper(
    *, pages: int = 1, box=(0, 0, 400, 600), crop=None, turn: int = 0, unit: float | None = None,
    change: Callable[[Pdf], object] | None = None, **options: object,
) -> bytes:  # fmt: skip
    """Blank pages with a grey square in their middle."""
    with Pdf.new() as pdf:
        for _ in range(pages):
            page = pdf.add_blank_page(page_size=(box[2] - box[0], box[3] - box[1]))
            page.obj.MediaBox = Array(list(box))
            if crop:
                page.obj.CropBox = Array(list(crop))
            if turn:
                page.obj.Rotate = turn
            if unit:
                page.obj.UserUnit = unit
            page.obj.Contents = pdf.make_stream(b"0.9 g 180 280 40 40 re f")
            page.obj.Resources = Dictionary()
        if change:
            change(pdf)
        return saved(pdf, **options)


def written(*lines: str, **options: object) -> bytes:
    """A paper with lines of text, one every 40 points, from (60, 540) downwards in user space."""
    stream = io.BytesIO(paper(**options))
    writer = IncrementalPdfFileWriter(stream)
    used: set[int] = set()
    reference, _ = writer.find_page_for_modification(0)
    page = reference.get_object()
    fonts = generic.DictionaryObject({pdf_name("/F"): typeface().embed(writer, used)})
    page[pdf_name("/Resources")] = generic.DictionaryObject({pdf_name("/Font"): fonts})
    body = b"".join(
        b"BT /F 14 Tf 60 %d Td %s Tj ET\n" % (540 - 40 * i, typeface().encode(line, used))
        for i, line in enumerate(lines or WORDS)
    )
    page[pdf_name("/Contents")] = writer.add_object(generic.StreamObject(stream_data=body))
    writer.update_container(page)
    writer.write_in_place()
    return stream.getvalue()


def with_fields(document: bytes, *specs: SigFieldSpec) -> bytes:
    stream = io.BytesIO(document)
    writer = IncrementalPdfFileWriter(stream)
    for spec in specs:
        append_signature_field(writer, spec)
    writer.write_in_place()
    return stream.getvalue()


def shown(document: bytes, page: int = 0, scale: float = 1.0) -> Image.Image:
    """As a reader displays it, grey."""
    opened = pypdfium2.PdfDocument(document)
    opened.init_forms()
    image = opened[page].render(scale=scale).to_pil().convert("L")
    opened.close()
    return image


def read(document: bytes, page: int = 0, *, with_stamps: bool = False) -> str:
    """The text of a page, with what its annotations show if that is wanted."""
    opened = pypdfium2.PdfDocument(document)
    if with_stamps:
        pypdfium2.raw.FPDFPage_Flatten(opened[page], pypdfium2.raw.FLAT_NORMALDISPLAY)
    found = opened[page].get_textpage().get_text_bounded()
    opened.close()
    return found


def changed_area(before: bytes, after: bytes, page: int = 0, scale: float = 2.0) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of what differs, in displayed points."""
    box = ImageChops.difference(shown(before, page, scale), shown(after, page, scale)).getbbox()
    assert box is not None
    return tuple(v / scale for v in box)  # type: ignore[return-value]


def action(kind: str, **more: object) -> Callable[[Pdf], None]:
    """Somewhere a viewer would meet it: in the additional actions of the page."""

    def change(pdf: Pdf) -> None:
        pdf.pages[0].obj.AA = Dictionary(O=Dictionary(S=Name("/" + kind), **more))

    return change


def note(subtype: str, **more: object) -> Callable[[Pdf], None]:
    def change(pdf: Pdf) -> None:
        entry = Dictionary(Type=Name.Annot, Subtype=Name("/" + subtype), Rect=Array([10, 10, 60, 60]), **more)
        pdf.pages[0].obj.Annots = Array([pdf.make_indirect(entry)])

    return change
