"""What is known of a paper that a portal gives to be signed, and where its signature goes. Plain values, JSON both ways."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from core.errors import BadInput

__all__ = ["EarlierSignature", "PageFacts", "PaperFacts", "Placement", "Spot"]

_KINDS = ("coordinates", "anchor", "field", "none")
_LETTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the visible signature goes. Lengths are points (1/72 inch) on the page as it is displayed, y downwards.

    * ``coordinates``: ``x``, ``y`` are the box's top left corner, from the page's top left corner; ``page`` counts from 0.
    * ``anchor``: the box hangs under the first letter of ``text``: ``x``, ``y`` are added to the lower left corner of what
      was found (negative values go left and up). ``page`` None looks through all pages; ``occurrence`` counts from 1.
    * ``field``: the empty signature field with the full name ``field``.
    * ``none``: no visible signature.
    """

    kind: str
    page: int | None = None
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0
    text: str = ""
    occurrence: int = 1
    field: str = ""

    def __post_init__(self) -> None:
        """Raises ``request.placement_unclear``."""
        numbers = (self.x, self.y, self.width, self.height)
        fit = self.kind in _KINDS and all(math.isfinite(n) and abs(n) <= 20_000 for n in numbers)
        fit = fit and self.occurrence >= 1 and (self.page is None or self.page >= 0)
        fit = fit and (self.kind != "coordinates" or self.page is not None)
        fit = fit and (self.kind != "anchor" or 1 <= len(self.text.strip()) <= _LETTERS)
        fit = fit and (self.kind != "field" or 1 <= len(self.field) <= _LETTERS)
        if not fit:
            raise BadInput("request.placement_unclear")

    def to_json(self) -> dict[str, Any]:
        """For storing."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Placement":
        """Back. Raises ``request.placement_unclear``."""
        try:
            return cls(**value)
        except TypeError as error:
            raise BadInput("request.placement_unclear") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A placement found on its paper: points on the displayed page, from its top left; all zero when invisible."""

    page: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFacts:
    """Size of a page as displayed, in points."""

    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierSignature:
    """A signature that the paper carries already; it fits its bytes, whether anybody trusts it is not asked here."""

    field: str
    signer: str
    """The certificate's common name."""
    signed_at: str | None
    """ISO 8601: stamped if there is a time-stamp, else as the signer claims."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperFacts:
    """A paper that may be signed."""

    pages: tuple[PageFacts, ...]
    signatures: tuple[EarlierSignature, ...]
    """Oldest first."""
    empty_fields: tuple[str, ...]
    """Full names of the signature fields that wait to be filled."""
    certified: int | None
    """Permission level of a certification (2 or 3): with 2 only fields that exist may be signed."""
    warnings: tuple[str, ...]
    """Codes ``request.warn_…`` to be said to portal and signer."""
    spots: tuple[Spot, ...]
    """Where the placements that were asked about lie, in their order."""

    def to_json(self) -> dict[str, Any]:
        """For storing."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "PaperFacts":
        """Back."""
        return cls(
            pages=tuple(PageFacts(**row) for row in value["pages"]),
            signatures=tuple(EarlierSignature(**row) for row in value["signatures"]),
            empty_fields=tuple(value["empty_fields"]), certified=value["certified"], warnings=tuple(value["warnings"]),
            spots=tuple(Spot(**row) for row in value["spots"]),
        )  # fmt: skip
