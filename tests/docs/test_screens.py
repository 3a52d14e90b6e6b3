"""The list of pictures is the pictures: each named page has been looked at by a phone and a desk, and none is large."""

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "docs/screens"


def test_every_page_of_the_list_has_its_pictures_and_no_picture_is_left_over():
    table, _, rest = (FOLDER / "README.md").read_text().partition("The citizen's check page:")
    named = re.findall(r"`([a-z-]+)`", table.partition("|---|")[2])
    wanted = {f"{size}-{name}.png" for size in ("phone", "desk-1280") for name in named}
    wanted |= {f"{name}.png" for name in re.findall(r"`([a-z-]+)`", rest)}
    assert {each.name for each in FOLDER.glob("*.png")} == wanted


def test_no_picture_is_large():
    assert [each.name for each in FOLDER.glob("*.png") if each.stat().st_size > 120_000] == []
