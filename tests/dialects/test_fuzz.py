"""Whatever a backend or a client sends, there is an answer or a named error; nothing else is raised."""

from __future__ import annotations

import copy
import json
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.dialects import DIALECTS
from safety_proxy.dialects.base import Dialect
from safety_proxy.dialects.chat_completions import ChatCompletions
from safety_proxy.dialects.codec import StreamCodec, StreamOptions, items_of_answer
from safety_proxy.dialects.completions import Completions
from safety_proxy.errors import BackendError, RequestError
from safety_proxy.events import Closed, Item, Shown
from safety_proxy.jsontext import as_object, write
from safety_proxy.model import ALLOWED, JSON, Action, Decision
from safety_proxy.sse import ServerSentEvent, SSEDecoder
from safety_proxy.stream import StreamFilter
from safety_proxy.testing import drive
from safety_proxy.windows import WindowPolicy

POLICY = WindowPolicy(first=5, size=7, context=9, holdback=3)
DIALECTS_OF_EACH_KIND = [ChatCompletions(), Completions()]

FIELDS: Final = """
    choices index delta message text content finish_reason logprobs tokens top_logprobs usage tool_calls token bytes function
    arguments audio error object id model created role type messages prompt stream n stream_options content_filter_results
"""
names = st.sampled_from(FIELDS.split())
leaves = (
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
json_values: st.SearchStrategy[JSON] = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.text(max_size=3), inner, max_size=5),
    max_leaves=25,
)
choices = st.lists(st.dictionaries(names, json_values, max_size=5) | json_values, max_size=3)
bodies = json_values | st.fixed_dictionaries({"choices": choices}, optional={"usage": json_values, "id": json_values})
dialects = pytest.mark.parametrize("dialect", DIALECTS_OF_EACH_KIND, ids=lambda dialect: dialect.name)


def run(items: list[Item], action: Action) -> list[Shown]:
    decision = ALLOWED if action is Action.ALLOW else Decision(action)
    return drive(StreamFilter(POLICY, choices=2), [[*items, Closed(complete=True)]], lambda _: decision)


@dialects
@given(
    st.lists(st.binary(max_size=40) | bodies.map(lambda body: b"data: " + json.dumps(body).encode() + b"\n\n"), max_size=6),
    st.sampled_from(Action),
)
def test_any_stream_is_answered_with_one(dialect: Dialect, pieces: list[bytes], action: Action) -> None:
    codec = StreamCodec(dialect, StreamOptions(include_usage=True, prompt_results=[]))
    decoder = SSEDecoder()
    items = [item for piece in pieces for event in decoder.feed(piece) for item in codec.decode(event)]
    items += [item for event in decoder.flush() for item in codec.decode(event)]
    written = b"".join(map(codec.encode, run(items, action)))

    *events, done = written.removesuffix(b"\n\n").split(b"\n\n")
    assert done == b"data: [DONE]"
    for event in events:
        assert event.startswith(b"data: {")
        assert b"\n" not in event
        payload = json.loads(event[6:])
        assert isinstance(payload["choices"], list)
        assert all(dialect.delta_key in choice and type(choice["index"]) is int for choice in payload["choices"])


@dialects
@given(bodies, st.sampled_from(Action))
def test_any_answer_is_answered_with_one_or_is_the_backends_fault(dialect: Dialect, body: JSON, action: Action) -> None:
    for read in (dialect.read_answer, lambda b: items_of_answer(dialect, StreamCodec(dialect, StreamOptions()), b)):
        try:
            items = read(body)
            answer = dialect.write_answer(as_object(body), run(list(items), action), annotate=True, prompt_results=[])
        except BackendError:
            continue
        assert write(answer)


@given(
    json_values | st.fixed_dictionaries({"messages": st.lists(st.dictionaries(names, json_values)), "prompt": json_values})
)
def test_any_request_is_understood_or_refused_by_name(body: JSON) -> None:
    for path, dialect in DIALECTS.items():
        try:
            asked = dialect.read_request(copy.deepcopy(body))
        except RequestError as error:
            refused = error
        else:
            assert {**asked.body, "stream": None} == {**as_object(body), "stream": None}, path
            assert asked.prompt.choices >= 1, path
            continue
        assert refused.status == 400, path
        assert refused.field is not None or not isinstance(body, dict), path


@given(st.binary())
def test_any_event_is_an_item_or_closes_the_stream(data: bytes) -> None:
    for item in StreamCodec(ChatCompletions(), StreamOptions()).decode(ServerSentEvent(data)):
        assert isinstance(item, Item)
