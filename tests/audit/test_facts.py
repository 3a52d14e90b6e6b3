"""Reconciliation names every difference between a room's record and the log."""

import datetime as dt

import pytest

from audit.facts import Difference, Fact, reconcile

AT = dt.datetime(2026, 11, 25, tzinfo=dt.UTC)


def fact(event, commitment=b"c", kind="copy_released"):
    return Fact(kind, event, AT, commitment)


class Source:
    name = "register"

    def __init__(self, *facts):
        self._facts = facts

    async def facts(self):
        for each in self._facts:
            yield each


def logged(*facts):
    return {f.event_id: f for f in facts}


async def test_two_equal_records_differ_in_nothing():
    assert await reconcile(logged(fact("a"), fact("b")), Source(fact("b"), fact("a"))) == []


@pytest.mark.parametrize(
    ("log", "source", "problem", "event"),
    [
        ([], [fact("a")], "missing_in_log", "a"),
        ([fact("a"), fact("b")], [fact("a")], "missing_in_source", "b"),
        ([fact("a", b"x")], [fact("a")], "differs", "a"),
        ([fact("a", kind="number_reserved")], [fact("a")], "differs", "a"),
    ],
)
async def test_each_difference_is_named(log, source, problem, event):
    assert await reconcile(logged(*log), Source(*source)) == [Difference("register", problem, event)]


async def test_leaves_of_other_rooms_are_no_difference():
    other = fact("z", kind="key_use_intended")
    assert await reconcile(logged(fact("a"), other), Source(fact("a"))) == []
