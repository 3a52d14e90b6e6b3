"""Which papers may be signed: one broken paper for each refusal, and what is only said as a warning."""

import io
import struct

import pikepdf
import pytest
from pikepdf import Array, Dictionary, Name, Pdf
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.generic import pdf_name
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign.fields import FieldMDPAction, FieldMDPSpec, SigFieldSpec

from core.errors import ServiceError
from core.limits import LIMITS
from signer.formats import pades
from signer.papers import Placement, inspect
from tests.signer.papers.kit import action, note, paper, saved, with_fields, written

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def refusal(sandbox, document: bytes, *placements: Placement) -> str:
    with pytest.raises(ServiceError) as raised:
        await inspect(sandbox, document, placements)
    return raised.value.code


def names_script(pdf: Pdf) -> None:
    script = Dictionary(S=Name.JavaScript, JS=pikepdf.String("app.alert(1)"))
    pdf.Root.Names = Dictionary(JavaScript=Dictionary(Names=Array([pikepdf.String("a"), script])))


def deep_script(pdf: Pdf) -> None:
    """Behind chains of innocent actions, inside one object."""
    chain = Dictionary(S=Name.JavaScript, JS=pikepdf.String("x"))
    for _ in range(20):
        chain = Dictionary(S=Name.URI, URI=pikepdf.String("https://vidu.gov.vn"), Next=Array([chain]))
    pdf.Root.OpenAction = chain


def script_in_a_stream(pdf: Pdf) -> None:
    pdf.Root.OpenAction = Dictionary(S=Name.Rendition, JS=pdf.make_stream(b"x"))


def xfa(pdf: Pdf) -> None:
    pdf.Root.AcroForm = Dictionary(Fields=Array([]), XFA=pdf.make_stream(b"<xdp/>"))


def attached(pdf: Pdf) -> None:
    pdf.attachments["a.exe"] = pikepdf.AttachedFileSpec(pdf, b"MZ")


def stream_elsewhere(pdf: Pdf) -> None:
    pdf.pages[0].obj.Contents = pdf.make_stream(b"", F=pikepdf.String("other.txt"))


def huge_picture(pdf: Pdf) -> None:
    image = pdf.make_stream(
        b"", Type=Name.XObject, Subtype=Name.Image, Width=60_000, Height=60_000, BitsPerComponent=1,
        ColorSpace=Name.DeviceGray,
    )  # fmt: skip
    pdf.pages[0].obj.Resources = Dictionary(XObject=Dictionary(I=image))


def no_pages() -> bytes:
    with Pdf.new() as pdf:
        return saved(pdf)


def encrypted(user: str) -> bytes:
    with Pdf.open(io.BytesIO(paper())) as pdf:
        return saved(pdf, encryption=pikepdf.Encryption(owner="owner", user=user))


def hybrid() -> bytes:
    """A table for old readers that points to a stream for new ones, as Word writes it."""
    plain = paper()
    at = plain.rindex(b"trailer")
    start = int(plain[plain.rindex(b"startxref") + 9 :].split()[0])
    entries = struct.pack(">BIB", 0, 0, 0)
    stream = (
        b"900 0 obj\n<< /Type /XRef /W [1 4 1] /Index [899 1] /Size 901 /Root 1 0 R /Length %d >>\nstream\n%s\nendstream\nendobj\n"
        % (len(entries), entries)
    )
    body = plain[:start] + stream
    table = plain[start:at]
    trailer = plain[at : plain.rindex(b"startxref")].replace(b"<<", b"<< /XRefStm %d" % start, 1)
    return body + table + trailer + b"startxref\n%d\n%%%%EOF\n" % len(body)


def between_revisions() -> bytes:
    """An object that no table lists, after the first revision's end."""
    first = paper()
    second = with_fields(first, SigFieldSpec("A"))
    # offsets of the second revision stay true: a trailer of a lost revision is put where readers do not look
    ghost = b"startxref\n7\n%%EOF\n"
    return (
        first[: -len(b"%%EOF\n")]
        + b"%%EOF\n"
        + second[len(first) :].replace(b"\nstartxref", b"\n" + ghost + b"startxref")
    )


ACTIVE = {
    "script_action": (action("JavaScript", JS=pikepdf.String("x")), "request.paper_script"),
    "script_among_names": (names_script, "request.paper_script"),
    "script_behind_other_actions": (deep_script, "request.paper_script"),
    "script_in_a_stream": (script_in_a_stream, "request.paper_script"),
    "launch": (action("Launch", F=pikepdf.String("cmd.exe")), "request.paper_launch"),
    "submit": (action("SubmitForm", F=pikepdf.String("https://vidu.gov.vn")), "request.paper_submit"),
    "import": (action("ImportData", F=pikepdf.String("a.fdf")), "request.paper_submit"),
    "rendition": (action("Rendition"), "request.paper_media"),
    "film": (action("Movie"), "request.paper_media"),
    "rich_media": (note("RichMedia"), "request.paper_media"),
    "space": (note("3D"), "request.paper_media"),
    "hide": (action("Hide", T=pikepdf.String("a")), "request.paper_changes_look"),
    "layers_by_action": (action("SetOCGState", State=Array([])), "request.paper_changes_look"),
    "reset": (action("ResetForm"), "request.paper_changes_look"),
    "embedded_goto": (action("GoToE"), "request.paper_attachment"),
    "attachment": (attached, "request.paper_attachment"),
    "attachment_note": (note("FileAttachment"), "request.paper_attachment"),
    "xfa": (xfa, "request.paper_xfa"),
    "stream_elsewhere": (stream_elsewhere, "request.paper_elsewhere"),
    "huge_picture": (huge_picture, "request.paper_pixels"),
}


@pytest.mark.parametrize("name", ACTIVE)
async def test_what_acts_or_hides_is_refused_by_its_own_code(sandbox, name) -> None:
    change, code = ACTIVE[name]
    assert await refusal(sandbox, paper(change=change)) == code


async def test_a_name_in_disguise_is_the_same_name(sandbox) -> None:
    document = paper(change=action("Launch", F=pikepdf.String("cmd.exe")))
    assert await refusal(sandbox, document.replace(b"/Launch", b"/#4caunc#68")) in {
        "request.paper_launch", "request.paper_outside", "request.paper_unreadable",
    }  # fmt: skip
    with Pdf.open(io.BytesIO(document.replace(b"/Launch", b"/#4caunc#68"))) as pdf:  # with a table that fits again
        pdf.Root.Lang = pikepdf.String("vi")
        assert await refusal(sandbox, saved(pdf)) == "request.paper_launch"


async def test_things_inside_object_streams_are_found_too(sandbox) -> None:
    target = io.BytesIO()
    with Pdf.open(io.BytesIO(paper(change=names_script))) as pdf:
        pdf.save(target, object_stream_mode=pikepdf.ObjectStreamMode.generate)
    assert await refusal(sandbox, target.getvalue()) == "request.paper_script"


async def test_links_and_words_that_sound_dangerous_are_harmless(sandbox) -> None:
    def change(pdf: Pdf) -> None:
        note(
            "Link",
            Border=Array([0, 0, 0]),
            A=Dictionary(S=Name.URI, URI=pikepdf.String("https://vidu.gov.vn/JavaScript")),
        )(pdf)
        pdf.docinfo["/Title"] = "Dạy học /JavaScript và /Launch"
        pdf.Root.OpenAction = Dictionary(S=Name.GoTo, D=Array([pdf.pages[0].obj, Name.Fit]))

    facts = await inspect(sandbox, paper(change=change))
    assert facts.warnings == ()


BROKEN = {
    "needs_password": (lambda: encrypted("u"), "request.paper_encrypted"),
    "opens_without_password": (lambda: encrypted(""), "request.paper_encrypted"),
    "hybrid": (hybrid, "request.paper_hybrid"),
    "bytes_before": (lambda: b"\0" + paper(), "request.paper_outside"),
    "bytes_after": (lambda: paper() + b"<script>", "request.paper_outside"),
    "object_after": (lambda: paper() + b"99 0 obj null endobj\n", "request.paper_outside"),
    "lost_revision": (between_revisions, "request.paper_outside"),
    "no_pages": (no_pages, "request.paper_pages"),
    "too_many_pages": (lambda: paper(pages=LIMITS["paper.pages"] + 1), "request.paper_pages"),
    "cut_short": (lambda: paper()[:-200], "request.paper_unreadable"),
    "not_a_pdf": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(500), "request.paper_unreadable"),
    "empty": (lambda: b"", "request.paper_unreadable"),
    "nonsense": (lambda: b"%PDF-1.7\n" + bytes(300) + b"startxref\n9\n%%EOF\n", "request.paper_unreadable"),
    "strange_page": (lambda: paper(turn=45), "request.paper_unreadable"),
    "sliver": (lambda: paper(crop=(0, 0, 400, 3)), "request.paper_unreadable"),
    "too_large": (lambda: bytes(LIMITS["paper.bytes"] + 1), "request.paper_too_large"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_paper_is_refused_by_its_own_code(sandbox, name) -> None:
    make, code = BROKEN[name]
    assert await refusal(sandbox, make()) in {code, "pades.unreadable"} if name in {"strange_page", "sliver"} else code


async def test_a_sound_paper_is_described(sandbox) -> None:
    document = with_fields(written(pages=3, turn=90), SigFieldSpec("A", box=(10, 10, 90, 50)), SigFieldSpec("b.c"))
    facts = await inspect(sandbox, document)
    assert [(p.width, p.height) for p in facts.pages] == [(600, 400)] * 3
    assert facts.empty_fields == ("A", "b.c")
    assert facts.signatures == facts.warnings == facts.spots == ()
    assert facts.certified is None
    assert (await inspect(sandbox, document + b"\r\n \0")).empty_fields == facts.empty_fields


async def test_compressed_tables_and_linearised_files_are_read(sandbox) -> None:
    for options in ({"linearize": True}, {"object_stream_mode": pikepdf.ObjectStreamMode.generate}):
        target = io.BytesIO()
        with Pdf.open(io.BytesIO(paper(pages=3))) as pdf:
            pdf.save(target, **options)
        assert len((await inspect(sandbox, target.getvalue())).pages) == 3


def inputs(pdf: Pdf) -> None:
    field = pdf.make_indirect(Dictionary(FT=Name.Tx, T=pikepdf.String("a")))
    parent = pdf.make_indirect(Dictionary(T=pikepdf.String("p"), Kids=Array([field])))
    field.Parent = parent
    pdf.Root.AcroForm = Dictionary(Fields=Array([parent]))


async def test_fields_that_may_be_filled_in_later_are_said(sandbox) -> None:
    assert (await inspect(sandbox, paper(change=inputs))).warnings == ("request.warn_form",)


def signed(document: bytes, field: str, signer, **more) -> bytes:
    prepared = signer.prepare(document, field, **more)
    return pades.embed(prepared, signer.cms(prepared))


async def test_a_certification_without_changes_and_a_lock_of_everything_end_signing(sandbox, signer) -> None:
    document = with_fields(
        paper(),
        SigFieldSpec("A"),
        SigFieldSpec("B", field_mdp_spec=FieldMDPSpec(FieldMDPAction.ALL)),
        SigFieldSpec("C"),
    )
    assert await refusal(sandbox, signed(document, "A", signer, docmdp=1)) == "request.paper_locked"
    assert await refusal(sandbox, signed(document, "B", signer)) == "request.paper_locked"


async def test_a_certification_for_filling_leaves_the_fields_there_are(sandbox, signer) -> None:
    document = signed(with_fields(paper(), SigFieldSpec("A"), SigFieldSpec("B")), "A", signer, docmdp=2)
    facts = await inspect(sandbox, document, [Placement(kind="field", field="B")])
    assert facts.certified == 2
    for place in (Placement(kind="none"), Placement(kind="coordinates", page=0, width=100, height=40)):
        assert await refusal(sandbox, document, place) == "request.paper_needs_field"


async def test_a_signature_that_does_not_fit_its_bytes_is_refused(sandbox, signer) -> None:
    document = signed(with_fields(paper(compress_streams=False), SigFieldSpec("A")), "A", signer)
    at = document.index(b"0.9 g 180")
    assert await refusal(sandbox, document[:at] + b"0.1" + document[at + 3 :]) == "request.paper_broken_signature"


def updated(document: bytes, change) -> bytes:
    stream = io.BytesIO(document)
    writer = IncrementalPdfFileWriter(stream)
    change(writer)
    writer.write_in_place()
    return stream.getvalue()


async def test_a_page_changed_or_a_field_added_after_a_signature_is_refused(sandbox, signer) -> None:
    document = signed(with_fields(paper(), SigFieldSpec("A")), "A", signer)

    def repaint(writer) -> None:
        page = writer.find_page_for_modification(0)[0].get_object()
        page[pdf_name("/Contents")] = writer.add_object(generic.StreamObject(stream_data=b"0 g 0 0 400 600 re f"))
        writer.update_container(page)

    assert await refusal(sandbox, updated(document, repaint)) == "request.paper_broken_signature"
    more = with_fields(document, SigFieldSpec("B", box=(10, 10, 100, 60)))
    assert await refusal(sandbox, more) == "request.paper_changed"
    assert [s.field for s in (await inspect(sandbox, document)).signatures] == ["A"]


async def test_a_bomb_is_stopped_and_the_next_paper_is_served(sandbox) -> None:
    def bomb(pdf: Pdf) -> None:
        deep = Array([])
        for _ in range(300):
            deep = Array([deep, Name.Launch])
        pdf.Root.Deep = deep

    assert await refusal(sandbox, paper(change=bomb)) in {"request.paper_unreadable", "sandbox.limit"}
    assert len((await inspect(sandbox, paper())).pages) == 1
