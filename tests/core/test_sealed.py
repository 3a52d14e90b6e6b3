"""Values at rest: they open with their own key, for their own purpose, in their own row, or not at all."""

import pytest

from core.errors import Broken
from core.sealed import Box

KEY = bytes(range(32))


def test_what_is_sealed_opens_again_and_never_looks_the_same_twice():
    box = Box(KEY, "answers")
    one, two = box.seal(b"secret", b"row"), box.seal(b"secret", b"row")
    assert box.open(one, b"row") == box.open(two, b"row") == b"secret"
    assert one != two
    assert b"secret" not in one


@pytest.mark.parametrize(
    "spoil",
    [lambda s: s[:-1], lambda s: s + b"x", lambda s: bytes([s[0] ^ 1]) + s[1:], lambda _: b"", lambda s: s[:12]],
)
def test_changed_bytes_do_not_open(spoil):
    box = Box(KEY, "answers")
    with pytest.raises(Broken, match=r"store\.sealed_unreadable"):
        box.open(spoil(box.seal(b"secret", b"row")), b"row")


def test_neither_another_purpose_nor_key_nor_row_opens_it():
    sealed = Box(KEY, "answers").seal(b"secret", b"row")
    for box, row in (
        (Box(KEY, "webhooks"), b"row"),
        (Box(KEY[::-1], "answers"), b"row"),
        (Box(KEY, "answers"), b"other"),
    ):
        with pytest.raises(Broken):
            box.open(sealed, row)
