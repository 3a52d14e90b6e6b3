"""Pages as pictures and text, through the real sandbox, and the cache that keeps them."""

import asyncio
import io

import pytest
from PIL import Image

from core.errors import NotFound, ServiceError
from signer.formats import pades
from signer.papers import PageCache, page_image, page_text, prepare
from tests.signer.papers.kit import paper, written
from tests.signer.papers.test_prepare import AT, HERE, NAME, words

pytestmark = pytest.mark.asyncio(loop_scope="module")


def opened(picture: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(picture))
    assert image.format == "WEBP"
    return image.convert("L")


class Counting:
    """The sandbox, told what was asked of it."""

    def __init__(self, sandbox) -> None:
        self.sandbox, self.asked = sandbox, []

    async def run(self, function, payload, arguments):
        self.asked.append(arguments)
        return await self.sandbox.run(function, payload, arguments)


class Shelf:
    def __init__(self, **documents: bytes) -> None:
        self.documents, self.loads = documents, 0

    async def get(self, name: str) -> bytes:
        self.loads += 1
        if name not in self.documents:
            raise NotFound("store.missing", document=name)
        return self.documents[name]


@pytest.mark.parametrize(("turn", "size"), [(0, (800, 1200)), (90, (800, 533))])
async def test_a_page_is_a_picture_as_wide_as_asked_and_as_it_is_displayed(sandbox, turn, size) -> None:
    image = opened(await page_image(sandbox, paper(turn=turn), 0, 800))
    assert image.width == size[0]
    assert abs(image.height - size[1]) <= 1
    assert image.getpixel((size[0] // 2, size[1] // 2)) < 240 < image.getpixel((20, 20))


@pytest.mark.parametrize(("asked", "given"), [(1, 160), (99_999, 2_000)])
async def test_a_width_beyond_reason_is_brought_back(sandbox, asked, given) -> None:
    assert opened(await page_image(sandbox, paper(), 0, asked)).width == given


async def test_a_page_long_as_a_rope_stays_within_what_a_picture_can_be(sandbox) -> None:
    image = opened(await page_image(sandbox, paper(box=(0, 0, 20, 14_000)), 0, 2_000))
    assert image.height <= 16_000


async def test_a_signature_is_seen_on_its_page(sandbox, signer) -> None:
    document = written()
    prepared, _ = await prepare(
        sandbox, document, signer.profile, placement=HERE, signed_at=AT, signer_name=NAME, reason=None,
        timestamp_size=8_000, field="D", stamp=words(),
    )  # fmt: skip
    made = pades.embed(prepared, signer.cms(prepared))
    before, after = [opened(await page_image(sandbox, d, 0, 400)) for d in (document, made)]
    assert min(after.crop((150, 450, 350, 530)).tobytes()) < 120 < min(before.crop((150, 450, 350, 530)).tobytes())


async def test_the_text_of_a_page_is_its_alternative_and_a_scan_has_none(sandbox) -> None:
    text = await page_text(sandbox, written(), 0)
    assert text.splitlines()[:2] == ["ĐƠN ĐỀ NGHỊ", "Kính gửi: Ủy ban nhân dân xã Mẫu Sơn"]
    assert await page_text(sandbox, paper(), 0) == ""


async def test_a_page_or_paper_that_is_not_there_is_refused(sandbox) -> None:
    for ask in (page_image(sandbox, paper(), 1, 400), page_text(sandbox, paper(), 1), page_text(sandbox, paper(), -1)):
        with pytest.raises(NotFound, match=r"request\.no_such_page"):
            await ask
    for ask in (page_image(sandbox, b"nothing", 0, 400), page_text(sandbox, b"nothing", 0)):
        with pytest.raises(ServiceError, match=r"request\.paper_unreadable"):
            await ask


async def test_pages_are_kept_and_neighbours_come_without_being_asked(sandbox) -> None:
    counting, shelf = Counting(sandbox), Shelf(a=paper(pages=10))
    pages = PageCache(sandbox=counting, load=shelf.get)
    first = await pages.image("a", 0, 390)
    assert counting.asked[0] == {"pages": [0], "width": 480}  # alone, so that nothing waits for others
    await pages.settle()
    assert counting.asked[1:] == [{"pages": [1, 2], "width": 480}]
    assert await pages.image("a", 0, 400) is first
    assert opened(await pages.image("a", 1, 390)).width == 480
    await pages.settle()
    assert len(counting.asked) == 2


async def test_the_same_page_asked_by_many_is_drawn_once_and_others_share_a_batch(sandbox) -> None:
    counting = Counting(sandbox)
    pages = PageCache(sandbox=counting, load=Shelf(a=paper(pages=9)).get)
    made = await asyncio.gather(*(pages.image("a", page, 320) for page in (0, 0, 0, 3, 4, 5)))
    await pages.settle()
    assert made[0] is made[1] is made[2]
    drawn = [page for asked in counting.asked for page in asked["pages"]]
    assert len(drawn) == len(set(drawn))
    assert len(counting.asked) <= 3


async def test_what_is_kept_is_bounded_in_bytes_and_the_oldest_goes(sandbox) -> None:
    counting = Counting(sandbox)
    size = len(await page_image(sandbox, paper(), 0, 320))
    pages = PageCache(sandbox=counting, load=Shelf(a=paper(), b=paper(), c=paper()).get, most_bytes=2 * size)
    for name in ("a", "b", "a", "c"):
        await pages.image(name, 0, 320)
        await pages.settle()
    before = len(counting.asked)
    await pages.image("a", 0, 320)
    assert len(counting.asked) == before
    await pages.image("b", 0, 320)
    assert len(counting.asked) > before
    await pages.settle()


async def test_a_wrong_page_fails_alone_and_leaves_nothing_behind(sandbox) -> None:
    pages = PageCache(sandbox=sandbox, load=Shelf(a=paper(pages=2)).get)
    found = await asyncio.gather(*(pages.image("a", page, 320) for page in (0, 7, 1)), return_exceptions=True)
    assert isinstance(found[1], NotFound)
    assert opened(found[0]).width == opened(found[2]).width == 320
    with pytest.raises(NotFound, match=r"request\.no_such_page"):
        await pages.image("a", -1, 320)
    with pytest.raises(NotFound, match=r"store\.missing"):
        await pages.image("none", 0, 320)
    await pages.settle()
    assert opened(await pages.image("a", 1, 320)).width == 320


async def test_who_leaves_does_not_take_the_page_from_others(sandbox) -> None:
    pages = PageCache(sandbox=sandbox, load=Shelf(a=paper()).get)
    impatient = asyncio.create_task(pages.image("a", 0, 320))
    patient = asyncio.create_task(pages.image("a", 0, 320))
    await asyncio.sleep(0)
    impatient.cancel()
    assert opened(await patient).width == 320
    await pages.settle()


async def test_nothing_is_drawn_ahead_of_the_end(sandbox) -> None:
    counting = Counting(sandbox)
    pages = PageCache(sandbox=counting, load=Shelf(a=paper(pages=2)).get)
    await pages.image("a", 0, 320)
    await pages.settle()
    await pages.image("a", 1, 320)
    await pages.settle()
    assert [asked["pages"] for asked in counting.asked] == [[0], [1]]


async def test_any_fault_reaches_who_waits_and_the_next_try_is_a_new_one(sandbox) -> None:
    class Faulty:
        async def run(self, *_: object):
            raise ConnectionError

    pages = PageCache(sandbox=Faulty(), load=Shelf(a=paper()).get)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await pages.image("a", 0, 320)
    await pages.settle()


async def test_texts_come_by_name(sandbox) -> None:
    pages = PageCache(sandbox=sandbox, load=Shelf(a=written()).get)
    assert "Người đề nghị" in await pages.text("a", 0)
