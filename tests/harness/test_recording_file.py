"""A recording is a file that can be compared, merged, shown to others, and read after a crash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from safety_proxy.errors import ClassifierError, ConfigError
from safety_proxy.harness.recording import Recorder
from safety_proxy.harness.recording_file import (
    Contents,
    Described,
    OddLineError,
    bytes_of,
    description_of,
    journal_of,
    merge,
    rank,
    read_line,
    read_recording,
    recording_key,
    recording_to,
    write_line,
)
from safety_proxy.model import Category, Kind, Query, Span, Verdict
from safety_proxy.testing import ScriptedClassifier

VERDICT = Verdict(
    {Category.HATE: 4}, {Category.JAILBREAK: True}, {"names": True}, (Span(0, 5, "hate", 0.5),), {}, {"x": 0.25}
)
PARTIAL = Verdict({Category.HATE: 4}, failures={Category.SEXUAL: "timeout"})
KEYS = [bytes([number]) * 16 for number in range(4)]
HEADER = b'{"recording":1}\n'


def described(name: str = "guard", identity: str = "one") -> bytes:
    classifier = ScriptedClassifier(name=name)
    classifier.identity = identity
    return orjson.dumps(description_of(classifier))


def line(key: bytes, said: Verdict | ClassifierError, name: str = "guard") -> bytes:
    written = write_line(name, key, said)
    assert written is not None
    return written


def append(path: Path, *lines: bytes) -> None:
    with journal_of(path).open("ab") as journal:
        for each in lines:
            journal.write(b"\n" + each + b"\n")


# ----------------------------------------------------------------------------------------------------------- lines


@pytest.mark.parametrize("said", [VERDICT, PARTIAL, Verdict()])
def test_a_verdict_is_read_as_it_was_written_with_what_stayed_open(said: Verdict) -> None:
    assert read_line(KEYS[1], line(KEYS[1], said)) == said


@pytest.mark.parametrize("categories", [None, frozenset({Category.HATE, Category.SEXUAL})])
def test_a_failure_is_read_with_its_reason_and_its_categories(categories: frozenset[Category] | None) -> None:
    said = read_line(KEYS[1], line(KEYS[1], ClassifierError("timeout", "words of a service", categories=categories)))
    assert isinstance(said, ClassifierError)
    assert (said.reason, said.categories, str(said)) == ("timeout", categories, "timeout")


def test_what_would_not_be_read_as_it_is_is_not_written() -> None:
    assert write_line("guard", KEYS[1], Verdict({Category.HATE: 9})) is None


@pytest.mark.parametrize("written", [b"{}", b'{"verdict":{"v":1}}', b'{"error":"timeout","categories":["odd"]}'])
def test_a_line_that_says_nothing_of_ours_says_nothing(written: bytes) -> None:
    assert read_line(KEYS[1], written) is None


def test_no_text_is_in_a_line_and_the_key_depends_on_all_that_a_verdict_may() -> None:
    query = Query("a secret text", Kind.USER_PROMPT)
    others = [
        Query("another text", Kind.USER_PROMPT),
        Query("a secret text", Kind.DOCUMENT),
        Query("a secret text", Kind.USER_PROMPT, open_left=True),
    ]
    key = recording_key(query, "one")
    assert key not in {recording_key(query, "two"), *(recording_key(other, "one") for other in others)}
    assert key == recording_key(Query("a secret text", Kind.USER_PROMPT, tenant="somebody"), "one")
    assert b"secret" not in line(key, VERDICT)


def test_a_line_ranks_by_what_it_leaves_open() -> None:
    assert [rank(line(KEYS[1], said)) for said in (VERDICT, PARTIAL, ClassifierError("timeout"))] == [0, 1, 2]


async def test_a_described_classifier_is_like_the_one_that_was_described_but_says_nothing() -> None:
    classifier = ScriptedClassifier(name="guard", reads_images=True)
    classifier.limit, classifier.overlap = 100, 7
    described = Described(description_of(classifier), classifier)

    assert description_of(described) | {"local": False, "explains": False} == description_of(classifier)
    assert described.explain(Query("x", Kind.MESSAGE)) == Verdict()
    with pytest.raises(ClassifierError, match="not_recorded"):
        await described.classify([Query("x", Kind.MESSAGE)])
    await described.close()
    assert classifier.closed
    await Described(description_of(classifier)).close()


# -------------------------------------------------------------------------------------------------------- contents


def test_lines_in_any_order_make_the_same_recording() -> None:
    said = [line(KEYS[2], VERDICT), line(KEYS[1], PARTIAL), line(KEYS[3], ClassifierError("timeout"))]
    contents = Contents()
    for each in (described(), *said):
        contents.take(each)
    other = Contents()
    for each in (described(), *reversed(said), said[0], described()):
        other.take(each)

    assert list(contents.lines()) == [HEADER.strip(), described(), said[1], said[0], said[2]]
    assert list(other.lines()) == list(contents.lines())


def test_of_two_lines_about_the_same_the_one_that_leaves_less_open_stays() -> None:
    lines = [line(KEYS[1], said) for said in (ClassifierError("timeout"), PARTIAL, VERDICT)]
    for order in (lines, lines[::-1], [lines[1], lines[2], lines[0]]):
        contents = Contents()
        for each in order:
            contents.take(each)
        assert contents.said["guard"] == {KEYS[1]: lines[2]}


def test_what_another_classifier_of_the_same_name_said_is_dropped() -> None:
    contents = Contents()
    for each in (described(identity="one"), line(KEYS[1], VERDICT), described(identity="two"), line(KEYS[2], VERDICT)):
        contents.take(each)
    assert contents.said["guard"].keys() == {KEYS[2]}


@pytest.mark.parametrize("odd", [b"{", b"[]", b"{}", b'{"classifier":1}', b'{"classifier":"guard","key":"xyz"}'])
def test_a_line_of_something_else_is_refused(odd: bytes) -> None:
    with pytest.raises(OddLineError):
        Contents().take(odd)


# ----------------------------------------------------------------------------------------------------------- files


def test_a_last_line_that_was_left_unfinished_does_not_count_and_others_are_mistakes() -> None:
    whole = HEADER + described() + b"\n" + line(KEYS[1], VERDICT)
    assert (len(read_recording(whole, "r").said["guard"]), read_recording(whole, "r").torn) == (1, False)
    assert (len(read_recording(whole[:-9], "r").said["guard"]), read_recording(whole[:-9], "r").torn) == (0, True)
    with pytest.raises(ConfigError, match=r"r\.jsonl:3: is no line of a recording"):
        read_recording(whole[:-9] + b"\n", "r.jsonl")


@pytest.mark.parametrize("data", [b"", b'{"recording":2}\n', b"something else\n"])
def test_a_file_of_another_version_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"r\.jsonl:1: is no recording of this version; record again, to another file"):
        read_recording(data, "r.jsonl")


def test_a_journal_is_merged_into_the_recording_and_gone(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    append(path, described(), line(KEYS[2], ClassifierError("timeout")), line(KEYS[1], VERDICT))
    merge(path)
    first = path.read_bytes()
    append(path, described(), line(KEYS[2], VERDICT))
    merge(path)
    merge(path)

    assert first == HEADER + b"\n".join(
        [described(), line(KEYS[1], VERDICT), line(KEYS[2], ClassifierError("timeout")), b""]
    )
    assert path.read_bytes() == HEADER + b"\n".join([described(), line(KEYS[1], VERDICT), line(KEYS[2], VERDICT), b""])
    assert [each.name for each in tmp_path.iterdir()] == ["r.jsonl"]


def test_what_a_dying_process_left_unfinished_spoils_no_other_line(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    append(path, described())
    with journal_of(path).open("ab") as journal:
        journal.write((b"\n" + line(KEYS[1], VERDICT))[:40])
    recorder = Recorder(path)
    recorder.keep("guard", KEYS[2], VERDICT)
    recorder.close()
    merge(path)

    assert read_recording(path.read_bytes(), "r").said["guard"].keys() == {KEYS[2]}


def test_what_was_recorded_is_merged_however_the_run_ended(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    append(path, described(), line(KEYS[1], VERDICT))  # of a run that was killed
    with pytest.raises(KeyboardInterrupt), recording_to(path):  # noqa: PT012 - the interrupt comes inside
        append(path, described(), line(KEYS[2], VERDICT))
        raise KeyboardInterrupt
    assert read_recording(path.read_bytes(), "r").said["guard"].keys() == {KEYS[1], KEYS[2]}


def test_what_cannot_be_recorded_to_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text("cases\n")
    with pytest.raises(ConfigError, match="is no recording"), recording_to(other):
        pass
    with (
        pytest.raises(ConfigError, match="cannot be written: No such file or directory"),
        recording_to(tmp_path / "no" / "r"),
    ):
        pass
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        bytes_of(tmp_path / "none")
    journal_of(tmp_path / "folder").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        merge(tmp_path / "folder")


APPENDING = """
import sys
from pathlib import Path
from safety_proxy.harness.recording import Recorder
from safety_proxy.model import Category, Verdict

recorder = Recorder(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    recorder.keep("guard", number.to_bytes(16), Verdict({Category.HATE: 4}, scores={"x" * (number % 300): 0.5}))
recorder.close()
"""


def test_several_processes_append_at_once_and_no_line_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    commands = [[sys.executable, "-c", APPENDING, str(path), str(first), str(first + 1000)] for first in (0, 500)]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with recording_to(path):
        append(path, described())
        processes = [subprocess.Popen(each, stdin=-1, stdout=-1, env=environ) for each in commands]  # noqa: S603 - our own script
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        for process in processes:
            process.communicate(b"\n")
            assert process.returncode == 0

    said = read_recording(path.read_bytes(), "r").said["guard"]
    assert said.keys() == {number.to_bytes(16) for number in range(1500)}
    assert all(read_line(key, each) for key, each in said.items())
