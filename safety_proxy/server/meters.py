"""What is counted, and under which names: the metrics of the program.

Values of labels come from the configuration or from lists in the code, never from a client or a backend: else anybody could
make as many series as he likes, and text could hide in them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from safety_proxy.classifiers.base import State
from safety_proxy.server.ledger import Row

_SHORT: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds: from the embedded classifier's half a millisecond to the deadline of a slow service."""
_LONG: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds: from a refusal to a long stream."""
_REASON: Final = re.compile(r"[a-z_]{1,32}")


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. A counter's name is shown with ``_total``."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds, for a histogram."""


REQUESTS: Final = Metric(
    "safety_proxy_requests",
    "counter",
    "Requests that were answered, by class of status; left: the client closed the connection before the end.",
    ("route", "deployment", "dialect", "status"),
)
DURATION: Final = Metric(
    "safety_proxy_request_duration_seconds",
    "histogram",
    "Time from a request's arrival to the end of its answer.",
    ("route",),
    _LONG,
)
DECISIONS: Final = Metric(
    "safety_proxy_decisions",
    "counter",
    "Decisions on prompts and completions; a completion whose choices were decided differently counts under each.",
    ("deployment", "dialect", "policy", "stage", "decision"),
)
TOKENS: Final = Metric(
    "safety_proxy_tokens",
    "counter",
    "Tokens used, as the backend reported them or estimated as characters / 4.",
    ("deployment", "key", "kind", "basis"),
)
COST: Final = Metric(
    "safety_proxy_cost", "counter", "Cost of the tokens by the configured price.", ("deployment", "key", "currency")
)
QUOTA_REFUSALS: Final = Metric(
    "safety_proxy_quota_refusals",
    "counter",
    "Requests answered with 429, by the limit that they would have exceeded.",
    ("deployment", "limit"),
)
SHADOW_DECISIONS: Final = Metric(
    "safety_proxy_shadow_decisions",
    "counter",
    "What a policy on trial decided beside the enforced decision; not_evaluated: it could not be asked, or not in time.",
    ("deployment", "policy", "stage", "enforced", "shadow"),
)
AUDIT_LOST: Final = Metric("safety_proxy_audit_lost", "counter", "Lines of the audit log that were not written.")
CLASSIFIER_SECONDS: Final = Metric(
    "safety_proxy_classifier_seconds", "histogram", "Time that a classifier took for a call.", ("classifier",), _SHORT
)
CLASSIFIER_ERRORS: Final = Metric(
    "safety_proxy_classifier_errors",
    "counter",
    "Calls of a classifier that left something undecided.",
    ("classifier", "reason"),
)
CLASSIFIER_REPEATS: Final = Metric(
    "safety_proxy_classifier_repeats",
    "counter",
    "Requests to a service that were sent again: after a failure (retry), or beside a slow one (hedge).",
    ("classifier", "route", "why"),
)
CLASSIFIER_SPARED: Final = Metric(
    "safety_proxy_classifier_spared",
    "counter",
    "Texts that a classifier was not asked about, because those before it in a cascade had settled them.",
    ("classifier",),
)
CLASSIFIER_FALLBACKS: Final = Metric(
    "safety_proxy_classifier_fallbacks",
    "counter",
    "Texts that a classifier left undecided and that were given to its fallback.",
    ("classifier", "fallback"),
)
BREAKER_OPEN: Final = Metric(
    "safety_proxy_breaker_open",
    "gauge",
    "Worker processes whose circuit breaker for a route of a service is open or half open.",
    ("classifier", "route"),
)
BREAKER_OPENINGS: Final = Metric(
    "safety_proxy_breaker_openings", "counter", "Times that a circuit breaker has opened.", ("classifier", "route")
)
CACHE_LOOKUPS: Final = Metric(
    "safety_proxy_cache_lookups",
    "counter",
    "Texts whose verdict was in the cache (hit), was being asked for already (joined), or had to be asked for (miss).",
    ("classifier", "result"),
)
CACHE_ENTRIES: Final = Metric("safety_proxy_cache_entries", "gauge", "Verdicts that are kept.")
CACHE_BYTES: Final = Metric("safety_proxy_cache_bytes", "gauge", "About how many bytes they take.")
OPEN_REQUESTS: Final = Metric("safety_proxy_open_requests", "gauge", "Calls without an open stream that go on.")
OPEN_STREAMS: Final = Metric("safety_proxy_open_streams", "gauge", "Streams that are open.")
FIRST_TEXT: Final = Metric(
    "safety_proxy_first_text_seconds",
    "histogram",
    "Time from a request's arrival to the first released text of its stream.",
    ("deployment",),
    _LONG,
)
FIRST_TEXT_HELD: Final = Metric(
    "safety_proxy_first_text_held_seconds",
    "histogram",
    "Time from the first text of a stream at the backend to the first that was released: what the filter adds.",
    ("deployment",),
    _LONG,
)

METRICS: Final = (
    REQUESTS,
    DURATION,
    DECISIONS,
    TOKENS,
    COST,
    QUOTA_REFUSALS,
    SHADOW_DECISIONS,
    AUDIT_LOST,
    CLASSIFIER_SECONDS,
    CLASSIFIER_ERRORS,
    CLASSIFIER_REPEATS,
    CLASSIFIER_SPARED,
    CLASSIFIER_FALLBACKS,
    BREAKER_OPEN,
    BREAKER_OPENINGS,
    CACHE_LOOKUPS,
    CACHE_ENTRIES,
    CACHE_BYTES,
    OPEN_REQUESTS,
    OPEN_STREAMS,
    FIRST_TEXT,
    FIRST_TEXT_HELD,
)
"""All that are kept in a ledger."""


class Meters:
    """Writes the numbers of one process. To classifiers it is their `Observer`."""

    def __init__(self, row: Row) -> None:
        self._row = row

    def count(self, metric: Metric, *labels: str, amount: float = 1.0) -> None:
        """Add to a counter."""
        self._row.add((metric.name, *labels), amount)

    def observe(self, metric: Metric, *labels: str, value: float) -> None:
        """Add to a histogram: to one of its buckets, named by its bound, and to the sum."""
        bound = next((f"{bound:g}" for bound in metric.buckets if value <= bound), "+Inf")
        self._row.add((metric.name, *labels, bound))
        self._row.add((metric.name, *labels, "sum"), value)

    def classified(self, classifier: str, reason: str | None, seconds: float) -> None:
        """As `Observer.classified`."""
        self.observe(CLASSIFIER_SECONDS, classifier, value=seconds)
        if reason is not None:
            self.count(CLASSIFIER_ERRORS, classifier, reason if _REASON.fullmatch(reason) else "other")

    def repeated(self, classifier: str, route: str, why: Literal["retry", "hedge"]) -> None:
        """As `Observer.repeated`."""
        self.count(CLASSIFIER_REPEATS, classifier, route, why)

    def breaker(self, classifier: str, route: str, state: State) -> None:
        """As `Observer.breaker`."""
        self._row.set((BREAKER_OPEN.name, classifier, route), 0 if state is State.CLOSED else 1)
        if state is State.OPEN:
            self.count(BREAKER_OPENINGS, classifier, route)

    def looked_up(self, classifier: str, result: Literal["hit", "joined", "miss"], texts: int) -> None:
        """As `Observer.looked_up`."""
        self.count(CACHE_LOOKUPS, classifier, result, amount=texts)

    def stored(self, entries: int, size: int) -> None:
        """As `Observer.stored`."""
        self._row.set((CACHE_ENTRIES.name,), entries)
        self._row.set((CACHE_BYTES.name,), size)

    def fell_back(self, classifier: str, fallback: str, texts: int) -> None:
        """As `Observer.fell_back`."""
        self.count(CLASSIFIER_FALLBACKS, classifier, fallback, amount=texts)

    def spared(self, classifier: str, texts: int) -> None:
        """As `Observer.spared`."""
        self.count(CLASSIFIER_SPARED, classifier, amount=texts)

    def loaded(self, requests: int, streams: int) -> None:
        """So many calls and streams are open now."""
        self._row.set((OPEN_REQUESTS.name,), requests)
        self._row.set((OPEN_STREAMS.name,), streams)
