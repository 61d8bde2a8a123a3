"""OpenAI's moderation format: what is read, and what thirteen categories tell of a decision."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.classifiers.hazards import OPENAI, Cutoffs
from safety_proxy.dialects.images import MAX_IMAGES
from safety_proxy.dialects.moderations import (
    MAX_INPUTS,
    MODEL,
    NAMES,
    Said,
    answer,
    grade,
    read_request,
    result,
    thresholds,
)
from safety_proxy.documents import parse
from safety_proxy.errors import ClassifierError, RequestError
from safety_proxy.jsontext import as_object
from safety_proxy.model import HARMS, JSON, Action, Category, Decision, JSONObject, Kind, Severity, Verdict
from safety_proxy.policy import Rules, decide
from safety_proxy.policy_file import load
from safety_proxy.rule import Outcome, Rule
from tests.pictures import data_url, png

MAPS = ("categories", "category_scores", "category_applied_input_types")
PLAIN = {
    Category.HATE: "hate",
    Category.SEXUAL: "sexual",
    Category.VIOLENCE: "violence",
    Category.SELF_HARM: "self-harm",
}
MEDIUM = dict.fromkeys(sorted(HARMS), 4)


def image(url: JSON) -> JSONObject:
    return {"type": "image_url", "image_url": {"url": url}}


def text(said: str) -> JSONObject:
    return {"type": "text", "text": said}


# ------------------------------------------------------------------------------------------------------------ requests


@pytest.mark.parametrize(
    ("given", "prompts", "texts"),
    [
        ("one", 1, [(0, "one", "input")]),
        ("", 1, [(0, "", "input")]),
        (["one", "two"], 2, [(0, "one", "input[0]"), (1, "two", "input[1]")]),
    ],
)
def test_each_text_is_a_users_prompt_of_its_own(given: JSON, prompts: int, texts: list[tuple[int, str, str]]) -> None:
    asked = read_request({"input": given})

    assert asked.prompt.prompts == prompts
    assert [(each.prompt_index, each.query.text, each.field) for each in asked.prompt.texts] == texts
    assert {(each.role, each.query.kind, each.spoken) for each in asked.prompt.texts} == {("user", Kind.USER_PROMPT, False)}
    assert asked.model == MODEL


def test_parts_are_one_conversation() -> None:
    asked = read_request({"input": [text("one"), image(data_url(png())), text("two")], "model": "any model"})

    assert (asked.prompt.prompts, asked.prompt.unreadable, asked.model) == (1, (), "any model")
    assert [(each.query.kind, each.field, each.spoken) for each in asked.prompt.texts] == [
        (Kind.USER_PROMPT, "input[0].text", True),
        (Kind.IMAGE, "input[1].image_url", False),
        (Kind.USER_PROMPT, "input[2].text", True),
    ]


@pytest.mark.parametrize("url", ["https://example.com/cat.png", data_url(b"no picture"), "data:image/png;base64,%"])
def test_an_image_that_is_not_inline_is_not_read(url: str) -> None:
    assert read_request({"input": [image(url)]}).prompt.unreadable == ("input[0].image_url",)


def test_an_address_may_stand_without_an_object() -> None:
    prompt = read_request({"input": [{"type": "image_url", "image_url": data_url(png())}]}).prompt

    assert [each.query.kind for each in prompt.texts] == [Kind.IMAGE]


def test_more_images_than_a_model_takes_are_not_read() -> None:
    prompt = read_request({"input": [image(data_url(png()))] * (MAX_IMAGES + 1)}).prompt

    assert (len(prompt.texts), prompt.unreadable) == (MAX_IMAGES, (f"input[{MAX_IMAGES}].image_url",))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], None),
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 7}, "input"),
        ({"input": {}}, "input"),
        ({"input": [7]}, "input[0]"),
        ({"input": ["a", text("b")]}, "input[1]"),
        ({"input": [text("a"), "b"]}, "input[1].type"),
        ({"input": [{"type": "input_audio"}]}, "input[0].type"),
        ({"input": [{"type": "text"}]}, "input[0].text"),
        ({"input": [{"type": "image_url"}]}, "input[0].image_url.url"),
        ({"input": [image(7)]}, "input[0].image_url.url"),
        ({"input": ["a"] * (MAX_INPUTS + 1)}, "input"),
        ({"input": "a", "model": 7}, "model"),
    ],
)
def test_what_is_wrong_is_named(body: JSON, field: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        read_request(body)

    assert (caught.value.status, caught.value.field) == (400, field)


# ------------------------------------------------------------------------------------------------------------- results


def rules(filtered_at: Mapping[Category, int] = MEDIUM, *off: Category) -> Rules:
    return Rules(
        categories={
            harm: Rule(harm, block=harm in filtered_at, threshold=filtered_at.get(harm, Severity.MEDIUM))
            for harm in sorted(HARMS - {*off})
        }
    )


def judged(*verdicts: Verdict, filtered_at: Mapping[Category, int] = MEDIUM) -> JSONObject:
    outcomes: dict[str, Outcome] = {str(i): verdict for i, verdict in enumerate(verdicts)}
    decision = decide(rules(filtered_at), outcomes, Kind.USER_PROMPT)
    return result(decision, [Said(verdict) for verdict in verdicts], filtered_at)


def seen(**severities: int) -> Verdict:
    return Verdict({harm: severities.get(harm.value, 0) for harm in sorted(HARMS)})


def true_in(told: JSONObject) -> list[str]:
    return [name for name, value in as_object(told["categories"]).items() if value]


def scores_in(told: JSONObject) -> dict[str, float]:
    return {name: float(str(score)) for name, score in as_object(told["category_scores"]).items()}


def test_the_names_count_for_the_harms_that_we_take_them_for_as_a_client() -> None:
    assert {name: frozenset(harms) for name, harms in NAMES.items()} == {
        name: frozenset(levels) for name, levels in OPENAI.table.items()
    }


@pytest.mark.parametrize("severity", range(8))
def test_a_severity_becomes_a_score_that_means_the_same_level(severity: int) -> None:
    assert Cutoffs().severity(grade(severity)) == Severity.of(severity)


def test_a_harm_without_finer_hazards_stands_under_its_plain_name() -> None:
    told = judged(seen(violence=6, self_harm=3))

    assert told["flagged"] is True
    assert true_in(told) == ["violence"]
    assert {name: score for name, score in scores_in(told).items() if score} == {"violence": 0.8, "self-harm": 0.35}
    applied = as_object(told["category_applied_input_types"])
    assert {name for name, kinds in applied.items() if kinds} == {*PLAIN.values()}
    assert applied["hate"] == ["text"]


def test_scores_of_another_moderation_endpoint_arrive_as_they_were() -> None:
    """With the usual cut-offs, by which severities are made of them."""
    own = dict.fromkeys(NAMES, 0.01) | {"harassment": 0.91, "hate": 0.13, "illicit": 0.77, "violence/graphic": 0.51}
    told = judged(Verdict({**MEDIUM, Category.HATE: 6, Category.SEXUAL: 0, Category.SELF_HARM: 0}, scores=own))

    assert scores_in(told) == own
    assert true_in(told) == ["harassment", "violence/graphic"]
    assert all(kinds == ["text"] for kinds in as_object(told["category_applied_input_types"]).values())


def test_our_own_name_of_a_score_is_understood_and_others_are_passed_over() -> None:
    verdict = Verdict(seen(self_harm=4).severities, scores={"self_harm": 0.6, "unsafe": 0.9, "sexual": 0.1})
    told = judged(verdict)

    assert (scores_in(told)["self-harm"], scores_in(told)["sexual"]) == (0.6, 0.1)
    assert {*as_object(told["category_scores"])} == {*NAMES}


@pytest.mark.parametrize(("own", "severity", "score"), [(0.3, 4, 0.5), (0.95, 2, 0.499999), (0.6, 5, 0.6), (0.1, 7, 0.8)])
def test_a_score_stays_in_the_range_of_the_severity_that_the_policy_acts_on(own: float, severity: int, score: float) -> None:
    told = judged(Verdict({Category.SEXUAL: severity}, scores={"sexual": own}))

    assert scores_in(told)["sexual"] == score
    assert true_in(told) == (["sexual"] if severity >= 4 else [])


def test_a_finer_name_that_no_score_lifts_over_the_threshold_is_false() -> None:
    verdict = Verdict({Category.HATE: 5}, scores={"hate": 0.1, "harassment": 0.7, "hate/threatening": 0.45})

    assert true_in(judged(verdict)) == ["harassment"]
    assert true_in(judged(verdict, filtered_at={Category.HATE: 2})) == ["harassment", "hate/threatening"]


def test_a_harm_that_was_filtered_makes_a_name_true_although_all_scores_are_low() -> None:
    told = judged(Verdict({Category.VIOLENCE: 6}, scores={"violence": 0.0, "violence/graphic": 0.0}))

    assert true_in(told) == ["violence"]
    assert scores_in(told)["violence"] == 0.8


def test_what_the_policy_only_annotates_is_scored_and_false() -> None:
    told = judged(seen(hate=6), filtered_at={})

    assert (told["flagged"], true_in(told), scores_in(told)["hate"]) == (False, [], 0.8)


def test_a_harm_without_a_rule_is_scored_by_what_was_said() -> None:
    verdict = seen(hate=6)
    told = result(decide(rules(MEDIUM, Category.HATE), {"a": verdict}, Kind.USER_PROMPT), [Said(verdict)], MEDIUM)

    assert (told["flagged"], true_in(told), scores_in(told)["hate"]) == (False, [], 0.8)


def test_of_several_classifiers_the_highest_score_counts() -> None:
    one = Verdict({Category.HATE: 2}, scores={"hate": 0.3})
    told = judged(one, Verdict({Category.HATE: 4}))

    assert scores_in(told)["hate"] == 0.5


def test_where_classifiers_must_agree_the_score_says_what_they_agree_on() -> None:
    rule = Rule(Category.SEXUAL, combine="all")
    verdicts = [Verdict({Category.SEXUAL: 6}, scores={"sexual": 0.9}), Verdict({Category.SEXUAL: 2})]
    decision = decide(Rules(categories={Category.SEXUAL: rule}), dict(zip("ab", verdicts, strict=True)), Kind.USER_PROMPT)
    told = result(decision, [Said(verdict) for verdict in verdicts], MEDIUM)

    assert (told["flagged"], true_in(told), scores_in(told)["sexual"]) == (False, [], 0.499999)


def test_what_could_not_be_judged_is_not_flagged() -> None:
    assert result(Decision(Action.FAIL, error="timeout"), [], MEDIUM)["flagged"] is False


def test_texts_and_images_are_told_apart() -> None:
    verdict = seen()
    told = result(
        Decision(decide(rules(), {"a": verdict}, Kind.IMAGE).action), [Said(verdict), Said(verdict, image=True)], {}
    )
    only = result(Decision(decide(rules(), {"a": verdict}, Kind.IMAGE).action), [Said(verdict, image=True)], {})

    assert as_object(told["category_applied_input_types"])["sexual"] == ["text", "image"]
    assert as_object(only["category_applied_input_types"])["sexual"] == ["image"]
    assert as_object(only["category_applied_input_types"])["illicit"] == []


def test_an_input_that_passed_unjudged_tells_nothing() -> None:
    failed = {"a": ClassifierError("timeout")}
    lax = Rules(categories={Category.HATE: Rule(Category.HATE, fail_open=True)})
    told = result(decide(lax, failed, Kind.USER_PROMPT), [], MEDIUM)

    assert told["flagged"] is False
    assert {*map(str, (value for key in MAPS for value in as_object(told[key]).values()))} == {"False", "0.0", "[]"}


def test_a_jailbreak_is_flagged_under_no_category() -> None:
    decision = decide(
        Rules(categories={Category.JAILBREAK: Rule(Category.JAILBREAK)}),
        {"a": Verdict(detections={Category.JAILBREAK: True})},
        Kind.USER_PROMPT,
    )
    told = result(decision, [Said(Verdict(detections={Category.JAILBREAK: True}))], {})

    assert (told["flagged"], true_in(told)) == (True, [])


def test_the_lowest_threshold_of_several_policies_counts_and_never_is_none() -> None:
    policies = [
        load(parse(f"version: 1\nname: {name}\nclassifiers: [a]\ninput: {{{written}}}\n", "policy.yaml"))
        for name, written in (
            ("one", "hate: {block_at: high}, sexual: {block_at: never}"),
            ("two", "hate: {block_at: low}, sexual: {block_at: never}"),
        )
    ]

    assert thresholds(policies) == {Category.HATE: 2, Category.VIOLENCE: 4, Category.SELF_HARM: 4}


def test_an_answer_is_called_what_openai_calls_it() -> None:
    assert answer("7", "m", [{}]) == {"id": "modr-7", "model": "m", "results": [{}]}


# ---------------------------------------------------------------------------------------------------------- properties

SCORES = st.dictionaries(st.sampled_from([*NAMES, "self_harm", "unsafe"]), st.floats(0, 1))
VERDICTS = st.builds(Verdict, severities=st.dictionaries(st.sampled_from(sorted(HARMS)), st.integers(0, 7)), scores=SCORES)
THRESHOLDS = st.dictionaries(st.sampled_from(sorted(HARMS)), st.sampled_from([2, 4, 6]))


@given(st.lists(VERDICTS, max_size=3), THRESHOLDS)
def test_all_thirteen_names_are_always_there_and_nothing_contradicts_the_policy(
    verdicts: list[Verdict], filtered_at: dict[Category, int]
) -> None:
    outcomes: dict[str, Outcome] = {str(i): verdict for i, verdict in enumerate(verdicts)}
    decision = decide(rules(filtered_at), outcomes, Kind.MESSAGE)
    told = result(decision, [Said(verdict) for verdict in verdicts], filtered_at)
    scores, true = scores_in(told), true_in(told)

    assert all([*as_object(told[key])] == [*NAMES] for key in MAPS)
    assert all(0 <= score <= 1 for score in scores.values())
    assert not true or told["flagged"] is True
    for name in NAMES:
        filtered = {harm for harm in NAMES[name] if harm in decision.annotations and decision.annotations[harm].filtered}
        assert name not in true or filtered
        assert scores[name] == 0 or as_object(told["category_applied_input_types"])[name]
    for harm, annotation in decision.annotations.items():
        family = [name for name, harms in NAMES.items() if harm in harms]
        assert not annotation.filtered or {*family} & {*true}
        level = Severity.of(annotation.severity or 0)
        assert max(scores[name] for name in family) >= grade(level)
        alone = [scores[name] for name in family if NAMES[name] == (harm,)]
        assert level is Severity.HIGH or max(alone) < grade(level + 2)


@given(st.sampled_from(sorted(HARMS)), st.integers(0, 7), st.integers(0, 7))
def test_scores_are_monotone_in_the_severity(harm: Category, one: int, other: int) -> None:
    low, high = (scores_in(judged(Verdict({harm: severity})))[PLAIN[harm]] for severity in sorted((one, other)))

    assert low <= high
    assert (low == high) == (one == other)


@given(st.sampled_from(sorted(HARMS)), VERDICTS, VERDICTS)
def test_of_two_texts_the_one_of_a_higher_level_has_the_higher_score_whatever_their_own_scores_are(
    harm: Category, one: Verdict, other: Verdict
) -> None:
    def told(verdict: Verdict) -> tuple[Severity, float]:
        scores = {name: score for name, score in verdict.scores.items() if NAMES.get(name) == (harm,)}
        severity = verdict.severities.get(harm, 0)
        return Severity.of(severity), max(scores_in(judged(Verdict({harm: severity}, scores=scores))).values())

    (low, less), (high, more) = sorted((told(one), told(other)))
    assert low == high or less < more
