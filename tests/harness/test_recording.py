"""What classifiers said once they say again, and nobody is asked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from safety_proxy.classifiers.base import Classifier, Explaining, LocalClassifier
from safety_proxy.errors import ClassifierError, ConfigError
from safety_proxy.harness.cases import Case
from safety_proxy.harness.recording import Recorder, Recording, recording_to
from safety_proxy.harness.recording_file import journal_of
from safety_proxy.model import HARMS, Category, Kind, Query, Span, Verdict
from safety_proxy.testing import ScriptedClassifier

CASE = Case("a case", "cases.jsonl:7", {})


def scripted(*, identity: str = "guard") -> ScriptedClassifier:
    made = ScriptedClassifier({"harm": (Category.VIOLENCE, 6)}, errors={"slow": "timeout"}, name="guard")
    made.identity = identity
    return made


class Local(ScriptedClassifier):
    """A `LocalClassifier`."""

    def classify_now(self, queries: Sequence[Query], /) -> list[Verdict]:
        self.asked += queries
        return [self._verdict(query) for query in queries]


class Telling(Local):
    """An `Explaining` one."""

    def explain(self, query: Query, /) -> Verdict:
        self.asked.append(query)
        return Verdict({Category.VIOLENCE: 6}, spans=(Span(0, 4, "violence", 0.5),))


def query(text: str) -> Query:
    return Query(text, Kind.COMPLETION)


@dataclass
class Tape:
    """A file to record to, and to replay from."""

    path: Path

    def recorder(self) -> Recorder:
        return Recorder(self.path)

    def recording(self) -> Recording:
        return Recording(Recording.read(self.path), str(self.path))


@pytest.fixture
def tape(tmp_path: Path) -> Tape:
    return Tape(tmp_path / "r.jsonl")


async def said(classifier: Classifier, *texts: str) -> list[Verdict] | str:
    """The verdicts, or why there are none."""
    try:
        return list(await classifier.classify([query(text) for text in texts]))
    except ClassifierError as error:
        return error.reason


# -------------------------------------------------------------------------------------------------------- the same


async def test_a_replay_says_what_was_said_failures_too_and_asks_nobody(tape: Tape) -> None:
    calls = [("harm", "good"), ("slow",), ("good",), ()]
    with recording_to(tape.path):
        recorder = tape.recorder()
        recorded = recorder.wrap(scripted())
        before = [await said(recorded, *call) for call in calls]
        recorder.check(CASE)
        recorder.close()

    live = scripted()
    recording = tape.recording()
    for again in (recording.wrap(live), recording.classifier("guard")):
        assert [await said(again, *call) for call in calls] == before
        assert (again.name, again.identity, again.reports(Kind.IMAGE)) == ("guard", "guard", frozenset(Category))
    recording.check(CASE)
    assert before == [await said(scripted(), *call) for call in calls]
    assert live.asked == []


async def test_local_classifiers_stay_local_and_those_that_explain_still_do(tape: Tape) -> None:
    told = []
    with recording_to(tape.path):
        recorder = tape.recorder()
        for recording in (recorder, None):
            for live in (ScriptedClassifier(name="distant"), Local(name="local"), Telling(name="telling")):
                each = recorder.wrap(live) if recording else tape.recording().wrap(live)
                assert isinstance(each, LocalClassifier) == isinstance(live, LocalClassifier)
                assert isinstance(each, Explaining) == isinstance(live, Explaining)
                told.append(await said(each, "harm"))
                told.append([*each.classify_now([query("one"), query("two")])] if isinstance(each, LocalClassifier) else [])
                told.append([each.explain(query("harm"))] if isinstance(each, Explaining) else [])
            if recording:
                recorder.close()
    assert told[:9] == told[9:]
    assert told[8] == [Verdict({Category.VIOLENCE: 6}, spans=(Span(0, 4, "violence", 0.5),))]


async def test_a_local_failure_is_repeated_at_once(tape: Tape) -> None:
    with recording_to(tape.path):
        recorder = tape.recorder()
        recorded = recorder.wrap(Local(errors={"slow": "timeout"}))
        for each in (recorded, None):
            if each is None:
                recorder.close()
                each = tape.recording().classifier("scripted")  # noqa: PLW2901 - the other one
            assert isinstance(each, LocalClassifier)
            with pytest.raises(ClassifierError, match="timeout"):
                each.classify_now([query("slow")])


async def test_of_a_call_that_failed_what_was_decided_at_another_time_is_told(tape: Tape) -> None:
    with recording_to(tape.path):
        recorder = tape.recorder()
        recorded = recorder.wrap(scripted())
        assert await said(recorded, "good", "slow") == "timeout"
        await said(recorded, "good")
        recorder.close()

    again = tape.recording().classifier("guard")
    good, slow = await again.classify([query("good"), query("slow")])
    assert good == (await scripted().classify([query("good")]))[0]
    assert slow == Verdict(failures=dict.fromkeys(sorted(Category), "timeout"))


async def test_closing_one_on_tape_closes_the_classifier_behind_it(tape: Tape) -> None:
    with recording_to(tape.path):
        recorder, first, second = tape.recorder(), scripted(), scripted()
        await recorder.wrap(first).close()
        recorder.close()
    await tape.recording().wrap(second).close()
    assert (first.closed, second.closed) == (True, True)


# ------------------------------------------------------------------------------------------------------- recording


async def test_what_is_recorded_is_not_asked_for_again_but_what_stayed_open_is(tape: Tape) -> None:
    asked = []
    for _ in range(2):
        live = Local(errors={"slow": "timeout"})
        with recording_to(tape.path):
            recorder = tape.recorder()
            each = recorder.wrap(live)
            await said(each, "good", "harm")
            assert await said(each, "good", "better") != "timeout"
            recorder.close()
        asked.append([query.text for query in live.asked])
    assert asked == [["good", "harm", "good", "better"], []]

    for reason in ("timeout", "rate_limited"):
        live = Local(errors={"slow": reason})
        with recording_to(tape.path):
            recorder = tape.recorder()
            assert await said(recorder.wrap(live), "slow") == reason
            recorder.close()


async def test_each_verdict_is_appended_once_and_no_text_is(tape: Tape) -> None:
    with recording_to(tape.path):
        recorder = tape.recorder()
        each = recorder.wrap(scripted())
        for text in ("a secret harm", "slow secret") * 3:
            await said(each, text)
        recorder.close()
        journal = journal_of(tape.path).read_bytes()
    assert len(journal.split()) == 3
    assert b"secret" not in journal


async def test_what_cannot_be_recorded_fails_the_run_and_not_the_case(tape: Tape) -> None:
    class Odd(ScriptedClassifier):
        def _verdict(self, query: Query) -> Verdict:
            return Verdict(dict.fromkeys(HARMS, 9))

    with recording_to(tape.path):
        recorder = tape.recorder()
        assert await said(recorder.wrap(Odd()), "text") == [Verdict(dict.fromkeys(HARMS, 9))]
        with pytest.raises(ConfigError, match=r"r\.jsonl: what `scripted` says cannot be recorded"):
            recorder.check(CASE)
        recorder.close()


@pytest.mark.parametrize("written", [0, None])
def test_a_full_disk_fails_the_run(tape: Tape, monkeypatch: pytest.MonkeyPatch, written: int | None) -> None:
    def write(_file: int, _data: bytes) -> int:
        if written is None:
            raise OSError(28, "No space left on device")
        return written

    recorder = tape.recorder()
    monkeypatch.setattr(os, "write", write)
    recorder.keep("guard", bytes(16), Verdict())
    with pytest.raises(ConfigError, match=r"r\.jsonl: cannot be written: [Nn]o space left"):
        recorder.check(CASE)
    recorder.close()


def test_where_nothing_can_be_written_nothing_is_recorded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        Recorder(tmp_path / "no" / "r.jsonl")


# ------------------------------------------------------------------------------------------------------- replaying


@pytest.fixture
async def recorded(tape: Tape) -> Tape:
    with recording_to(tape.path):
        recorder = tape.recorder()
        await said(recorder.wrap(scripted()), "good")
        recorder.wrap(Telling(name="telling"))
        recorder.close()
    return tape


async def test_a_text_that_was_not_recorded_fails_the_run_and_names_the_case(recorded: Tape) -> None:
    recording = recorded.recording()
    live = scripted()
    assert await said(recording.wrap(live), "new") == "not_recorded"
    with pytest.raises(
        ConfigError, match=r"cases\.jsonl:7: what `guard` says of this case is not recorded in .*; record again"
    ):
        recording.check(CASE)
    recording.check(CASE)
    recording.close()
    assert live.asked == []


def test_an_explanation_that_was_not_recorded_fails_the_run(recorded: Tape) -> None:
    recording = recorded.recording()
    telling = recording.classifier("telling")
    assert isinstance(telling, Explaining)
    assert telling.explain(query("new")) == Verdict()
    with pytest.raises(ConfigError, match="what `telling` says of this case is not recorded"):
        recording.check(CASE)


def changed() -> Iterator[tuple[ScriptedClassifier, str]]:
    yield scripted(identity="guard 2"), "identity was guard, is guard 2"
    shorter = scripted()
    shorter.limit = 100
    yield shorter, "limit was None, is 100"


@pytest.mark.parametrize(("classifier", "told"), [*changed()])
def test_a_classifier_that_is_not_what_was_recorded_is_refused(
    recorded: Tape, classifier: ScriptedClassifier, told: str
) -> None:
    with pytest.raises(ConfigError, match=f"`guard` is not what was recorded: {told}; record again"):
        recorded.recording().wrap(classifier)


def test_a_classifier_that_was_not_recorded_is_refused(recorded: Tape) -> None:
    with pytest.raises(ConfigError, match="no classifier `other` is recorded; recorded are: guard, telling"):
        recorded.recording().classifier("other")


def test_a_recording_that_ends_too_early_is_warned_of(recorded: Tape) -> None:
    data = recorded.path.read_bytes()
    assert Recording(data, "r").warnings == ()
    assert Recording(data[:-20], "r").warnings == ("r: the last line ends too early, and does not count",)


async def test_a_line_with_a_verdict_of_nothing_we_know_is_as_good_as_none(recorded: Tape) -> None:
    lines = recorded.path.read_bytes().splitlines()
    broken = [orjson.dumps({**orjson.loads(line), "verdict": {}}) if b'"verdict"' in line else line for line in lines]
    recording = Recording(b"\n".join(broken), "r")
    assert await said(recording.classifier("guard"), "good") == "not_recorded"


async def test_what_an_interrupted_run_recorded_is_replayed(tape: Tape) -> None:
    recorder = tape.recorder()
    await said(recorder.wrap(scripted()), "good")
    recorder.close()
    assert not tape.path.exists()
    assert await said(tape.recording().classifier("guard"), "good") == await said(scripted(), "good")
