"""The measures are the textbook ones, and the report names what it measures."""

from __future__ import annotations

import gzip
import json
import math
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from safety_proxy.classifiers.embedded import evaluate as module
from safety_proxy.classifiers.embedded.evaluate import average_precision, main, rank_correlation, recall_at, report, roc_auc
from safety_proxy.classifiers.embedded.model import HEADS, Model
from safety_proxy.classifiers.embedded.rows import Row

SCORED = st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=2, max_size=60).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)


@given(SCORED)
def test_precision_and_area_agree_with_scikit_learn(rows: list[tuple[bool, int]]) -> None:
    wanted = np.array([label for label, _ in rows], np.int8)
    scores = np.array([score for _, score in rows], np.float64)
    assert average_precision(wanted, scores) == pytest.approx(average_precision_score(wanted, scores))
    assert roc_auc(wanted, scores) == pytest.approx(roc_auc_score(wanted, scores))


def test_measures_of_one_label_are_not_numbers() -> None:
    ones, scores = np.ones(3, np.int8), np.arange(3.0)
    for wanted in (ones, 1 - ones):
        assert math.isnan(roc_auc(wanted, scores))
        assert math.isnan(recall_at(wanted, scores, 0.01))
    assert math.isnan(average_precision(1 - ones, scores))
    assert average_precision(ones, scores) == 1


def test_rank_correlation_sees_order_alone() -> None:
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([1.0, 10, 11])) == pytest.approx(1)
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([9.0, 4, 1])) == pytest.approx(-1)
    assert rank_correlation(np.array([0.0, 0, 2, 2]), np.array([1.0, 1, 5, 5])) == pytest.approx(1)
    assert math.isnan(rank_correlation(np.array([1.0, 1]), np.array([1.0, 2])))
    assert math.isnan(rank_correlation(np.array([1.0]), np.array([1.0])))


def test_recall_is_taken_above_the_score_that_the_share_of_negatives_reach() -> None:
    wanted = np.array([0] * 100 + [1] * 4, np.int8)
    scores = np.array([*range(100), 98.0, 99, 100, 101])
    assert recall_at(wanted, scores, 0.01) == 0.5
    assert recall_at(wanted, scores, 0.02) == 0.75
    assert recall_at(wanted, scores, 0.5) == 1


def rows() -> list[Row]:
    calm = dict.fromkeys(HEADS, 0)
    benign = [
        Row(f"The {word} is near the old bridge, on the left. " * 25, calm, "travel") for word in ("inn", "lake", "museum")
    ]
    threats = [
        Row(f"I will kill you {when}", calm | {"violence": 1}, "posts", "", {"violence": 6}) for when in ("now", "tonight")
    ]
    return [*benign, *threats, Row("Where is my parcel?", calm | {"hate": None}, "posts")]


def test_the_report_holds_each_head_each_benign_source_the_windows_and_the_time() -> None:
    text = "\n".join(report(Model.load(), rows()))
    for head in HEADS:
        assert f"\n{head} " in f"\n{text}"
    violence = next(line for line in text.splitlines() if line.startswith("violence")).split()
    assert violence[1:5] == ["6", "2", "1.000", "1.000"]
    assert violence[6] == "1.000"
    travel = next(line for line in text.splitlines() if line.startswith("travel")).split()
    assert travel[1:] == ["3", "0", "0.0000"]
    assert not any(line.startswith("posts") for line in text.splitlines())
    assert "stream windows of benign texts of 1000 characters and more" in text
    assert text.splitlines()[-1].split()[0] == "100000"


def test_a_report_without_benign_sources_leaves_the_sum_out() -> None:
    text = "\n".join(report(Model.load(), rows()[3:]))
    assert "\ntogether" not in text


def test_the_command_prints_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.jsonl.gz"
    content = [{"text": r.text, "labels": dict(r.labels), "source": r.source, "severity": dict(r.severity)} for r in rows()]
    file.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in content).encode()))
    main(["--data", str(file)])
    printed = capsys.readouterr().out
    assert printed.startswith(f"model {Model.load().digest[:16]}, rows.jsonl.gz\nhead ")
    assert "violence" in printed


def test_it_runs_as_a_module(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate", "--help"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(module.__file__), run_name="__main__")
    assert caught.value.code == 0
    assert "python -m safety_proxy.classifiers.embedded.evaluate" in capsys.readouterr().out
