"""The schemas fit what the proxy takes and gives; that they fit all of it is schemathesis' business."""

from __future__ import annotations

from typing import Any

import jsonschema  # type: ignore[import-untyped]  # ships no types
import pytest

from safety_proxy.dialects.annotations import error_body, refusal
from safety_proxy.dialects.base import Dialect
from safety_proxy.dialects.chat_completions import ChatCompletions
from safety_proxy.dialects.completions import Completions
from safety_proxy.dialects.embeddings import Embeddings
from safety_proxy.errors import RequestError
from safety_proxy.model import JSON, Action, Annotation, Category, Decision
from safety_proxy.server.openapi_schemas import SCHEMAS
from tests.server.wire import asks, event, whole


def fits(name: str, value: object) -> bool:
    schema: dict[str, Any] = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


CHAT, TEXT, NUMBERS = ChatCompletions(), Completions(), Embeddings()
USER = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("endpoint", "name", "body"),
    [
        (CHAT, "ChatRequest", asks()),
        (CHAT, "ChatRequest", {"messages": [USER], "stream": "True", "n": 128, "model": None, "odd": {}}),
        (CHAT, "ChatRequest", {"messages": [{"role": "user", "content": ["a", {"type": "text", "text": "b"}]}]}),
        (CHAT, "ChatRequest", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}),
        (CHAT, "ChatRequest", {"messages": []}),
        (CHAT, "ChatRequest", {"messages": [{"content": "x"}]}),
        (CHAT, "ChatRequest", {"messages": [{"role": "user", "content": 5}]}),
        (CHAT, "ChatRequest", {"messages": [{"role": "user", "content": [{"type": "text"}]}]}),
        (CHAT, "ChatRequest", {"messages": [USER], "n": 0}),
        (CHAT, "ChatRequest", {"messages": [USER], "n": 129}),
        (CHAT, "ChatRequest", {"messages": [USER], "stream": "yes"}),
        (CHAT, "ChatRequest", {"messages": [USER], "model": 5}),
        (CHAT, "ChatRequest", []),
        (TEXT, "CompletionRequest", {"prompt": "hi"}),
        (TEXT, "CompletionRequest", {"prompt": ["hi", [1, 2]]}),
        (TEXT, "CompletionRequest", {"prompt": [1, 2]}),
        (TEXT, "CompletionRequest", {"prompt": []}),
        (TEXT, "CompletionRequest", {"prompt": [{}]}),
        (TEXT, "CompletionRequest", {}),
        (NUMBERS, "EmbeddingsRequest", {"input": ["hi"], "dimensions": 3}),
        (NUMBERS, "EmbeddingsRequest", {"input": {}}),
        (NUMBERS, "EmbeddingsRequest", {}),
    ],
)
def test_a_schema_refuses_what_is_refused_and_takes_what_is_taken(
    endpoint: Dialect | Embeddings, name: str, body: JSON
) -> None:
    try:
        endpoint.read_request(body)
    except RequestError:
        taken = False
    else:
        taken = True
    assert fits(name, body) == taken


def test_answers_and_events_fit() -> None:
    assert fits("ChatCompletion", whole("Hi", None))
    assert fits("ChatCompletionChunk", event({"content": "Hi"}, "stop"))
    assert fits("ChatCompletionChunk", {"choices": [], "usage": {}})
    assert not fits("ChatCompletion", {**whole(), "choices": []})
    assert not fits("ChatCompletionChunk", {"choices": [{"index": 0, "finish_reason": None}]})
    assert fits("Completion", {**whole(), "choices": [{"index": 0, "text": "", "finish_reason": "content_filter"}]})


def test_errors_fit() -> None:
    decision = Decision(Action.FILTER, {Category.HATE: Annotation(filtered=True, severity=6)}, {"words": True}, "timeout")
    assert fits("Error", refusal(decision)[1])
    assert fits("Error", error_body("no", kind="server_error"))
    assert not fits("Error", {"error": "no"})
    assert not fits("Error", {"error": {"message": "no"}})
