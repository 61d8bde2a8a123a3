"""The report counts what it says it counts, for rows of either kind of file."""

from __future__ import annotations

import gzip
import json
import runpy
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from safety_proxy.classifiers.embedded import evaluate as module
from safety_proxy.classifiers.embedded.evaluate import (
    SHORTEST,
    STREAM,
    Judged,
    benign_streams,
    cpu_per_1000_characters,
    main,
    report,
)
from safety_proxy.classifiers.embedded.metrics import calibration_error
from safety_proxy.classifiers.embedded.model import HEADS, Model, overall
from safety_proxy.classifiers.embedded.rows import Row
from safety_proxy.errors import ConfigError
from tests.classifiers.tiny_models import constant_model, taught_model

MODEL = taught_model(violence="dragonfire", hate="quagmire", jailbreak="crowbar")
CALM = dict.fromkeys(HEADS, 0)


def textbook() -> ModuleType:
    """scikit-learn's figures, which take seconds to import: not before they are wanted."""
    return import_module("sklearn.metrics")


def sentences(word: str, count: int = 25) -> str:
    return f"The {word} is near the old bridge, on the left. " * count


def rows() -> list[Row]:
    """Three long calm texts; four of posts with their labels, one of them found in vain, one missed, one half known."""
    calm = [Row(sentences(word), CALM, "travel") for word in ("inn", "lake", "museum")]
    return [
        *calm,
        Row("dragonfire tonight", CALM | {"violence": 1}, "posts", "", {"violence": 6}),
        Row("nothing to see", CALM | {"violence": 1}, "posts", "", {"violence": 2}),
        Row("quagmire today", CALM, "posts"),
        Row("Where is my parcel?", CALM | {"hate": None}, "posts"),
        Row("crowbar", CALM | {"jailbreak": 1}, f"own: {'x' * 80}", group="attacks"),
    ]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The lengths and the runs that would have been measured."""
    asked: list[tuple[int, int]] = []

    def measure(judge: Callable[[str], object], text: str, runs: int) -> float:
        judge(text)
        asked.append((len(text), runs))
        return 0.125

    monkeypatch.setattr(module, "cpu_per_1000_characters", measure)
    return asked


def line(begins: str, some: list[Row] | None = None, model: Model = MODEL) -> list[str]:
    """The cells of the one line that begins so, in the part of the report before streams that tells what was flagged."""
    told = "\n".join(report(model, rows() if some is None else some)).split("\nstreams of")[0]
    lines = told.splitlines()
    (found,) = (line for line in lines if line.startswith(begins))
    return found.removeprefix(begins).split()


# -------------------------------------------------------------------------------------------------------------- by head


def test_each_head_has_its_rows_its_positives_and_its_ranking() -> None:
    judged = Judged.of(MODEL, rows())
    for column, head in enumerate(HEADS):
        count, positive, precision, area, *_ = line(f"{head} ")
        known = judged.known[:, column]
        wanted, scores = known[known >= 0], judged.scores[known >= 0, column]
        assert (int(count), int(positive)) == (len(wanted), int((wanted == 1).sum()))
        if 0 < wanted.sum() < len(wanted):
            assert float(precision) == pytest.approx(textbook().average_precision_score(wanted, scores), abs=1e-3)
            assert float(area) == pytest.approx(textbook().roc_auc_score(wanted, scores), abs=1e-3)
        else:
            assert (precision, area) == ("nan", "nan")


def test_recall_at_the_cuts_counts_the_positive_rows_that_reach_a_level() -> None:
    """Of two positive rows of violence one is found, at the highest level."""
    assert line("violence ")[4:7] == ["0.500"] * 3
    assert line("hate ")[4:7] == ["nan"] * 3
    assert line("jailbreak ")[4:7] == ["1.000"] * 3
    constant = constant_model(violence=2)  # which is level 4, for every text
    assert line("violence ", model=constant)[4:7] == ["1.000", "1.000", "0.000"]


def test_the_calibration_error_is_that_of_the_probabilities_of_the_head() -> None:
    judged = Judged.of(MODEL, rows())
    column = HEADS.index("violence")
    chances = np.array([MODEL.probabilities(scores)[column] for scores in judged.scores])
    assert float(line("violence ")[8]) == pytest.approx(calibration_error(judged.known[:, column], chances), abs=1e-3)


def test_ranks_compare_severities_with_levels_and_rows_of_label_0_count_as_severity_0() -> None:
    of_positives, of_all = map(float, line("violence ")[9:])
    assert of_positives == pytest.approx(1)
    assert 0 < of_all < 1  # the missed row lies among those of severity 0
    assert line("sexual ")[9:] == ["nan", "nan"]


def test_any_harm_is_ranked_by_the_overall_score_and_attacks_are_no_harm() -> None:
    count, positive, precision, area, *recalls = line("any harm ")
    known = [row for row in rows() if row.labels["hate"] is not None]
    wanted = np.array([row.label("violence") for row in known])
    scores = [overall(MODEL.probabilities(MODEL.scores(row.text))) for row in known]
    assert (int(count), int(positive)) == (7, 2)
    assert float(precision) == pytest.approx(textbook().average_precision_score(wanted, scores), abs=1e-3)
    assert float(area) == pytest.approx(textbook().roc_auc_score(wanted, scores), abs=1e-3)
    assert recalls[:3] == ["0.500"] * 3


def test_a_row_is_known_to_be_harmful_by_one_label_and_harmless_only_by_all() -> None:
    half = [Row("a", CALM | {"hate": None, "violence": 1}, "s"), Row("b", CALM | {"hate": None}, "s"), Row("c", CALM, "s")]
    assert line("any harm ", half)[:2] == ["2", "1"]


def test_without_a_harmful_row_recalls_are_no_numbers() -> None:
    assert line("any harm ", rows()[:3])[2:7] == ["nan"] * 5


# -------------------------------------------------------------------------------------------------------------- by kind


def test_by_source_it_is_told_what_was_found_and_what_was_flagged() -> None:
    assert line("posts") == ["1/2", "1/1", "1.0000"]
    assert line("travel") == ["0/0", "0/3", "0.0000"]
    assert line("together") == ["1/2", "1/5", "0.2000"]
    assert line("sources without a positive row") == ["0/0", "0/3", "0.0000"]


def test_our_own_rows_are_told_by_group_and_long_names_keep_their_end() -> None:
    (found,) = (line for line in report(MODEL, rows()) if ", attacks" in line)
    name, cells = found[:76], found[76:]
    assert name.rstrip() == f"{'x' * 66}, attacks"
    assert cells.split() == ["0/0", "0/1", "0.0000"]


def test_without_a_harmless_row_there_is_no_share() -> None:
    assert line("together", rows()[3:5]) == ["1/2", "0/0"]


# ------------------------------------------------------------------------------------------------------- streams, time


def test_streams_are_made_of_harmless_rows_of_one_source_laid_end_to_end() -> None:
    short, other = Row("a" * (SHORTEST - 1), CALM, "travel"), Row("b" * (STREAM - 1), CALM, "other")
    harmful, unknown = Row("c" * 9999, CALM | {"violence": 1}, "travel"), Row("d" * 9999, CALM | {"hate": None}, "travel")
    joined = "\n\n".join(sentences(word, 50) for word in ("inn", "lake", "museum"))
    texts = [Row(sentences(word, 50), CALM, "travel") for word in ("inn", "lake", "museum")]
    streams = benign_streams([short, other, *texts, harmful, unknown])
    assert set(streams) == {"travel"}
    assert len(streams["travel"]) == len(joined) // STREAM > 1
    assert all(len(stream) == STREAM for stream in streams["travel"])
    assert joined.startswith("".join(streams["travel"]))


def streams_told(some: list[Row]) -> dict[str, str]:
    """Source to what the report tells of its streams."""
    told = "\n".join(report(MODEL, some)).split("\nstreams of")[1].split("\n\n")[0]
    return dict(line.rsplit(maxsplit=1) for line in told.splitlines()[1:])


def test_a_stream_is_stopped_if_one_of_its_windows_reaches_the_medium_level() -> None:
    calm = [Row(sentences("inn", 2 * STREAM // 40), CALM, name) for name in ("a", "b")]
    cut = calm[1].text[:1000] + "dragonfire" + calm[1].text[1010:]
    loud = [calm[0], Row(cut, CALM, "b")]
    for some, stopped in ((calm, 0), (loud, 1)):
        told = streams_told(some)
        assert told == {"a": "0/2", "b": f"{stopped}/2", "together": f"{stopped}/4"}


def test_without_enough_benign_text_no_stream_is_judged() -> None:
    assert streams_told(rows()[3:]) == {"together": "0/0"}


def test_time_is_measured_for_the_lengths_that_the_rows_fill(quick: list[tuple[int, int]]) -> None:
    *_, last = report(MODEL, rows())
    together = len(" ".join(row.text for row in rows()))
    assert [length for length, _ in quick] == [length for length in (100, 300, 1000, 10_000, 100_000) if length <= together]
    assert all(runs >= 5 for _, runs in quick)
    assert last.split() == [str(quick[-1][0]), "0.125"]


def test_the_time_is_that_of_the_median_run_for_1000_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0, 9_000_000, 10_000_000, 11_000_000, 20_000_000, 24_000_000])  # runs of 9, 1 and 4 ms
    monkeypatch.setattr(time, "process_time_ns", lambda: next(clock))
    judged: list[str] = []
    assert cpu_per_1000_characters(judged.append, "x" * 2000, 3) == pytest.approx(2)
    assert judged == ["x" * 2000] * 3


# ------------------------------------------------------------------------------------------------------------- command


@pytest.fixture
def model_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no file is named the model of these tests is taken for the one that ships."""
    monkeypatch.setattr(Model, "load", {None: MODEL}.__getitem__)


@pytest.mark.usefixtures("model_file")
def test_the_command_reports_on_json_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.jsonl.gz"
    content = [{"text": r.text, "labels": dict(r.labels), "source": r.source, "severity": dict(r.severity)} for r in rows()]
    file.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in content).encode()))
    main(["--data", str(file)])
    printed = capsys.readouterr().out
    assert printed.startswith("model , rows.jsonl.gz\nhead ")
    assert "\nviolence " in printed
    assert "\ntravel " in printed


@pytest.mark.usefixtures("model_file")
def test_the_command_reports_on_authored_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.txt").write_text("## fire | is: violence\ndragonfire\n## calm\nhello\n")
    main(["--data", str(tmp_path / "rows.txt")])
    printed = capsys.readouterr().out
    assert printed.startswith("model , rows.txt\nhead ")
    (fire,) = (line for line in printed.splitlines() if ": rows.txt, fire " in line)
    assert fire.split()[-2:] == ["1/1", "0/0"]


@pytest.mark.usefixtures("model_file")
def test_the_command_reports_on_our_own_development_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    learnt = [Row("x", CALM, "learnt from")]
    monkeypatch.setattr(module, "authored_rows", lambda: (learnt, rows()))
    main(["--own"])
    printed = capsys.readouterr().out
    assert printed.startswith("model , own development rows\nhead ")
    assert "\nposts " in printed
    assert "learnt from" not in printed


def test_another_model_may_be_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        main(["--own", "--model", str(tmp_path / "none.npz")])
    assert caught.value.file == str(tmp_path / "none.npz")


@pytest.mark.parametrize("arguments", [[], ["--own", "--data", "rows.txt"]])
def test_just_one_kind_of_rows_is_asked_for(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "--own" in capsys.readouterr().err


def test_it_runs_as_a_module(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate", "--help"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(module.__file__), run_name="__main__")
    assert caught.value.code == 0
    assert "python -m safety_proxy.classifiers.embedded.evaluate" in capsys.readouterr().out
