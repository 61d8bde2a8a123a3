"""The JSON of the routes as JSON Schema, for the description in `safety_proxy.server.openapi`.

Requests and answers are open: what is not written here is judged and passed on. A request's schema says what is refused
here and nothing more, since what a model takes is its server's business.
"""

from __future__ import annotations

from typing import Final

from safety_proxy.dialects.base import MAX_CHOICES
from safety_proxy.model import JSONObject
from safety_proxy.server.openapi_types import BOOLEAN, INTEGER, NULLABLE, OBJECT, STRING, array, record, ref, text_of

_TOKENS: Final[JSONObject] = {
    **array(INTEGER),
    "description": "Token ids; refused (unsupported_content) unless the policy's input.unreadable allows them.",
}
_MODEL: Final[JSONObject] = {
    "type": ["string", "null"],
    "description": "A deployment's name; where it is none, the default deployment takes it as the name of its model.",
}
_STREAM: Final[JSONObject] = {
    "enum": [True, False, "true", "True", "false", "False", None],
    "description": "Whether to answer with server-sent events.",
}
_N: Final[JSONObject] = {
    "type": ["integer", "null"],
    "minimum": 1,
    "maximum": MAX_CHOICES,
    "description": "Choices for each prompt; the bound is for all prompts together.",
}
_PROMPTS: Final[JSONObject] = {
    "anyOf": [STRING, array({"anyOf": [STRING, _TOKENS]}, minItems=1), {**_TOKENS, "minItems": 1}],
}
_FINISH: Final[JSONObject] = {
    "type": ["string", "null"],
    "description": "The backend's reason, or `content_filter` (the policy filtered the text), `content_filter_error` (no "
    "verdict was to be had), `error` (the backend broke off); null while the choice goes on.",
}
_RESULTS: Final[JSONObject] = ref("ContentFilterResults")
_PROMPT_RESULTS: Final[JSONObject] = array(
    record("One prompt's results.", "prompt_index", prompt_index=INTEGER, content_filter_results=_RESULTS)
)


def _answer(description: str, *, text: JSONObject, key: str, event: bool = False) -> JSONObject:
    """A whole answer or an event of a stream, whose choices have their text under *key*."""
    choice = record(
        "One choice. A filtered one has no text.",
        f"index {key} finish_reason",
        index=INTEGER,
        finish_reason=_FINISH,
        content_filter_results=_RESULTS,
        **{key: text},
    )
    return record(
        description,
        "choices" if event else "id object created model choices",
        id=STRING,
        object=STRING,
        created=INTEGER,
        model=STRING,
        choices=array(choice, **({} if event else {"minItems": 1})),
        usage={"type": ["object", "null"]},
        prompt_filter_results=_PROMPT_RESULTS,
    )


_PART: Final[JSONObject] = {
    **record(
        "A part of a message. One of another type than text (image_url, input_audio, file, ...) is refused "
        "(unsupported_content) unless a classifier can read it or the policy's input.unreadable allows it.",
        text=STRING,
    ),
    "if": {"properties": {"type": {"enum": ["text", "input_text", "output_text"]}}},
    "then": {"required": ["text"]},
}
_MESSAGE: Final = record(
    "A message; every text of it is judged, unknown fields too.",
    "role",
    role=text_of("system, developer, user, assistant or tool; any other is judged as user."),
    content={"anyOf": [STRING, {"type": "null"}, array({"anyOf": [STRING, _PART]})]},
)
_VERDICT: Final = record(
    "What was found in one category, and whether it was acted on.",
    filtered=BOOLEAN,
    severity={"enum": ["safe", "low", "medium", "high"]},
    detected=BOOLEAN,
)

SCHEMAS: Final[JSONObject] = {
    "ChatRequest": record(
        "A request for a chat completion.",
        "messages",
        messages=array(_MESSAGE, minItems=1),
        model=_MODEL,
        stream=_STREAM,
        n=_N,
    ),
    "CompletionRequest": record(
        "A request for a text completion.", "prompt", prompt=_PROMPTS, model=_MODEL, stream=_STREAM, n=_N
    ),
    "EmbeddingsRequest": record("A request for embeddings.", "input", input=_PROMPTS, model=_MODEL),
    "ChatCompletion": _answer("A whole chat completion.", text={"type": ["object", "null"]}, key="message"),
    "ChatCompletionChunk": _answer("The data of one event of a chat's stream.", text=OBJECT, key="delta", event=True),
    "Completion": _answer("A whole text completion.", text=NULLABLE, key="text"),
    "CompletionChunk": _answer("The data of one event of a text's stream.", text=STRING, key="text", event=True),
    "Embeddings": record(
        "Embeddings, one for each input.",
        "data",
        object=STRING,
        model=STRING,
        usage=OBJECT,
        data=array(
            record(
                "One embedding: numbers, or base64 of little-endian float32.",
                "embedding",
                index=INTEGER,
                embedding={"anyOf": [array({"type": "number"}), STRING]},
            ),
            minItems=1,
        ),
    ),
    "ContentFilterResults": {
        "type": "object",
        "description": "What was judged, by category; `error` where there was no verdict.",
        "properties": {"error": record("No verdict.", "code message", code=STRING, message=STRING)},
        "additionalProperties": _VERDICT,
    },
    "Model": record(
        "A deployment.",
        "id object created owned_by",
        id=STRING,
        object={"const": "model"},
        created=INTEGER,
        owned_by=STRING,
    ),
    "Models": record("Deployments.", "object data", object={"const": "list"}, data=array(ref("Model"))),
    "Info": record(
        "A deployment, in Azure's words.",
        "model_name model_type model_provider_name",
        model_name=STRING,
        model_type={"enum": ["chat_completion", "text_generation", "embeddings"]},
        model_provider_name=STRING,
    ),
    "Health": record("The process lives.", "status", status={"const": "ok"}),
    "Readiness": record(
        "Whether requests can be judged.",
        "ready draining classifiers",
        ready=BOOLEAN,
        draining=BOOLEAN,
        classifiers=OBJECT,
    ),
    "OpenAPI": record("An OpenAPI document.", "openapi info paths", openapi=STRING, info=OBJECT, paths=OBJECT),
    "Error": record(
        "An error. A filtered prompt has the same fields beside `error` for clients that look there.",
        "error",
        error=record(
            "What is wrong.",
            "message type param code",
            message=STRING,
            type=STRING,
            param={**NULLABLE, "description": "Path of the field that is wrong."},
            code={**NULLABLE, "description": "A word for programs: `content_filter`, `unsupported_content`, ..."},
            innererror=record(
                "Of a filtered prompt.", "code content_filter_result", code=STRING, content_filter_result=_RESULTS
            ),
        ),
    ),
}
"""By name."""
