"""Texts go to every classifier of a side, long ones in parts; what comes back becomes one decision."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from safety_proxy.classifiers.base import Unobserved
from safety_proxy.conversation import Mode
from safety_proxy.errors import ClassifierError, RequestError
from safety_proxy.inquiry import Side
from safety_proxy.model import Action, Category, Decision, Kind, Prompt, PromptText, Query, Turn, Verdict
from safety_proxy.moderation import Background, Moderator, PromptModerator
from safety_proxy.policy import InputRules, Rules
from safety_proxy.rule import Rule
from safety_proxy.testing import ScriptedClassifier
from tests.pictures import looked_at

HATE = {Category.HATE: Rule(Category.HATE)}


def rules(*names: str, fail_open: bool = False) -> Rules:
    return Rules(categories={Category.HATE: Rule(Category.HATE, fail_open=fail_open)}, classifiers=names)


def query(text: str, kind: Kind = Kind.COMPLETION) -> Query:
    return Query(text, kind)


class Local(ScriptedClassifier):
    """Answers at once."""

    def classify_now(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        self.asked += queries
        return [self._verdict(query) for query in queries]


class Limited(ScriptedClassifier):
    """Takes ten characters at a time."""

    limit: int | None = 10
    overlap: int = 4


async def decided(moderator: Moderator, *texts: str) -> Decision:
    decision = moderator.judge([query(text) for text in texts])
    return decision if isinstance(decision, Decision) else await decision


async def test_local_classifiers_decide_at_once() -> None:
    classifier = Local({"bad": (Category.HATE, 4)})
    moderator = Moderator([Side(rules("local"), {"local": classifier})])

    assert isinstance(moderator.judge([query("good")]), Decision)
    assert (await decided(moderator, "good", "bad")).action is Action.FILTER


async def test_long_texts_are_not_judged_in_place() -> None:
    classifier = Local({"bad": (Category.HATE, 4)})
    moderator = Moderator([Side(rules("local"), {"local": classifier})])

    assert not isinstance(later := moderator.judge([query("x" * 20_001)]), Decision)
    assert (await later).action is Action.ALLOW


async def test_classifiers_that_wait_are_asked_side_by_side() -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    classifiers = {str(i): ScriptedClassifier(gate=gate, name=str(i)) for i, gate in enumerate(gates)}
    moderator = Moderator([Side(rules("0", "1"), classifiers)])
    async with asyncio.TaskGroup() as group:
        task = group.create_task(decided(moderator, "text"))
        gates[1].set()
        while not classifiers["1"].asked:  # noqa: ASYNC110 - one turn of the loop
            await asyncio.sleep(0)
        assert not classifiers["0"].asked
        gates[0].set()

    assert task.result().action is Action.ALLOW


async def test_the_most_severe_verdict_wins() -> None:
    classifiers = {"a": ScriptedClassifier(), "b": ScriptedClassifier({"bad": (Category.HATE, 5)})}
    decision = await decided(Moderator([Side(rules("a", "b"), classifiers)]), "bad")

    assert decision.action is Action.FILTER
    assert decision.annotations[Category.HATE].severity == 5


@pytest.mark.parametrize(("fail_open", "action"), [(False, Action.FAIL), (True, Action.ALLOW)])
async def test_a_failing_classifier_is_a_decision_and_no_exception(fail_open: bool, action: Action) -> None:
    classifiers = {"a": ScriptedClassifier(errors={"x": "timeout"})}
    decision = await decided(Moderator([Side(rules("a", fail_open=fail_open), classifiers)]), "x")

    assert decision.action is action
    assert decision.error == "timeout"


@pytest.mark.parametrize("local", [True, False])
async def test_a_classifier_with_a_bug_lets_nothing_pass(local: bool) -> None:
    class Broken(Local if local else ScriptedClassifier):  # type: ignore[misc]  # either
        def _verdict(self, query: Query) -> Verdict:
            raise ZeroDivisionError

    decision = await decided(Moderator([Side(rules("a"), {"a": Broken()})]), "x")

    assert decision.action is Action.FAIL
    assert decision.error == "internal"


async def test_harm_beats_the_failure_of_another_classifier() -> None:
    classifiers = {
        "a": ScriptedClassifier(errors={"bad": "timeout"}),
        "b": ScriptedClassifier({"bad": (Category.HATE, 4)}),
    }

    assert (await decided(Moderator([Side(rules("a", "b"), classifiers)]), "bad")).action is Action.FILTER


async def test_an_error_counts_only_for_what_its_classifier_reports() -> None:
    class Shields(ScriptedClassifier):
        def reports(self, _kind: Kind, /) -> frozenset[Category]:
            return frozenset({Category.JAILBREAK})

    classifiers = {"a": ScriptedClassifier(), "b": Shields(errors={"x": "timeout"})}

    assert (await decided(Moderator([Side(rules("a", "b"), classifiers)]), "x")).action is Action.ALLOW


async def test_long_texts_are_asked_for_in_parts_that_overlap() -> None:
    classifier = Limited({"harm": (Category.HATE, 4)})
    moderator = Moderator([Side(rules("a"), {"a": classifier})])

    assert (await decided(moderator, "ok", "xxxxxxxx harm yy")).action is Action.FILTER
    assert [asked.text for asked in classifier.asked] == ["ok", "xxxxxxxx h", "xx harm yy"]
    assert (await decided(moderator, "xxxxxxxxxxxxxxxx")).action is Action.ALLOW


async def test_a_part_without_a_verdict_leaves_the_text_undecided() -> None:
    classifier = Limited(errors={"yy": "timeout"})

    assert (await decided(Moderator([Side(rules("a"), {"a": classifier})]), "xxxxxxxxxxx yy")).action is Action.FAIL


async def test_two_sides_decide_on_the_same_verdicts_and_the_stricter_holds() -> None:
    classifier = ScriptedClassifier({"meh": (Category.HATE, 2)})
    lax = Rules(categories={Category.HATE: Rule(Category.HATE, threshold=6)}, classifiers=("a",))
    strict = Rules(categories={Category.HATE: Rule(Category.HATE, threshold=2)}, classifiers=("a",))
    moderator = Moderator([Side(lax, {"a": classifier}), Side(strict, {"a": classifier})])

    assert (await decided(moderator, "meh")).action is Action.FILTER
    assert len(classifier.asked) == 1


# ------------------------------------------------------------------------------------------------------------- prompts


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
        PromptModerator([Side(rules("a"), {"a": ScriptedClassifier()})])


async def test_an_error_with_categories_keeps_them() -> None:
    class Half(ScriptedClassifier):
        async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
            raise ClassifierError("timeout", categories={Category.SEXUAL})

    both = {"a": Half(), "b": ScriptedClassifier()}

    assert (await decided(Moderator([Side(rules("a", "b"), both)]), "x")).action is Action.ALLOW


# -------------------------------------------------------------------------------------------------------------- images


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


@pytest.mark.parametrize("local", [True, False])
async def test_who_reads_no_images_is_not_asked_at_all_if_there_is_nothing_else(local: bool) -> None:
    blind = Local() if local else ScriptedClassifier()
    moderator = Moderator([Side(rules("blind"), {"blind": blind})])
    decision = moderator.judge([looked_at("good")])
    decision = decision if isinstance(decision, Decision) else await decision

    assert (decision.action, decision.error) == (Action.FAIL, "missing_category")
    assert blind.asked == []


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


# ------------------------------------------------------------------------------------------------- background, cascades


class Listening(ScriptedClassifier):
    def __init__(self, **options: object) -> None:
        super().__init__({"bad": (Category.HATE, 4)}, reads_conversation=True, **options)  # type: ignore[arg-type]  # of a test


TURNS = (Turn("user", "hello"),)


@pytest.mark.parametrize("local", [True, False])
async def test_classifiers_are_told_what_is_known_beside_the_text(local: bool) -> None:
    class Asked(Local if local else ScriptedClassifier):  # type: ignore[misc]  # either
        reads_conversation = True

        def __init__(self) -> None:
            super().__init__()
            self.reads_conversation = True

    classifier = Asked()
    moderator = Moderator([Side(rules("a"), {"a": classifier})])
    judged = moderator.judge([query("text")], Background(TURNS, "team"))
    assert (judged if isinstance(judged, Decision) else await judged).action is Action.ALLOW
    assert [(each.conversation, each.tenant) for each in classifier.asked] == [(TURNS, "team")]


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


async def test_what_a_cascade_spares_is_counted() -> None:
    class Counting(Unobserved):
        def __init__(self) -> None:
            self.counted: list[tuple[str, int]] = []

        def spared(self, classifier: str, texts: int) -> None:
            self.counted.append((classifier, texts))

    observer = Counting()
    cascade = Rule(Category.HATE, combine="first_decisive", classifiers=("cheap", "dear"))
    classifiers = {"cheap": Local({"bad": (Category.HATE, 4)}), "dear": ScriptedClassifier()}
    side = Side(Rules(categories={Category.HATE: cascade}, classifiers=("cheap", "dear")), classifiers)
    moderator = Moderator([side], observer=observer)
    assert (await decided(moderator, "good", "good too", "bad")).action is Action.ALLOW
    assert observer.counted == [("dear", 2)]
    assert [each.text for each in classifiers["dear"].asked] == ["bad"]


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


async def test_a_disguised_text_is_filtered_for_what_it_says() -> None:
    side = Side(rules("a"), {"a": ScriptedClassifier({"bad words": (Category.HATE, 4)})})
    assert (await decided(Moderator([side]), "ba\u200bd wo\u200brds")).action is Action.FILTER
