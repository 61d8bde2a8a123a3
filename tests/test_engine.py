"""Policies with their classifiers: prompts, answers and streams are judged by the same rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from safety_proxy.classifiers.stored_blocklists import StoredBlocklists
from safety_proxy.documents import parse
from safety_proxy.engine import Engine
from safety_proxy.errors import ConfigError
from safety_proxy.events import Chunk, End, Finish, Release, Segment
from safety_proxy.model import HARMS, Action, Category, Kind, Prompt, PromptText, Query, Span, Verdict
from safety_proxy.moderation import NO_BACKGROUND, Judged
from safety_proxy.policy import Policy
from safety_proxy.policy_file import load
from safety_proxy.relay import Collector, once
from safety_proxy.store.base import NewItem
from safety_proxy.store.sql import SQLStore
from safety_proxy.testing import ScriptedClassifier

BAD = {"bad": (Category.HATE, 4)}
HOUSE = "{blocklists: [{name: house, terms: [forbidden word]}]}"
LISTS = f"input: {HOUSE}\noutput: {HOUSE}"


def policy(rest: str = "input: {}\noutput: {}", name: str = "one") -> Policy:
    return load(parse(f"version: 1\nname: {name}\nclassifiers: [embedded]\n{rest}\n", "policy.yaml"))


def engine(*policies: Policy, judgements: int = 256) -> Engine:
    return Engine(policies or [policy()], {"embedded": ScriptedClassifier(BAD)}, judgements=judgements)


def answer(text: str) -> list[Chunk]:
    return [Chunk(0, {}, (Segment("content", text),), finished=True)]


def prompt(text: str) -> Prompt:
    return Prompt((PromptText(Query(text, Kind.USER_PROMPT), "user", "messages[0].content"),))


async def whole(engine: Engine, text: str) -> Action:
    effects = await engine.moderate_answer(answer(text), choices=1)
    return next((effect.decision.action for effect in effects if isinstance(effect, Finish)), Action.ALLOW)


async def streamed(engine: Engine, text: str) -> Action:
    sink = Collector()
    await engine.moderate_stream(once(answer(text)), sink, choices=1)
    return next((effect.decision.action for effect in sink.effects if isinstance(effect, Finish)), Action.ALLOW)


@pytest.mark.parametrize(("text", "action"), [("good", Action.ALLOW), ("x" * 500 + "bad", Action.FILTER)])
async def test_one_engine_decides_alike_on_prompt_answer_and_stream(text: str, action: Action) -> None:
    judge = engine()

    assert (await judge.moderate_prompt(prompt(text))).decision.action is action
    assert await whole(judge, text) is action
    assert await streamed(judge, text) is action


async def test_a_whole_answer_of_any_length_is_judged_at_once() -> None:
    effects = await engine().moderate_answer(answer("word " * 50_000), choices=1)

    assert [type(effect) for effect in effects] == [Release, End]


async def test_a_policys_own_blocklists_need_no_classifier_entry() -> None:
    judge = engine(policy(LISTS))

    assert await whole(judge, "a forbidden word") is Action.FILTER
    assert (await judge.moderate_prompt(prompt("a FORBIDDEN word"))).decision.blocklists == {"house": True}


async def test_two_policies_decide_together_each_with_lists_of_its_own() -> None:
    other = policy(LISTS.replace("forbidden", "unspeakable"), "two")
    judge = engine(policy(LISTS), other)

    assert await whole(judge, "a forbidden word") is Action.FILTER
    assert await whole(judge, "an unspeakable word") is Action.FILTER
    assert await whole(judge, "a word") is Action.ALLOW
    assert judge.identity == f"{policy(LISTS).identity}+{other.identity}"


def test_whole_beats_buffered_and_the_holdback_fits_all_blocklists() -> None:
    lax = policy("input: {}\noutput: {stream: {holdback: 0, context: 1}}")
    long = policy(LISTS.replace("forbidden word", "a rather long forbidden phrase"), "two")

    assert (engine(lax, long).stream.holdback, engine(lax, long).stream.context) == (30, 31)
    assert engine(lax, policy("input: {}\noutput: {stream: {mode: whole}}", "two")).stream.mode == "whole"


MODES = ("whole", "buffered", "asynchronous")


@pytest.mark.parametrize("mine", MODES)
@pytest.mark.parametrize("theirs", MODES)
def test_the_stricter_mode_of_two_policies_holds(mine: str, theirs: str) -> None:
    policies = [
        policy(f"input: {{}}\noutput: {{stream: {{mode: {mode}}}}}", name) for mode, name in ((mine, "one"), (theirs, "two"))
    ]

    assert engine(*policies).stream.mode == min(mine, theirs, key=MODES.index)


@pytest.mark.parametrize(("mode", "shown"), [("whole", 0), ("buffered", 0), ("asynchronous", 1)])
async def test_only_the_asynchronous_mode_shows_text_of_a_filtered_stream_and_no_mode_of_a_whole_answer(
    mode: str, shown: int
) -> None:
    judge = engine(policy(f"input: {{}}\noutput: {{stream: {{mode: {mode}}}}}"))
    says = [Chunk(0, {}, (Segment("content", "something bad"),)), Chunk(0, {}, finished=True)]
    sink = Collector()
    await judge.moderate_stream(once(says), sink, choices=1)
    effects = await judge.moderate_answer(says, choices=1)

    assert [type(effect) for effect in sink.effects] == [Release] * shown + [Finish, End]
    assert [type(effect) for effect in effects] == [Finish, End]


def test_a_policy_that_cannot_be_enforced_makes_no_engine() -> None:
    with pytest.raises(ConfigError, match=r"policy\.yaml:3: classifiers\[0\]"):
        Engine([policy()], {"other": ScriptedClassifier()})


async def test_strings_of_an_answer_are_judged_each_by_itself() -> None:
    judge = engine()

    assert (await judge.moderate_strings([])).action is Action.ALLOW
    assert (await judge.moderate_strings(["ba", "d", "good"])).action is Action.ALLOW
    assert (await judge.moderate_strings(["good", "bad"])).action is Action.FILTER


async def test_a_string_that_comes_twice_is_judged_once() -> None:
    classifier = ScriptedClassifier()
    await Engine([policy()], {"embedded": classifier}).moderate_strings(["word", "other", "word"])

    assert [query.text for query in classifier.asked] == ["word", "other"]


async def test_a_local_classifier_judges_strings_at_once() -> None:
    lists = load(parse(f"version: 1\nname: one\nclassifiers: []\ndefaults: off\n{LISTS}\n", "policy.yaml"))

    assert (await Engine([lists], {}).moderate_strings(["a forbidden word"])).action is Action.FILTER


# ------------------------------------------------------------------------------------------------------- background


class Listening(ScriptedClassifier):
    """Is told what was said before."""

    def __init__(self) -> None:
        super().__init__(BAD, reads_conversation=True)


ASKED = Prompt(
    tuple(
        PromptText(Query(text, Kind.MESSAGE), role, "messages[0].content", spoken=True)
        for role, text in (("user", "one"), ("assistant", "two"), ("user", "three"))
    )
)


@pytest.mark.parametrize(
    ("mode", "told"),
    [("none", []), ("last_user", ["three"]), ("all", ["one", "two", "three"])],
)
async def test_a_completion_is_judged_with_what_the_policy_tells_of_the_conversation(mode: str, told: list[str]) -> None:
    classifier = Listening()
    judge = Engine([policy(f"conversation: {mode}")], {"embedded": classifier})
    background = judge.background(ASKED, "team")
    await judge.moderate_answer(answer("whole"), choices=1, background=background)
    await judge.moderate_stream(once(answer("streamed")), Collector(), choices=1, background=background)
    assert [query.text for query in classifier.asked] == ["whole", "streamed"]
    assert [[turn.text for turn in query.conversation] for query in classifier.asked] == [told, told]
    assert {query.tenant for query in classifier.asked} == {"team"}


def test_where_nobody_listens_no_conversation_is_put_together() -> None:
    assert Engine([policy("conversation: all")], {"embedded": ScriptedClassifier()}).background(ASKED) is NO_BACKGROUND


def test_of_two_policies_the_one_that_tells_more_holds() -> None:
    judge = Engine([policy("conversation: none"), policy("conversation: all", "two")], {"embedded": Listening()})
    assert len(judge.background(ASKED).conversation) == 3


@pytest.mark.parametrize(("one", "two", "parallel"), [(True, True, True), (True, False, False), (False, True, False)])
def test_the_backend_is_called_in_parallel_if_all_policies_have_it(one: bool, two: bool, parallel: bool) -> None:
    policies = [policy(f"input: {{parallel: {str(each).lower()}}}", name) for each, name in ((one, "one"), (two, "two"))]
    assert engine(*policies).parallel is parallel


async def test_a_witness_hears_of_every_window_where_it_stands_and_changes_no_decision() -> None:
    judge = engine()
    heard: list[Judged] = []
    text = "x" * 300 + " bad " + "y" * 300

    effects = await judge.moderate_answer(answer(text), choices=1, witness=heard.extend)

    assert [type(effect) for effect in effects] == [type(e) for e in await judge.moderate_answer(answer(text), choices=1)]
    assert all(text[each.query.offset :].startswith(each.query.text) for each in heard if each.query.offset is not None)
    found = [
        (each.query.channel, (each.query.offset or 0) + span.start)
        for each in heard
        for said in each.outcomes.values()
        if isinstance(said, Verdict)
        for span in said.spans
    ]
    assert found
    assert set(found) == {("content", 301)}


async def test_whatever_the_rules_are_all_that_the_classifiers_can_tell_can_be_asked_for() -> None:
    judge = engine(policy("input: {hate: off, violence: {block_at: low}}\noutput: {}"))

    (judged,) = await judge.classify([Query("bad", Kind.MESSAGE)])

    assert judged.decision.action is Action.ALLOW
    assert {category: each.severity for category, each in judged.decision.annotations.items()} == {
        **dict.fromkeys(HARMS, 0),
        Category.HATE: 4,
    }
    assert judge.reports(Kind.MESSAGE) == frozenset(Category)
    assert judge.reports(Kind.IMAGE) == frozenset()


HELD = "blocklists: [{name: house, from: store}]"
STORED = f"input: {{{HELD}}}\noutput: {{{HELD}, stream: {{mode: whole}}}}"


async def test_lists_of_the_store_are_searched_as_they_are_at_the_time() -> None:
    store = SQLStore("sqlite://")
    lists = StoredBlocklists(store)
    judge = Engine([policy(STORED)], {"embedded": ScriptedClassifier(BAD)}, stored=lists.classifier)

    assert await whole(judge, "a secret word") is Action.FAIL
    missing = (await judge.moderate_prompt(prompt("a secret word"))).decision
    assert (missing.action, missing.error) == (Action.FAIL, "blocklist_missing")
    await store.put_list("house", {})
    await store.add_items("house", [NewItem("secret word")])
    await lists.refresh()
    assert (await judge.moderate_prompt(prompt("a SECRET word"))).decision.blocklists == {"house": True}
    assert await whole(judge, "a secret word") is Action.FILTER
    assert await streamed(judge, "any other word") is Action.ALLOW
    await store.close()


def test_lists_of_the_store_need_one() -> None:
    with pytest.raises(ConfigError, match="the blocklist `house` is in the store, and there is none"):
        engine(policy(STORED))


async def test_a_classifier_that_tells_no_spans_is_asked_for_them_where_somebody_wants_to_know_why() -> None:
    class Terse(ScriptedClassifier):
        def _verdict(self, query: Query) -> Verdict:
            return replace(super()._verdict(query), spans=())

        def explain(self, query: Query, /) -> Verdict:
            return super()._verdict(query)

    terse = Terse(BAD)
    judge = Engine([policy()], {"embedded": terse}, explaining={"embedded": terse})
    (judged, *_) = (await judge.examine_prompt(prompt("very bad"))).judged

    explained = await judge.explain(judged)

    assert [said.spans for said in judged.outcomes.values() if isinstance(said, Verdict)] == [()]
    assert [said.spans for said in explained.outcomes.values() if isinstance(said, Verdict)] == [(Span(5, 8, "hate"),)]
    assert explained.decision == judged.decision
    assert await engine().explain(judged) == judged
