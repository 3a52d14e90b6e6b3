"""When the store is not asked."""

from core.vault.breaker import Breaker


class Ticks:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_opens_after_failures_in_a_row_only():
    breaker = Breaker(Ticks(), failures=3, rest=2)
    for answered in (False, False, True, False, False):
        breaker.note(answered=answered)
    assert breaker.lets_through() and not breaker.is_open
    breaker.note(answered=False)
    assert breaker.is_open and not breaker.lets_through()


def test_one_call_a_rest_is_let_through_and_its_success_closes_it():
    ticks = Ticks()
    breaker = Breaker(ticks, failures=1, rest=2)
    breaker.note(answered=False)
    ticks.now += 1.9
    assert not breaker.lets_through()
    ticks.now += 0.2
    assert breaker.lets_through() and not breaker.lets_through()
    breaker.note(answered=False)
    ticks.now += 2.1
    assert breaker.lets_through()
    breaker.note(answered=True)
    assert breaker.lets_through() and not breaker.is_open


def test_a_call_that_never_came_back_does_not_keep_it_open():
    ticks = Ticks()
    breaker = Breaker(ticks, failures=1, rest=2)
    breaker.note(answered=False)
    ticks.now += 3
    assert breaker.lets_through()  # cancelled: no note follows
    ticks.now += 3
    assert breaker.lets_through()
