"""Our DER against asn1crypto's reading of it."""

import datetime as dt

import pytest
from asn1crypto import core

from core.formats import der


@pytest.mark.parametrize("value", [0, 1, 127, 128, 255, 256, 2**64, 2**159 - 1])
def test_integers_are_minimal_and_read_back(value: int) -> None:
    assert der.integer(value) == core.Integer(value).dump()


@pytest.mark.parametrize("dotted", ["1.2.840.113549.1.7.2", "2.16.840.1.101.3.4.2.1", "1.3.101.112", "2.5.29.15"])
def test_object_identifiers_read_back(dotted: str) -> None:
    assert der.oid(dotted) == core.ObjectIdentifier(dotted).dump()


@pytest.mark.parametrize("size", [0, 127, 128, 255, 256, 65_536])
def test_lengths_take_their_shortest_form(size: int) -> None:
    assert der.octet_string(bytes(size)) == core.OctetString(bytes(size)).dump()


def test_a_set_is_ordered_by_encoding() -> None:
    assert der.set_of(der.integer(2), der.integer(1)) == der.set_of(der.integer(1), der.integer(2))


def test_times_are_utc_and_whole_seconds() -> None:
    at = dt.datetime(2026, 11, 25, 10, 0, 0, 5, tzinfo=dt.timezone(dt.timedelta(hours=7)))
    assert der.generalized_time(at) == b"\x18\x0f20261125030000Z"
    assert der.utc_or_generalized(at) == b"\x17\x0d261125030000Z"
    assert der.utc_or_generalized(at.replace(year=2050))[0] == 24
