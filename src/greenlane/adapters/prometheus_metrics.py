"""The numbers a scraper reads at /metrics."""

from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from greenlane.errors import GreenlaneError

LATENCY_BUCKETS_S: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)


class Metrics:
    """One registry per system, so that two systems in one process never share a number.

    >>> metrics = Metrics()
    >>> metrics.decided("allow", 120, degraded=False)
    >>> b'greenlane_decisions_total{intervention="allow"} 1.0' in metrics.text()
    True
    """

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # ships without a type
        self.registry = CollectorRegistry()
        counter, gauge = partial(Counter, registry=self.registry), partial(Gauge, registry=self.registry)
        self.decisions = counter("greenlane_decisions", "Decisions by intervention", ["intervention"])
        self._by_intervention: dict[str, Counter] = {}
        self.next_actions = counter("greenlane_next_actions", "Next actions by step", ["next"])
        self.latency = Histogram(
            "greenlane_decision_seconds", "Time to decide, inside", buckets=LATENCY_BUCKETS_S, registry=self.registry
        )
        self.degraded = counter("greenlane_degraded", "Decisions on a lower rung")
        self.outcomes = counter("greenlane_outcomes", "Outcomes by type", ["type"])
        self.refused = counter("greenlane_refused", "Requests refused, by code", ["code"])
        self.failed = counter("greenlane_failed", "Requests that failed on our side")
        parts = "Parts that failed while deciding, by part and error"
        self.fallbacks = counter("greenlane_fallbacks", parts, ["part", "error"])
        self.seq = gauge("greenlane_journal_seq", "Last sequenced entry")
        self.durable_seq = gauge("greenlane_journal_durable_seq", "Last durable entry")
        self.evicted = gauge("greenlane_features_evicted", "Feature reads of evicted state")
        differing = "Served feature values that differ from recomputed ones"
        self.mismatches = gauge("greenlane_parity_mismatches", differing)

    def decided(self, intervention: str, latency_us: int, *, degraded: bool) -> None:
        counter = self._by_intervention.get(intervention)
        if counter is None:
            counter = self._by_intervention[intervention] = self.decisions.labels(intervention)
        counter.inc()
        self.latency.observe(latency_us / 1e6)
        if degraded:
            self.degraded.inc()

    def proceeded(self, step: str, latency_us: int) -> None:
        self.next_actions.labels(step).inc()
        self.latency.observe(latency_us / 1e6)

    def fell_back(self, part: str, error: Exception) -> None:
        self.fallbacks.labels(part, type(error).__name__).inc()

    def refused_for(self, error: GreenlaneError) -> None:
        self.refused.labels(error.code).inc()

    def text(self) -> bytes:
        return bytes(generate_latest(self.registry))
