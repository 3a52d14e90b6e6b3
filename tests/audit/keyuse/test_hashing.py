"""The server is asked once for each value, a few at a time."""

import asyncio

import pytest

from audit.keyuse import Hashes
from audit.keyuse.hashing import read_hmac
from core.errors import Broken, Unavailable
from tests.audit.keyuse.makers import ask, digest, hashed, shown


async def test_each_value_is_asked_for_once_and_answers_keep_their_order():
    hashes = Hashes(ask)
    values = [digest(1), digest(2), digest(1)]
    assert await hashes.of(values) == [hashed(v) for v in values]
    assert await hashes.of([digest(2)]) == [hashed(digest(2))]
    assert hashes.asked == 2


async def test_no_more_than_so_many_questions_are_under_way():
    running = most = 0

    async def slow(text):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return shown(text)

    await Hashes(slow, at_once=3).of([digest(n) for n in range(50)])
    assert most == 3


async def test_answers_kept_are_bounded_and_one_call_may_ask_for_more():
    hashes = Hashes(ask, keep=2)
    values = [digest(n) for n in range(5)]
    assert await hashes.of(values) == [hashed(v) for v in values]
    await hashes.of([digest(4)])
    assert hashes.asked == 5
    await hashes.of([digest(0)])
    assert hashes.asked == 6


@pytest.mark.parametrize("answer", ["", "hmac-sha256:00", "sha256:" + "0" * 64, "hmac-sha256:" + "G" * 64])
async def test_an_answer_that_is_no_hash_ends_the_run(answer):
    async def wrong(_text):
        return answer

    with pytest.raises(Broken, match=r"keyuse\.no_hash"):
        await Hashes(wrong).of([digest()])


async def test_the_servers_error_is_told_as_it_is():
    async def away(_text):
        raise Unavailable("vault.sealed")

    with pytest.raises(Unavailable, match=r"vault\.sealed"):
        await Hashes(away).of([digest(1), digest(2)])


def test_only_the_servers_form_is_read():
    assert read_hmac(shown("x")) is not None
    assert read_hmac(None) is None
    assert read_hmac(7) is None


async def test_a_body_is_shown_as_either_server_shows_it():
    body = {"name": "x", "number": 7, "yes": True, "list": ["y", 0]}
    told = {"name": shown("x"), "number": 7, "yes": True, "list": [shown("y"), 0]}
    assert await Hashes(ask).shown(body) == told
    hidden = {"number": shown("7"), "list": [shown("y"), shown("0")]}
    assert await Hashes(ask).shown(body, numbers=True) == told | hidden
