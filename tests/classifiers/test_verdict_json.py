from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.classifiers.verdict_json import read, write
from safety_proxy.model import HARMS, Category, Span, Verdict

KEY = bytes(range(32))
names = st.text(st.characters(codec="utf-8"), max_size=5)
spans = st.builds(
    lambda start, length, label, weight: Span(start, start + length, label, weight),
    st.integers(0, 10**6),
    st.integers(0, 100),
    names,
    st.floats(allow_nan=False, allow_infinity=False),
)
verdicts = st.builds(
    Verdict,
    st.dictionaries(st.sampled_from(sorted(HARMS)), st.integers(0, 7)),
    st.dictionaries(st.sampled_from(sorted(set(Category) - HARMS)), st.booleans()),
    st.dictionaries(names, st.booleans(), max_size=3),
    st.lists(spans, max_size=3).map(tuple),
    st.just({}),
    st.dictionaries(names, st.floats(0, 1), max_size=3),
)
SOUND = {"v": 1, "k": KEY[:16].hex(), "s": {"hate": 3}, "d": {}, "b": {}, "p": [], "x": {}}
json = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10) | st.floats(0, 2) | st.sampled_from(["hate", "v", KEY[:16].hex()]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*SOUND, *map(str, Category)]), inner),
    max_leaves=12,
)


@given(verdicts)
def test_what_is_written_is_read(verdict: Verdict) -> None:
    data = write(KEY, verdict)
    assert data is not None
    assert read(KEY, data) == verdict


def test_it_is_written_compactly() -> None:
    data = write(KEY, Verdict({Category.HATE: 3}, spans=(Span(0, 4, Category.HATE),)))
    assert data == orjson.dumps(SOUND | {"p": [[0, 4, "hate", 1.0]]})


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict({Category.HATE: 0}, failures={Category.VIOLENCE: "timeout"}),
        Verdict(blocklists={"\ud800": True}),
        Verdict(scores={"odd": float("nan")}),
        Verdict({Category.HATE: 8}),
        Verdict({Category.JAILBREAK: 1}),
    ],
)
def test_what_could_not_be_read_as_it_is_is_not_written(verdict: Verdict) -> None:
    assert write(KEY, verdict) is None


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": True},
        {"v": 1.0},
        {"k": "another"},
        {"s": {"hate": 8}},
        {"s": {"hate": -1}},
        {"s": {"hate": True}},
        {"s": {"hate": 2.0}},
        {"s": {"hate": None}},
        {"s": {"jailbreak": 1}},
        {"s": {"malice": 1}},
        {"s": []},
        {"d": {"jailbreak": 1}},
        {"d": {"hate": True}},
        {"b": {"list": "yes"}},
        {"p": {}},
        {"p": [[0, 1, "hate"]]},
        {"p": [[1, 0, "hate", 1.0]]},
        {"p": [[-1, 0, "hate", 1.0]]},
        {"p": [[False, True, "hate", 1.0]]},
        {"p": [[0, 1, "hate", 1]]},
        {"x": {"score": 1.5}},
        {"x": {"score": 1}},
        {"failures": {}},
    ],
)
def test_anything_odd_is_no_verdict(change: dict[str, object]) -> None:
    assert read(KEY, orjson.dumps(SOUND)) == Verdict({Category.HATE: 3})
    assert read(KEY, orjson.dumps(SOUND | change)) is None


@pytest.mark.parametrize("missing", SOUND)
def test_what_lacks_a_field_is_no_verdict(missing: str) -> None:
    assert read(KEY, orjson.dumps({name: value for name, value in SOUND.items() if name != missing})) is None


def test_what_was_written_under_another_key_is_no_verdict() -> None:
    data = write(KEY, Verdict({Category.HATE: 3}))
    assert data is not None
    assert read(KEY[::-1], data) is None


@given(
    st.binary()
    | json.map(orjson.dumps)
    | st.dictionaries(st.sampled_from(sorted(SOUND)), json).map(lambda d: orjson.dumps(SOUND | d))
)
def test_whatever_is_read_nothing_is_raised_and_no_failure_comes_of_it(data: bytes) -> None:
    verdict = read(KEY, data)
    assert verdict is None or not verdict.failures
