"""Validation data: written without reading the document again, and read by others as what it is."""

import base64
import io
import subprocess

import pikepdf
import pytest
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.fields import SigFieldSpec, append_signature_field
from pyhanko.sign.validation.dss import DocumentSecurityStore

from core.errors import BadInput, Broken
from core.limits import LIMITS
from core.values import SignatureAlgorithm as Algorithm
from signer.formats import dss, pades
from tests.signer.formats.test_pades import AT, Signer, judge
from verification.engine.document import read_document


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer(Algorithm.ECDSA_P256_SHA256)


def blank(streams: bool, change=lambda pdf: None) -> bytes:
    out = io.BytesIO()
    mode = pikepdf.ObjectStreamMode.generate if streams else pikepdf.ObjectStreamMode.disable
    with pikepdf.new() as pdf:
        pdf.add_blank_page()
        change(pdf)
        pdf.save(out, object_stream_mode=mode)
    writer = IncrementalPdfFileWriter(out)
    for name in ("A", "B"):
        append_signature_field(writer, SigFieldSpec(name))
    writer.write_in_place()
    return out.getvalue()


def signed(document: bytes, signer: Signer, field: str = "A") -> bytes:
    prepared = signer.prepare(document, field)
    return pades.embed(prepared, signer.cms(prepared))


def full(pdf) -> None:
    pdf.Root.Names = pikepdf.Dictionary(Dests=pikepdf.Dictionary(Names=pikepdf.Array([])))
    pdf.Root.Lang = pikepdf.String("vi-VN (Việt Nam)")
    pdf.Root["/Tên lạ#"] = pikepdf.Name("/Giá trị")
    pdf.docinfo["/Title"] = "Đơn"


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("change", [lambda pdf: None, full])
async def test_every_reader_finds_the_data_and_the_signature_stands(signer, tmp_path, streams, change) -> None:
    one = signed(blank(streams, change), signer)
    ground = dss.ground_of(one)
    assert ground.stream is streams
    assert dss.Ground.from_json(ground.to_json()) == ground
    more = dss.update(ground, certificates=[signer.der, signer.der], ocsps=[b"0\x00"], crls=[])
    done = one + more
    assert (await judge(done, 0, signer)).bottom_line
    reader = PdfFileReader(io.BytesIO(done), strict=True)
    assert len(reader.root["/DSS"]["/Certs"]) == 1  # each once
    assert reader.root["/DSS"]["/OCSPs"][0].data == b"0\x00"
    assert "/CRLs" not in reader.root["/DSS"]
    assert reader.has_xref_stream is streams
    assert len(DocumentSecurityStore.read_dss(reader).certs) == 1
    (tmp_path / "a.pdf").write_bytes(done)
    subprocess.run(["qpdf", "--check", tmp_path / "a.pdf"], check=True, capture_output=True)
    told = subprocess.run(["pdfsig", "-nocert", tmp_path / "a.pdf"], capture_output=True, text=True, check=False)
    assert told.stdout.count("Signature is Valid") == 1
    facts = read_document(done, AT, ())
    assert {f.code for f in facts.findings} <= {"verify.no_trusted_path"}
    with pikepdf.open(io.BytesIO(one)) as before, pikepdf.open(io.BytesIO(done)) as after:
        assert {k: v for k, v in after.Root.items() if k != "/DSS"}.keys() == before.Root.keys()
        assert after.docinfo.get("/Title") == before.docinfo.get("/Title")
        assert after.trailer.ID[0] == before.trailer.ID[0]
        assert after.trailer.ID[1] != before.trailer.ID[1]


@pytest.mark.parametrize("streams", [False, True])
async def test_later_data_is_added_to_earlier_data(signer, streams) -> None:
    one = dss.append(signed(blank(streams), signer), certificates=[signer.der], ocsps=[b"one"], crls=[b"crl"])
    other = Signer(Algorithm.ECDSA_P384_SHA384)
    two = dss.append(signed(one, signer, "B"), certificates=[other.der], ocsps=[], crls=[])
    found = PdfFileReader(io.BytesIO(two), strict=True).root["/DSS"]
    assert [found["/Certs"][n].data for n in range(2)] == [signer.der, other.der]
    assert found["/OCSPs"][0].data == b"one"
    assert found["/CRLs"][0].data == b"crl"
    for index in (0, 1):
        assert (await judge(two, index, signer)).bottom_line


async def test_what_somebody_elses_validation_data_says_by_signature_stays(signer) -> None:
    one = io.BytesIO(signed(blank(False), signer))
    writer = IncrementalPdfFileWriter(one)
    store = DocumentSecurityStore(writer)
    store.register_vri(
        "/" + "0A" * 20, certs=[PdfFileReader(one).embedded_signatures[0].signer_cert], ocsps=(), crls=()
    )
    writer.root["/DSS"] = writer.add_object(store.as_pdf_object())
    writer.update_root()
    writer.write_in_place()
    done = dss.append(one.getvalue(), certificates=[b"x"], ocsps=[], crls=[])
    found = PdfFileReader(io.BytesIO(done), strict=True).root["/DSS"]
    assert len(found["/Certs"]) == 2
    assert len(found["/VRI"].keys()) == 1
    assert (await judge(done, 0, signer)).bottom_line


def test_the_same_data_gives_the_same_bytes(signer) -> None:
    ground = dss.ground_of(signed(blank(True), signer))
    one, two = (dss.update(ground, certificates=[signer.der], ocsps=[], crls=[]) for _ in range(2))
    assert one == two


def test_what_cannot_be_read_or_kept_is_refused_with_its_own_code(signer, monkeypatch) -> None:
    with pytest.raises(BadInput, match=r"pades\.unreadable"):
        dss.ground_of(b"not a pdf")
    monkeypatch.setitem(LIMITS, "pades.catalog_bytes", 20)
    with pytest.raises(BadInput, match=r"pades\.catalog_too_large"):
        dss.ground_of(blank(False))


@pytest.mark.parametrize(
    "change",
    [
        {"root": [0, 0]}, {"root": [-1, 0]}, {"root": [1, 70_000]}, {"root": [10**6, 0]}, {"numbers": 9_000_000},
        {"numbers": 0}, {"startxref": -1}, {"startxref": 10**9}, {"permanent_id": "00" * 65}, {"room": 0}, {"room": 10**6},
        {"kept": [b"1 0 R", b"", b"/X"]}, {"kept": [b"1 0 R 5", b"", b""]}, {"kept": [b"1 0 R]", b"", b""]},
        {"catalog": b"/Type /Catalog /Pages 2 0 R >> endobj"}, {"catalog": b"/Type /Catalog /Pages 2 0 R /DSS 5 0 R"},
        {"catalog": b"/Type /Catalog /Pages 2 0 R /#44SS 5 0 R"}, {"catalog": b"/Type /Catalog /Pages 2 0 R % gone"},
        {"catalog": b"/Type /Catalog /Pages 2 0 R /Pages 3 0 R"}, {"catalog": b"/Type /Catalog /Pages 2 0 R /X [1 >>"},
        {"catalog": b"/Type /Catalog /Pages 2 0 R /X (open"}, {"catalog": b"/Type /Catalog /Pages 2 0 R /X"},
        {"catalog": b"/Type /Catalog"}, {"catalog": b"/Type /Catalog /Pages 2 0 R /X <00"},
        {"catalog": b"/Type /Catalog /Pages 2 0 R /X stream"}, {"catalog": b"/Type /Catalog /Pages 2 0 R" + b" " * 70_000},
        {"trailer": b"/Encrypt 4 0 R"}, {"trailer": b"/Prev 5"}, {"trailer": b">> startxref"}, {"trailer": b"/XRefStm 9"},
        {"rest": b"/Certs [9 0 R]"}, {"rest": b"/Type /Other"}, {"rest": b"/VRI << /A [9 0 R] >> >>"},
    ],
)  # fmt: skip
def test_a_ground_that_no_sound_file_can_have_given_is_not_built_on(signer, change) -> None:
    told = dss.ground_of(signed(blank(False, full), signer)).to_json()

    def text(value):
        if isinstance(value, bytes):
            return base64.b64encode(value).decode()
        return [text(each) for each in value] if isinstance(value, list) else value

    assert dss.Ground.from_json(told)
    with pytest.raises((ValueError, KeyError, TypeError)):
        dss.Ground.from_json(told | {name: text(value) for name, value in change.items()})


def test_strings_names_and_references_of_a_catalog_are_read_as_they_are(signer) -> None:
    def odd(pdf) -> None:
        pdf.Root["/A#B"] = pikepdf.String("a ) ( \\ % >> b")
        pdf.Root["/C"] = pikepdf.Array(
            [1, -2.5, True, None, pikepdf.Name("/N"), pikepdf.Dictionary(X=pikepdf.Array([]))]
        )
        pdf.Root["/D"] = pdf.make_indirect(pikepdf.Dictionary())

    ground = dss.ground_of(signed(blank(True, odd), signer))
    assert dss.Ground.from_json(ground.to_json()) == ground


def test_more_validation_data_than_was_tried_is_not_written(signer) -> None:
    ground = dss.ground_of(signed(blank(False), signer))
    with pytest.raises(Broken, match=r"pades\.too_much_validation"):
        dss.update(ground, certificates=[], ocsps=[b"%d" % n for n in range(ground.room)], crls=[])
