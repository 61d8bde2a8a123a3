"""The schemas of moderations and evaluations take what is taken, refuse what is refused, and fit the answers."""

from __future__ import annotations

from typing import Any

import jsonschema  # type: ignore[import-untyped]  # ships no types
import pytest

from safety_proxy.dialects import moderations
from safety_proxy.dialects.evaluation import read_evaluation, tell
from safety_proxy.dialects.litellm_guardrail import guardrail_refusal
from safety_proxy.documents import parse
from safety_proxy.engine import Engine
from safety_proxy.errors import RequestError
from safety_proxy.model import ALLOWED, JSON, Category
from safety_proxy.policy_file import load
from safety_proxy.server.evaluation import evaluate
from safety_proxy.server.openapi_schemas import SCHEMAS
from safety_proxy.server.openapi_service import SERVICE_SCHEMAS
from safety_proxy.testing import ScriptedClassifier

POLICY = "version: 1\nname: p\nclassifiers: [embedded]\ninput: {roles: [user], hate: off}\noutput: {}\n"


def fits(name: str, value: object) -> bool:
    schemas = {**SCHEMAS, **SERVICE_SCHEMAS}
    schema: dict[str, Any] = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


@pytest.mark.parametrize(
    "body",
    [
        {"input": "hi", "model": "any"},
        {"input": ""},
        {"input": ["hi", "there"]},
        {"input": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "data:x"}}]},
        {"input": []},
        {"input": ["hi", 1]},
        {"input": [{"type": "text"}]},
        {"input": [{"type": "sound"}]},
        {"input": None},
        {},
    ],
)
def test_a_schema_of_moderations_refuses_what_is_refused_and_takes_what_is_taken(body: JSON) -> None:
    try:
        moderations.read_request(body)
    except RequestError:
        assert not fits("ModerationRequest", body)
    else:
        assert fits("ModerationRequest", body)


def test_a_moderation_fits() -> None:
    assert fits("Moderation", moderations.answer("1", "m", [moderations.result(ALLOWED, [], {Category.HATE: 4})]))


@pytest.mark.parametrize(
    "body",
    [
        {"text": "something bad", "id": "7"},
        {"messages": [{"role": "system", "content": "bad"}, {"role": "user", "content": "hi"}], "completion": "bad " * 99},
        {"completion": [{"content": "bad", "odd": "bad"}, "good"]},
    ],
)
async def test_an_evaluation_fits(body: JSON) -> None:
    classifier = ScriptedClassifier({"bad": (Category.VIOLENCE, 6)})
    engine = Engine([load(parse(POLICY, "p.yaml"))], {"embedded": classifier})

    answer = tell("7", await evaluate(engine, read_evaluation(body)))

    assert fits("EvaluationResult", answer)
    assert fits("Evaluation", answer)
    assert fits("Evaluation", {"results": [answer]})
    assert not fits("EvaluationResult", {**answer, "decision": "perhaps"})


def test_what_a_guardrail_says_fits() -> None:
    assert fits("LiteLLMGuardrail", guardrail_refusal("why"))
