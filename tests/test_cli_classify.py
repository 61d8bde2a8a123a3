"""Claims about `safety-proxy classify`."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from safety_proxy import cli_classify
from safety_proxy.cli import main
from safety_proxy.errors import ClassifierError
from safety_proxy.model import HARMS, Category, Kind, Query, Verdict
from safety_proxy.testing import ScriptedClassifier

THREAT = "Tonight I will kill you and murder your family"
LISTS = "classifiers: {house: {type: blocklist, lists: [{name: birds, terms: [bluebird]}]}}\n"


def run(*arguments: str | Path, stdin: str | bytes | io.BytesIO | None = None) -> Result:
    return CliRunner().invoke(main, ["classify", *map(str, arguments)], input=stdin)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "proxy.yaml"
    file.write_text(LISTS)
    return file


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("CONTENT_SAFETY_ENDPOINT", "CONTENT_SAFETY_KEY"):
        monkeypatch.delenv(variable, raising=False)


class Oracle(ScriptedClassifier):
    """Stands in for whatever the configuration names."""

    limit: int | None = 20
    overlap: int = 8


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> Oracle:
    made = Oracle({"kill": (Category.VIOLENCE, 5)}, errors={"away": "unreachable"})
    monkeypatch.setattr(cli_classify, "build_classifier", lambda name, settings: made)
    return made


# ---------------------------------------------------------------------------------------------------------- what is told


def test_a_text_is_one_line_with_every_severity_by_number_and_name() -> None:
    outcome = run(THREAT)
    assert outcome.exit_code == 0
    (line,) = outcome.stdout.splitlines()
    for category in HARMS:
        assert f"{category} " in line
    assert "violence high " in line
    assert "jailbreak no " in line
    assert line.endswith(f"  {THREAT}")


def test_lines_of_several_texts_stand_in_columns(oracle: Oracle) -> None:
    first, second = run("kill", "nothing").stdout.splitlines()
    assert first.startswith("hate safe 0    sexual safe 0    violence medium 5  self_harm safe 0    ")
    assert second.startswith("hate safe 0    sexual safe 0    violence safe 0    self_harm safe 0    ")
    assert len(first.removesuffix("kill")) == len(second.removesuffix("nothing"))


def test_programs_get_one_object_a_line(oracle: Oracle) -> None:
    told = [json.loads(line) for line in run("kill", "nothing", "--json", "--kind", "completion").stdout.splitlines()]
    assert [each["text"] for each in told] == ["kill", "nothing"]
    assert told[0] == {
        "text": "kill",
        "kind": "completion",
        "classifier": "scripted",
        "severities": {"hate": 0, "sexual": 0, "violence": 5, "self_harm": 0},
        "labels": {"hate": "safe", "sexual": "safe", "violence": "medium", "self_harm": "safe"},
        "detections": dict.fromkeys(sorted(set(Category) - HARMS, key=list(Category).index), False),
        "blocklists": {},
        "failures": {},
        "scores": {},
    }


def test_programs_get_the_probabilities_that_the_classifier_tells() -> None:
    told = json.loads(run(THREAT, "--json").stdout)
    assert set(told["scores"]) >= {"violence", "unsafe", "jailbreak"}
    assert all(0 <= score <= 1 and score == round(score, 6) for score in told["scores"].values())
    assert told["scores"]["unsafe"] >= told["scores"]["violence"] > 0.5
    assert "indirect_attack" not in told["scores"]


def test_people_are_not_shown_probabilities() -> None:
    assert "unsafe" not in run(THREAT).stdout


def test_of_a_text_in_parts_the_highest_probability_is_told(oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    async def classify(queries: Sequence[Query]) -> Sequence[Verdict]:
        return [Verdict({Category.HATE: 0}, scores={"hate": len(query.text) / 30}) for query in queries]

    monkeypatch.setattr(oracle, "classify", classify)
    assert json.loads(run("a" * 30, "--json").stdout)["scores"] == {"hate": round(20 / 30, 6)}


@pytest.mark.parametrize(("kind", "attack"), [("user_prompt", "jailbreak"), ("document", "indirect_attack")])
def test_what_is_looked_for_depends_on_the_kind_of_text(kind: str, attack: str) -> None:
    assert list(json.loads(run("hello", "--json", "--kind", kind).stdout)["detections"]) == [attack]


def test_texts_are_user_prompts_unless_something_else_is_said(oracle: Oracle) -> None:
    run("hello")
    assert oracle.asked == [Query("hello", Kind.USER_PROMPT)]


def test_explain_shows_the_words_that_weighed_most() -> None:
    text = f"Hello there. {THREAT}"
    line, *spans = run(text, "--explain").stdout.splitlines()
    assert "violence high" in line
    assert any(span.startswith("    violence +") and "murder" in span for span in spans)
    told = json.loads(run(text, "--explain", "--json").stdout)
    assert "violence" in {span["label"] for span in told["spans"]}
    for span in told["spans"]:
        assert span["text"] == text[span["start"] : span["end"]]


def test_what_would_move_the_cursor_is_not_printed_and_long_texts_are_cut(oracle: Oracle) -> None:
    outcome = run("\x1b[31mred\nline", "x" * 100)
    first, second = outcome.stdout.splitlines()
    assert first.endswith("   [31mred line")
    assert second.endswith("  " + "x" * 57 + "...")


def test_bytes_that_are_no_text_are_replaced(oracle: Oracle) -> None:
    """Python hands arguments that are no UTF-8 on as surrogates."""
    assert json.loads(run("caf\udce9", "--json").stdout)["text"] == "caf\ufffd"


# ---------------------------------------------------------------------------------------------------------- what is asked


def test_lines_of_standard_input_are_texts(oracle: Oracle) -> None:
    assert len(run(stdin="one\ntwo\n\nfour").stdout.splitlines()) == 4
    assert [query.text for query in oracle.asked] == ["one", "two", "", "four"]


def test_lines_of_a_file_are_texts(oracle: Oracle, tmp_path: Path) -> None:
    (tmp_path / "texts").write_bytes(b"one\ncaf\xe9\n")
    assert run("--file", tmp_path / "texts").exit_code == 0
    assert [query.text for query in oracle.asked] == ["one", "caf\ufffd"]


def test_no_text_gives_no_line(oracle: Oracle) -> None:
    outcome = run(stdin="")
    assert (outcome.exit_code, outcome.stdout) == (0, "")


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


def test_nobody_waits_for_a_person_to_type() -> None:
    outcome = run(stdin=Terminal())
    assert outcome.exit_code == 2
    assert "Give texts, or --file, or lines on standard input." in outcome.stderr


def test_texts_and_a_file_are_one_too_many(tmp_path: Path) -> None:
    (tmp_path / "texts").touch()
    outcome = run("text", "--file", tmp_path / "texts")
    assert outcome.exit_code == 2
    assert "not both" in outcome.stderr


def test_a_text_beyond_the_limit_is_judged_in_parts_and_told_as_one(oracle: Oracle) -> None:
    told = json.loads(run("a" * 30 + " kill " + "b" * 30, "--json").stdout)
    assert len(oracle.asked) > 1
    assert told["severities"]["violence"] == 5


async def test_spans_of_parts_are_told_where_they_stand_in_the_text(oracle: Oracle) -> None:
    text = "a" * 30 + " kill " + "b" * 30
    verdict = await cli_classify._ask(oracle, Query(text, Kind.MESSAGE), explain=False)
    assert {text[span.start : span.end] for span in verdict.spans} == {"kill"}


# ------------------------------------------------------------------------------------------------------------ who is asked


def test_a_classifier_of_the_configuration_is_asked_by_its_name(config: Path) -> None:
    found, not_found = run("--config", config, "--classifier", "house", "a bluebird", "a crow").stdout.splitlines()
    assert found == "blocklist birds yes  a bluebird"
    assert not_found == "blocklist birds no   a crow"


def test_the_embedded_classifier_is_there_beside_those_of_the_configuration(config: Path) -> None:
    assert "violence high" in run("--config", config, THREAT).stdout


def test_a_classifier_that_nobody_knows_is_an_error(config: Path) -> None:
    outcome = run("text", "--config", config, "--classifier", "hause")
    assert outcome.exit_code == 2
    message = "no classifier is called `hause`; known are: embedded, azure_content_safety, house"
    assert outcome.stderr == f"error: --classifier: {message}\n"


def test_the_service_needs_its_variables() -> None:
    outcome = run("text", "--classifier", "azure_content_safety")
    assert outcome.exit_code == 2
    assert "the environment variable CONTENT_SAFETY_ENDPOINT is not set" in outcome.stderr


def test_explaining_shows_what_any_other_classifier_tells_of_its_own_accord(config: Path) -> None:
    outcome = run("a bluebird", "--explain", "--config", config, "--classifier", "house")
    assert outcome.stdout == "blocklist birds yes  a bluebird\n    birds +1.00  bluebird\n"


# ------------------------------------------------------------------------------------------------------------- no verdict


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens at, nor can begin to."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_a_service_that_is_away_is_told_for_each_category_and_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("CONTENT_SAFETY_ENDPOINT", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("CONTENT_SAFETY_KEY", "secret")
    outcome = run("text", "--classifier", "azure_content_safety", "--json")
    assert outcome.exit_code == 1
    categories = ["hate", "sexual", "violence", "self_harm", "jailbreak"]
    assert json.loads(outcome.stdout)["failures"] == dict.fromkeys(categories, "unreachable")


def test_the_texts_after_one_without_a_verdict_are_judged_all_the_same(oracle: Oracle) -> None:
    outcome = run("away", "kill")
    assert outcome.exit_code == 1
    first, second = outcome.stdout.splitlines()
    assert "violence ? (unreachable)" in first
    assert "violence medium 5" in second
    assert oracle.closed


def test_what_failed_in_part_is_told_beside_what_was_decided(oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    async def classify(queries: Sequence[Query]) -> Sequence[Verdict]:
        if queries[0].text == "narrow":
            raise ClassifierError("timeout", categories={Category.SEXUAL})
        return [Verdict({Category.HATE: 2}, failures={Category.JAILBREAK: "timeout"})]

    monkeypatch.setattr(oracle, "classify", classify)
    outcome = run("partly", "narrow")
    assert outcome.exit_code == 1
    assert outcome.stdout.splitlines() == [
        "hate low 2     jailbreak ? (timeout)  partly",
        "sexual ? (timeout)  narrow",
    ]
