"""Updates after a signature that readers would read in different ways, and honest ones of other writers."""

import io
import re

import pikepdf
import pytest

from core.values import Realm
from tests.verification import paper
from tests.verification.test_verify import check
from verification.report import Verdict

EVIL = b"<</Type/Pages/Kids[%d 0 R %d 0 R]/Count 2>>"


def two_pages(**how) -> bytes:
    out = io.BytesIO()
    with pikepdf.new() as pdf:
        for shade in (b"1 0 0 rg", b"0 0 1 rg"):
            page = pdf.add_blank_page(page_size=(200, 200))
            page.Contents = pdf.make_stream(shade + b" 0 0 200 200 re f")
        pdf.save(out, **how)
    return out.getvalue()


def signed(**how) -> bytes:
    data = paper.sign(two_pages(**how), "Chu ky", paper.signer("Ai do"))
    return paper.with_dss(data, paper.crl())


class Update:
    """One appended update, written byte by byte."""

    def __init__(self, base: bytes) -> None:
        self.out = bytearray(base)
        with pikepdf.open(io.BytesIO(base)) as pdf:
            self.root, self.pages = pdf.Root.objgen[0], pdf.Root.Pages.objgen[0]
            self.kids = [kid.objgen[0] for kid in pdf.Root.Pages.Kids]
            self.size = len(pdf.objects) + 5
            self.tree = pdf.Root.Pages.unparse(resolved=True)
            self.catalog = pdf.Root.unparse(resolved=True)
        self.previous = int(re.findall(rb"startxref\s+(\d+)", base)[-1])

    @property
    def evil(self) -> bytes:
        """The page tree with its pages swapped."""
        return b"%d 0 obj\n%s\nendobj\n" % (self.pages, EVIL % (self.kids[1], self.kids[0]))

    def put(self, data: bytes) -> int:
        at = len(self.out)
        self.out += data
        return at

    def object(self, number: int, body: bytes, head: bytes = b"%d 0 obj") -> int:
        return self.put(head % number + b"\n" + body + b"\nendobj\n")

    def table(self, entries: list[tuple[int, int]], after: bytes = b"", extra: bytes = b"") -> bytes:
        at = self.put(b"xref\n")
        for number, place in entries:
            self.out += b"%d 1\n%010d 00000 n \n" % (number, place)
        self.out += b"trailer\n<</Size %d/Root %d 0 R/Prev %d%s>>\n" % (self.size, self.root, self.previous, extra)
        self.out += after + b"startxref\n%d\n%%%%EOF\n" % at
        return bytes(self.out)

    def stream(
        self, number: int, rows: list[tuple[int, int, int, int]], extra: bytes = b"", after: bytes = b""
    ) -> bytes:
        at = len(self.out)
        data = b"".join(bytes([kind]) + a.to_bytes(4) + b.to_bytes(2) for _, kind, a, b in sorted(rows))
        index = b" ".join(b"%d 1" % row[0] for row in sorted(rows))
        self.object(
            number,
            b"<</Type/XRef/W[1 4 2]/Index[%s]/Size %d/Root %d 0 R/Prev %d/Length %d%s>>\nstream\n%s\nendstream"
            % (index, self.size, self.root, self.previous, len(data), extra, data),
        )
        self.out += after + b"startxref\n%d\n%%%%EOF\n" % at
        return bytes(self.out)


def number_listed_twice(u):
    bad, good = u.put(u.evil), u.object(u.pages, u.tree)
    return u.table([(u.pages, bad), (u.pages, good)])


def hidden_behind_the_trailer(u):
    return u.table([(u.size - 1, u.object(u.size - 1, b"<<>>"))], after=u.evil)


def header_that_only_some_read(head):
    def attack(u):
        place = u.object(u.root, u.catalog, head)
        return u.table([(u.root, place)], after=u.evil)

    attack.__name__ = f"header {head.decode()}"
    return attack


def listed_under_another_number(u):
    return u.table([(u.size - 1, u.put(u.evil))])


def stream_in_the_place_of_an_object(u):
    kids = b"/Kids[%d 0 R %d 0 R]/Count 2" % (u.kids[1], u.kids[0])
    return u.stream(u.pages, [(u.size - 1, 1, u.object(u.size - 1, b"<<>>"), 0)], extra=kids)


def unknown_kind_of_entry(u):
    place = u.object(u.size - 1, b"<<>>")
    return u.stream(u.size - 2, [(u.size - 1, 1, place, 0), (u.size - 3, 3, 1, 1)], after=b"")


def entry_in_a_stream_that_is_not_there(u):
    place = u.object(u.size - 1, b"<<>>")
    return u.stream(u.size - 2, [(u.size - 1, 1, place, 0), (u.size - 3, 2, 9999, 0)])


def object_stream_that_names_a_number_twice(u):
    bodies = EVIL % (u.kids[1], u.kids[0]) + b" " + u.tree
    cut = len(EVIL % (u.kids[1], u.kids[0])) + 1
    head = b"%d 0 %d %d " % (u.pages, u.pages, cut)
    place = u.object(
        u.size - 1,
        b"<</Type/ObjStm/N 2/First %d/Length %d>>\nstream\n%s\nendstream"
        % (len(head), len(head + bodies), head + bodies),
    )
    return u.stream(u.size - 2, [(u.size - 1, 1, place, 0), (u.pages, 2, u.size - 1, 1)])


def object_freed(u):
    place = u.object(u.size - 1, b"<<>>")
    made = u.table([(u.size - 1, place)])
    return made.replace(b"%d 1\n%010d 00000 n " % (u.size - 1, place), b"%d 1\n%010d 00001 f " % (u.kids[0], 0))


ATTACKS = [
    number_listed_twice, hidden_behind_the_trailer, header_that_only_some_read(b"0_%d 0 obj"),
    header_that_only_some_read(b"%d 0 xyz"), header_that_only_some_read(b"%d 0_0 obj"),
    header_that_only_some_read(b"+%d 0 obj"), header_that_only_some_read(b"0%d 0 obj"), listed_under_another_number,
    stream_in_the_place_of_an_object, unknown_kind_of_entry, entry_in_a_stream_that_is_not_there,
    object_stream_that_names_a_number_twice, object_freed,
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.__name__)
async def test_an_update_with_two_readings_is_never_genuine(attack):
    base = signed()
    assert (await check(base)).verdict is Verdict.GENUINE
    report = await check(attack(Update(base)))
    found = {f.code for f in report.findings if f.severity == "error"}
    assert report.verdict is not Verdict.GENUINE, found
    assert found & {"verify.bytes_unaccounted", "verify.unreadable", "verify.changed_after_signature"}, found


@pytest.mark.parametrize(
    "how",
    [{}, {"object_stream_mode": pikepdf.ObjectStreamMode.generate}, {"linearize": True}],
    ids=["table", "streams", "linear"],
)
async def test_honest_updates_of_every_form_stay_genuine(how):
    report = await check(signed(**how), realm=Realm.PRODUCTION)
    assert report.verdict is Verdict.GENUINE, report.findings
