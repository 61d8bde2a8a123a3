"""The promises of the asynchronous filter, over random streams, cuts, interleavings and orders of verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.asynchronous import AsynchronousFilter
from safety_proxy.events import Annotate, Chunk, Classify, Closed, Effect, End, Failure, Finish, Frame, Item, Release, Shown
from safety_proxy.model import ALLOWED, Action, Decision, Query
from safety_proxy.stream import Filter, StreamFilter
from safety_proxy.testing import drive, occurs
from safety_proxy.windows import WindowPolicy
from tests.strategies import (
    chunkings,
    frame,
    interleavings,
    numbered_texts,
    reads,
    window_policies,
    with_extras,
    with_phrase,
)

FILTERED = Decision(Action.FILTER)
FAILED = Decision(Action.FAIL, error="timeout")
PHRASE = "0123456789"
seeds = st.integers(0, 2**32).map(Random)
Judge = Callable[[Sequence[Query]], Decision]


def allow(_: Sequence[Query]) -> Decision:
    return ALLOWED


def phrase_judge(phrase: str, bad: Decision = FILTERED) -> Judge:
    def judge(queries: Sequence[Query]) -> Decision:
        return bad if any(occurs(phrase, query) for query in queries) else ALLOWED

    return judge


def run(
    policy: WindowPolicy,
    items: list[list[Item]],
    judge: Judge,
    random: Random | None = None,
    kind: type[Filter] = AsynchronousFilter,
    seen: Callable[[Effect], None] | None = None,
) -> list[Shown]:
    choices = 1 + max((item.choice for group in items for item in group if isinstance(item, Chunk)), default=0)
    return drive(kind(policy, choices=choices), items, judge, random=random, seen=seen)


def said(effect: Effect, choice: int = 0) -> str:
    """The text of a choice that an effect shows."""
    if isinstance(effect, Release) and isinstance(effect.item, Chunk) and effect.item.choice == choice:
        return "".join(segment.text for segment in effect.item.segments if not segment.beside)
    return ""


def told(effects: Sequence[Effect], choice: int = 0) -> list[Annotate | Finish]:
    return [effect for effect in effects if isinstance(effect, Annotate | Finish) and effect.choice == choice]


def endings(effects: Sequence[Effect], choice: int) -> list[str]:
    """How a choice ended for the client, every end that it was told of."""
    ends = []
    for effect in effects:
        if isinstance(effect, Finish) and effect.choice == choice:
            ends.append(str(effect.decision.action.value))
        elif isinstance(effect, Release) and isinstance(effect.item, Chunk):
            ends += ["stop"] if effect.item.finished and effect.item.choice == choice else []
        elif isinstance(effect, End):
            ends += ["error"] * effect.unfinished.count(choice)
    return ends


@given(st.data(), window_policies(), seeds)
def test_what_is_allowed_arrives_unchanged_once_in_order_and_frames_keep_their_place(
    data: st.DataObject, policy: WindowPolicy, random: Random
) -> None:
    texts = [data.draw(numbered_texts()) for _ in range(data.draw(st.integers(1, 3)))]
    lanes: list[Sequence[Item]] = [data.draw(with_extras(data.draw(chunkings(text, i)))) for i, text in enumerate(texts)]
    lanes.append([frame(i) for i in range(data.draw(st.integers(0, 3)))])
    items = data.draw(interleavings(lanes))
    shown = run(policy, data.draw(reads(items)), allow, random)
    released = [effect.item for effect in shown if isinstance(effect, Release)]

    assert sorted(map(id, released)) == sorted(map(id, items))
    for choice in range(len(texts)):
        mine = [item for item in items if isinstance(item, Chunk) and item.choice == choice]
        assert mine == [item for item in released if isinstance(item, Chunk) and item.choice == choice]
    for position, item in enumerate(items):
        if isinstance(item, Frame):
            place = next(i for i, other in enumerate(released) if other is item)
            assert {id(i) for i in items[:position]} == {id(i) for i in released[:place]}
    assert shown[-1] == End()


@given(st.data(), window_policies(), seeds)
def test_every_character_that_is_allowed_lies_in_the_offsets_of_exactly_one_annotation_that_follows_it(
    data: st.DataObject, policy: WindowPolicy, random: Random
) -> None:
    texts = [data.draw(numbered_texts(base=base)) for base in (0x4E00, 0x20000)]
    lanes = [data.draw(with_extras(data.draw(chunkings(text, i)))) for i, text in enumerate(texts)]
    lanes.append([])
    shown = run(policy, data.draw(reads(data.draw(interleavings(lanes)))), allow, random)

    for choice in (0, 1):
        end = check = characters = 0
        with_the_finish = len(next(said(effect, choice) for effect in shown if endings([effect], choice)))
        finished = False
        for effect in shown:
            characters += len(said(effect, choice))
            finished |= "stop" in endings([effect], choice)
            if isinstance(effect, Annotate) and effect.choice == choice:
                assert effect.offsets.start == end
                assert check <= effect.offsets.check <= effect.offsets.start
                assert effect.offsets.end <= characters + with_the_finish
                assert not finished
                check, end = effect.offsets.check, effect.offsets.end
        assert end == characters


@given(st.data(), window_policies(), seeds, st.sampled_from([FILTERED, FAILED]))
def test_at_most_two_windows_are_released_from_the_start_of_one_with_a_violation(
    data: st.DataObject, policy: WindowPolicy, random: Random, bad: Decision
) -> None:
    phrase = PHRASE[: data.draw(st.integers(1, 10))]
    text = data.draw(with_phrase(phrase))
    items = data.draw(reads(data.draw(chunkings(text))))
    shown = run(policy, items, phrase_judge(phrase, bad), random)

    finishes = [effect for effect in shown if isinstance(effect, Finish)]
    assert len(finishes) == 1 or len(phrase) >= policy.context
    for finish in finishes:
        assert finish.offsets is not None
        starts = [0, *range(policy.first, finish.offsets.end, policy.size)]
        released = "".join(map(said, shown))
        assert len(released) <= policy.first + len(starts) * policy.size
        assert finish.offsets.check == finish.offsets.start == starts[max(0, len(starts) - 2)]
        first, last = text.positions.index(phrase), text.positions.index(phrase) + len(phrase)
        assert last <= finish.offsets.end
        assert finish.offsets.start <= first or len(phrase) > policy.size
        assert text.positions.startswith(released)


@given(st.data(), window_policies(), st.integers(0, 2**32), seeds)
def test_the_decision_is_that_of_the_law_abiding_filter_whatever_the_order_of_verdicts(
    data: st.DataObject, policy: WindowPolicy, seed: int, random: Random
) -> None:
    phrase = PHRASE[: data.draw(st.integers(1, 10))]
    texts = [data.draw(st.one_of(with_phrase(phrase), numbered_texts())), data.draw(numbered_texts(base=0x9000))]
    bad = data.draw(st.sampled_from([FILTERED, FAILED]))
    one, other = ([data.draw(chunkings(text, i)) for i, text in enumerate(texts)] for _ in range(2))
    lawful = run(policy, data.draw(reads(data.draw(interleavings(one)))), phrase_judge(phrase, bad), random, StreamFilter)
    items = data.draw(reads(data.draw(interleavings(other))))
    runs = [run(policy, items, phrase_judge(phrase, bad), Random(each)) for each in (seed, seed + 1)]

    for choice in (0, 1):
        assert endings(runs[0], choice) == endings(runs[1], choice) == endings(lawful, choice)
    assert told(runs[0])[-1:] == told(runs[1])[-1:] or endings(runs[0], 0) == ["stop"]


@given(st.data(), window_policies(), seeds)
def test_the_same_questions_are_asked_as_by_the_law_abiding_filter(
    data: st.DataObject, policy: WindowPolicy, random: Random
) -> None:
    chunks = data.draw(with_extras(data.draw(chunkings(data.draw(numbered_texts())))))
    items = data.draw(reads(chunks))
    asked: list[list[Effect]] = []
    for kind in (StreamFilter, AsynchronousFilter):
        effects: list[Effect] = []
        run(policy, items, allow, random, kind, seen=effects.append)
        asked.append([effect for effect in effects if isinstance(effect, Classify)])

    assert asked[0] == asked[1]


@given(st.data(), window_policies(), seeds)
def test_every_choice_ends_once_and_the_stream_ends_last_and_once(
    data: st.DataObject, policy: WindowPolicy, random: Random
) -> None:
    count = data.draw(st.integers(1, 3))
    lanes: list[list[Item]] = [
        list(data.draw(with_extras(data.draw(chunkings(data.draw(numbered_texts()), i))))) for i in range(count)
    ]
    failure = data.draw(st.sampled_from([None, Failure("the backend broke off")]))
    if failure or data.draw(st.booleans()):
        lanes = [lane[: data.draw(st.integers(0, len(lane)))] for lane in lanes]
    lanes.append([frame(i) for i in range(data.draw(st.integers(0, 2)))])
    items = data.draw(interleavings(lanes))
    decisions = st.sampled_from([ALLOWED, ALLOWED, ALLOWED, FILTERED, FAILED])
    stream_filter = AsynchronousFilter(policy, choices=count)
    groups: list[list[Item]] = data.draw(reads(items))
    if failure:
        groups[-1] = [*groups[-1][:-1], Closed(failure)]
    shown = drive(stream_filter, groups, lambda _: data.draw(decisions), random=random)

    assert [effect for effect in shown if isinstance(effect, End)] == [shown[-1]]
    begun = {item.choice for group in groups for item in group if isinstance(item, Chunk)}
    for choice in range(count):
        assert len(endings(shown, choice)) == 1 or choice not in begun
        mine = [effect for effect in shown if said(effect, choice) or endings([effect], choice) or told([effect], choice)]
        if choice in begun:
            assert endings(mine[-1:], choice) != []


@given(window_policies(), st.lists(st.integers(1, 40), min_size=1, max_size=40), st.integers(1, 40))
def test_of_what_takes_no_position_a_windows_length_and_an_event_is_released_unjudged(
    policy: WindowPolicy, lengths: list[int], longest: int
) -> None:
    stream_filter = AsynchronousFilter(policy)
    items = [Chunk(0, {}, strings=("s" * length,)) for length in lengths]
    effects = stream_filter.feed([*items])
    shown = [effect.item for effect in effects if isinstance(effect, Release) and isinstance(effect.item, Chunk)]

    assert sum(len(text) for item in shown for text in item.strings) < policy.size + max(lengths)
    assert not any(isinstance(effect, Classify) for effect in effects)
