"""Counters for operators (Prometheus), by route template: a code or an id never becomes a label."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Metrics:
    """One registry a process, so that tests may have many."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
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
        self.alarms = Counter(
            "dauso_alarms", "Things a person should look at, by kind.", ["kind"], registry=self.registry
        )

    def text(self) -> bytes:
        """In Prometheus' exposition format."""
        return generate_latest(self.registry)
