"""``/v1/embeddings`` and its other addresses: texts in, numbers out.

Format: OpenAI's Embeddings API; Azure's adds ``input_type``. An answer has no choices, so nothing of it can end in
``content_filter``: numbers pass, and whatever else an answer says in words is judged, and left out if it may not pass.
"""

from __future__ import annotations

import binascii
import math
import struct
from dataclasses import dataclass
from typing import ClassVar, Final

from safety_proxy.dialects.base import CompletionRequest, metadata_or, read_model, read_stream
from safety_proxy.dialects.prompt import is_tokens, opaque_fields, other_fields, prompts_of
from safety_proxy.dialects.reading import Reading, figures
from safety_proxy.dialects.vocabulary import METADATA_SHAPE
from safety_proxy.errors import BackendError, RequestError
from safety_proxy.jsontext import as_object
from safety_proxy.model import JSON, JSONObject, Prompt

_KNOWN: Final = frozenset({"input", "stream"})
_METADATA: Final = frozenset({"id", "object", "model"})
_FLOAT: Final = 4
"""Bytes of a number in base64: little-endian float32."""


@dataclass(frozen=True, slots=True)
class EmbeddingsAnswer:
    """An answer that has been read."""

    document: JSONObject
    """As the backend sent it."""
    strings: tuple[str, ...]
    """What it says in words that nobody knows."""
    bare: JSONObject
    """What is left without them: numbers, and metadata of known shape."""


class Embeddings:
    """The format of embeddings."""

    name: ClassVar[str] = "embeddings"
    path: ClassVar[str] = "/embeddings"

    def read_request(self, body: JSON) -> CompletionRequest:
        """Understand a request. Raises `RequestError` naming the field that is wrong."""
        if not isinstance(body, dict):
            raise RequestError("the body must be a JSON object")
        body = dict(body)
        if read_stream(body):
            raise RequestError("'stream' must be false: embeddings do not come as a stream", field="stream")
        model = read_model(body)
        given = body.get("input")
        if given is None:
            raise RequestError("'input' is required", field="input")
        unreadable: list[str] = []
        texts = list(prompts_of(given, "input", unreadable))
        prompts = len(given) if isinstance(given, list) and not is_tokens(given) else 1
        known = _KNOWN | {"model"} if METADATA_SHAPE.fullmatch(model or "") else _KNOWN
        texts += other_fields(body, known)
        prompt = Prompt(tuple(texts), (*unreadable, *opaque_fields(body)), prompts=prompts, choices=0)
        return CompletionRequest(body, prompt, stream=False, include_usage=False, model=model)

    def read_answer(self, body: JSON) -> EmbeddingsAnswer:
        """Sort what an answer says. Raises `BackendError` if it holds no embeddings."""
        answer = as_object(body)
        data = answer.get("data")
        if answer.get("error") is not None or answer.get("object") == "error":
            raise BackendError("the backend reported an error in place of embeddings")
        if not isinstance(data, list) or not data:
            raise BackendError("the backend's answer holds no embeddings", code="backend_invalid_answer")
        reading = Reading()
        bare = [_read_embedding(reading, element, place) for place, element in enumerate(data)]
        for key, value in answer.items():
            if key in _METADATA and value is not None:
                reading.metadata(value)
            elif key != "data":
                reading.other(key, value)
        rest: JSONObject = {"object": "list", "data": [*bare], "model": metadata_or(answer.get("model"), "")}
        if "usage" in answer:
            rest["usage"] = figures(answer["usage"])
        return EmbeddingsAnswer(answer, tuple(reading.strings), rest)


def _read_embedding(reading: Reading, element: JSON, place: int) -> JSONObject:
    """What one embedding is without words; those go to *reading*."""
    fields = as_object(element)
    embedding, index = fields.get("embedding"), fields.get("index", place)
    decoded = _decode(embedding)
    if decoded is None or isinstance(index, bool) or not isinstance(index, int):
        raise BackendError("the backend sent an embedding that cannot be read", code="backend_invalid_answer")
    reading.unknown(decoded)
    for key, value in fields.items():
        if key == "object":
            reading.metadata(value)
        elif key not in {"embedding", "index"}:
            reading.other(key, value)
    return {"object": "embedding", "index": index, "embedding": embedding}


def _decode(embedding: JSON) -> str | None:
    """What an embedding says in words: nothing, as a rule. None if it is neither numbers nor base64 of numbers.

    Bytes of floats are hardly ever valid UTF-8; those that are may be a text in disguise.
    """
    if isinstance(embedding, list):
        return "" if embedding and {*map(type, embedding)} <= {int, float} else None
    if not isinstance(embedding, str) or not embedding:
        return None
    try:
        data = binascii.a2b_base64(embedding, strict_mode=True)
    except ValueError:  # what is not ASCII, and binascii.Error
        return None
    if len(data) % _FLOAT or not all(map(math.isfinite, struct.unpack(f"<{len(data) // _FLOAT}f", data))):
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return ""
