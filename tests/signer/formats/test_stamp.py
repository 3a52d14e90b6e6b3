"""The visible signature's words: complete, inside their box, readable while that is possible."""

import datetime as dt
import unicodedata

import pytest

from core.errors import BadInput
from signer.formats.pades import Appearance
from signer.formats.stamp import StampText, lines
from signer.formats.typeface import typeface

AT = dt.datetime(2026, 11, 21, 2, 15, 30, tzinfo=dt.UTC)
LONG = "Tôi đã đọc, đã hiểu và đồng ý với toàn bộ nội dung của văn bản này cùng các phụ lục kèm theo. " * 6


def stamp(**more) -> StampText:
    return StampText(**{"signer": "Nguyễn Thị Ngọc Ẩn", "signed_at": AT, "reason": "Đồng ý", **more})


def text(found) -> str:
    return " ".join(line.text for line in found)


def require_inside(found, width: float, height: float) -> None:
    for line in found:
        assert line.x >= 0
        assert line.x + typeface().width(line.text, line.size) <= width
        assert line.y - 0.3 * line.size >= 0
        assert line.y + 0.93 * line.size <= height


def test_all_is_said_with_vietnams_time() -> None:
    found = lines(stamp(training=True, capacity="CHỦ TỊCH"), 220, 90)
    assert [line.text for line in found] == [
        "TẬP HUẤN · TRAINING", "CHỦ TỊCH", "Ký bởi: Nguyễn Thị Ngọc Ẩn", "Lý do: Đồng ý",
        "Thời gian: 21/11/2026 09:15:30 +07:00",
    ]  # fmt: skip
    assert "TẬP HUẤN" not in text(lines(stamp(), 220, 90))


@pytest.mark.parametrize("box", [(400, 200), (220, 90), (120, 50), (60, 80), (36, 14)])
@pytest.mark.parametrize("reason", ["", "Đồng ý", LONG, "x" * 400])
def test_words_stay_inside_their_box(box, reason: str) -> None:
    found = lines(stamp(reason=reason, training=True), *box)
    require_inside(found, *box)
    assert "Ngọc Ẩn" in text(found)
    assert "+07:00" in text(found)


def test_a_long_reason_is_cut_before_the_name_becomes_unreadable() -> None:
    found = lines(stamp(reason=LONG), 160, 60)
    assert min(line.size for line in found) >= 5
    assert "…" in text(found)


def test_name_and_time_become_smaller_before_they_are_broken() -> None:
    found = lines(stamp(), 160, 80)
    assert [line.text.partition(":")[0] for line in found] == ["Ký bởi", "Lý do", "Thời gian"]
    assert found[0].size > 7


def test_a_larger_box_has_larger_letters() -> None:
    assert lines(stamp(), 240, 100)[0].size > lines(stamp(), 90, 40)[0].size


def test_a_name_that_cannot_be_printed_is_refused_and_a_reason_loses_the_letter_only() -> None:
    with pytest.raises(BadInput, match=r"compose\.glyph_missing"):
        stamp(signer="阮 A").require()
    assert "Lý do: Đồng ý ? rồi" in text(lines(stamp(reason="Đồng ý 😀\n rồi"), 300, 100))


def test_a_decomposed_name_is_the_same_name() -> None:
    assert lines(stamp(signer=unicodedata.normalize("NFD", "Nguyễn Thị Ngọc Ẩn")), 220, 90)


def test_it_survives_the_way_into_the_sandbox() -> None:
    picture = Appearance.of(width_px=2, height_px=1, rgb=bytes(6), alpha=bytes(2))
    for given in (stamp(), stamp(picture=picture, words=False, training=True)):
        assert StampText.from_json(given.to_json()) == given
