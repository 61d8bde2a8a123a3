"""``/v1/completions`` and its other addresses: the older dialect, one channel of text.

Formats: OpenAI's legacy Completions API, and what vLLM and the serverless Llama API add to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from safety_proxy.dialects.base import Dialect
from safety_proxy.dialects.parameters import TEXT, Rule
from safety_proxy.dialects.prompt import is_tokens, opaque_fields, other_fields, prompts_of
from safety_proxy.dialects.reading import Reading
from safety_proxy.dialects.vocabulary import METADATA_SHAPE
from safety_proxy.errors import RequestError
from safety_proxy.model import JSON, JSONObject, Prompt

_KNOWN: Final = frozenset({"prompt", "stream"})


class Completions(Dialect):
    """The text dialect. With ``echo`` the prompt comes back as text and is judged like the rest."""

    name: ClassVar[str] = "completions"
    path: ClassVar[str] = "/completions"
    stream_object: ClassVar[str] = "text_completion"
    answer_object: ClassVar[str] = "text_completion"
    message_key: ClassVar[str] = "text"
    delta_key: ClassVar[str] = "text"
    parameters: ClassVar[Mapping[str, Rule]] = TEXT

    def _read_prompt(self, body: JSONObject, n: int) -> Prompt:
        prompt = body.get("prompt")
        if prompt is None:
            raise RequestError("'prompt' is required", field="prompt")
        unreadable: list[str] = []
        texts = list(prompts_of(prompt, "prompt", unreadable))
        prompts = len(prompt) if isinstance(prompt, list) and not is_tokens(prompt) else 1
        known = _KNOWN | {"model"} if METADATA_SHAPE.fullmatch(str(body.get("model") or "")) else _KNOWN
        texts += other_fields(body, known)
        return Prompt(tuple(texts), (*unreadable, *opaque_fields(body)), prompts=prompts, choices=n * prompts)

    def read_text(self, reading: Reading, value: JSON) -> None:
        """``text`` is all there is."""
        reading.text("text", value)

    def empty_choice(self, index: int, key: str, finish_reason: str | None) -> JSONObject:
        """A choice without text."""
        return {"index": index, key: "", "logprobs": None, "finish_reason": finish_reason}

    def as_delta(self, choice: JSONObject) -> JSONObject:
        """Events and whole answers look alike."""
        return choice
