"""Claims about what two policies decide differently."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_proxy.documents import parse
from safety_proxy.errors import ConfigError
from safety_proxy.harness.cases import Case, case_of
from safety_proxy.harness.diff import Comparison, Diff, Difference
from safety_proxy.model import HARMS, Category, JSONObject
from safety_proxy.policy import Policy
from safety_proxy.policy_file import load
from safety_proxy.testing import ScriptedClassifier

HEAD = "version: 1\nname: {name}\nclassifiers: [scripted]\n"


def policy(name: str, *lines: str) -> Policy:
    return load(parse(HEAD.format(name=name) + "\n".join(lines), f"{name}.yaml"))


def case(line: int = 1, **fields: object) -> Case:
    content: JSONObject = {"text": "say it", "verdicts": {"say it": {"hate": 4}}, **fields}  # type: ignore[dict-item]  # JSON
    written: JSONObject = {key: value for key, value in content.items() if value is not None}
    return case_of(written, "cases.jsonl", line, need_expectations=False)


def compare(a: Policy, b: Policy, cases: Iterable[Case], *, examples: int = 5) -> Diff:
    return asyncio.run(Comparison(a, b, {}, examples=examples).run(cases))


def examples_of(diff: Diff) -> list[str]:
    return [str(example) for _, group in diff.in_order() for example in group.examples]


MEDIUM = policy("medium")
HIGH = policy("high", "input: {hate: {block_at: high}}")


# -------------------------------------------------------------------------------------------------------------- decisions


def test_a_threshold_that_was_raised_is_looser_and_the_sentence_says_why() -> None:
    diff = compare(MEDIUM, HIGH, [case(12, name="a slur")])
    assert diff.looser
    assert list(diff.groups) == [("looser", "input", "hate")]
    assert examples_of(diff) == ['cases.jsonl:12  "a slur"  input: filter -> allow (hate 4: medium -> high)']


def test_a_threshold_that_was_lowered_is_stricter() -> None:
    diff = compare(HIGH, MEDIUM, [case()])
    assert not diff.looser
    assert list(diff.groups) == [("stricter", "input", "hate")]


def test_thresholds_on_one_side_of_a_severity_are_no_difference() -> None:
    diff = compare(MEDIUM, HIGH, [case(verdicts={"say it": {"hate": 6}}), case(verdicts={"say it": {"hate": 2}})])
    assert (diff.cases, diff.different, diff.groups) == (2, 0, {})
    assert [change.key for change in diff.rules] == ["input.hate.block_at"]


def test_completions_are_compared_as_prompts_are() -> None:
    quiet = policy("quiet", "output: {hate: off}")
    diff = compare(MEDIUM, quiet, [case(text=None, completion="well, say it")])
    assert list(diff.groups) == [("looser", "output", "hate")]
    assert "(hate 4: medium -> off)" in examples_of(diff)[0]


def test_a_text_that_passes_without_a_verdict_now_is_looser() -> None:
    tolerant = policy("tolerant", "input: {on_error: allow}")
    diff = compare(MEDIUM, tolerant, [case(verdicts={"say it": "error"})])
    assert list(diff.groups) == [("looser", "input", "no verdict")]
    assert examples_of(diff)[0].endswith(
        "error -> allow (no verdict (timeout): hate, sexual, violence, self_harm, jailbreak needed -> not needed)"
    )


def test_what_is_held_in_another_way_has_changed_and_is_not_looser() -> None:
    lenient = policy("lenient", "input: {unreadable: allow}")
    elsewhere = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
    content: list[object] = [{"type": "text", "text": "say it"}, elsewhere]
    diff = compare(lenient, MEDIUM, [case(text=None, messages=[{"role": "user", "content": content}])])
    assert not diff.looser
    assert list(diff.groups) == [("changed", "input", "unreadable content")]
    assert examples_of(diff)[0].endswith(
        "filter -> unsupported_content (unreadable content; input.unreadable: allow -> block)"
    )


def test_a_list_that_only_annotates_now_is_looser() -> None:
    lists = "input: {{blocklists: [{{name: house, terms: [zebra], action: {action}}}]}}"
    a, b = (policy("p", lists.format(action=action)) for action in ("block", "annotate"))
    diff = compare(a, b, [case(text="a zebra", verdicts={})])
    assert list(diff.groups) == [("looser", "input", "blocklist house")]
    assert "(blocklist house: block -> annotate)" in examples_of(diff)[0]


def test_where_no_rule_of_the_category_differs_the_keys_that_do_are_told() -> None:
    forgiving = policy("forgiving", "input: {history: annotate, violence: {block_at: high}}")
    messages: list[object] = [
        {"role": "user", "content": "say it"},
        {"role": "assistant", "content": "no"},
        {"role": "user", "content": "fine"},
    ]
    diff = compare(MEDIUM, forgiving, [case(text=None, messages=messages)])
    assert examples_of(diff)[0].endswith("filter -> allow (hate 4 at medium; input.history: block -> annotate)")


def test_a_case_that_differs_in_two_categories_counts_once_and_is_in_both_groups() -> None:
    b = policy("b", "input: {hate: off, violence: off}")
    both: JSONObject = {"say": {"hate": 4}, "it": {"violence": 4}}
    diff = compare(MEDIUM, b, [case(verdicts=both)])
    assert diff.directions == {"looser": 1}
    assert list(diff.groups) == [("looser", "input", "hate"), ("looser", "input", "violence")]


def test_a_case_whose_sides_go_in_two_directions_counts_for_both() -> None:
    a, b = policy("a", "output: {hate: off}"), policy("b", "input: {hate: off}")
    diff = compare(a, b, [case(completion="well, say it")])
    assert (diff.different, diff.directions) == (1, {"looser": 1, "stricter": 1})
    assert diff.looser


def test_only_the_first_examples_are_kept_and_all_are_counted() -> None:
    diff = compare(MEDIUM, HIGH, [case(line) for line in range(1, 21)], examples=2)
    (group,) = diff.groups.values()
    assert (group.count, [each.place for each in group.examples]) == (20, ["cases.jsonl:1", "cases.jsonl:2"])


def test_the_first_that_got_looser_is_known_even_if_no_example_is_kept() -> None:
    diff = compare(MEDIUM, HIGH, [case(7)], examples=0)
    assert diff.first_looser is not None
    assert diff.first_looser.place == "cases.jsonl:7"


def test_what_got_looser_comes_first_and_the_largest_group_before_others() -> None:
    b = policy("b", "input: {hate: off, sexual: off, violence: {block_at: low}}")
    found = ("violence", "violence", "violence", "hate", "sexual", "sexual")
    cases = [case(verdicts={"say it": {name: 2 if name == "violence" else 4}}) for name in found]
    assert [key[::2] for key, _ in compare(MEDIUM, b, cases).in_order()] == [
        ("looser", "sexual"),
        ("looser", "hate"),
        ("stricter", "violence"),
    ]


def test_a_name_cannot_move_the_cursor() -> None:
    found = Difference("f:1", "a\x1b[2Jb", "input", "filter", "allow", ("hate",), "hate 4")
    assert "\x1b" not in str(found)


# ----------------------------------------------------------------------------------------------------------------- asking


def test_classifiers_are_asked_once_for_both_policies() -> None:
    classifier = ScriptedClassifier({"say it": (Category.HATE, 4)})
    again = case(verdicts=None, completion="well, say it")
    diff = asyncio.run(Comparison(MEDIUM, HIGH, {"scripted": classifier}).run([again]))
    assert diff.directions == {"looser": 1}
    texts = [query.text for query in classifier.asked]
    assert len(texts) == len(set(texts))


def test_a_case_that_makes_no_sense_is_an_error_or_is_counted() -> None:
    cases = [case(1), case(2, text=None, completion=[])]
    with pytest.raises(ConfigError, match=r"cases\.jsonl:2.*must have 1 to"):
        compare(MEDIUM, HIGH, cases)
    skipped = Counter[str]()
    diff = asyncio.run(Comparison(MEDIUM, HIGH, {}).run(cases, skipped=skipped))
    assert (diff.cases, skipped.total()) == (1, 1)


def test_a_policy_that_cannot_be_enforced_is_an_error() -> None:
    stored = policy("stored", "input: {blocklists: [{name: house, from: store}]}")
    with pytest.raises(ConfigError, match="in the store"):
        Comparison(MEDIUM, stored, {"scripted": ScriptedClassifier()})


# ---------------------------------------------------------------------------------------------------------------- laws

THRESHOLDS = st.sampled_from(["low", "medium", "high", "never", "off"])
FINDINGS = st.dictionaries(st.sampled_from(sorted(HARMS)), st.integers(0, 7), min_size=1) | st.just("error")


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    rules = []
    for side in ("input", "output"):
        found = {name: draw(THRESHOLDS) for name in sorted(HARMS)}
        words = [f"{name}: {word if word == 'off' else f'{{block_at: {word}}}'}" for name, word in found.items()]
        detection = "jailbreak" if side == "input" else "protected_material_text"
        words += [f"on_error: {draw(st.sampled_from(['block', 'allow']))}", f"{detection}: {{action: block}}"]
        rules.append(f"{side}: {{{', '.join(words)}}}")
    return policy("drawn", *rules)


@st.composite
def cases(draw: st.DrawFn) -> list[Case]:
    verdicts = draw(st.lists(FINDINGS, min_size=1, max_size=3))
    return [case(line, completion="well, say it", verdicts={"say it": found}) for line, found in enumerate(verdicts, 1)]


@settings(max_examples=40, deadline=None)
@given(policies(), cases())
def test_a_policy_decides_nothing_differently_from_itself(drawn: Policy, judged: list[Case]) -> None:
    diff = compare(drawn, drawn, judged)
    assert (diff.cases, diff.different, diff.groups, diff.rules) == (len(judged), 0, {}, ())


@settings(max_examples=40, deadline=None)
@given(policies(), policies(), cases())
def test_the_other_way_round_looser_is_stricter(a: Policy, b: Policy, judged: list[Case]) -> None:
    there, back = compare(a, b, judged), compare(b, a, judged)
    opposite = {"looser": "stricter", "stricter": "looser", "changed": "changed"}
    assert there.looser == (back.directions["stricter"] > 0)
    assert {(opposite[direction], side, name): group.count for (direction, side, name), group in there.groups.items()} == {
        key: group.count for key, group in back.groups.items()
    }
