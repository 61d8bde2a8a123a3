"""``/metrics``: the counters of all worker processes, added up, in Prometheus' text format."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from safety_proxy import __version__
from safety_proxy.errors import RequestError
from safety_proxy.server.deployments import presented_key
from safety_proxy.server.ledger import Ledger, Series
from safety_proxy.server.meters import DECISIONS, DURATION, METRICS, REQUESTS, Meters, Metric
from safety_proxy.server.middleware import FACTS, Handler
from safety_proxy.server.quotas import Quota
from safety_proxy.settings_usage import MetricsKey, MetricsSettings

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_QUOTA: Final = ("deployment", "limit")


@dataclass(frozen=True, slots=True)
class Metrics:
    """What is shown, and to whom."""

    ledger: Ledger
    meters: Meters
    quotas: Mapping[str, Quota]
    readers: MetricsSettings
    clock: Callable[[], float] = time.time

    def require_reader(self, request: web.Request) -> None:
        """Raise `RequestError` unless the caller may see the counters."""
        if self.readers == "off":
            raise RequestError("metrics are off: see `metrics` in the configuration", status=403, code="metrics_off")
        if isinstance(self.readers, MetricsKey):
            digest = hashlib.sha256(presented_key(request).encode("utf-8", "surrogateescape")).hexdigest()
            if not hmac.compare_digest(digest, self.readers.sha256):
                raise RequestError("no valid key was presented", status=401, code="invalid_api_key")

    def expose(self) -> bytes:
        """Every metric."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Snapshot(self))
        return generate_latest(registry)


METRICS_KEY: Final = web.AppKey("metrics", Metrics)


async def show_metrics(request: web.Request) -> web.Response:
    """The counters, to whoever may see them."""
    metrics = request.app[METRICS_KEY]
    metrics.require_reader(request)
    return web.Response(body=metrics.expose(), headers={"Content-Type": CONTENT_TYPE})


@web.middleware
async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count every request when it is over. Stands outside `identify`, which provides the facts."""
    started = time.monotonic()
    status = "left"
    try:
        response = await handler(request)
        status = f"{response.status // 100}xx"
    finally:
        _tell(request, status, time.monotonic() - started)
    return response


def _tell(request: web.Request, status: str, seconds: float) -> None:
    meters, facts = request.app[METRICS_KEY].meters, request[FACTS]
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "none"
    deployment, dialect = str(facts.get("deployment", "")), str(facts.get("dialect", ""))
    meters.count(REQUESTS, route, deployment, dialect, "left" if facts.get("client_left") else status)
    meters.observe(DURATION, route, value=seconds)
    for stage in ("prompt", "completion"):
        decided = facts.get(f"{stage}_decision")
        for decision in str(decided).split("+") if decided is not None else ():
            meters.count(DECISIONS, deployment, dialect, str(facts.get("policy", "off")), stage, decision)


# ------------------------------------------------------------------------------------------------------ exposition


class _Snapshot(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Family]:
        build = GaugeMetricFamily("safety_proxy_build_info", "The version that runs.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        series: defaultdict[str, dict[Series, float]] = defaultdict(dict)
        for (name, *labels), amount in self._metrics.ledger.totals().items():
            series[name][tuple(labels)] = amount
        yield from (_family(metric, series[metric.name]) for metric in METRICS)
        yield from _quota_families(self._metrics.quotas, self._metrics.clock())
        lost = "Additions to metrics that found no room."
        yield CounterMetricFamily("safety_proxy_metrics_lost", lost, value=self._metrics.ledger.lost)


def _family(metric: Metric, series: Mapping[Series, float]) -> Family:
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
        for labels in sorted({name[:-1] for name in series}):
            histogram.add_metric(labels, *_cumulated(metric, labels, series))
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.meaning, labels=metric.labels)
    for labels, amount in sorted(series.items()):
        family.add_metric(labels, amount)
    return family


def _cumulated(metric: Metric, labels: Series, series: Mapping[Series, float]) -> tuple[list[tuple[str, float]], float]:
    """The buckets of one histogram as Prometheus wants them, each with all below it; and the sum."""
    buckets: list[tuple[str, float]] = []
    below = 0.0
    for bound in (*(f"{bound:g}" for bound in metric.buckets), "+Inf"):
        below += series.get((*labels, bound), 0.0)
        buckets.append((bound, below))
    return buckets, series.get((*labels, "sum"), 0.0)


def _quota_families(quotas: Mapping[str, Quota], now: float) -> Iterator[Family]:
    limits = GaugeMetricFamily("safety_proxy_quota_limit", "What a deployment may use in a minute.", labels=_QUOTA)
    remaining = GaugeMetricFamily("safety_proxy_quota_remaining", "What is left of it in this minute.", labels=_QUOTA)
    for name, quota in sorted(quotas.items()):
        standing = quota.standing(now)
        for what, limit, left in (
            ("requests", quota.requests, standing.remaining_requests),
            ("tokens", quota.tokens, standing.remaining_tokens),
        ):
            if limit is not None and left is not None:
                limits.add_metric([name, what], limit)
                remaining.add_metric([name, what], left)
    yield limits
    yield remaining
