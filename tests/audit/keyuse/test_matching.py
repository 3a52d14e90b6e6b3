"""Calls against causes."""

import datetime as dt
import json

import pytest

from audit.keyuse import Call, Hashes
from audit.keyuse.matching import Matcher
from tests.audit.keyuse.makers import AT, KEY, WHO, ask, digest, hashed, may, must

FAR = AT + dt.timedelta(hours=1)


def call(value=None, at=AT, key=KEY):
    return Call(key, hashed(digest() if value is None else value), at, "r", WHO)


@pytest.fixture
def matcher():
    return Matcher(Hashes(ask), AT - dt.timedelta(hours=1))


def found(matcher, until=FAR):
    settled = matcher.settle(until, until)
    return len(settled.calls), [c.id for c in settled.unmet], [c.id for c in settled.unused]


async def test_a_call_with_its_order_is_nothing_to_tell(matcher):
    await matcher.add_causes([may(), must()])
    matcher.add_call(call())
    assert (found(matcher), matcher.matched, matcher.size) == ((0, [], []), 1, 0)


async def test_the_order_of_arrival_does_not_matter(matcher):
    matcher.add_call(call())
    await matcher.add_causes([may(), must()])
    assert (found(matcher), matcher.matched) == ((0, [], []), 1)


@pytest.mark.parametrize(
    "wrong",
    [call(digest("other")), call(key=KEY._replace(version=2)), call(key=KEY._replace(name="seal-2.p256")),
     call(key=KEY._replace(place="transit-2"))],
)  # fmt: skip
async def test_another_input_version_key_or_mount_is_no_match(matcher, wrong):
    await matcher.add_causes([may(), must()])
    matcher.add_call(wrong)
    assert found(matcher) == (1, ["order"], [])


async def test_a_call_whose_version_is_not_told_takes_the_cause_with_its_input(matcher):
    await matcher.add_causes([may(), may(digest(2))])
    matcher.add_call(call(key=KEY._replace(version=0)))
    matcher.add_call(call(key=KEY._replace(version=0, name="another")))
    await matcher.add_causes([may(), must()])
    matcher.add_call(call())
    assert (found(matcher), matcher.matched) == ((1, [], []), 2)


async def test_an_intent_that_came_to_nothing_is_explained(matcher):
    await matcher.add_causes([may()])
    assert found(matcher) == (0, [], [])


async def test_a_made_order_without_a_call_is_told_once(matcher):
    await matcher.add_causes([may(), must()])
    assert found(matcher) == (0, ["order"], [])
    assert found(matcher) == (0, [], [])


async def test_a_second_call_is_lonely_unless_a_lost_answer_was_written_down(matcher):
    await matcher.add_causes([may()])
    matcher.add_call(call())
    matcher.add_call(call())
    await matcher.add_causes([must()])
    assert found(matcher) == (1, [], [])
    await matcher.add_causes([may(), may()])
    matcher.add_call(call())
    matcher.add_call(call())
    await matcher.add_causes([must()])
    assert found(matcher) == (0, [], [])


async def test_causes_are_known_before_their_calls_and_a_lost_answer_needs_no_second_one(matcher):
    for text in (1, 2):
        await matcher.add_causes([may(digest(text)), may(digest(text)), must(digest(text))])
    for value in (digest(1), digest(1), digest(2)):
        matcher.add_call(call(value))
    assert (found(matcher), matcher.size) == ((0, [], []), 0)


async def test_an_order_signed_days_later_still_has_its_intent(matcher):
    await matcher.add_causes([may()])
    later = AT + dt.timedelta(days=3)
    assert found(matcher, later) == (0, [], [])
    matcher.add_call(call(at=later))
    await matcher.add_causes([must(at=later)])
    assert (found(matcher, later + dt.timedelta(hours=1)), matcher.size) == ((0, [], []), 0)


async def test_an_intent_is_let_go_after_a_week(matcher):
    await matcher.add_causes([may()])
    found(matcher, AT + dt.timedelta(days=8))
    assert matcher.size == 0


async def test_a_use_without_a_call_is_asked_about_and_forgotten(matcher):
    await matcher.add_causes([may(kind="use", ref="use")])
    assert (found(matcher), matcher.size) == ((0, [], ["use"]), 0)


async def test_two_uses_with_one_input_explain_two_calls(matcher):
    await matcher.add_causes([may(kind="use", ref="u1"), may(kind="use", ref="u2")])
    for _ in range(3):
        matcher.add_call(call())
    assert found(matcher) == (1, [], [])


async def test_nothing_is_judged_before_its_horizon(matcher):
    await matcher.add_causes([may(digest(1)), must(digest(1))])
    matcher.add_call(call())
    assert found(matcher, AT + dt.timedelta(seconds=60)) == (0, [], [])
    assert found(matcher) == (1, ["order"], [])


async def test_causes_from_before_the_first_line_are_not_asked_for_a_call():
    matcher = Matcher(Hashes(ask), AT + dt.timedelta(seconds=1))
    await matcher.add_causes([may(), must(), may(digest(2), kind="use")])
    assert found(matcher) == (0, [], [])


async def test_what_waits_goes_over_to_the_next_run(matcher):
    await matcher.add_causes([may(digest(1)), may(digest(2), ref="o2"), may(digest(3), kind="use", ref="u")])
    matcher.add_call(call(digest(1)))
    matcher.add_call(call(digest(9)))
    later = Matcher(Hashes(ask), AT)
    later.load(json.loads(json.dumps(matcher.dump())))
    await later.add_causes([must(digest(1)), must(digest(2), ref="o2"), may(digest(9), kind="use", ref="u9")])
    assert found(later) == (0, ["o2"], ["u"])


def test_what_waits_holds_no_digest_of_an_order(matcher):
    assert digest().hex() not in json.dumps(matcher.dump())


async def test_of_two_orders_with_one_input_each_demands_its_own_call(matcher):
    await matcher.add_causes([may(ref="A"), may(ref="B"), must(ref="A"), must(ref="B")])
    matcher.add_call(call())
    assert found(matcher) == (0, ["B"], [])
    await matcher.add_causes([may(ref="A"), may(ref="B"), must(ref="A")])
    assert found(matcher) == (0, ["A"], [])
    assert found(matcher) == (0, [], [])
    later = Matcher(Hashes(ask), AT)
    later.load(json.loads(json.dumps(matcher.dump())))
    await later.add_causes([must(ref="B")])
    assert (found(later), later.size) == ((0, ["B"], []), 0)


async def test_an_order_that_is_done_leaves_no_room_for_a_call_of_anothers(matcher):
    await matcher.add_causes([may(ref="A"), may(ref="B"), must(ref="A"), must(ref="B")])
    for _ in range(3):
        matcher.add_call(call())
    assert (found(matcher), matcher.size) == ((1, [], []), 0)
