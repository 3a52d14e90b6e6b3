"""Pictures of signatures and seals: an owner's own in production, drawn ones in training."""

import io

import pytest
from PIL import Image

from core.errors import BadInput
from core.objects import Documents
from core.sandbox import Sandbox
from core.values import Realm
from signer.copies.pictures import Pictures


def png(mode="RGBA", size=(120, 60), colour=(10, 20, 200, 128)) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, colour[: len(mode)]).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
async def pictures(db, clock, tmp_path):
    async with Sandbox(preload=["signer.copies.intake.work:warm"]) as sandbox:
        yield Pictures(db, clock, Documents.open("", tmp_path), sandbox)


class Owner:
    def __init__(self, name, realm=Realm.PRODUCTION, **wording):
        self.id, self.name, self.realm, self.wording = name, name, realm, wording


@pytest.mark.parametrize(("mode", "clear"), [("RGBA", False), ("RGB", True)])
async def test_an_owners_own_picture_is_shown_with_its_ground(pictures, mode, clear):
    assert await pictures.of("seal", Owner("a"), Owner("p")) is None
    await pictures.set("a", png(mode))
    shown = await pictures.of("seal", Owner("a"), Owner("p"))
    assert (shown.width_px, shown.height_px, shown.alpha is None) == (120, 60, clear)
    assert await pictures.of("certifier", Owner("a"), Owner("p")) is None


async def test_a_newer_picture_takes_the_place_of_the_older(pictures):
    await pictures.set("a", png())
    await pictures.set("a", png(size=(200, 200)))
    assert (await pictures.of("seal", Owner("a"), Owner("p"))).width_px == 200


async def test_training_never_shows_a_real_seal(pictures):
    await pictures.set("a", png())
    shown = await pictures.of("seal", Owner("a", Realm.TRAINING), Owner("p"))
    assert shown.width_px == 36 * 12


async def test_an_agency_may_show_no_seal(pictures):
    assert await pictures.of("seal", Owner("a", Realm.TRAINING, show_seal=False), Owner("p")) is None


@pytest.mark.parametrize("data", [b"", b"not a png", png()[:60], png(size=(8, 8)), png("RGB", size=(2500, 2500))])
async def test_what_is_no_fit_picture_is_refused_and_changes_nothing(pictures, data):
    with pytest.raises(BadInput, match=r"copy\.bad_picture"):
        await pictures.set("a", data)
    assert await pictures.of("seal", Owner("a"), Owner("p")) is None
