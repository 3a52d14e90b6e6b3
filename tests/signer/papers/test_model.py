"""What a placement must say; values that go into the database and back."""

import pytest

from core.errors import BadInput
from signer.papers import EarlierSignature, PageFacts, PaperFacts, Placement, Spot


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "elsewhere"},
        {"kind": "coordinates", "width": 100, "height": 40},
        {"kind": "coordinates", "page": -1, "width": 100, "height": 40},
        {"kind": "coordinates", "page": 0, "x": float("nan"), "width": 100, "height": 40},
        {"kind": "coordinates", "page": 0, "width": float("inf"), "height": 40},
        {"kind": "anchor", "text": "  ", "width": 100, "height": 40},
        {"kind": "anchor", "text": "x" * 300, "width": 100, "height": 40},
        {"kind": "anchor", "text": "x", "occurrence": 0, "width": 100, "height": 40},
        {"kind": "field"},
        {"kind": "none", "colour": "red"},
    ],
)
def test_a_placement_that_says_too_little_or_nonsense_is_refused(wrong) -> None:
    with pytest.raises(BadInput, match=r"request\.placement_unclear"):
        Placement.from_json(wrong)


@pytest.mark.parametrize(
    "right",
    [
        Placement(kind="none"),
        Placement(kind="field", field="a.b"),
        Placement(kind="anchor", text="Người ký", x=-5, y=3.5, width=100, height=40),
        Placement(kind="coordinates", page=3, x=1, y=2, width=100, height=40),
    ],
)
def test_a_placement_survives_storing(right) -> None:
    assert Placement.from_json(right.to_json()) == right


def test_facts_survive_storing() -> None:
    facts = PaperFacts(
        pages=(PageFacts(width=10, height=20),), signatures=(EarlierSignature(field="A", signer="B", signed_at=None),),
        empty_fields=("C",), certified=2, warnings=("request.warn_form",),
        spots=(Spot(page=0, x=1, y=2, width=3, height=4),),
    )  # fmt: skip
    assert PaperFacts.from_json(facts.to_json()) == facts
