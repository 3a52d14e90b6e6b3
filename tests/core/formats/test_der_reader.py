"""The reader hands out bytes as they stand and refuses every second spelling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.formats import der


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_it_reads_what_the_writer_wrote(values):
    parts = [der.octet_string(v) for v in values]
    found = der.children(der.one(der.sequence(*parts), 0x30).content)
    assert [t.content for t in found] == values
    assert [t.raw for t in found] == parts


@given(st.binary(max_size=60))
def test_hostile_bytes_are_read_whole_or_refused(data):
    try:
        found = der.children(data)
    except ValueError:
        return
    assert b"".join(t.raw for t in found) == data


@pytest.mark.parametrize(
    "data",
    [b"\x30", b"\x30\x01", b"\x30\x80\x00\x00", b"\x04\x81\x01\x00", b"\x04\x82\x00\x80" + bytes(128), b"\x1f\x81\x01\x00",
     b"\x04\x85\x00\x00\x00\x00\x01\x00", b"\x04\x83\x00\x01"],
)  # fmt: skip
def test_a_second_spelling_or_a_cut_element_is_refused(data):
    with pytest.raises(ValueError):
        der.children(data)


def test_one_wants_exactly_one_of_its_kind():
    with pytest.raises(ValueError):
        der.one(der.null() + der.null(), 5)
    with pytest.raises(ValueError):
        der.one(der.null(), 4)
