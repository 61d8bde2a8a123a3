"""What the dialects share: the envelope of OpenAI's API, requests, whole answers, refusals.

A `Dialect` is one wire format of one endpoint. It is stateless and knows no policy; what is particular to a stream is in
`safety_proxy.dialects.codec`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

from safety_proxy.dialects.annotations import annotated, filter_results
from safety_proxy.dialects.logprobs import read_logprobs
from safety_proxy.dialects.parameters import Rule, require_valid
from safety_proxy.dialects.reading import Echo, Reading, figures
from safety_proxy.dialects.vocabulary import METADATA_SHAPE
from safety_proxy.errors import BackendError, RequestError
from safety_proxy.events import Chunk, End, Failure, Finish, Frame, Item, Release, Shown
from safety_proxy.jsontext import as_object
from safety_proxy.model import JSON, Decision, JSONObject, Prompt
from safety_proxy.policy import strictest

MAX_CHOICES: Final = 128
"""Choices of one answer (n times the prompts): OpenAI's own limit for n."""

ENVELOPE: Final[tuple[str, ...]] = ("id", "object", "created", "model", "system_fingerprint")
"""Fields of an event that each of its choices keeps when an event with several is taken apart."""

_METADATA: Final = frozenset({"id", "object", "model", "system_fingerprint", "service_tier"})
_TEXTS: Final = frozenset({"message", "messages", "delta", "text"})
"""Where a choice has its text, in one format or another."""
_ALIASES: Final = {"messages": "message"}
"""The tables of the serverless Llama API call a choice's message so; its examples do not."""
_FLAGS: Final = {"true": True, "True": True, "false": False, "False": False}


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A request that has been read: what is forwarded, and what we need to know of it."""

    body: JSONObject
    prompt: Prompt
    stream: bool
    include_usage: bool
    model: str | None


class Endpoint(Protocol):
    """What can be asked of a model: a `Dialect`, or embeddings, whose answers have no choices."""

    name: ClassVar[str]
    path: ClassVar[str]
    """What is appended to a backend's url."""

    def read_request(self, body: JSON) -> CompletionRequest:
        """Understand a request. Raises `RequestError` naming the field that is wrong."""
        ...


class Dialect(ABC):
    """One endpoint's wire format."""

    name: ClassVar[str]
    path: ClassVar[str]
    """What is appended to a backend's url."""
    stream_object: ClassVar[str]
    """The ``object`` of an event."""
    answer_object: ClassVar[str]
    """The ``object`` of a whole answer."""
    message_key: ClassVar[str]
    """Where the text of a choice stands in a whole answer."""
    delta_key: ClassVar[str]
    """Where it stands in an event."""
    parameters: ClassVar[Mapping[str, Rule]]
    """What holds for the parameters of a request."""

    # ------------------------------------------------------------------------------------------------ requests

    def read_request(self, body: JSON) -> CompletionRequest:
        """Understand a request. Raises `RequestError` naming the field that is wrong."""
        if not isinstance(body, dict):
            raise RequestError("the body must be a JSON object")
        body = dict(body)
        stream = read_stream(body)
        require_valid(body, self.parameters)
        model = read_model(body)
        n = body.get("n")
        prompt = self._read_prompt(body, n if isinstance(n, int) else 1)
        if prompt.choices > MAX_CHOICES:
            raise RequestError(f"'n' times the number of prompts must be at most {MAX_CHOICES}", field="n")
        options = as_object(body.get("stream_options"))
        return CompletionRequest(body, prompt, stream, options.get("include_usage") is True, model)

    @abstractmethod
    def _read_prompt(self, body: JSONObject, n: int) -> Prompt:
        """Every text that the model will see. Raises `RequestError`."""

    # ------------------------------------------------------------------------------------------------ choices

    def read_choice(self, choice: JSONObject, key: str, echoes: dict[str, Echo] | None = None) -> Reading:
        """Sort what a choice says; *key* is `message_key` or `delta_key`.

        *echoes* are those of the choice, as its earlier events left them.
        """
        reading = Reading(echoes)
        logprobs: JSON = None
        for name, value in choice.items():
            if _ALIASES.get(name, name) == key:
                self.read_text(reading, value)
            elif name == "finish_reason":
                reading.finish(value)
            elif name == "logprobs":
                logprobs = value
            elif name in _TEXTS:
                reading.stray(name, value)
            elif name != "index":
                reading.other(name, value)
        if logprobs is not None:
            read_logprobs(reading, logprobs)
        return reading

    @abstractmethod
    def read_text(self, reading: Reading, value: JSON) -> None:
        """Sort what stands under `message_key` or `delta_key`."""

    @abstractmethod
    def empty_choice(self, index: int, key: str, finish_reason: str | None) -> JSONObject:
        """A choice without text."""

    @abstractmethod
    def as_delta(self, choice: JSONObject) -> JSONObject:
        """A choice of a whole answer, as one event of a stream tells it."""

    # ------------------------------------------------------------------------------------------------ whole answers

    def read_answer(self, body: JSON) -> list[Item]:
        """A whole answer, as the filter takes it. Raises `BackendError` if it is none."""
        answer, choices = _answer_choices(body)
        items: list[Item] = []
        for index, choice in choices:
            reading = self.read_choice(choice, self.message_key)
            reading.finished = True
            items.append(reading.chunk(index, {**choice, "index": index}))
        return [*items, self.read_frame({key: value for key, value in answer.items() if key != "choices"})]

    def as_events(self, body: JSON, *, usage_apart: bool) -> list[JSONObject]:
        """A whole answer that came although a stream was asked for, as the events of one.

        What stands beside the choices, usage above all, comes in an event of its own if *usage_apart*, as a client that
        asked for usage expects it; else with the last choice. Raises `BackendError` if it is no answer.
        """
        answer, choices = _answer_choices(body)
        head = {key: answer[key] for key in ENVELOPE if key in answer} | {"object": self.stream_object}
        rest = {key: value for key, value in answer.items() if key not in head and key != "choices"}
        events: list[JSONObject] = [
            {**head, "choices": [{**self.as_delta(choice), "index": index}]} for index, choice in choices
        ]
        if usage_apart:
            events.append({**head, "choices": []})
        events[-1].update(rest)
        return events

    def write_answer(
        self, body: JSONObject, effects: Iterable[Shown], *, annotate: bool, prompt_results: JSON
    ) -> JSONObject:
        """The answer as the client gets it. *effects* are the filter's on what `read_answer` gave.

        The choices stand as the backend sent them, which with ``best_of`` need not be the order of their indices.
        Raises `BackendError` if the backend's answer was not complete.
        """
        choices: dict[int, JSONObject] = {}
        envelope: JSONObject | None = None
        for effect in effects:
            match effect:
                case Release(item=Chunk() as chunk, decisions=decisions):
                    choices[chunk.choice] = _annotated(chunk.payload, decisions or ()) if annotate else chunk.payload
                case Release(item=Frame() as frame):
                    envelope = frame.payload
                case Finish(choice=index, decision=decision):
                    empty = self.empty_choice(index, self.message_key, decision.action.value)
                    choices[index] = _annotated(empty, (decision,)) if annotate else empty
                case End(failure=Failure() as failure):
                    raise BackendError(failure.message, code=failure.code)
                case _:
                    pass
        answer = self._bare_envelope(body) if envelope is None else dict(envelope)
        sent = [index for index, _ in _answer_choices(body)[1]] if "choices" in body else sorted(choices)
        answer["choices"] = [choices[index] for index in dict.fromkeys(sent)]
        if annotate and prompt_results is not None:
            answer["prompt_filter_results"] = prompt_results
        return answer

    def _bare_envelope(self, body: JSONObject) -> JSONObject:
        """What is left of the envelope when something in it was filtered: metadata of known shape, and numbers."""
        created = body.get("created")
        bare: JSONObject = {
            "id": metadata_or(body.get("id"), ""),
            "object": self.answer_object,
            "created": created if isinstance(created, int) else 0,
            "model": metadata_or(body.get("model"), ""),
        }
        return {**bare, "usage": figures(body["usage"])} if "usage" in body else bare

    # ------------------------------------------------------------------------------------------------ frames

    def read_frame(self, payload: JSONObject) -> Frame:
        """What stands beside the choices."""
        reading = Reading()
        for name, value in payload.items():
            if name in _METADATA:
                if value is not None:
                    reading.metadata(value)
            elif name != "choices":
                reading.other(name, value)
        return Frame(payload, tuple(reading.strings))


def choice_index(value: JSON) -> int | None:
    """The index of a choice: missing, "0" and 0.0 are 0; None for what is no index."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, int) and value >= 0:
        return value
    return 0 if value in {"0", 0.0} else None


def metadata_or(value: JSON, default: str) -> str:
    """*value* if it is metadata of known shape, else *default*."""
    return value if isinstance(value, str) and METADATA_SHAPE.fullmatch(value) else default


def _annotated(choice: JSONObject, decisions: Iterable[Decision]) -> JSONObject:
    return annotated(choice, filter_results(strictest(decisions)))


def read_model(body: JSONObject) -> str | None:
    """The model that a request names. Raises `RequestError`."""
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise RequestError("'model' must be a string", field="model")
    return model


def read_stream(body: JSONObject) -> bool:
    """The ``stream`` flag as backends read it, and coerced in *body* so that they cannot read it otherwise."""
    value = body.get("stream")
    if value is None:
        body.pop("stream", None)
        return False
    if isinstance(value, str):
        value = _FLAGS.get(value)
    if not isinstance(value, bool):
        raise RequestError("'stream' must be true or false", field="stream")
    body["stream"] = value
    return value


def _answer_choices(body: JSON) -> tuple[JSONObject, list[tuple[int, JSONObject]]]:
    """The choices of a whole answer with their indices; without one, a choice has that of its place.

    Raises `BackendError` if the backend sent something else with status 200.
    """
    answer = as_object(body)
    choices = answer.get("choices")
    if answer.get("error") is not None or answer.get("object") == "error":
        raise BackendError("the backend reported an error in place of a completion")
    found: list[tuple[int, JSONObject]] = []
    for position, choice in enumerate(choices if isinstance(choices, list) else ()):
        index = (
            choice_index(position if choice.get("index") is None else choice["index"]) if isinstance(choice, dict) else None
        )
        if index is None or not isinstance(choice, dict):
            raise BackendError("the backend sent a choice that cannot be read", code="backend_invalid_answer")
        found.append((index, choice))
    if not found:
        raise BackendError("the backend's answer is not a completion", code="backend_invalid_answer")
    return answer, found
