"""Our reader of hexadecimal strings answers as pyHanko's own does, for good and bad input."""

import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyhanko.pdf_utils.misc import PdfReadError

from core import pdf_hex


def _outcome(read, data):
    stream = io.BytesIO(data)
    try:
        value = read(stream)
    except (PdfReadError, ValueError) as error:
        return type(error), str(error)
    return type(value), bytes(value) if isinstance(value, bytes) else str(value), stream.tell()


@given(st.lists(st.sampled_from([b"0", b"a", b"F", b"9", b" ", b"\n", b"\x00", b"%", b">", b"g", b"<", b"\xff"])))
@example([b"4", b"1", b">", b"rest"])
@example([b"4", b">"])
@example([b"a", b"%", b"comment >", b"\n", b"b", b">"])
@example([b"0" * 8191, b">", b"x"])
@example([b"0" * 8192, b">"])
@example([b"0" * 20_001, b" >", b"x" * 9_000])
@example([b"FEFF1EA4", b">"])
@example([])
def test_what_is_read_and_what_is_refused_is_the_same(parts):
    data = b"<" + b"".join(parts)
    assert _outcome(pdf_hex.read_hex_string, data) == _outcome(pdf_hex._THEIRS, data)


def test_it_stands_in_the_place_of_pyhankos():
    from pyhanko.pdf_utils import generic

    assert generic.read_object(io.BytesIO(b"<" + b"41" * 9_000 + b">"), None) == "A" * 9_000
    assert generic.read_hex_string_from_stream is pdf_hex.read_hex_string
    with pytest.raises(PdfReadError):
        generic.read_object(io.BytesIO(b"<41"), None)
