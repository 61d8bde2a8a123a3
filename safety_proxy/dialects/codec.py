"""One streamed response on the wire: the backend's events in, the filter's items out; its effects in, our bytes out.

Codecs keep what a stream needs remembered (the envelope, usage, whether the prompt's annotations have been shown); the
filter need not know of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from safety_proxy.dialects.annotations import annotated, apart, error_body, filter_results
from safety_proxy.dialects.base import ENVELOPE, Dialect, choice_index, metadata_or
from safety_proxy.dialects.reading import Echo, figures
from safety_proxy.events import Annotate, Chunk, Closed, End, Failure, Finish, Item, Offsets, Release, Shown
from safety_proxy.jsontext import as_object, parse_lenient, write
from safety_proxy.model import JSON, Decision, JSONObject
from safety_proxy.policy import strictest
from safety_proxy.sse import DONE, ServerSentEvent, encode

_INVALID = "backend_invalid_answer"


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What the server knows of a stream before it begins."""

    envelope: JSONObject = field(default_factory=dict)
    """``id``, ``created`` and ``model`` for events of our own, until the backend has named its own."""
    annotations: bool = True
    prompt_results: JSON = None
    """``prompt_filter_results``, shown with the first choice."""
    prompt_apart: bool = False
    """They are shown in an event of their own instead, before all others: Azure's routes."""
    include_usage: bool = False
    prompt_length: int = 0
    """Characters of the prompt: for the estimate of a usage that the backend did not tell, and where offsets begin."""


class StreamCodec:
    """Reads and writes the events of one stream. Owned by one task."""

    def __init__(self, dialect: Dialect, options: StreamOptions) -> None:
        self._dialect = dialect
        self._options = options
        self._envelope: JSONObject = {"id": "", "created": 0, "model": "", **options.envelope}
        self._envelope["object"] = dialect.stream_object
        self._annotate_prompt = options.annotations and options.prompt_results is not None
        self._echoes: defaultdict[int, dict[str, Echo]] = defaultdict(dict)
        self._finished: set[int] = set()
        self._usage: JSONObject | None = None
        self._usage_shown = False
        self._characters = 0
        self._stopped = False
        self._last: tuple[tuple[Decision, ...], JSONObject] = ((), {})

    @property
    def include_usage(self) -> bool:
        """Whether the client asked for an event with usage."""
        return self._options.include_usage

    @property
    def usage(self) -> JSON:
        """The usage that the backend told last; None if it told none."""
        return self._usage

    @property
    def characters(self) -> int:
        """How much text the backend has sent so far, whatever became of it."""
        return self._characters

    # ------------------------------------------------------------------------------------------------ reading

    def decode(self, event: ServerSentEvent) -> Sequence[Item]:
        """What an event says; a broken one closes the stream. Never raises."""
        data = event.data.strip()
        if data == DONE:
            return (Closed(complete=True),)
        if not data:
            return ()
        try:
            payload = parse_lenient(data)
        except ValueError:
            return (Closed(Failure("the backend sent an event that is not JSON", _INVALID)),)
        if not isinstance(payload, dict):
            return (Closed(Failure("the backend sent an event that is not an object", _INVALID)),)
        if event.event == "error" or payload.get("error") is not None or payload.get("object") == "error":
            return (Closed(Failure("the backend reported an error while it was answering")),)
        return self.read_event(payload)

    def read_event(self, payload: JSONObject) -> Sequence[Item]:
        """What an event's object says, choice by choice."""
        payload.pop("obfuscation", None)
        self._note(payload)
        choices = payload.get("choices")
        if not choices:
            payload["choices"] = []
            return (self._dialect.read_frame(payload),)
        if not isinstance(choices, list):
            return (Closed(Failure("the backend sent an event whose choices are no array", _INVALID)),)
        if self._finished and self._is_late(payload, choices):
            payload["choices"] = []
            return (self._dialect.read_frame(payload),)
        items: list[Item] = []
        for position, choice in enumerate(choices):
            index = choice_index(choice.get("index")) if isinstance(choice, dict) else None
            if index is None or not isinstance(choice, dict):
                return (*items, Closed(Failure("the backend sent a choice that cannot be read", _INVALID)))
            last = position == len(choices) - 1
            items.append(self._read_choice(payload, choice, index, last=last))
        return items

    def _is_late(self, payload: JSONObject, choices: Sequence[JSON]) -> bool:
        """Whether an event of choices that have ended still tells of the whole stream, as LiteLLM's with usage does."""
        beside = any(payload[name] is not None for name in payload.keys() - {*ENVELOPE, "choices"})
        return beside and all(isinstance(c, dict) and choice_index(c.get("index")) in self._finished for c in choices)

    def _read_choice(self, payload: JSONObject, choice: JSONObject, index: int, *, last: bool) -> Chunk:
        """One choice of an event; what stands beside the choices goes with the last of them."""
        key = self._dialect.delta_key
        reading = self._dialect.read_choice(choice, key, self._echoes[index])
        choice["index"] = index
        if choice.get(key) is None:
            choice[key] = self._dialect.empty_choice(index, key, None)[key]
        if not last:
            payload = {name: payload[name] for name in ENVELOPE if name in payload}
        reading.strings += self._dialect.read_frame(payload).strings
        for segment in reading.segments:
            self._characters += len(segment.text)
        chunk = reading.chunk(index, {**payload, "choices": [choice]})
        if chunk.finished:
            self._finished.add(index)
        return chunk

    def _note(self, payload: JSONObject) -> None:
        """Remember the envelope for events of our own, and the latest usage."""
        for name in ("id", "model"):
            if payload.get(name):
                self._envelope[name] = metadata_or(payload[name], str(self._envelope[name]))
        if isinstance(payload.get("created"), int):
            self._envelope["created"] = payload["created"]
        if isinstance(payload.get("usage"), dict):
            self._usage = figures(payload["usage"])

    # ------------------------------------------------------------------------------------------------ writing

    def begin(self) -> bytes:
        """What stands before the first event; empty if nothing does.

        Azure's first event is about the prompt alone: no choices, and an envelope without content.
        """
        if not (self._annotate_prompt and self._options.prompt_apart):
            return b""
        self._annotate_prompt = False
        bare: JSONObject = {"choices": [], "created": 0, "id": "", "model": "", "object": ""}
        return encode(write({**bare, "prompt_filter_results": self._options.prompt_results}))

    def encode(self, effect: Shown) -> bytes:
        """The bytes of an effect."""
        match effect:
            case Release():
                if isinstance(effect.item, Chunk):
                    return self._write_choice(effect.item.payload, effect.decisions)
                self._usage_shown |= isinstance(effect.item.payload.get("usage"), dict)
                return encode(write(effect.item.payload))
            case Annotate():
                return self._write_apart(effect.choice, None, effect.decision, effect.offsets)
            case Finish(choice=index, decision=decision):
                self._stopped = True
                if effect.offsets is not None:
                    return self._write_apart(index, decision.action.value, decision, effect.offsets)
                return self._own_choice(index, decision.action.value, (decision,))
            case End():
                return self._write_end(effect)

    def heartbeat(self, choice: int) -> bytes:
        """An event that says nothing, for clients and proxies that count silence as death."""
        return self._own_choice(choice, None, ())

    def refuse(self, decision: Decision, choices: int) -> bytes:
        """A whole stream for a prompt that was filtered, in the form that a policy's ``block_as: completion`` asks for."""
        effects: list[Release | Finish | End] = [*(Finish(index, decision) for index in range(choices)), End()]
        return b"".join((self.begin(), *map(self.encode, effects)))

    def _write_choice(self, payload: JSONObject, decisions: tuple[Decision, ...] | None) -> bytes:
        """An event with one choice, which `_read_choice` or `_own_choice` made."""
        choices = payload["choices"]
        if self._options.annotations and decisions is not None and isinstance(choices, list):
            payload["choices"] = [annotated(as_object(choices[0]), self._results(decisions))]
        return self._write(payload)

    def _write(self, payload: JSONObject) -> bytes:
        """An event with a choice; the first one tells of the prompt."""
        if self._annotate_prompt:
            self._annotate_prompt = False
            payload["prompt_filter_results"] = self._options.prompt_results
        return encode(write(payload))

    def _own_choice(self, index: int, finish_reason: str | None, decisions: tuple[Decision, ...]) -> bytes:
        choice = self._dialect.empty_choice(index, self._dialect.delta_key, finish_reason)
        return self._write_choice({**self._envelope, "choices": [choice]}, decisions)

    def _write_apart(self, index: int, finish_reason: str | None, decision: Decision, offsets: Offsets) -> bytes:
        """A decision on text that has been sent before. Without annotations only an end is worth an event."""
        choice = self._dialect.empty_choice(index, self._dialect.delta_key, finish_reason)
        if self._options.annotations:
            choice |= apart(decision, offsets, self._options.prompt_length)
        elif finish_reason is None:
            return b""
        return self._write({**self._envelope, "choices": [choice]})

    def _results(self, decisions: tuple[Decision, ...]) -> JSONObject:
        """The annotations of a window; many chunks share one."""
        if decisions is not self._last[0] and decisions != self._last[0]:
            self._last = decisions, filter_results(strictest(decisions))
        return self._last[1]

    def _write_end(self, end: End) -> bytes:
        written = b""
        if end.failure is not None:
            key = self._dialect.delta_key
            choices: list[JSON] = [self._dialect.empty_choice(index, key, "error") for index in end.unfinished]
            error = error_body(end.failure.message, kind="server_error", code=end.failure.code)
            failed: JSONObject = {**self._envelope, "choices": choices, **error}
            written = self._write(failed) if choices else encode(write(failed))
        elif self._stopped and self._options.include_usage and not self._usage_shown:
            written = encode(write({**self._envelope, "choices": [], "usage": self._usage or self._estimate()}))
        return written + encode(DONE)

    def _estimate(self) -> JSON:
        """Tokens as characters / 4, rounded up; text that was withheld has been generated, and counts."""
        prompt, completion = -(-self._options.prompt_length // 4), -(-self._characters // 4)
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def items_of_answer(dialect: Dialect, codec: StreamCodec, body: JSON) -> list[Item]:
    """A whole answer that came in place of a stream, as the items of one. Raises `BackendError` if it is none."""
    events = dialect.as_events(body, usage_apart=codec.include_usage)
    return [*(item for event in events for item in codec.read_event(event)), Closed(complete=True)]
