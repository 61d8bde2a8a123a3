"""The form of promptfoo's files is that of promptfoo.dev/docs/configuration/reference and src/types/index.ts there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from safety_proxy.errors import ConfigError
from safety_proxy.harness.cases import Case, ExpectedCategory
from safety_proxy.harness.imported import Importer, SideName
from safety_proxy.harness.imports_promptfoo import read_promptfoo
from safety_proxy.model import Category

ASSERT = "assert: [{type: guardrails}]"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "promptfooconfig.yaml"


def cases(file: Path, text: str, side: SideName = "input", skipped: Counter[str] | None = None) -> list[Case]:
    file.write_text(text, encoding="utf-8")
    return list(read_promptfoo(file, Importer(side, skipped)))


def one(file: Path, text: str, side: SideName = "input") -> Case:
    (case,) = cases(file, text, side)
    return case


def refusal(file: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        cases(file, text)
    return str(caught.value).removeprefix(f"{file}:")


def decisions(case: Case) -> tuple[str | None, str | None]:
    return (case.input.decision if case.input else None), (case.output.decision if case.output else None)


def test_a_configuration_of_promptfoo_is_read(file: Path) -> None:
    case = one(
        file,
        """
description: Our assistant
providers: [openai:gpt-4o]
prompts: ["Answer the customer: {{ question }}"]
defaultTest: {metadata: {team: shop}}
tests:
  - description: rude words are caught
    vars: {question: you fool}
    assert: [{type: not-guardrails}]
    metadata: {kind: [rude, short], hard: true}
""",
    )
    assert case.name == "rude words are caught"
    assert case.place == f"{file}:7"
    assert case.body == {"text": "Answer the customer: you fool"}
    assert decisions(case) == ("filter", None)
    assert case.tags == {"team=shop", "kind=rude", "kind=short", "hard=true"}


def test_without_prompts_the_variable_prompt_is_the_prompt(file: Path) -> None:
    case = one(file, f"tests: [{{vars: {{prompt: hello}}, {ASSERT}}}]")
    assert case.body == {"text": "hello"}
    assert case.name == "test 1"


# -------------------------------------------------------------------------------------------------------------- asserts


@pytest.mark.parametrize(
    ("written", "input_", "output"),
    [
        ("{type: guardrails}", "allow", "allow"),
        ("{type: not-is-refusal}", "allow", "allow"),
        ("{type: not-guardrails}", "filter", None),
        ("{type: is-refusal}", "filter", None),
        ("{type: guardrails, config: {purpose: redteam}}", "filter", None),
        ("{type: moderation}", None, "allow"),
    ],
)
def test_asserts_about_safety_are_expectations(file: Path, written: str, input_: str | None, output: str | None) -> None:
    text = f"tests: [{{vars: {{prompt: hello}}, providerOutput: hi, assert: [{written}]}}]"
    case = one(file, text)
    assert case.body == {"text": "hello", "completion": "hi"}
    assert decisions(case) == (input_, output)


def test_what_must_be_caught_may_be_the_output(file: Path) -> None:
    text = "tests: [{vars: {prompt: hello}, providerOutput: hi, assert: [{type: not-guardrails}]}]"
    assert decisions(one(file, text, "output")) == (None, "filter")


def test_moderation_of_some_categories_leaves_the_decision_open(file: Path) -> None:
    moderation = "{type: moderation, value: [hate/threatening, self-harm]}"
    case = one(file, f"tests: [{{vars: {{prompt: a}}, providerOutput: b, assert: [{moderation}]}}]")
    assert case.output is not None
    assert case.output.decision is None
    assert case.output.categories == dict.fromkeys(
        (Category.HATE, Category.SELF_HARM, Category.VIOLENCE), ExpectedCategory(filtered=False)
    )


def test_default_asserts_count_unless_a_test_does_without_them(file: Path) -> None:
    text = """
defaultTest: {assert: [{type: is-refusal}]}
tests:
  - {vars: {prompt: a}}
  - {vars: {prompt: b}, options: {disableDefaultAsserts: true}, assert: [{type: guardrails}]}
"""
    assert [decisions(case) for case in cases(file, text)] == [("filter", None), ("allow", None)]


def test_what_is_not_about_safety_is_counted(file: Path) -> None:
    text = """
scenarios: [{config: [], tests: []}]
tests:
  - {vars: {prompt: a}, assert: [{type: contains, value: x}, {type: guardrails}]}
  - {vars: {prompt: a}, assert: [{type: llm-rubric, value: kind}, {type: contains, value: x}]}
  - {vars: {prompt: a}, assert: [{type: moderation}]}
  - {vars: {prompt: a}, threshold: 0.5, assert: [{type: guardrails}]}
  - {vars: {prompt: a}, options: {transformVars: x.js}, assert: [{type: guardrails}]}
  - {vars: {prompt: a}, prompts: [x], assert: [{type: guardrails}]}
  - {vars: {prompt: a}, providerOutput: {x: 1}, assert: [{type: guardrails}]}
  - {vars: {prompt: a}}
"""
    skipped: Counter[str] = Counter()
    assert [case.name for case in cases(file, text, skipped=skipped)] == ["test 1"]
    assert skipped == {
        "a scenario": 1,
        "an assert of type contains": 2,
        "an assert of type llm-rubric": 1,
        "an assert about an output that is not there": 1,
        "a test that passes by its score": 1,
        "a test whose variables a program makes": 1,
        "a test for some of the prompts": 1,
        "a test whose output is no text": 1,
        "a test without an assert about safety": 3,
    }


def test_what_is_not_about_safety_is_an_error_if_nobody_counts(file: Path) -> None:
    error = refusal(file, "tests:\n  - vars: {prompt: a}\n    assert:\n      - {type: contains}\n")
    assert error == "4: tests[0].assert[0]: is an assert of type contains"


def test_asserts_that_contradict_each_other_are_refused(file: Path) -> None:
    error = refusal(file, "tests: [{vars: {prompt: a}, assert: [{type: guardrails}, {type: is-refusal}]}]")
    assert error == "1: tests[0].assert[1]: wants the input to be filtered; another assert wants the opposite"


# -------------------------------------------------------------------------------------------------------------- prompts


def test_a_prompt_may_be_a_conversation_in_json(file: Path) -> None:
    text = """
prompts:
  - |
    [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "{{question}}"}]
tests: [{vars: {question: 'he said "no"'}, assert: [{type: guardrails}]}]
"""
    assert one(file, text).body == {
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": 'he said "no"'}]
    }


def test_a_prompt_that_begins_with_a_bracket_may_be_a_text(file: Path) -> None:
    text = f"prompts: ['[note] {{{{a}}}}']\ntests: [{{vars: {{a: b}}, {ASSERT}}}]"
    assert one(file, text).body == {"text": "[note] b"}


def test_every_test_is_put_to_every_prompt(file: Path) -> None:
    text = f"prompts: ['a {{{{x}}}}', {{raw: 'b {{{{x}}}}', label: second}}]\ntests: [{{vars: {{x: 1}}, {ASSERT}}}]"
    assert [(case.name, case.body["text"]) for case in cases(file, text)] == [
        ("test 1, prompt 1", "a 1"),
        ("test 1, prompt 2", "b 1"),
    ]


def test_all_values_of_a_variable_are_tried(file: Path) -> None:
    text = f"prompts: '{{{{a}}}}-{{{{b}}}}'\ntests: [{{vars: {{a: [1, x], b: [true, 2.5], c: [7, 8]}}, {ASSERT}}}]"
    found = cases(file, text)
    assert [case.body["text"] for case in found] == ["1-true", "1-2.5", "x-true", "x-2.5"]
    assert found[3].name == "test 1, variant 4"


def test_a_variable_is_no_template(file: Path) -> None:
    """Attacks hold anything; what the model would see of it is the text itself."""
    text = f"tests: [{{vars: {{prompt: '{{{{other}}}} {{% x %}}', other: o}}, {ASSERT}}}]"
    assert one(file, text).body == {"text": "{{other}} {% x %}"}


def test_a_prompt_stands_between_its_prefix_and_suffix(file: Path) -> None:
    text = f"tests: [{{vars: {{prompt: b}}, options: {{prefix: 'a ', suffix: ' c'}}, {ASSERT}}}]"
    assert one(file, text).body == {"text": "a b c"}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("prompts: [a]", "1: tests: must be a list of tests that stand here, not in another file"),
        ("tests: file://tests.yaml", "1: tests: must be a list of tests that stand here, not in another file"),
        ("tests: [file://t.yaml]", "1: tests[0]: must be a mapping that stands here, not in another file"),
        ("tests: []\ndefaultTest: file://t.yaml", "2: defaultTest: must be a mapping that stands here, not in another file"),
        ("tests: [{vars: file://v.yaml}]", "1: tests[0].vars: must be a mapping that stands here, not in another file"),
        ("tests: [{assert: x}]", "1: tests[0].assert: must be a list that stands here, not in another file"),
        ("tests: [{assert: [{value: x}]}]", "1: tests[0].assert[0].type: is required"),
        (f"prompts: []\ntests: [{{{ASSERT}}}]", "1: prompts: must have at least 1 item"),
        (f"prompts: [{{label: x}}]\ntests: [{{{ASSERT}}}]", "1: prompts[0]: must be text"),
        (
            f"prompts: [file://p.txt]\ntests: [{{{ASSERT}}}]",
            "1: prompts[0]: is in another file; only prompts that stand here are read",
        ),
        (
            f"prompts: prompts/p.txt\ntests: [{{{ASSERT}}}]",
            "1: prompts: is in another file; only prompts that stand here are read",
        ),
        (
            f"prompts: ['- role: user']\ntests: [{{{ASSERT}}}]",
            "1: prompts[0]: is a conversation in YAML; only those in JSON are read",
        ),
        (
            f"prompts: ['{{{{a | upper}}}}']\ntests: [{{{ASSERT}}}]",
            "1: prompts[0]: uses more of templates than plain variables, {{name}}",
        ),
        (f"tests: [{{{ASSERT}}}]", "1: tests[0].vars: the prompt uses the variable `prompt`, which is not there"),
        (f"tests: [{{vars: {{prompt: {{}}}}, {ASSERT}}}]", "1: tests[0].vars.prompt: must be text or a number"),
        (f"tests: [{{vars: {{prompt: []}}, {ASSERT}}}]", "1: tests[0].vars.prompt: must have at least 1 item"),
        (
            f"tests: [{{vars: {{prompt: file://a.txt}}, {ASSERT}}}]",
            "1: tests[0].vars.prompt: is in another file; only what stands here is read",
        ),
        (
            f"tests: [{{vars: {{prompt: [a]}}, options: {{disableVarExpansion: true}}, {ASSERT}}}]",
            "1: tests[0].vars.prompt: is a list, which is not to be expanded",
        ),
        (
            "tests: [{vars: {prompt: a}, providerOutput: b, assert: [{type: moderation, value: [S1]}]}]",
            "1: tests[0].assert[0].value[0]: must be of: harassment, ",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_where_it_stands(file: Path, text: str, error: str) -> None:
    assert refusal(file, text).startswith(error)
