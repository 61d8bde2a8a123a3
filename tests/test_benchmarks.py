"""The benchmark of the embedded classifier prints a figure for everything that it says it measures."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import embedded
from safety_proxy.classifiers.embedded import evaluate
from safety_proxy.classifiers.embedded.rows import stream_windows


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is measured once."""
    measure = evaluate.cpu_per_1000_characters

    def once(judge: Callable[[str], object], text: str, runs: int) -> float:
        assert runs > 1
        return measure(judge, text, 1)

    monkeypatch.setattr(embedded, "cpu_per_1000_characters", once)
    monkeypatch.setattr(embedded, "_RUNS", 1)


@pytest.mark.skipif(sys.platform != "linux", reason="the size of a process is read from /proc")
@pytest.mark.usefixtures("quick")
def test_it_prints_times_for_several_lengths_a_stream_and_loading(capsys: pytest.CaptureFixture[str]) -> None:
    embedded.main()
    heading, *lengths, stream, loading = capsys.readouterr().out.splitlines()
    assert heading == "characters   CPU ms per 1,000 characters"
    figures = [line.split() for line in lengths]
    assert [int(length) for length, _ in figures] == sorted(int(length) for length, _ in figures)
    assert len(figures) >= 4
    assert all(float(cost) > 0 for _, cost in figures)
    windows = len(list(stream_windows(embedded.text_of(3_000))))
    assert re.fullmatch(rf"a stream of 3,000 characters, {windows} windows: [\d.]+ .*1,000.*", stream)
    found = re.fullmatch(r"to load: (\d+) ms; memory added: (\d+) MiB \(medians of 1 fresh processes\)", loading)
    assert found
    assert int(found[1]) > 0
    assert int(found[2]) > 0


@pytest.mark.parametrize("length", [80, 100_000])
def test_the_text_is_as_long_as_is_asked_for(length: int) -> None:
    assert len(embedded.text_of(length)) == length


def test_nothing_is_measured_when_it_is_imported(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(Path(embedded.__file__)), run_name="imported")
    assert capsys.readouterr().out == ""
