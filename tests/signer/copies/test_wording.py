"""Words on a copy."""

import datetime as dt

import pytest

from core.clock import timestamp_text
from core.errors import BadInput
from core.values import Regime
from signer.copies.wording import Wording, legal_date

EVENING = dt.datetime(2026, 11, 30, 18, 5, 9, tzinfo=dt.UTC)


def test_numbers_and_books_read_as_the_field_writes_them():
    wording = Wording()
    assert wording.number_text(1523) == "1523/ĐT"
    assert wording.book_text(1, 2026, wording.book_kind) == "01/2026-SCTĐT/BS"


def test_dates_are_those_of_vietnam():
    assert Wording().date_text(EVENING) == "Ngày 01 tháng 12 năm 2026"
    assert legal_date(EVENING) == dt.date(2026, 12, 1)
    assert timestamp_text(EVENING) == "01/12/2026 01:05:09 +07:00"


def test_a_certified_copy_never_says_sao_y():
    assert "SAO Y" not in Wording().title(Regime.CERTIFIED_COPY)
    assert Wording().title(Regime.SAO_Y) == "SAO Y"


def test_an_unknown_item_is_refused():
    with pytest.raises(BadInput, match=r"wording\.unknown"):
        Wording.of({"titel": "x"})
