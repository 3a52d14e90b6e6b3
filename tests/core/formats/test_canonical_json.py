"""One byte form for one value."""

import pytest

from core.formats.canonical_json import decode, encode


def test_members_are_sorted_by_utf16_code_units() -> None:
    assert encode({"\ufb33": 1, "\U0001f600": 2, "a": 3}) == '{"a":3,"\U0001f600":2,"\ufb33":1}'.encode()


@pytest.mark.parametrize("value", [1.0, 2**53, -(2**53), {1: 2}, b"x", {"a": float("nan")}])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        encode(value)


@pytest.mark.parametrize(
    "data", [b'{"b":1,"a":2}', b'{"a": 1}', b'{"a":1,"a":1}', b"1.0", b"1e3", b'"\\u0061"', b"[1]\n", b""]
)
def test_bytes_that_are_not_canonical_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode(data)


def test_decode_inverts_encode() -> None:
    value = {"v": 1, "list": [None, True, "Đấu\n"]}
    assert decode(encode(value)) == value
