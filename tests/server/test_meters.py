"""What is counted under which name."""

from __future__ import annotations

from pathlib import Path

from safety_proxy.server.ledger import Ledger
from safety_proxy.server.meters import CLASSIFIER_ERRORS, CLASSIFIER_SECONDS, METRICS, OPEN_STREAMS, REQUESTS, Meters


def test_every_metric_has_a_name_of_its_own_and_a_meaning() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert all(metric.name.startswith("safety_proxy_") and metric.meaning.endswith(".") for metric in METRICS)
    assert all(bool(metric.buckets) == (metric.kind == "histogram") for metric in METRICS)
    assert all(metric.buckets == tuple(sorted(metric.buckets)) for metric in METRICS)


def test_every_metric_is_documented_with_its_labels_and_meaning() -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    for metric in METRICS:
        name = f"{metric.name}_total" if metric.kind == "counter" else metric.name
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        assert " | ".join((f"| `{name}`", labels, metric.meaning)).replace("|  |", "| |") in page


def test_what_is_observed_lands_in_the_first_bucket_that_holds_it() -> None:
    ledger = Ledger()
    meters = Meters(ledger.rows[0])
    for value in (0.001, 0.0011, 99):
        meters.observe(CLASSIFIER_SECONDS, "c", value=value)
    totals = ledger.totals()
    name = CLASSIFIER_SECONDS.name

    assert totals.pop((name, "c", "sum")) == 0.001 + 0.0011 + 99
    assert totals == {(name, "c", "0.001"): 1, (name, "c", "0.0025"): 1, (name, "c", "+Inf"): 1}


def test_a_reason_is_a_word_or_other() -> None:
    ledger = Ledger()
    meters = Meters(ledger.rows[0])
    for reason in ("timeout", "all of this text", None):
        meters.classified("c", reason, 0.1)
    totals = ledger.totals()

    assert {series: n for series, n in totals.items() if series[0] == CLASSIFIER_ERRORS.name} == {
        (CLASSIFIER_ERRORS.name, "c", "timeout"): 1,
        (CLASSIFIER_ERRORS.name, "c", "other"): 1,
    }


def test_counters_add_and_gauges_replace() -> None:
    ledger = Ledger()
    meters = Meters(ledger.rows[0])
    meters.count(REQUESTS, "r", "d", "chat", "2xx")
    meters.count(REQUESTS, "r", "d", "chat", "2xx", amount=2)
    meters.loaded(3, 5)
    meters.loaded(1, 4)

    assert ledger.totals()[REQUESTS.name, "r", "d", "chat", "2xx"] == 3
    assert ledger.totals()[OPEN_STREAMS.name,] == 4
