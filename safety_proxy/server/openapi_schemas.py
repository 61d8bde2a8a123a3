"""The JSON of the routes as JSON Schema, for the description in `safety_proxy.server.openapi`.

Requests and answers are open: what is not written here is judged and passed on. A request's schema says what is refused
here and nothing more, since what a model takes is its server's business.
"""

from __future__ import annotations

from typing import Final

from safety_proxy.dialects.base import MAX_CHOICES
from safety_proxy.model import JSON, JSONObject


def _object(description: str, required: str = "", **properties: JSON) -> JSONObject:
    schema: JSONObject = {"type": "object", "description": description, "properties": properties}
    return schema | ({"required": [*required.split()]} if required else {})


def _array(items: JSON, **more: JSON) -> JSONObject:
    return {"type": "array", "items": items, **more}


def _ref(name: str) -> JSONObject:
    return {"$ref": f"#/components/schemas/{name}"}


def _text(description: str) -> JSONObject:
    return {"type": "string", "description": description}


_STRING: Final[JSONObject] = {"type": "string"}
_INTEGER: Final[JSONObject] = {"type": "integer"}
_BOOLEAN: Final[JSONObject] = {"type": "boolean"}
_OBJECT: Final[JSONObject] = {"type": "object"}
_NULLABLE: Final[JSONObject] = {"type": ["string", "null"]}
_TOKENS: Final[JSONObject] = {
    **_array(_INTEGER),
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
    "anyOf": [_STRING, _array({"anyOf": [_STRING, _TOKENS]}, minItems=1), {**_TOKENS, "minItems": 1}],
}
_FINISH: Final[JSONObject] = {
    "type": ["string", "null"],
    "description": "The backend's reason, or `content_filter` (the policy filtered the text), `content_filter_error` (no "
    "verdict was to be had), `error` (the backend broke off); null while the choice goes on.",
}
_RESULTS: Final[JSONObject] = _ref("ContentFilterResults")
_PROMPT_RESULTS: Final[JSONObject] = _array(
    _object("One prompt's results.", "prompt_index", prompt_index=_INTEGER, content_filter_results=_RESULTS)
)


def _answer(description: str, *, text: JSONObject, key: str, event: bool = False) -> JSONObject:
    """A whole answer or an event of a stream, whose choices have their text under *key*."""
    choice = _object(
        "One choice. A filtered one has no text.",
        f"index {key} finish_reason",
        index=_INTEGER,
        finish_reason=_FINISH,
        content_filter_results=_RESULTS,
        **{key: text},
    )
    return _object(
        description,
        "choices" if event else "id object created model choices",
        id=_STRING,
        object=_STRING,
        created=_INTEGER,
        model=_STRING,
        choices=_array(choice, **({} if event else {"minItems": 1})),
        usage={"type": ["object", "null"]},
        prompt_filter_results=_PROMPT_RESULTS,
    )


_PART: Final[JSONObject] = {
    **_object(
        "A part of a message. One of another type than text (image_url, input_audio, file, ...) is refused "
        "(unsupported_content) unless a classifier can read it or the policy's input.unreadable allows it.",
        text=_STRING,
    ),
    "if": {"properties": {"type": {"enum": ["text", "input_text", "output_text"]}}},
    "then": {"required": ["text"]},
}
_MESSAGE: Final = _object(
    "A message; every text of it is judged, unknown fields too.",
    "role",
    role=_text("system, developer, user, assistant or tool; any other is judged as user."),
    content={"anyOf": [_STRING, {"type": "null"}, _array({"anyOf": [_STRING, _PART]})]},
)
_VERDICT: Final = _object(
    "What was found in one category, and whether it was acted on.",
    filtered=_BOOLEAN,
    severity={"enum": ["safe", "low", "medium", "high"]},
    detected=_BOOLEAN,
)

SCHEMAS: Final[JSONObject] = {
    "ChatRequest": _object(
        "A request for a chat completion.",
        "messages",
        messages=_array(_MESSAGE, minItems=1),
        model=_MODEL,
        stream=_STREAM,
        n=_N,
    ),
    "CompletionRequest": _object(
        "A request for a text completion.", "prompt", prompt=_PROMPTS, model=_MODEL, stream=_STREAM, n=_N
    ),
    "EmbeddingsRequest": _object("A request for embeddings.", "input", input=_PROMPTS, model=_MODEL),
    "ChatCompletion": _answer("A whole chat completion.", text={"type": ["object", "null"]}, key="message"),
    "ChatCompletionChunk": _answer("The data of one event of a chat's stream.", text=_OBJECT, key="delta", event=True),
    "Completion": _answer("A whole text completion.", text=_NULLABLE, key="text"),
    "CompletionChunk": _answer("The data of one event of a text's stream.", text=_STRING, key="text", event=True),
    "Embeddings": _object(
        "Embeddings, one for each input.",
        "data",
        object=_STRING,
        model=_STRING,
        usage=_OBJECT,
        data=_array(
            _object(
                "One embedding: numbers, or base64 of little-endian float32.",
                "embedding",
                index=_INTEGER,
                embedding={"anyOf": [_array({"type": "number"}), _STRING]},
            ),
            minItems=1,
        ),
    ),
    "ContentFilterResults": {
        "type": "object",
        "description": "What was judged, by category; `error` where there was no verdict.",
        "properties": {"error": _object("No verdict.", "code message", code=_STRING, message=_STRING)},
        "additionalProperties": _VERDICT,
    },
    "Model": _object(
        "A deployment.",
        "id object created owned_by",
        id=_STRING,
        object={"const": "model"},
        created=_INTEGER,
        owned_by=_STRING,
    ),
    "Models": _object("Deployments.", "object data", object={"const": "list"}, data=_array(_ref("Model"))),
    "Info": _object(
        "A deployment, in Azure's words.",
        "model_name model_type model_provider_name",
        model_name=_STRING,
        model_type={"enum": ["chat_completion", "text_generation", "embeddings"]},
        model_provider_name=_STRING,
    ),
    "Health": _object("The process lives.", "status", status={"const": "ok"}),
    "Readiness": _object(
        "Whether requests can be judged.",
        "ready draining classifiers",
        ready=_BOOLEAN,
        draining=_BOOLEAN,
        classifiers=_OBJECT,
    ),
    "OpenAPI": _object("An OpenAPI document.", "openapi info paths", openapi=_STRING, info=_OBJECT, paths=_OBJECT),
    "Error": _object(
        "An error. A filtered prompt has the same fields beside `error` for clients that look there.",
        "error",
        error=_object(
            "What is wrong.",
            "message type param code",
            message=_STRING,
            type=_STRING,
            param={**_NULLABLE, "description": "Path of the field that is wrong."},
            code={**_NULLABLE, "description": "A word for programs: `content_filter`, `unsupported_content`, ..."},
            innererror=_object(
                "Of a filtered prompt.", "code content_filter_result", code=_STRING, content_filter_result=_RESULTS
            ),
        ),
    ),
}
"""By name."""
