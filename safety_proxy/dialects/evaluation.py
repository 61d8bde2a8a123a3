"""``/v1/policy/evaluate``: requests, and the whole of an answer. What a stage says is in `evaluation_stages`.

One evaluation::

    {"id": "7", "policy": "strict", "messages": [{"role": "user", "content": "Hi"}], "completion": "Hello"}

Its input is one of ``text`` (a user's prompt), ``messages`` or ``prompt``, which are read as the chat and the text dialect
read them, with all other fields of such a request. ``completion`` is a string, a message (an object), or an array of those,
a choice each. At least one of input and completion is there. Several evaluations are ``{"evaluations": [...]}``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from safety_proxy.dialects.base import MAX_CHOICES, Dialect
from safety_proxy.dialects.chat_completions import ChatCompletions
from safety_proxy.dialects.completions import Completions
from safety_proxy.dialects.evaluation_stages import InputStage, OutputStage
from safety_proxy.dialects.prompt import spoken
from safety_proxy.errors import RequestError
from safety_proxy.events import Chunk
from safety_proxy.jsontext import as_object
from safety_proxy.model import JSON, Decision, JSONObject, Prompt
from safety_proxy.policy import Policy, strictest

MAX_EVALUATIONS: Final = 100
"""Evaluations of one request: their answers are held until the last one is there."""
MAX_COMPLETION: Final = 32_000
"""Characters of the completion of an evaluation, all its choices together: some 8,000 tokens, as much as most models write.
The windows of a choice are judged at once, and other requests wait meanwhile."""

_INPUTS: Final = ("text", "messages", "prompt")
_OWN: Final = frozenset({"id", "policy", "completion", *_INPUTS})
_CHAT, _TEXT = ChatCompletions(), Completions()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation that has been read."""

    id: str | None
    policy: str | None
    """Name of the policy to evaluate. None: the caller's."""
    prompt: Prompt | None
    choices: tuple[Chunk, ...] = ()
    """Of the completion, each the only choice of an answer."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What was decided on an evaluation, and by whom."""

    policies: Sequence[Policy]
    identity: str
    """Of the policies."""
    classifiers: Sequence[str]
    """Their identities."""
    input: InputStage | None = None
    output: OutputStage | None = None

    @property
    def decision(self) -> Decision:
        """The strictest of the stages."""
        return strictest(stage.decision for stage in (self.input, self.output) if stage is not None)


# ------------------------------------------------------------------------------------------------------------ requests


def batch_of(body: JSON) -> list[JSON] | None:
    """The evaluations of a request for several; None if it is for one. Raises `RequestError`."""
    if not isinstance(body, dict):
        raise RequestError("the body must be a JSON object")
    if "evaluations" not in body:
        return None
    for key in body:
        if key != "evaluations":
            raise RequestError(f"'{key}' cannot stand beside 'evaluations'", field=key)
    batch = body["evaluations"]
    if not isinstance(batch, list) or not 1 <= len(batch) <= MAX_EVALUATIONS:
        raise RequestError(f"'evaluations' must be an array of 1 to {MAX_EVALUATIONS}", field="evaluations")
    return batch


def id_of(body: JSON) -> str | None:
    """The id of an evaluation, whatever else is wrong with it."""
    value = as_object(body).get("id")
    return value if isinstance(value, str) else None


def read_evaluation(body: JSON) -> Evaluation:
    """Understand one evaluation. Raises `RequestError` naming the field that is wrong."""
    if not isinstance(body, dict):
        raise RequestError("an evaluation must be an object")
    for key in ("id", "policy", "text"):
        if not isinstance(body.get(key), str | None):
            raise RequestError(f"'{key}' must be a string", field=key)
    given = [key for key in _INPUTS if body.get(key) is not None]
    if len(given) > 1:
        raise RequestError(f"'{given[1]}' cannot stand beside '{given[0]}': an evaluation has one input", field=given[1])
    source = given[0] if given else None
    completion = body.get("completion")
    if source is None and completion is None:
        raise RequestError("one of 'text', 'messages', 'prompt' and 'completion' is required", field="text")
    choices = () if completion is None else _read_completion(completion, _TEXT if source == "prompt" else _CHAT)
    policy = body.get("policy")
    return Evaluation(id_of(body), policy if isinstance(policy, str) else None, _read_input(body, source), choices)


def _read_input(body: JSONObject, source: str | None) -> Prompt | None:
    if source in {"messages", "prompt"}:
        dialect = _CHAT if source == "messages" else _TEXT
        return dialect.read_request({key: value for key, value in body.items() if key == source or key not in _OWN}).prompt
    for key in body:
        if key not in _OWN:
            raise RequestError(f"'{key}' is no field of an evaluation without 'messages' or 'prompt'", field=key)
    text = body.get("text")
    return Prompt(tuple(spoken(text, "text", "user"))) if isinstance(text, str) else None


def _read_completion(completion: JSON, dialect: Dialect) -> tuple[Chunk, ...]:
    several = isinstance(completion, list)
    said = completion if isinstance(completion, list) else [completion]
    if not 1 <= len(said) <= MAX_CHOICES:
        raise RequestError(f"'completion' must have 1 to {MAX_CHOICES} choices", field="completion")
    chunks = [_read_choice(each, f"completion[{i}]" if several else "completion", dialect) for i, each in enumerate(said)]
    if sum(map(_length, chunks)) > MAX_COMPLETION:
        message = f"the completion is longer than {MAX_COMPLETION} characters"
        raise RequestError(message, status=413, code="completion_too_long", field="completion")
    return tuple(chunks)


def _read_choice(said: JSON, field: str, dialect: Dialect) -> Chunk:
    if not isinstance(said, str | dict) or (isinstance(said, dict) and dialect is _TEXT):
        wanted = "a string, as the completion of a 'prompt' is," if dialect is _TEXT else "a string or a message"
        raise RequestError(f"'{field}' must be {wanted}", field=field)
    message: JSON = {"role": "assistant", "content": said} if dialect is _CHAT and isinstance(said, str) else said
    items = dialect.read_answer({"choices": [{"index": 0, dialect.message_key: message}]})
    return next(item for item in items if isinstance(item, Chunk))


def _length(chunk: Chunk) -> int:
    return sum(len(segment.text) for segment in chunk.segments) + sum(map(len, chunk.strings))


# ------------------------------------------------------------------------------------------------------------- answers


def tell(identity: str | None, evaluated: Evaluated) -> JSONObject:
    """The answer to the evaluation of this id."""
    stages: JSONObject = {}
    missed: list[JSON] = []
    if evaluated.input is not None:
        stages["input"] = evaluated.input.tell(evaluated.policies)
        missed += evaluated.input.missed(evaluated.policies)
    if evaluated.output is not None:
        stages["output"] = evaluated.output.tell(evaluated.policies)
        missed += evaluated.output.missed(evaluated.policies)
    return {
        "id": identity,
        "object": "policy.evaluation",
        "policy": evaluated.identity,
        "classifiers": [*evaluated.classifiers],
        "decision": evaluated.decision.action.word,
        "stages": stages,
        "not_evaluated": missed,
    }
