"""The law of the stream, clause by clause, over random streams, cuts, interleavings and orders of verdicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from random import Random

from hypothesis import assume, given
from hypothesis import strategies as st

from safety_proxy.events import Chunk, Classify, Closed, Effect, End, Failure, Finish, Frame, Item, Release, Segment
from safety_proxy.model import ALLOWED, Action, Decision, Query
from safety_proxy.stream import StreamFilter
from safety_proxy.testing import drive, occurs
from safety_proxy.windows import WindowPolicy
from tests.strategies import (
    Text,
    chunk,
    chunkings,
    frame,
    interleavings,
    numbered_texts,
    one_by_one,
    reads,
    window_policies,
    with_extras,
    with_phrase,
)

FILTERED = Decision(Action.FILTER)
FAILED = Decision(Action.FAIL, error="timeout")
PHRASE = "0123456789"
seeds = st.integers(0, 2**32).map(Random)


def allow(_: Sequence[Query]) -> Decision:
    return ALLOWED


def phrase_judge(phrase: str, bad: Decision = FILTERED) -> object:
    def judge(queries: Sequence[Query]) -> Decision:
        return bad if any(occurs(phrase, query) for query in queries) else ALLOWED

    return judge


def run(
    policy: WindowPolicy, items: list[list[Item]], judge: object, random: Random | None = None, **kw: object
) -> list[Effect]:
    choices = 1 + max((item.choice for group in items for item in group if isinstance(item, Chunk)), default=0)
    return list(drive(StreamFilter(policy, choices=choices), items, judge, random=random, **kw))  # type: ignore[arg-type]  # test doubles


def text_of(effects: Sequence[Effect], choice: int = 0) -> str:
    return "".join(
        segment.text
        for effect in effects
        if isinstance(effect, Release) and isinstance(effect.item, Chunk) and effect.item.choice == choice
        for segment in effect.item.segments
    )


def endings(effects: Sequence[Effect]) -> dict[int, list[str]]:
    """How each choice ended for the client, every end that it was told of."""
    told: dict[int, list[str]] = defaultdict(list)
    for effect in effects:
        if isinstance(effect, Finish):
            told[effect.choice].append(str(effect.decision.action.value))
        elif isinstance(effect, Release) and isinstance(effect.item, Chunk) and effect.item.finished:
            told[effect.item.choice].append("stop")
        elif isinstance(effect, End):
            for choice in effect.unfinished:
                told[choice].append("error")
    return dict(told)


@given(st.data(), window_policies(), seeds)
def test_no_character_is_released_before_it_was_judged_and_allowed(
    data: st.DataObject, policy: WindowPolicy, random: Random
) -> None:
    texts = [data.draw(numbered_texts(base=0x4E00 + 0x400 * i)) for i in range(data.draw(st.integers(1, 3)))]
    lanes = [data.draw(with_extras(data.draw(chunkings(text, i)))) for i, text in enumerate(texts)]
    items = data.draw(reads(data.draw(interleavings(lanes))))
    allowed: set[str] = set()

    def judge(queries: Sequence[Query]) -> Decision:
        decision = random.choices([ALLOWED, FILTERED, FAILED], [8, 1, 1])[0]
        if decision is ALLOWED:
            allowed.update(*(query.text for query in queries))
        return decision

    def seen(effect: Effect) -> None:
        if isinstance(effect, Release) and isinstance(effect.item, Chunk):
            texts = [segment.text for segment in effect.item.segments]
            shown = set("".join((*texts, *effect.item.strings, *effect.item.alternatives)))
            assert shown <= allowed, shown - allowed

    run(policy, items, judge, random, seen=seen)


@given(st.data(), window_policies(), seeds, st.sampled_from([FILTERED, FAILED]))
def test_no_part_of_a_span_up_to_holdback_is_released(
    data: st.DataObject, policy: WindowPolicy, random: Random, bad: Decision
) -> None:
    phrase = PHRASE[: data.draw(st.integers(1, max(1, policy.holdback)))]
    if len(phrase) > policy.holdback:
        return
    text = data.draw(with_phrase(phrase, policy))
    other = data.draw(numbered_texts(base=0x9000))
    lanes = [data.draw(chunkings(text, 0)), data.draw(chunkings(other, 1))]
    shown = run(policy, data.draw(reads(data.draw(interleavings(lanes)))), phrase_judge(phrase, bad), random)

    assert set(phrase) & set(text_of(shown)) == set()
    assert endings(shown) == {0: [bad.action.value], 1: ["stop"]}
    assert text_of(shown, 1) == other.positions


@given(window_policies(), st.integers(1, 8), st.integers(0, 12), st.integers(0, 3), seeds)
def test_a_span_that_ends_a_run_of_its_channel_is_held_back_although_the_channel_comes_back(
    policy: WindowPolicy, length: int, before: int, window: int, random: Random
) -> None:
    """Another channel fills the window up to its end, right behind which the first one goes on."""
    phrase = PHRASE[: min(length, policy.holdback)]
    between = policy.first + window * policy.size - before - len(phrase)
    assume(phrase and between > 0)
    numbered = "".join(chr(0x4E00 + i) for i in range(before + between + 5))
    runs = (
        ("reasoning", numbered[:before] + phrase),
        ("content", numbered[before : before + between]),
        ("reasoning", numbered[before + between :]),
    )
    pieces: list[Item] = [*one_by_one(Text(runs)), Closed(complete=True)]
    shown = run(policy, [[piece] for piece in pieces], phrase_judge(phrase), random)

    assert set(phrase) & set(text_of(shown)) == set()
    assert endings(shown) == {0: ["content_filter"]}


@given(st.data(), window_policies(), seeds)
def test_the_cutting_of_chunks_changes_neither_decision_nor_released_text(
    data: st.DataObject, policy: WindowPolicy, random: Random
) -> None:
    phrase = PHRASE[: data.draw(st.integers(1, 10))]
    text = data.draw(st.one_of(with_phrase(phrase, policy), numbered_texts()))
    exact = run(policy, [[*one_by_one(text), Closed(complete=True)]], phrase_judge(phrase))
    chunks = data.draw(chunkings(text))
    shown = run(policy, data.draw(reads(chunks)), phrase_judge(phrase), random)

    assert endings(shown) == endings(exact)
    whole_chunks = ""
    for piece in chunks:
        longer = whole_chunks + "".join(segment.text for segment in piece.segments)
        if not text_of(exact).startswith(longer):
            break
        whole_chunks = longer
    assert text_of(shown) == whole_chunks


@given(st.data(), window_policies(), seeds)
def test_what_is_asked_depends_on_positions_alone(data: st.DataObject, policy: WindowPolicy, random: Random) -> None:
    text = data.draw(numbered_texts())
    cuttings: tuple[list[list[Item]], ...] = (
        [[*one_by_one(text), Closed(complete=True)]],
        data.draw(reads(data.draw(chunkings(text)))),
    )
    asked: list[list[Effect]] = []
    for items in cuttings:
        effects: list[Effect] = []
        run(policy, items, allow, random, seen=effects.append)
        asked.append([effect for effect in effects if isinstance(effect, Classify)])

    assert asked[0] == asked[1]


@given(st.data(), window_policies(), st.integers(0, 2**32), st.integers(0, 2**32))
def test_the_order_of_verdicts_changes_nothing_of_a_choice(
    data: st.DataObject, policy: WindowPolicy, one: int, other: int
) -> None:
    phrase = PHRASE[: data.draw(st.integers(1, 10))]
    texts = [data.draw(with_phrase(phrase)), data.draw(numbered_texts(base=0x9000))]
    lanes = [data.draw(chunkings(text, i)) for i, text in enumerate(texts)]
    items = data.draw(reads(data.draw(interleavings(lanes))))
    runs = [run(policy, items, phrase_judge(phrase), Random(seed)) for seed in (one, other)]

    for choice in (0, 1):
        first, second = ([e for e in effects if _concerns(e, choice)] for effects in runs)
        assert first == second


def _concerns(effect: Effect, choice: int) -> bool:
    match effect:
        case Release(item=Chunk() as item):
            return item.choice == choice
        case Finish():
            return effect.choice == choice
        case _:
            return False


@given(st.data(), window_policies(), seeds)
def test_what_is_allowed_arrives_unchanged_once_in_order_and_frames_keep_their_place(
    data: st.DataObject, policy: WindowPolicy, random: Random
) -> None:
    texts = [data.draw(numbered_texts()) for _ in range(data.draw(st.integers(1, 3)))]
    lanes: list[Sequence[Item]] = [data.draw(chunkings(text, i)) for i, text in enumerate(texts)]
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
def test_every_choice_ends_once_and_the_stream_ends_last_and_once(
    data: st.DataObject, policy: WindowPolicy, random: Random
) -> None:
    count = data.draw(st.integers(1, 3))
    lanes: list[list[Item]] = [list(data.draw(chunkings(data.draw(numbered_texts()), i))) for i in range(count)]
    cut = data.draw(st.booleans())
    if cut:
        lanes = [lane[: data.draw(st.integers(0, len(lane)))] for lane in lanes]
    items = data.draw(interleavings(lanes))
    groups = data.draw(reads(items))
    decisions = st.sampled_from([ALLOWED, ALLOWED, ALLOWED, FILTERED, FAILED])
    stream_filter = StreamFilter(policy, choices=count)
    shown = drive(stream_filter, groups, lambda _: data.draw(decisions), random=random)

    assert [e for e in shown if isinstance(e, End)] == [shown[-1]]
    told = endings(shown)
    assert all(len(told[choice]) == 1 for choice in told)
    begun = {item.choice for item in items if isinstance(item, Chunk)}
    assert begun <= set(told)
    last: dict[int, int] = {}
    for position, effect in enumerate(shown):
        if isinstance(effect, Release) and isinstance(effect.item, Chunk):
            assert effect.item.choice not in last, "text after the end of its choice"
            if effect.item.finished:
                last[effect.item.choice] = position
        elif isinstance(effect, Finish):
            last[effect.choice] = position
    assert stream_filter.feed([chunk(0, 99, (Segment("content", "late"),))]) == []


@given(st.data(), window_policies(), seeds)
def test_a_cut_stream_never_ends_in_stop(data: st.DataObject, policy: WindowPolicy, random: Random) -> None:
    text = data.draw(numbered_texts())
    chunks = data.draw(chunkings(text))[:-1]
    failure = data.draw(st.sampled_from([None, Failure("the backend broke off")]))
    shown = run(policy, [[*chunks], [Closed(failure, complete=data.draw(st.booleans()))]], allow, random)

    assert endings(shown) == {0: ["error"]}
    assert text_of(shown) == "".join(segment.text for c in chunks for segment in c.segments)
    assert isinstance(shown[-1], End)
    assert shown[-1].failure is not None


@given(window_policies(), st.integers(0, 3000), st.integers(1, 50))
def test_the_characters_judged_grow_with_the_text_and_no_faster(policy: WindowPolicy, length: int, piece: int) -> None:
    text = "x" * length
    chunks: list[Item] = [chunk(0, i, (Segment("content", text[i : i + piece]),)) for i in range(0, length, piece)]
    cost = 0

    def seen(effect: Effect) -> None:
        nonlocal cost
        if isinstance(effect, Classify):
            cost += sum(len(query.text) for query in effect.queries)

    run(policy, [[*chunks, chunk(0, length, (), finished=True)], [Closed(complete=True)]], allow, seen=seen)

    assert cost <= (policy.size + policy.context) / policy.size * length + policy.first + policy.context


@given(st.data(), window_policies(), seeds)
def test_no_more_windows_are_in_flight_than_allowed_and_reading_stops_meanwhile(
    data: st.DataObject, policy: WindowPolicy, random: Random
) -> None:
    text = data.draw(numbered_texts())
    stream_filter = StreamFilter(policy)
    in_flight = most = 0

    def seen(effect: Effect) -> None:
        nonlocal in_flight, most
        if isinstance(effect, Classify):
            in_flight += 1
            most = max(most, in_flight)
            assert stream_filter.wants_more <= (in_flight < policy.in_flight)

    def judge(_: Sequence[Query]) -> Decision:
        nonlocal in_flight
        in_flight -= 1
        return ALLOWED

    drive(stream_filter, data.draw(reads(data.draw(chunkings(text)))), judge, random=random, seen=seen)

    assert most <= policy.in_flight


@given(st.data(), window_policies(), st.integers(1, 300))
def test_invisible_characters_neither_open_a_way_out_nor_count(
    data: st.DataObject, policy: WindowPolicy, stuffing: int
) -> None:
    """A phrase with zero-width characters between its letters is held back as if they were not there."""
    phrase = PHRASE[: policy.holdback]
    if not phrase:
        return
    plain = data.draw(with_phrase(phrase))
    stuffed = Text(tuple((channel, run.replace("1", "1" + "\u200b" * stuffing)) for channel, run in plain.runs))

    def judge(queries: Sequence[Query]) -> Decision:
        found = any(
            occurs(phrase, Query(query.text.replace("\u200b", ""), query.kind, query.open_left, query.open_right))
            for query in queries
        )
        return FILTERED if found else ALLOWED

    shown = run(policy, data.draw(reads(data.draw(chunkings(stuffed)))), judge)

    assert set(phrase) & set(text_of(shown)) == set()
    ended = "content_filter_error" if stuffing > 256 and "1" in phrase else "content_filter"
    assert endings(shown) == {0: [ended]}
