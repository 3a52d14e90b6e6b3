"""Decisions about wording and seal: only what a line may hold, a PNG with a clear ground, before and after in words."""

import io

import pytest
from PIL import Image

from core.errors import ServiceError
from signer.copies.pictures import picture_table
from signer.copies.wording import Wording


async def refused(code, work):
    with pytest.raises(ServiceError) as error:
        await work
    assert error.value.code == code, error.value


async def wording(town):
    async with town.db.read() as uow:
        return (await town.directory.agency(uow, town.agency.id)).wording


def png(size=(300, 300), mode="RGBA", noise=0):
    image = Image.new("RGBA", size, (200, 20, 30, 0))
    image.paste((200, 20, 30, 255), (10, 10, size[0] - 10 - noise, size[1] - 10))
    out = io.BytesIO()
    image.convert(mode).save(out, "PNG")
    return out.getvalue()


async def seal(town, data, tenths=360, **more):
    name = await town.desk.room.documents.put(data)
    return {"document": name, "tenths": tenths, **more}


async def test_a_line_changes_with_before_and_after_in_words_and_the_page_to_look_at(town):
    after = {"number": "{number}/CT-ĐT", "layout": "page", "access_code": True, "trust_line": Wording().trust_line}
    decision = await town.propose("wording.change", {"after": after})
    asked = await town.desk.question(decision, town.admins[0])
    said = [value for _, value in asked.words]
    assert "“{number}/ĐT”" in said
    assert "“{number}/CT-ĐT”" in said
    assert not any("tên miền" in label for label, _ in asked.words)  # that line stays as it is
    picture = await town.desk.picture(decision, 400)
    assert Image.open(io.BytesIO(picture)).size[0] == 400
    await town.vote(decision, town.admins[0])
    await town.vote(decision, town.admins[1])
    assert await wording(town) == {"number": "{number}/CT-ĐT", "layout": "page", "access_code": True}


async def test_a_line_that_could_not_be_printed_is_refused(town):
    for after, code in (
        ({"number": "{number.__class__}"}, "decision.pattern"), ({"number": "{number!r}"}, "decision.pattern"),
        ({"number": "{number:999999999d}"}, "decision.pattern"), ({"number": "{0}"}, "decision.pattern"),
        ({"number": "{}"}, "decision.pattern"), ({"number": "không số"}, "decision.pattern"),
        ({"number": "{number"}, "decision.pattern"), ({"number": "{number[0]}"}, "decision.pattern"),
        ({"number": "{number:{number}}"}, "decision.pattern"), ({"footer": "{page}/{pages}"}, "decision.pattern"),
        ({"attestation_title": "{host}"}, "decision.pattern"), ({"code_line": "Mã: {code:05d}"}, "decision.pattern"),
        ({"layout": "sideways"}, "decision.malformed"), ({"show_seal": "no"}, "decision.malformed"),
        ({"number": True}, "decision.malformed"), ({"book_kind": "X"}, "decision.malformed"),
        ({"seal_diameter_mm": "36"}, "decision.malformed"), ({"unknown": "x"}, "decision.malformed"),
        ({"footer": "a\u202e{page}/{pages} {code}"}, "decision.malformed"), ({}, "decision.nothing_to_change"),
        ({"number": Wording().number}, "decision.nothing_to_change"), ({"trust_line": "x" * 301}, "decision.malformed"),
    ):  # fmt: skip
        await refused(code, town.propose("wording.change", {"after": after}))


async def test_a_proposer_does_not_say_what_was_before(town):
    payload = {"after": {"number": "{number}/X"}, "before": {"number": "{number}/Y"}}
    await refused("decision.malformed", town.propose("wording.change", payload))


async def test_a_line_that_changed_since_is_not_overwritten(town):
    old = await town.propose("wording.change", {"after": {"number": "{number}/CŨ"}})
    await town.vote(old, town.admins[0])
    await town.decide("wording.change", {"after": {"number": "{number}/MỚI"}})
    await refused("decision.overtaken", town.vote(old, town.admins[1]))
    assert await wording(town) == {"number": "{number}/MỚI"}


async def test_a_seal_comes_with_its_true_size_and_lines_that_were_decided_stay(town):
    await town.decide("wording.change", {"after": {"number": "{number}/X"}})
    decision = await town.propose("seal.change", await seal(town, png(), 365))
    said = [value for _, value in (await town.desk.question(decision, town.admins[0])).words]
    assert {"36,0 mm", "36,5 mm"} <= set(said)
    assert Image.open(io.BytesIO(await town.desk.picture(decision, 500))).size[0] == 500
    for person in town.admins[:2]:
        await town.vote(decision, person)
    assert await wording(town) == {"number": "{number}/X", "seal_diameter_mm": 36.5}
    async with town.db.read() as uow:
        row = (await uow.execute(picture_table.select())).one()
    assert (row.owner, row.document) == (town.agency.id, (await seal(town, png()))["document"])
    again = await seal(town, png(noise=4), 365)
    assert (await town.decide("seal.change", again))[1].state == "applied"
    await refused("decision.nothing_to_change", town.propose("seal.change", again))


async def test_what_is_no_seal_is_refused(town):
    for data, code in (
        (png(mode="RGB"), "decision.seal_ground"),
        (png((300, 400)), "decision.seal_shape"),
        (png((150, 150)), "decision.seal_shape"),
        (b"GIF89a nothing", "copy.bad_picture"),
        (png()[:200], "copy.bad_picture"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 1024 * 1024, "decision.seal_large"),
    ):
        await refused(code, town.propose("seal.change", await seal(town, data)))


async def test_a_seal_without_a_true_size_or_a_picture_is_refused(town):
    for change, code in (
        ({"tenths": 199}, "decision.seal_size"), ({"tenths": 451}, "decision.seal_size"), ({"tenths": 36.5}, "decision.malformed"),
     ({"document": "../../x"}, "decision.malformed"), ({"document_before": "a"}, "decision.malformed"),
     ({"document": "0" * 64}, "store.missing"),
    ):  # fmt: skip
        await refused(code, town.propose("seal.change", {**await seal(town, png()), **change}))


async def test_a_decision_about_nothing_printed_has_no_picture(town):
    assert await town.desk.picture(await town.propose()) is None
