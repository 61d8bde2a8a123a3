"""The JSON of moderations, evaluations and guardrails as JSON Schema, for the description in `safety_proxy.server.openapi`.

The shape of moderations is OpenAI's, that of guardrails LiteLLM's.
"""

from __future__ import annotations

from typing import Final

from safety_proxy.dialects.evaluation import MAX_EVALUATIONS
from safety_proxy.dialects.moderations import MAX_INPUTS, NAMES
from safety_proxy.model import Category, JSONObject, Kind
from safety_proxy.server.openapi_types import BOOLEAN, INTEGER, NULLABLE, OBJECT, STRING, array, record, ref

_NUMBER: Final[JSONObject] = {"type": "number", "minimum": 0, "maximum": 1}
_DECISION: Final[JSONObject] = {"enum": ["allow", "block", "error"]}

# --------------------------------------------------------------------------------------------- OpenAI's moderation API


def _each(of: JSONObject) -> JSONObject:
    """One value under each of OpenAI's names."""
    return record("By OpenAI's names.", " ".join(NAMES), **dict.fromkeys(NAMES, of))


_PART: Final[JSONObject] = {
    "anyOf": [
        record("A text.", "type text", type={"const": "text"}, text=STRING),
        record(
            "An image, inline; an address is not fetched.",
            "type image_url",
            type={"const": "image_url"},
            image_url={"anyOf": [STRING, record("Where it is.", "url", url=STRING)]},
        ),
    ]
}
_MODERATION: Final[JSONObject] = {
    "ModerationRequest": record(
        "What to judge: a text, texts (a result each), or parts that belong together (one result).",
        "input",
        input={
            "anyOf": [
                STRING,
                array(STRING, minItems=1, maxItems=MAX_INPUTS),
                array(_PART, minItems=1, maxItems=MAX_INPUTS),
            ]
        },
        model={**NULLABLE, "description": "Echoed."},
    ),
    "Moderation": record(
        "What was found.",
        "id model results",
        id=STRING,
        model=STRING,
        results=array(
            record(
                "Of one input.",
                "flagged categories category_scores category_applied_input_types",
                flagged={**BOOLEAN, "description": "Whether the policy filters it as a prompt."},
                categories=_each(BOOLEAN),
                category_scores=_each(_NUMBER),
                category_applied_input_types=_each(array({"enum": ["text", "image"]})),
            ),
            minItems=1,
        ),
    ),
}

# --------------------------------------------------------------------------------------------------------- evaluations

_BY_CATEGORY: Final[JSONObject] = {"propertyNames": {"enum": [*Category]}, "type": "object"}
_SUMMARY: Final[JSONObject] = {
    "decision": _DECISION,
    "categories": {
        **_BY_CATEGORY,
        "additionalProperties": record(
            "What was found, and what the policy filters.",
            "filtered",
            filtered=BOOLEAN,
            severity={"type": "integer", "minimum": 0, "maximum": 7},
            label={"enum": ["safe", "low", "medium", "high"]},
            threshold={"enum": ["low", "medium", "high", "never"]},
            detected=BOOLEAN,
            action={"enum": ["block", "annotate"]},
        ),
    },
    "blocklists": {"type": "object", "additionalProperties": record("A match.", "filtered", filtered=BOOLEAN)},
    "error": {**NULLABLE, "description": "Why something stayed undecided."},
}
_PLACE: Final[JSONObject] = {"type": ["integer", "null"], "minimum": 0}
_JUDGED: Final[JSONObject] = {
    "start": _PLACE,
    "end": _PLACE,
    "kind": {"enum": [*Kind]},
    "decision": _DECISION,
    "spans": array(
        record(
            "Where something was found.",
            "start end label classifier weight",
            start=INTEGER,
            end=INTEGER,
            label=STRING,
            classifier=STRING,
            weight={"type": "number"},
        )
    ),
    "verdicts": {"type": "object", "additionalProperties": OBJECT, "description": "What each classifier said, by name."},
}
_STAGE: Final = " ".join((*_SUMMARY, "texts"))
_EVALUATION_FIELDS: Final[JSONObject] = {
    "id": NULLABLE,
    "policy": {**NULLABLE, "description": "Name of the policy; the caller's, if none is named."},
    "text": {**NULLABLE, "description": "A user's prompt."},
    "messages": {
        "type": ["array", "null"],
        "description": "As in a request for a chat completion, as are all fields beside.",
    },
    "prompt": {"description": "As in a request for a text completion, as are all fields beside."},
    "completion": {"description": "A string, a message, or an array of those: a choice each."},
}
_EVALUATION: Final[JSONObject] = {
    "EvaluationRequest": record(
        "One evaluation, or several. An input (`text`, `messages` or `prompt`), a `completion`, or both.",
        evaluations=array(OBJECT, minItems=1, maxItems=MAX_EVALUATIONS),
        **_EVALUATION_FIELDS,
    ),
    "Evaluation": {
        "anyOf": [
            record("Of several, in order.", "results", results=array({"anyOf": [ref("EvaluationResult"), ref("Error")]})),
            ref("EvaluationResult"),
        ]
    },
    "EvaluationResult": record(
        "What the policy decides, and why.",
        "id object policy classifiers decision stages not_evaluated",
        id=NULLABLE,
        object={"const": "policy.evaluation"},
        policy={**STRING, "description": "Its identity."},
        classifiers=array(STRING),
        decision=_DECISION,
        stages=record(
            "For each that was asked about.",
            input=record(
                "The prompt.",
                _STAGE,
                **_SUMMARY,
                texts=array(record("A text.", " ".join(_JUDGED), field=NULLABLE, role=NULLABLE, **_JUDGED)),
            ),
            output=record(
                "The completion.",
                f"{_STAGE} choices",
                **_SUMMARY,
                choices=array(
                    record("A choice.", " ".join(_SUMMARY), index=INTEGER, finish_reason=NULLABLE, **_SUMMARY), minItems=1
                ),
                texts=array(record("A window.", " ".join(_JUDGED), choice=INTEGER, channel=NULLABLE, **_JUDGED)),
            ),
        ),
        not_evaluated=array(
            record(
                "What was not looked at, and why.",
                "stage what name reason",
                stage={"enum": ["input", "output"]},
                what={"enum": ["field", "category", "classifier"]},
                name=STRING,
                reason=STRING,
            )
        ),
    ),
}

# ------------------------------------------------------------------------------------------------------------- LiteLLM

_LITELLM: Final[JSONObject] = {
    "LiteLLMGuardrailRequest": record(
        "A prompt or a completion, as LiteLLM's proxy tells of it.",
        "input_type",
        input_type={"enum": ["request", "response"]},
        texts={"anyOf": [array(STRING), {"type": "null"}]},
        images={"anyOf": [array(STRING), {"type": "null"}]},
        tools={"type": ["array", "null"]},
        tool_calls={"type": ["array", "null"]},
        structured_messages={"type": ["array", "null"]},
        additional_provider_specific_params={
            "anyOf": [record("Of the guardrail's settings.", policy=NULLABLE), {"type": "null"}]
        },
    ),
    "LiteLLMGuardrail": record(
        "Whether it may pass.",
        "action",
        action={"enum": ["NONE", "BLOCKED"]},
        blocked_reason=STRING,
        stream_holdback_chars=array(INTEGER),
    ),
}

SERVICE_SCHEMAS: Final[JSONObject] = {**_MODERATION, **_EVALUATION, **_LITELLM}
"""By name."""
