"""Drawing the QR seal as vectors (QR seal, section 3)."""

import qrcode
from qrcode.exceptions import DataOverflowError

from core.errors import BadInput, Broken
from verification.engine.codes import in_pixels

__all__ = ["matrix", "vector_path"]

_QUIET = 4
_MIN_VERSION, _MAX_VERSION = 10, 20


def _draw(url: str, mask: int) -> list[list[bool]]:
    code = qrcode.QRCode(_MIN_VERSION, qrcode.constants.ERROR_CORRECT_M, border=0, mask_pattern=mask)
    code.add_data(url, optimize=20)
    try:
        code.version = code.best_fit(start=_MIN_VERSION)
    except (DataOverflowError, ValueError):
        raise BadInput("qr.too_big") from None
    if code.version > _MAX_VERSION:
        raise BadInput("qr.too_big")
    code.make(fit=False)
    return [[bool(cell) for cell in row] for row in code.modules]


def _bitmap(rows: list[list[bool]]) -> bytes:
    """Three pixels a module, quiet zone included."""
    edge = b"\xff" * (3 * _QUIET)
    blank = b"\xff" * (3 * (len(rows) + 2 * _QUIET)) * (3 * _QUIET)
    lines = (edge + b"".join(b"\0\0\0" if cell else b"\xff\xff\xff" for cell in row) + edge for row in rows)
    return blank + b"".join(line * 3 for line in lines) + blank


def matrix(url: str, mask: int = 3) -> list[list[bool]]:
    """Rows of modules (True is black) at level M, from version 10 up; read back before it is returned.

    ``mask`` is tried first, then the others. Raises ``qr.too_big``, ``qr.unreadable``.
    """
    if not url.isascii() or not 0 <= mask <= 7:
        raise BadInput("qr.url_malformed")
    for choice in [mask, *(other for other in range(8) if other != mask)]:
        rows = _draw(url, choice)
        side = 3 * (len(rows) + 2 * _QUIET)
        if in_pixels(_bitmap(rows), side, side) == [url]:
            return rows
    raise Broken("qr.unreadable")


def vector_path(rows: list[list[bool]], size_pt: float) -> bytes:
    """PDF operators for a square of ``size_pt`` points, quiet zone included, origin bottom left."""
    side = len(rows) + 2 * _QUIET
    step = size_pt / side
    parts = [f"q {step:.6f} 0 0 {step:.6f} 0 0 cm 1 g 0 0 {side} {side} re f 0 g"]
    for y, row in enumerate(rows):
        start = None
        for x, black in enumerate([*row, False]):
            if black and start is None:
                start = x
            elif not black and start is not None:
                parts.append(f"{start + _QUIET} {side - _QUIET - 1 - y} {x - start} 1 re")
                start = None
    return "\n".join([*parts, "f Q\n"]).encode()
