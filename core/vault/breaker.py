"""Stops asking a store that does not answer, so that callers wait for nothing and a struggling server is left alone."""

from collections.abc import Callable

from core.limits import LIMITS

__all__ = ["Breaker"]


class Breaker:
    """Opens after so many failures in a row; then one call in each rest is let through, and its success closes it.

    Used from one thread. No call holds a place in it, so a call that is cancelled leaves nothing behind.
    """

    def __init__(
        self, monotonic: Callable[[], float], *, failures: int = LIMITS["vault.breaker_failures"],
        rest: float = LIMITS["vault.breaker_ms"] / 1000,
    ) -> None:  # fmt: skip
        """``failures`` in a row open it; ``rest``: seconds between two tries while it is open."""
        self._monotonic = monotonic
        self._most = failures
        self._rest = rest
        self._failures = 0
        self._next = 0.0

    @property
    def is_open(self) -> bool:
        """Whether calls are refused, but for one a rest."""
        return self._failures >= self._most

    def lets_through(self) -> bool:
        """Whether a call may be made now."""
        if not self.is_open:
            return True
        if self._monotonic() < self._next:
            return False
        self._next = self._monotonic() + self._rest
        return True

    def note(self, *, answered: bool) -> None:
        """What became of a call."""
        if answered:
            self._failures = 0
            return
        self._failures += 1
        if self._failures == self._most:
            self._next = self._monotonic() + self._rest
