"""Attacks on a finished copy, by class: each with the register (never genuine) and without (never trusted)."""

import asyncio
import io
import random  # noqa: TID251 - seeded, so that a failure can be repeated
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pikepdf
import pytest
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import fields
from pyhanko.sign.signers.pdf_signer import PdfSignatureMetadata, PdfSigner

from api import bootstrap
from api.certifying import certify_file
from api.checking import Checker
from api.roles import ProcessRole
from core.clock import SystemClock
from signer.copies.pictures import sample_seal
from tests.flows import town
from tests.verification import paper
from verification.engine.cms import open_cms, open_token
from verification.policy import Policy, TrustAnchor
from verification.report import Indication, Verdict
from verification.verify import verify


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(settings, the copy's bytes, another copy's bytes of the same agency)."""
    folder = tmp_path_factory.mktemp("attacks")

    async def make():
        settings = await town.build(folder / "home")
        async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
            copies = [
                await certify_file(service, [town.scan(n), town.scan(n + n)], n, town.request(), folder) for n in "ab"
            ]
        return settings, *(Path(c["file"]).read_bytes() for c in copies)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, make()).result()


async def both(settings, data):
    """The verdict with the register and without."""
    async with Checker.open(settings, []) as checker:
        online = await checker.check(data)
    async with Checker.open(town.settings(settings.home.parent / "nowhere"), [
        (settings.home / "pki" / "root.pem").read_bytes()
    ]) as checker:  # fmt: skip
        offline = await checker.check(data)
    return online, offline


def update(data, change):
    """An incremental update made by ``change(writer)``."""
    writer = IncrementalPdfFileWriter(io.BytesIO(data), strict=False)
    change(writer)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def third_signature(data, field="Chữ ký 3", who="Kẻ Gian"):
    meta = PdfSignatureMetadata(field_name=field, subfilter=fields.SigSeedSubFilter.PADES, md_algorithm="sha256")
    signing = PdfSigner(meta, paper.signer(who))
    with ThreadPoolExecutor(1) as pool:
        writer = IncrementalPdfFileWriter(io.BytesIO(data))
        return pool.submit(signing.sign_pdf, writer).result().getvalue()


def forged_second_seal(data):
    """A field called Seal again, and a picture of the agency's seal in it."""

    def change(writer):
        form = writer.root["/AcroForm"]
        page, _ = writer.find_page_for_modification(0)
        widget = writer.add_object(
            generic.DictionaryObject({
                generic.pdf_name("/Type"): generic.pdf_name("/Annot"), generic.pdf_name("/Subtype"): generic.pdf_name("/Widget"),
                generic.pdf_name("/FT"): generic.pdf_name("/Sig"), generic.pdf_name("/T"): generic.pdf_string("Seal2"),
                generic.pdf_name("/Rect"): generic.ArrayObject(map(generic.NumberObject, (50, 50, 150, 150))),
                generic.pdf_name("/F"): generic.NumberObject(4), generic.pdf_name("/P"): page,
            })
        )  # fmt: skip
        form["/Fields"].append(widget)
        writer.update_container(form["/Fields"])

    assert sample_seal("x", 36).width_px
    return third_signature(update(data, change), "Seal2", "UBND xã Đường Lâm")


def moved_field(data):
    def change(writer):
        widget = writer.root["/AcroForm"]["/Fields"][1]
        widget["/Rect"] = generic.ArrayObject(map(generic.NumberObject, (0, 0, 400, 400)))
        writer.update_container(widget)

    return update(data, change)


def emptied_field(data):
    def change(writer):
        widget = writer.root["/AcroForm"]["/Fields"][1]
        del widget["/V"]
        writer.update_container(widget)

    return update(data, change)


def other_appearance(data):
    def change(writer):
        widget = writer.root["/AcroForm"]["/Fields"][0]
        look = writer.add_object(generic.StreamObject(stream_data=b"0 0 100 100 re f"))
        widget["/AP"] = generic.DictionaryObject({generic.pdf_name("/N"): look})
        writer.update_container(widget)

    return update(data, change)


def page_swapped(data):
    def change(writer):
        kids = writer.root["/Pages"]["/Kids"]
        kids[0], kids[1] = kids.raw_get(1), kids.raw_get(0)
        writer.update_container(kids)

    return update(data, change)


def page_added(data):
    def change(writer):
        stream = writer.add_object(generic.StreamObject(stream_data=b"0 0 100 100 re f"))
        from pyhanko.pdf_utils.writer import PageObject

        box = generic.ArrayObject(map(generic.NumberObject, (0, 0, 200, 200)))
        writer.insert_page(PageObject(contents=stream, media_box=box))

    return update(data, change)


def content_replaced(data):
    def change(writer):
        page = writer.root["/Pages"]["/Kids"][0]
        stream = page["/Contents"][1]
        stream._data = b"0 0 300 300 re f"
        stream._encoded_data = None
        writer.update_container(stream)

    return update(data, change)


def note_over_the_text(data):
    def change(writer):
        page = writer.root["/Pages"]["/Kids"][0]
        look = writer.add_object(generic.StreamObject(stream_data=b"1 1 1 rg 0 0 500 500 re f"))
        note = generic.DictionaryObject({
            generic.pdf_name("/Type"): generic.pdf_name("/Annot"), generic.pdf_name("/Subtype"): generic.pdf_name("/Stamp"),
            generic.pdf_name("/Rect"): generic.ArrayObject(map(generic.NumberObject, (0, 0, 500, 500))),
            generic.pdf_name("/F"): generic.NumberObject(4),
            generic.pdf_name("/AP"): generic.DictionaryObject({generic.pdf_name("/N"): look}),
        })  # fmt: skip
        page["/Annots"] = generic.ArrayObject([writer.add_object(note)])
        writer.update_container(page)

    return update(data, change)


def script_added(data):
    def change(writer):
        writer.root["/OpenAction"] = generic.DictionaryObject({
            generic.pdf_name("/S"): generic.pdf_name("/JavaScript"), generic.pdf_name("/JS"): generic.pdf_string("app.alert(1)")
        })  # fmt: skip
        writer.update_root()

    return update(data, change)


def rewritten(data):
    """The same pages, saved anew: the signatures' ranges no longer fit."""
    out = io.BytesIO()
    with pikepdf.open(io.BytesIO(data)) as pdf:
        pdf.save(out)
    return out.getvalue()


def seal_cut_off(data):
    """Back to the state that only the official had signed."""
    ends = [m.end() for m in re.finditer(rb"%%EOF\n?", data)]
    return data[: ends[2]]


def validation_data_cut_off(data):
    ends = [m.end() for m in re.finditer(rb"%%EOF\n?", data)]
    return data[: ends[3]]


ATTACKS = [
    third_signature, forged_second_seal, moved_field, emptied_field, other_appearance, page_swapped, page_added,
    content_replaced, note_over_the_text, script_added, rewritten, seal_cut_off,
    lambda d: d + b"\n", lambda d: d + b"%x\n", lambda d: b"\n" + d, lambda d: d + d, lambda d: d[:-1],
    lambda d: d + b"\n1 0 obj\n<<>>\nendobj\n",
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.__name__)
async def test_no_attack_on_a_finished_copy_reads_as_genuine(made, attack):
    settings, data, _ = made
    changed = await asyncio.to_thread(attack, data)
    assert changed != data
    online, offline = await both(settings, changed)
    assert online.verdict is not Verdict.GENUINE, online.to_json()
    assert online.verdict.exit_code == 1 or online.verdict is Verdict.UNDETERMINED
    assert offline.verdict is not Verdict.GENUINE


async def test_without_its_validation_data_a_copy_differs_from_the_register(made):
    settings, data, _ = made
    online, _ = await both(settings, validation_data_cut_off(data))
    assert online.verdict is Verdict.ALTERED


async def test_pieces_of_two_copies_make_no_third(made):
    settings, data, other = made
    ends = [m.end() for m in re.finditer(rb"%%EOF\n?", data)]
    online, offline = await both(settings, data[: ends[0]] + other[ends[0] :])
    assert online.verdict is Verdict.ALTERED
    assert [s for s in offline.signatures if s.indication is Indication.TOTAL_PASSED] == []


async def test_one_flipped_bit_is_never_genuine_and_offline_never_trusted_where_signed_bytes_or_contents_are_touched(
    made,
):
    settings, original, _ = made
    data, rng = bytearray(original), random.Random(11)
    ranges = [tuple(map(int, m.groups())) for m in re.finditer(rb"/ByteRange \[(\d+) (\d+) (\d+) (\d+) *\]", original)]
    signed_end = max(c + d for _, _, c, d in ranges)
    hexes = [(b, c) for _, b, c, _ in ranges]
    places = [rng.randrange(len(data)) for _ in range(220)]
    for start, end in hexes:
        places += [rng.randrange(start, end) for _ in range(40)]
    async with Checker.open(settings, []) as checker:
        anchors, register, now = checker.anchors, checker.register, SystemClock().now()
    policy = Policy(anchors=anchors, at=now)
    async with bootstrap.open_service(settings, ProcessRole.WEB) as service:
        for at in places:
            bit = 1 << rng.randrange(8)
            data[at] ^= bit
            online = await verify(bytes(data), at=now, policy=policy, register=service.facts)
            offline = await verify(bytes(data), at=now, policy=policy, register=None)
            data[at] ^= bit
            assert online.verdict is not Verdict.GENUINE, (at, bit)
            assert offline.verdict is not Verdict.GENUINE
            if at < signed_end:
                seal = [s for s in offline.signatures if s.role == "seal"]
                trusted = seal and seal[0].intact and seal[0].trusted and offline.verdict is Verdict.UNDETERMINED
                clean = {f.code for f in offline.findings if f.severity == "error"} <= {
                    "verify.offline", "verify.register_not_checked", "verify.recall_not_checked"
                }  # fmt: skip
                assert not (trusted and clean), (at, bit, [f.code for f in offline.findings])
    assert isinstance(anchors[0], TrustAnchor)
    assert register is not None


async def test_no_bit_of_our_contents_is_free_to_change(made):
    """Each byte of the CMS, with one bit turned: refused, or seen to differ from the only form it may have."""
    _, data, _ = made
    a, b, c, d = (int(n) for n in list(re.finditer(rb"/ByteRange \[(\d+) (\d+) (\d+) (\d+) *\]", data))[-1].groups())
    raw, covered = bytes.fromhex(data[b + 1 : c - 1].decode()), [data[a:b], data[c : c + d]]
    whole = open_cms(raw, covered)
    stamp, _ = open_token(whole.token, whole.signature)
    assert whole.plain
    assert stamp.plain
    for at in range(len(raw)):
        changed = bytearray(raw)
        changed[at] ^= 1 << (at % 8)
        try:
            found = open_cms(bytes(changed), covered)
            token, _ = open_token(found.token or b"", found.signature)
        except Exception:
            continue
        # other certificates than before are not on the path: document.py refuses them
        same = (found.others, token.others) == (whole.others, stamp.others)
        assert not (found.plain and token.plain and same), at
