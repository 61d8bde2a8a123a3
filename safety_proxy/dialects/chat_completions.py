"""``/v1/chat/completions`` and its other addresses: requests, answers, and the text in a delta.

Formats: OpenAI's Chat Completions API, and what vLLM, DeepSeek, OpenRouter and Azure add to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Final

from safety_proxy.dialects.base import Dialect
from safety_proxy.dialects.images import MAX_IMAGES, read_image
from safety_proxy.dialects.parameters import CHAT, Rule, require_content
from safety_proxy.dialects.prompt import laid_out, opaque_fields, other_fields, role_of, spoken
from safety_proxy.dialects.reading import Reading
from safety_proxy.dialects.vocabulary import METADATA_SHAPE
from safety_proxy.errors import RequestError
from safety_proxy.jsontext import as_object
from safety_proxy.model import JSON, JSONObject, Kind, Prompt, PromptText, Query

_CHANNELS: Final = (
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "thinking",
    "thinking_blocks",
    "content",
    "refusal",
)
"""The text fields of a delta or message, each a channel; in the order in which a model writes them."""
_REPEATS: Final = frozenset({"reasoning", "reasoning_details", "thinking", "thinking_blocks"})
"""Those that say once more what ``reasoning_content`` says, where a backend has several names for it."""
_SPOKEN_PARTS: Final = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
    "thinking": "thinking",
}
"""Content parts that are text, each with the field where it stands."""
_MEDIA: Final = frozenset(
    f"{kind}{form}" for kind in ("image", "audio", "video", "file") for form in ("", "s", "_url", "_embeds", "_pil")
) | {"input_image", "input_audio", "input_video", "input_file"}
"""Names under which parts and messages hold pictures, sound and files. Backends (vLLM) look for some of them whatever the
``type`` of a part says."""
_PAYLOADS: Final = frozenset({"url", "data", "file_data"})
"""Where in such a field the picture, sound or file itself stands."""
_KNOWN: Final = frozenset({"messages", "stream"})


class ChatCompletions(Dialect):
    """The chat dialect."""

    name: ClassVar[str] = "chat_completions"
    path: ClassVar[str] = "/chat/completions"
    stream_object: ClassVar[str] = "chat.completion.chunk"
    answer_object: ClassVar[str] = "chat.completion"
    message_key: ClassVar[str] = "message"
    delta_key: ClassVar[str] = "delta"
    parameters: ClassVar[Mapping[str, Rule]] = CHAT

    # ------------------------------------------------------------------------------------------------ prompt

    def _read_prompt(self, body: JSONObject, n: int) -> Prompt:
        messages = body.get("messages")
        if not isinstance(messages, list):
            problem = "is required" if messages is None else "must be an array"
            raise RequestError(f"'messages' {problem}", field="messages")
        if not messages:
            raise RequestError("'messages' must not be empty", field="messages")
        users = [i for i, message in enumerate(messages) if as_object(message).get("role") == "user"]
        last_user = users[-1] if users else 0
        texts: list[PromptText] = []
        unreadable: list[str] = []
        for i, message in enumerate(messages):
            texts += _read_message(message, f"messages[{i}]", unreadable, history=i < last_user)
        images = [text for text in texts if text.query.images]
        if len(images) > MAX_IMAGES:
            unreadable += [text.field for text in images[MAX_IMAGES:]]
            texts = [text for text in texts if not text.query.images] + images[:MAX_IMAGES]
        known = _KNOWN | {"model"} if METADATA_SHAPE.fullmatch(str(body.get("model") or "")) else _KNOWN
        texts += other_fields(body, known)
        return Prompt(tuple(texts), (*unreadable, *opaque_fields(body)), prompts=1, choices=n)

    # ------------------------------------------------------------------------------------------------ completion

    def read_text(self, reading: Reading, value: JSON) -> None:
        """Sort the fields of a delta or message."""
        if not isinstance(value, dict):
            reading.text("content", value)
            return
        message = value
        if len(message) > 1:
            message = {key: message[key] for key in (*_CHANNELS, *message) if key in message}
        for key, field in message.items():
            if key in _REPEATS:
                reading.echo(key, field)
            elif key in _CHANNELS:
                reading.text(key, field)
            elif key == "role":
                if field is not None:
                    reading.metadata(field)
            elif key == "tool_calls" and isinstance(field, list):
                for position, call in enumerate(field):
                    _read_call(reading, call, position)
            elif key == "function_call" and isinstance(field, dict):
                _read_function(reading, field, "function_call")
            elif key == "audio" and isinstance(field, dict):
                _read_audio(reading, field)
            else:
                reading.other(key, field)

    def empty_choice(self, index: int, key: str, finish_reason: str | None) -> JSONObject:
        """A choice without text: null content in a whole answer, an empty delta in a stream."""
        text: JSONObject = {"role": "assistant", "content": None} if key == self.message_key else {}
        return {"index": index, key: text, "logprobs": None, "finish_reason": finish_reason}

    def as_delta(self, choice: JSONObject) -> JSONObject:
        """The message becomes a delta, under either of its names; tool calls get the index that a stream has."""
        key = "messages" if "message" not in choice and isinstance(choice.get("messages"), dict) else "message"
        delta = dict(as_object(choice.get(key)))
        calls = delta.get("tool_calls")
        if isinstance(calls, list):
            delta["tool_calls"] = [{"index": i, **as_object(call)} for i, call in enumerate(calls)]
        return {"delta": delta, **{name: value for name, value in choice.items() if name != key}}


# ---------------------------------------------------------------------------------------------------- prompt


def _read_message(message: JSON, field: str, unreadable: list[str], *, history: bool) -> Iterator[PromptText]:
    if not isinstance(message, dict):
        raise RequestError(f"'{field}' must be an object", field=field)
    role = message.get("role")
    if not isinstance(role, str):
        raise RequestError(f"'{field}.role' must be a string", field=f"{field}.role")
    require_content(message, field)
    for key, value in message.items():
        place = f"{field}.{key}"
        if key == "content":
            yield from _read_content(value, place, role, unreadable, history=history)
        elif key in _CHANNELS and isinstance(value, str):
            yield from spoken(value, place, role, history=history)
        elif key in _MEDIA and value is not None:
            unreadable.append(place)
            yield from laid_out(_readable(value), place, role, history=history)
        elif key == "role":
            if role_of(role) != role:
                yield from laid_out(role, place, "user", history=history)
        else:
            yield from laid_out({key: value}, place, role, history=history)


def _read_content(content: JSON, field: str, role: str, unreadable: list[str], *, history: bool) -> Iterator[PromptText]:
    if content is None:
        return
    if isinstance(content, str):
        yield from spoken(content, field, role, history=history)
        return
    if not isinstance(content, list):
        raise RequestError(f"'{field}' must be a string or an array of parts", field=field)
    for i, part in enumerate(content):
        place = f"{field}[{i}]"
        if isinstance(part, str):
            yield from spoken(part, place, role, history=history)
        elif isinstance(part, dict):
            yield from _read_part(part, place, role, unreadable, history=history)
        else:
            raise RequestError(f"'{place}' must be an object", field=place)


def _read_part(part: JSONObject, field: str, role: str, unreadable: list[str], *, history: bool) -> Iterator[PromptText]:
    """A text part is spoken, inline images are images; what the model makes of any other part nobody here knows.

    So that is unreadable. Whatever strings a part has besides are judged all the same.
    """
    media = frozenset(key for key, value in part.items() if key in _MEDIA and value is not None)
    kind = part.get("type", "text")
    text_key = _SPOKEN_PARTS.get(kind) if isinstance(kind, str) else None
    image = read_image(part, media)
    if image is not None:
        yield PromptText(Query("", Kind.IMAGE, images=(image,)), role_of(role), field, history)
    elif text_key is None or media:
        unreadable.append(field)
    if text_key is not None and text_key in part:
        text = part[text_key]
        if not isinstance(text, str):
            raise RequestError(f"'{field}.{text_key}' must be a string", field=f"{field}.{text_key}")
        yield from spoken(text, f"{field}.{text_key}", role, history=history)
    elif text_key is not None and not media:
        raise RequestError(f"'{field}.{text_key}' is required", field=f"{field}.{text_key}")
    rest: JSONObject = {
        key: _readable(value) if key in media else value
        for key, value in part.items()
        if key != text_key and not (key == "type" and (text_key is not None or str(kind) in _MEDIA))
    }
    yield from laid_out(rest, field, role, history=history)


def _readable(media: JSON) -> JSON:
    """What a picture, sound or file says of itself in words, such as its name."""
    return {key: value for key, value in media.items() if key not in _PAYLOADS} if isinstance(media, dict) else None


# ---------------------------------------------------------------------------------------------------- completion


def _read_call(reading: Reading, call: JSON, position: int) -> None:
    """One tool call, or a fragment of one, which leaves when its choice ends; fragments belong together by their index."""
    reading.hold()
    if not isinstance(call, dict):
        reading.unknown(call)
        return
    index = call.get("index")
    channel = f"tool_call:{index if isinstance(index, int) else position}"
    for key, value in call.items():
        if key in {"function", "custom"} and isinstance(value, dict):
            _read_function(reading, value, channel)
        elif key in {"id", "type"}:
            if value is not None:
                reading.metadata(value)
        else:
            reading.other(key, value)


def _read_function(reading: Reading, function: JSONObject, channel: str) -> None:
    for key, value in function.items():
        if key in {"name", "arguments", "input"}:
            reading.call(f"{channel}.{key}", value)
        else:
            reading.other(key, value)


def _read_audio(reading: Reading, audio: JSONObject) -> None:
    """Speech: the transcript is judged; the sound, which we cannot hear, leaves when all of the transcript is cleared."""
    for key, value in audio.items():
        if key == "transcript":
            reading.text("transcript", value)
        elif key == "data" and isinstance(value, str):
            reading.hold()
        elif key == "id":
            reading.metadata(value)
        else:
            reading.other(key, value)
