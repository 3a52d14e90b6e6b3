"""Counters for operators (Prometheus), by route template: a code or an id never becomes a label."""

import datetime as dt
from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from api.bootstrap import Service
from signer.copies import publication, store
from signer.copies.inbox import Inbox

__all__ = ["Metrics"]

_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Metrics:
    """One registry a process, so that tests may have many."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._children = lru_cache(4096)(
            lambda method, route, status: (self.requests.labels(method, route, str(status)), self.seconds.labels(route))
        )
        self.requests = Counter(
            "dauso_http_requests", "Answers by route and status.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "dauso_http_seconds",
            "Time to the first byte of an answer.",
            ["route"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.under_way = Gauge("dauso_http_under_way", "Requests being answered.", registry=self.registry)
        self.refused = Counter(
            "dauso_http_refused", "Turned away at the gate, by code.", ["code"], registry=self.registry
        )
        self.waiting = Gauge("dauso_requests_waiting", "Requests in the inbox, not settled.", registry=self.registry)
        self.recalls = Gauge(
            "dauso_recalls_last_day", "Copies taken back in 24 hours; watch for a stolen key.", ["agency"],
            registry=self.registry,
        )  # fmt: skip
        self.lists = Gauge(
            "dauso_public_list_seconds_left", "Until a public list reads as old; below zero it does.", ["list"],
            registry=self.registry,
        )  # fmt: skip

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """One answer; the children are looked up once a label."""
        counter, histogram = self._children(method, route, status)
        counter.inc()
        histogram.observe(seconds)

    async def look(self, service: Service) -> None:
        """What the database says now; the same from every process."""
        now = service.clock.now()
        async with service.db.read() as uow:
            self.waiting.set(await Inbox(service.clock).open_count(uow))
            for agency in await service.directory.agencies(uow):
                lately = await store.recalled_since(uow, agency.id, now - dt.timedelta(days=1))
                self.recalls.labels(agency.code).set(lately)
            for listed in await publication.all_published(uow):
                self.lists.labels(listed.name).set((listed.next_update - now).total_seconds())

    def text(self) -> bytes:
        """In Prometheus' exposition format."""
        return generate_latest(self.registry)
