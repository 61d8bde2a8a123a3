"""All routes there are, for the description in `safety_proxy.server.openapi`: what each takes, and how it may answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from safety_proxy.dialects import DIALECTS, EMBEDDINGS

# ------------------------------------------------------------------------------------------------------------- errors

_COMMON: Final = (405,)
_CALLER: Final = (400, 401, *_COMMON)
_MODEL: Final = (*_CALLER, 404, 413, 415, 422, 429, 500, 502, 503, 504)
_SERVICE: Final = (*_CALLER, 413, 415, 500, 503)
"""Of a route of the filtering service."""
ERRORS: Final[Mapping[int, str]] = {
    400: "The request is wrong (`param` names the field), holds what no classifier can read (`unsupported_content`), or its "
    "prompt was filtered (`content_filter`). Or the backend refused it.",
    401: "No valid key was presented.",
    403: "The configuration shows this to nobody, or not to this key.",
    404: "No such deployment, policy, blocklist or item, or not for this key.",
    405: "The route has other methods.",
    413: "The body is too large, or the prompt too long to be judged.",
    415: "The body has a content coding that is not supported.",
    422: "The backend refused the request. Other statuses of a refusing backend are passed on as well.",
    429: "The deployment's quota for this minute is used up, or the backend's; `Retry-After` says when to come back.",
    500: "A mistake of the proxy, or the backend's own error.",
    502: "The backend cannot be reached, or its answer cannot be used.",
    503: "The text could not be judged (`content_filter_error`), the store of blocklists cannot be used "
    "(`store_unavailable`), or there is too much to do (`overloaded`).",
    504: "The backend did not answer in time.",
}

# ------------------------------------------------------------------------------------------------------------- routes


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path."""

    summary: str
    answer: str = ""
    """Name of the schema of an answer; empty: plain text."""
    errors: tuple[int, ...] = _COMMON
    request: str = ""
    """Name of the schema of a request's body; empty: there is none."""
    events: str = ""
    """Name of the schema of a streamed event's data; empty: never streamed."""
    parameters: tuple[str, ...] = ()
    secured: bool = True
    unready: bool = False
    """Status 503 has the same schema as 200."""
    statuses: tuple[int, ...] = (200,)
    """Of an answer that is no error; 204 has no body."""
    error: str = "Error"
    """Name of the schema of an error."""
    media: tuple[str, ...] = ("application/json",)
    """Types of a request's body."""
    judged: tuple[str, ...] = ()
    """Headers that tell who judged, and what was decided."""


Method: TypeAlias = str
"""In lower case."""

_AZURE: Final = ("api-version", "deployment-header")
_ASKING: Final = (*_AZURE, "extra-parameters")
_LIMITS: Final = tuple(
    f"x-ratelimit-{word}-{what}" for what in ("requests", "tokens") for word in ("limit", "remaining", "reset")
)
_PROXIED: Final = ("x-safety-proxy-policy", "x-safety-proxy-mode", "x-safety-proxy-decision", *_LIMITS)


def _model(summary: str, answer: str, request: str, events: str = "") -> Route:
    return Route(summary, answer, _MODEL, request, events, _ASKING, judged=_PROXIED)


_DIALECTS: Final[Mapping[str, Route]] = {
    "chat_completions": _model("A chat completion, moderated", "ChatCompletion", "ChatRequest", "ChatCompletionChunk"),
    "completions": _model("A text completion, moderated", "Completion", "CompletionRequest", "CompletionChunk"),
}
_EMBEDDINGS: Final = _model("Embeddings of moderated inputs", "Embeddings", "EmbeddingsRequest")
_LIST: Final = Route("The deployments open to the caller", "Models", _CALLER, parameters=("api-version",))
_SHOW: Final = Route("One of the deployments open to the caller", "Model", (*_CALLER, 404), parameters=("api-version",))

METRICS: Final = "/metrics"

# ------------------------------------------------------------------------------------------------- filtering service

_JUDGED: Final = ("x-safety-proxy-policy", "x-safety-proxy-classifiers")
_DECIDED: Final = (*_JUDGED, "x-safety-proxy-decision")
_MODERATION: Final = Route(
    "Texts and images judged, as OpenAI's moderation API does", "Moderation", _SERVICE, "ModerationRequest", judged=_DECIDED
)
_LISTS: Final = "/contentsafety/text/blocklists"


def _content_safety(
    summary: str,
    answer: str,
    request: str = "",
    *errors: int,
    statuses: tuple[int, ...] = (200,),
    parameters: tuple[str, ...] = (),
    media: tuple[str, ...] = ("application/json",),
) -> Route:
    return Route(
        summary,
        answer,
        (*_SERVICE, *errors),
        request,
        parameters=("api-version", *parameters),
        statuses=statuses,
        error="ContentSafetyError",
        media=media,
        judged=_JUDGED,
    )


_CONTENT_SAFETY: Final[Mapping[str, Mapping[Method, Route]]] = {
    "/contentsafety/text:analyze": {
        "post": _content_safety("A text judged", "TextAnalysis", "AnalyzeTextRequest", 403, 404)
    },
    "/contentsafety/image:analyze": {"post": _content_safety("An image judged", "ImageAnalysis", "AnalyzeImageRequest")},
    "/contentsafety/text:shieldPrompt": {
        "post": _content_safety("A prompt and documents searched for attacks", "ShieldPromptAnalysis", "ShieldPromptRequest")
    },
    "/contentsafety/text:detectProtectedMaterial": {
        "post": _content_safety("A text compared with known ones", "ProtectedMaterial", "ProtectedMaterialRequest")
    },
    "/contentsafety/text:detectProtectedMaterialForCode": {
        "post": _content_safety("Code compared with known code", "ProtectedMaterial", "ProtectedCodeRequest")
    },
    _LISTS: {"get": _content_safety("All blocklists", "Blocklists", "", 403, parameters=("top", "skip", "maxpagesize"))},
    f"{_LISTS}/{{blocklist}}": {
        "get": _content_safety("A blocklist", "Blocklist", "", 403, 404),
        "patch": _content_safety("Make or change a blocklist", "Blocklist", "BlocklistChange", 403, statuses=(200, 201)),
        "delete": _content_safety("Remove a blocklist with its items", "", "", 403, statuses=(204,)),
    },
    f"{_LISTS}/{{blocklist}}:addOrUpdateBlocklistItems": {
        "post": _content_safety("Add items", "BlocklistItems", "NewBlocklistItems", 403, 404)
    },
    f"{_LISTS}/{{blocklist}}:removeBlocklistItems": {
        "post": _content_safety("Remove items", "", "RemovedBlocklistItems", 403, 404, statuses=(204,))
    },
    f"{_LISTS}/{{blocklist}}/blocklistItems": {
        "get": _content_safety("Its items", "BlocklistItemPage", "", 403, 404, parameters=("top", "skip", "maxpagesize"))
    },
    f"{_LISTS}/{{blocklist}}/blocklistItems/{{item}}": {
        "get": _content_safety("One of its items", "BlocklistItem", "", 403, 404)
    },
}

# --------------------------------------------------------------------------------------------------------- all of them

OPERATIONS: Final[Mapping[str, Mapping[Method, Route]]] = {
    **{path: {"post": _DIALECTS[dialect.name]} for path, dialect in DIALECTS.items()},
    **{path: {"post": _EMBEDDINGS} for path in EMBEDDINGS},
    "/v1/models": {"get": _LIST},
    "/openai/v1/models": {"get": _LIST},
    "/v1/models/{model}": {"get": _SHOW},
    "/openai/v1/models/{model}": {"get": _SHOW},
    "/info": {
        "get": Route("The default deployment, or the one that a header names", "Info", (*_CALLER, 404), parameters=_AZURE)
    },
    **_CONTENT_SAFETY,
    **{path: {"post": _MODERATION} for path in ("/v1/moderations", "/moderations", "/openai/v1/moderations")},
    "/v1/policy/evaluate": {
        "post": Route(
            "What a policy decides on prompts and completions, and why",
            "Evaluation",
            (*_SERVICE, 404),
            "EvaluationRequest",
            judged=_DECIDED,
        )
    },
    "/integrations/litellm/beta/litellm_basic_guardrail_api": {
        "post": Route(
            "LiteLLM's generic guardrail", "LiteLLMGuardrail", (*_SERVICE, 404), "LiteLLMGuardrailRequest", judged=_DECIDED
        )
    },
    "/openapi.json": {"get": Route("This description", "OpenAPI", secured=False)},
    "/healthz": {
        "get": Route("Whether the process lives", "Health", secured=False),
        "head": Route("Whether the process lives", secured=False),
    },
    METRICS: {"get": Route("Counters in Prometheus' text format", "", (401, 403, *_COMMON))},
    "/readyz": {
        "get": Route("Whether requests can be judged", "Readiness", secured=False, unready=True),
        "head": Route("Whether requests can be judged", secured=False, unready=True),
    },
}
"""By path and method: every route that the application has."""
