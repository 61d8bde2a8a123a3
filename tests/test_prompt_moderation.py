"""Prompts in, decisions out: every text of a request, and the seams of its conversation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from safety_proxy.conversation import Mode
from safety_proxy.errors import RequestError
from safety_proxy.inquiry import Side
from safety_proxy.model import ALLOWED, Action, Category, Kind, Prompt, PromptText, Query, Span, Turn, Verdict
from safety_proxy.policy import InputRules, Rules
from safety_proxy.prompt_moderation import PromptModerator
from safety_proxy.rule import Rule
from safety_proxy.testing import ScriptedClassifier
from tests.pictures import looked_at
from tests.scripted import Limited, Local

HATE = {Category.HATE: Rule(Category.HATE)}


def says(text: str, role: str = "user", *, history: bool = False, index: int = 0, spoken: bool = True) -> PromptText:
    return PromptText(Query(text, Kind.USER_PROMPT), role, f"field of {role}", history, index, spoken)


def prompts(classifier: ScriptedClassifier, judgements: int = 256, **options: object) -> PromptModerator:
    input_rules = InputRules(categories=HATE, classifiers=("a",), **options)  # type: ignore[arg-type]  # of a test
    return PromptModerator([Side(input_rules, {"a": classifier})], judgements=judgements)


BAD = {"bad": (Category.HATE, 4)}


async def test_each_text_of_a_prompt_is_judged_and_one_is_enough() -> None:
    judged = await prompts(ScriptedClassifier(BAD)).moderate(Prompt((says("good"), says("bad", "tool", spoken=False))))

    assert judged.decision.action is Action.FILTER


async def test_a_phrase_split_over_two_messages_is_seen_at_the_seam() -> None:
    judged = await prompts(ScriptedClassifier(BAD)).moderate(Prompt((says("so ba"), says("d it is"))))

    assert judged.decision.action is Action.FILTER


async def test_texts_of_roles_left_out_are_not_judged() -> None:
    classifier = ScriptedClassifier(BAD)
    judged = await prompts(classifier, roles=frozenset({"user"})).moderate(Prompt((says("bad", "system"), says("good"))))

    assert judged.decision.action is Action.ALLOW
    assert [asked.text for asked in classifier.asked] == ["good"]


async def test_history_may_be_annotated_only() -> None:
    texts = (says("bad", history=True), says("good"))

    judged = await prompts(ScriptedClassifier(BAD), history="annotate").moderate(Prompt(texts))
    assert judged.decision.action is Action.ALLOW
    assert judged.decision.annotations[Category.HATE].severity == 4

    judged = await prompts(ScriptedClassifier(BAD)).moderate(Prompt(texts))
    assert judged.decision.action is Action.FILTER


async def test_a_phrase_that_begins_in_annotated_history_is_blocked_where_it_ends() -> None:
    texts = (says("so ba", history=True), says("d it is"))
    judged = await prompts(ScriptedClassifier(BAD), history="annotate").moderate(Prompt(texts))

    assert judged.decision.action is Action.FILTER


async def test_each_of_several_prompts_has_a_decision_of_its_own() -> None:
    texts = (says("good", spoken=False), says("bad", index=1, spoken=False))
    judged = await prompts(ScriptedClassifier(BAD)).moderate(Prompt(texts, prompts=2))

    assert [judged.prompts[i].action for i in (0, 1)] == [Action.ALLOW, Action.FILTER]
    assert judged.decision.action is Action.FILTER


async def test_a_prompt_without_text_has_nothing_to_be_judged() -> None:
    classifier = ScriptedClassifier(BAD)
    judged = await prompts(classifier).moderate(Prompt((says(""),), prompts=2))

    assert judged.decision.action is Action.ALLOW
    assert set(judged.prompts) == {0, 1}
    assert classifier.asked == []


async def test_what_nobody_can_read_is_refused_by_name_unless_the_policy_lets_it_pass() -> None:
    prompt = Prompt((says("good"),), unreadable=("messages[0].content[1]",))
    with pytest.raises(RequestError) as caught:
        await prompts(ScriptedClassifier()).moderate(prompt)

    assert (caught.value.status, caught.value.code) == (400, "unsupported_content")
    assert caught.value.field == "messages[0].content[1]"
    judged = await prompts(ScriptedClassifier(), unreadable="allow").moderate(prompt)
    assert judged.decision.action is Action.ALLOW


async def test_a_prompt_that_costs_too_many_calls_is_refused_before_any() -> None:
    classifier = Limited()
    with pytest.raises(RequestError) as caught:
        await prompts(classifier, judgements=3).moderate(Prompt((says("x" * 40),)))

    assert caught.value.status == 413
    assert classifier.asked == []


async def test_local_classifiers_are_counted_by_length() -> None:
    moderator = prompts(Local(), judgements=2)
    await moderator.moderate(Prompt(tuple(says("x", spoken=False) for _ in range(100))))
    with pytest.raises(RequestError):
        await moderator.moderate(Prompt((says("x" * 20_001),)))


def test_prompts_are_judged_by_input_rules() -> None:
    with pytest.raises(TypeError):
        PromptModerator([Side(Rules(categories=HATE, classifiers=("a",)), {"a": ScriptedClassifier()})])


def shows(*scenes: str, role: str = "user", history: bool = False) -> PromptText:
    return PromptText(looked_at(*scenes), role, f"image of {role}", history)


def harms(*categories: Category, only: str | None = None) -> dict[Category, Rule]:
    return {each: Rule(each, classifiers=None if only is None else (only,)) for each in categories}


def side(categories: dict[Category, Rule], /, unreadable: str = "block", **classifiers: ScriptedClassifier) -> Side:
    rules = InputRules(categories=categories, classifiers=tuple(classifiers), unreadable=unreadable)  # type: ignore[arg-type]  # one of two words
    return Side(rules, classifiers)


def reader(**options: object) -> ScriptedClassifier:
    return ScriptedClassifier(BAD, reads_images=True, **options)  # type: ignore[arg-type]  # of a test


async def test_each_image_is_judged_by_itself_and_asked_of_those_alone_who_read_images() -> None:
    blind, seeing = Limited(BAD), reader()
    moderator = PromptModerator([side(HATE, blind=blind, seeing=seeing)])
    asked = Prompt((says("what is this?"), shows("good"), shows("good, too")))

    assert (await moderator.moderate(asked)).decision.action is Action.ALLOW
    assert [query.images for query in blind.asked if query.images] == []
    assert [query for query in seeing.asked if query.images] == [looked_at("good"), looked_at("good, too")]
    decision = (await moderator.moderate(Prompt((says("hi"), shows("good"), shows("bad"))))).decision
    assert (decision.action, decision.annotations[Category.HATE].severity) == (Action.FILTER, 4)


async def test_what_one_says_of_a_long_text_is_not_taken_for_what_it_says_of_an_image() -> None:
    """A text in two parts beside an image that is not asked about: as many verdicts as queries, and not one to one."""
    blind = Limited(detections={"trick": Category.JAILBREAK})
    moderator = PromptModerator([side(harms(Category.HATE, Category.JAILBREAK), blind=blind, seeing=reader())])
    judged = await moderator.moderate(Prompt((shows("good"), says("a trick, I said"))))

    assert [query.text for query in blind.asked] == ["a trick, I", "k, I said"]
    assert judged.decision.action is Action.FILTER
    assert judged.decision.annotations[Category.JAILBREAK].detected


async def test_an_image_that_nobody_reads_is_refused_by_name_unless_the_policy_lets_it_pass() -> None:
    blind = ScriptedClassifier()
    prompt = Prompt((says("hi"), shows("bad")))
    with pytest.raises(RequestError) as caught:
        await PromptModerator([side(HATE, blind=blind)]).moderate(prompt)

    assert (caught.value.status, caught.value.code) == (400, "unsupported_content")
    assert caught.value.field == "image of user"
    assert blind.asked == []
    judged = await PromptModerator([side(HATE, "allow", blind=blind)]).moderate(prompt)
    assert judged.decision.action is Action.ALLOW
    assert [query.text for query in blind.asked] == ["hi"]
    only = await PromptModerator([side(HATE, "allow", blind=blind)]).moderate(Prompt((shows("bad"),)))
    assert only.decision.action is Action.ALLOW


class HalfBlind(ScriptedClassifier):
    """Reads images, for violence alone."""

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        return frozenset({Category.VIOLENCE}) if kind is Kind.IMAGE else super().reports(kind)


@pytest.mark.parametrize(
    ("categories", "seeing", "reads"),
    [
        (harms(Category.HATE), reader(), True),
        (harms(Category.HATE, only="seeing"), reader(), True),
        (harms(Category.HATE, Category.JAILBREAK), reader(), True),
        (harms(Category.HATE, only="blind"), reader(), False),
        (harms(Category.HATE) | harms(Category.VIOLENCE, only="blind"), reader(), False),
        (harms(Category.VIOLENCE), HalfBlind(reads_images=True), True),
        (harms(Category.VIOLENCE, Category.HATE), HalfBlind(reads_images=True), False),
        (harms(Category.JAILBREAK), reader(), False),
        ({}, reader(), False),
    ],
)
def test_a_side_reads_images_if_somebody_looks_for_every_harm_that_is_on(
    categories: dict[Category, Rule], seeing: ScriptedClassifier, reads: bool
) -> None:
    assert side(categories, blind=ScriptedClassifier(), seeing=seeing).reads_images is reads


async def test_of_two_sides_one_that_reads_no_images_refuses_them_or_leaves_them_to_the_other() -> None:
    seeing = side(HATE, seeing=reader())
    with pytest.raises(RequestError):
        await PromptModerator([seeing, side(HATE, blind=ScriptedClassifier())]).moderate(Prompt((shows("good"),)))
    both = PromptModerator([seeing, side(HATE, "allow", blind=ScriptedClassifier())])

    assert (await both.moderate(Prompt((shows("good"),)))).decision.action is Action.ALLOW
    assert (await both.moderate(Prompt((shows("bad"),)))).decision.action is Action.FILTER


async def test_a_classifier_that_fails_leaves_an_image_undecided() -> None:
    seeing = reader(errors={"good": "timeout"})
    decision = (await PromptModerator([side(HATE, seeing=seeing)]).moderate(Prompt((shows("good"),)))).decision

    assert (decision.action, decision.error) == (Action.FAIL, "timeout")


async def test_images_count_as_judgements_of_those_who_read_them() -> None:
    moderator = PromptModerator([side(HATE, blind=ScriptedClassifier(), seeing=reader())], judgements=3)
    await moderator.moderate(Prompt((shows("a", "b", "c"),)))
    with pytest.raises(RequestError) as caught:
        await moderator.moderate(Prompt((shows("a", "b"), shows("c", "d"))))

    assert caught.value.status == 413


async def test_images_of_roles_left_out_and_of_annotated_history_are_treated_like_texts() -> None:
    seeing = reader()
    moderator = prompts(seeing, roles=frozenset({"user"}), history="annotate")
    judged = await moderator.moderate(Prompt((shows("bad", role="system"), shows("bad", history=True), says("hi"))))

    assert judged.decision.action is Action.ALLOW
    assert judged.decision.annotations[Category.HATE].severity == 4
    assert [query.images for query in seeing.asked if query.images] == [looked_at("bad").images]


async def test_an_image_of_the_history_does_not_excuse_a_phrase_that_ends_in_the_last_turn() -> None:
    texts = (shows("bad", history=True), says("so ba", history=True), says("d it is"))

    assert (await prompts(reader(), history="annotate").moderate(Prompt(texts))).decision.action is Action.FILTER


class Listening(ScriptedClassifier):
    def __init__(self, **options: object) -> None:
        super().__init__({"bad": (Category.HATE, 4)}, reads_conversation=True, **options)  # type: ignore[arg-type]  # of a test


@pytest.mark.parametrize(
    ("mode", "told"), [("none", [(), ()]), ("last_user", [(), ()]), ("all", [(), (Turn("user", "hello"),)])]
)
async def test_texts_of_a_prompt_are_told_with_what_was_said_before(mode: Mode, told: list[tuple[Turn, ...]]) -> None:
    classifier = Listening()
    side = Side(InputRules(categories=HATE, classifiers=("a",), conversation=mode), {"a": classifier})
    said = [replace(says(text), spoken=True) for text in ("hello", "x" * 500)]
    await PromptModerator([side]).moderate(Prompt(tuple(said)), "team")
    of_texts = [each for each in classifier.asked if each.text in {"hello", "x" * 500}]
    assert [each.conversation for each in of_texts] == told
    assert {each.tenant for each in classifier.asked} == {"team"}


async def test_what_a_classifier_remembers_costs_no_judgement() -> None:
    class Remembers(ScriptedClassifier):
        def remembers(self, query: Query, /) -> bool:
            return query.text.startswith("old")

    texts = Prompt(tuple(says(text) for text in ("old one", "old two", "new")))
    side = Side(InputRules(categories=HATE, classifiers=("a",)), {"a": Remembers()})
    assert (await PromptModerator([side], judgements=1).moderate(texts)).decision.action is Action.ALLOW
    with pytest.raises(RequestError, match="too long"):
        await PromptModerator([side], judgements=0).moderate(texts)


async def test_each_reading_of_a_text_costs_a_judgement() -> None:
    side = Side(InputRules(categories=HATE, classifiers=("a",)), {"a": ScriptedClassifier()})
    hidden = Prompt((says("wo\u200brds that hi\u200bde"),))
    assert (await PromptModerator([side], judgements=2).moderate(hidden)).decision.action is Action.ALLOW
    with pytest.raises(RequestError, match="too long"):
        await PromptModerator([side], judgements=1).moderate(hidden)


async def test_an_examination_decides_as_ever_and_tells_what_was_said_of_every_text_and_seam() -> None:
    moderator = prompts(ScriptedClassifier(BAD), roles=frozenset({"user"}))
    prompt = Prompt((says("good"), says("very bad"), says("bad, too", "system")))

    examined = await moderator.examine_prompt(prompt)

    assert examined.decided == await moderator.moderate(prompt)
    assert [(each.query.text, each.decision.action) for each in examined.judged[:2]] == [
        ("good", Action.ALLOW),
        ("very bad", Action.FILTER),
    ]
    assert [said.spans for said in examined.judged[1].outcomes.values() if isinstance(said, Verdict)] == [
        (Span(5, 8, "hate"),)
    ]
    assert [each.text.field for each in examined.judged[2:] if each.text] == ["field of user to field of user"] * 2
    assert [each.query.text for each in examined.skipped] == ["bad, too"]


async def test_an_examination_of_nothing_allows_it() -> None:
    examined = await prompts(ScriptedClassifier(BAD)).examine_prompt(Prompt((), prompts=2))

    assert (examined.judged, examined.decided.prompts) == ((), {0: ALLOWED, 1: ALLOWED})
