"""Intake: hostile files become revision 0, a complete PDF written by us. All parsing happens in the sandbox."""

from dataclasses import dataclass
from typing import Any

from core.errors import BadInput
from core.limits import LIMITS
from core.sandbox import Sandbox
from signer.copies.intake import work

__all__ = ["Intake", "take_in"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Revision 0 and what was found on the way."""

    document: bytes
    pages: int
    kind: str
    """``pdf``, ``jpeg``, ``png``, ``tiff`` or ``heic``."""
    dpi: int | None
    """The lowest of the images; None where the file does not say."""
    pdfa: str | None
    """``2b`` where our own gate found nothing."""
    removed: tuple[str, ...]
    """Active content and attachments that were taken out."""
    warnings: tuple[str, ...]


async def take_in(sandbox: Sandbox, files: list[bytes], *, title: str) -> Intake:
    """One PDF, or images that become pages in order. Raises ``intake.*``, ``sandbox.*``."""
    if not files or not all(files):
        raise BadInput("intake.empty")
    if sum(map(len, files)) > LIMITS["intake.bytes"]:
        raise BadInput("intake.too_large", most=LIMITS["intake.bytes"] // 2**20)
    arguments = {"sizes": [len(f) for f in files], "title": title}
    found: dict[str, Any]
    found, document = await sandbox.run(work.normalise, b"".join(files), arguments)
    return Intake(
        document=document, pages=found["pages"], kind=found["kind"], dpi=found["dpi"], pdfa=found["pdfa"],
        removed=tuple(found["removed"]), warnings=tuple(found["warnings"]),
    )  # fmt: skip
