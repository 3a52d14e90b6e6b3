"""How often: limits per address, per client and in total, each a moving window in this process's memory.

Several processes multiply the limits; the ingress limits floods, these limit abuse. Nobody's address is kept longer
than the window, and none is written anywhere.
"""

import ipaddress
from functools import lru_cache

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from core.clock import Clock
from core.errors import Refused
from core.limits import LIMITS

__all__ = ["Pace"]


class Pace:
    """Raises ``web.too_many`` with the seconds to wait."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def address(self, address: str, kind: str) -> None:
        """``kind``: a row ``rate.<kind>_minute`` of the limits."""
        self._hit(f"rate.{kind}_minute", _network(address))

    def total(self, kind: str) -> None:
        """All addresses together: guessing from many addresses."""
        self._hit(f"rate.{kind}_total_minute", "all")

    def known(self, kind: str, who: str) -> None:
        """A place of one's own where the total is full: for a link or session that was found, so strangers cannot fill it."""
        self._hit("rate.known_minute", f"{kind} {who}")

    def failed(self, address: str) -> None:
        """Somebody there showed a credential that is none."""
        self._limiter.hit(RateLimitItemPerMinute(LIMITS["rate.failed_minute"]), "rate.failed_minute", _network(address))

    def may_try(self, address: str) -> None:
        """Too many failures lately close the door for a moment."""
        item = RateLimitItemPerMinute(LIMITS["rate.failed_minute"])
        if not self._limiter.test(item, "rate.failed_minute", _network(address)):
            raise Refused("web.too_many", retry_after=30)

    def client(self, client_id: str) -> tuple[int, int]:
        """A portal's backend; returns (limit, remaining), which its answers tell."""
        item = self._hit("rate.client_minute", client_id)
        return item.amount, self._limiter.get_window_stats(item, "rate.client_minute", client_id).remaining

    def _hit(self, row: str, who: str) -> RateLimitItemPerMinute:
        item = RateLimitItemPerMinute(LIMITS[row])
        if not self._limiter.hit(item, row, who):
            left = self._limiter.get_window_stats(item, row, who)
            wait = max(1, round(left.reset_time - self._clock.now().timestamp()))
            raise Refused("web.too_many", retry_after=min(wait, 60))
        return item


@lru_cache(4096)
def _network(address: str) -> str:
    """An IPv6 customer holds a whole /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)
