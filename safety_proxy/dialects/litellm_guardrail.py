"""LiteLLM's generic guardrail API: what its proxy asks of a guardrail, and what it reads of the answer.

Format: ``litellm.types.proxy.guardrails.guardrail_hooks.generic_guardrail_api`` of LiteLLM 1.108. One route judges prompts
(``input_type: request``) and completions (``response``). A prompt comes twice: as messages, whose roles are known, and as
bare texts, images and tool calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, TypeAlias

from safety_proxy.dialects.chat_completions import ChatCompletions
from safety_proxy.dialects.images import MAX_IMAGES, read_data_url
from safety_proxy.dialects.prompt import field_strings, laid_out, other_fields, spoken
from safety_proxy.dialects.vocabulary import METADATA_SHAPE
from safety_proxy.errors import RequestError
from safety_proxy.events import Chunk
from safety_proxy.model import JSON, Action, Decision, Image, JSONObject, Kind, Prompt, PromptText, Query, Severity
from safety_proxy.normalise import offset_of, visible

_CHAT: Final = ChatCompletions()
_MESSAGES: Final = "structured_messages"
_CONTENTS: Final = (_MESSAGES, "texts", "images", "tools", "tool_calls")
"""The fields that hold what is to be judged. All others say where it comes from."""
_PARAMETERS: Final = "additional_provider_specific_params"
POLICY_FIELD: Final = f"{_PARAMETERS}.policy"
"""Where the settings of a guardrail name a policy."""

_Lists: TypeAlias = Mapping[str, list[JSON]]


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model said: the texts of all choices, without a word on which belong together."""

    chunks: tuple[Chunk, ...]
    """One for each choice that they are judged as."""
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GuardrailRequest:
    """A question that has been read."""

    content: Prompt | Completion
    policy: str | None
    """The policy that the guardrail's settings name, if they do."""


def read_guardrail_request(body: JSON) -> GuardrailRequest:
    """Understand a question. Raises `RequestError` naming the field that is wrong.

    Messages that nobody can make sense of are no error: they are a prompt that is unreadable.
    """
    if not isinstance(body, dict):
        raise RequestError("the body must be a JSON object")
    lists = {name: _list(body, name) for name in _CONTENTS}
    if all(body.get(name) is None for name in _CONTENTS):
        raise RequestError(f"one of {', '.join(_CONTENTS)} is required", field="texts")
    policy = _policy(body)
    kind = body.get("input_type")
    if kind == "request":
        return GuardrailRequest(_read_prompt(lists, body.get("model")), policy)
    if kind == "response":
        return GuardrailRequest(_read_completion(lists), policy)
    raise RequestError('\'input_type\' must be "request" or "response"', field="input_type")


def _list(body: JSONObject, name: str) -> list[JSON]:
    """A field that holds an array, or null for an empty one; of strings, where it is one of texts or images."""
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise RequestError(f"'{name}' must be an array", field=name)
    if name in {"texts", "images"}:
        for i, element in enumerate(value):
            if not isinstance(element, str):
                raise RequestError(f"'{name}[{i}]' must be a string", field=f"{name}[{i}]")
    return value


def _policy(body: JSONObject) -> str | None:
    parameters = body.get(_PARAMETERS)
    if parameters is None:
        return None
    if not isinstance(parameters, dict):
        raise RequestError(f"'{_PARAMETERS}' must be an object", field=_PARAMETERS)
    policy = parameters.get("policy")
    if policy is not None and not isinstance(policy, str):
        raise RequestError(f"'{POLICY_FIELD}' must be a string", field=POLICY_FIELD)
    return policy


# ---------------------------------------------------------------------------------------------------- prompts


def _read_prompt(lists: _Lists, model: JSON) -> Prompt:
    """The messages as a chat, and of the texts, images and tool calls those that the messages do not hold."""
    texts, unreadable = _read_messages(lists[_MESSAGES])
    rest: JSONObject = {"tools": lists["tools"], "model": model}
    texts += other_fields(rest, {"model"} if METADATA_SHAPE.fullmatch(str(model or "")) else ())
    texts += _other_texts(lists["texts"], {text.query.text for text in texts})
    texts += _other_calls(lists["tool_calls"], {*field_strings(lists[_MESSAGES])})
    seen = {image for text in texts for image in text.query.images}
    images = list(_other_images(lists["images"], seen, unreadable))
    room = max(MAX_IMAGES - len(seen), 0)
    unreadable += [image.field for image in images[room:]]
    return Prompt((*texts, *images[:room]), tuple(unreadable))


def _read_messages(messages: list[JSON]) -> tuple[list[PromptText], list[str]]:
    """The texts of a conversation, and the places in it that nobody can read."""
    if not messages:
        return [], []
    try:
        prompt = _CHAT.read_request({"messages": messages}).prompt
    except RequestError as error:
        return [*laid_out(messages, _MESSAGES, "user")], [error.field or _MESSAGES]
    return [*prompt.texts], [*prompt.unreadable]


def _other_texts(texts: list[JSON], said: AbstractSet[str]) -> Iterator[PromptText]:
    for i, text in enumerate(texts):
        if isinstance(text, str) and text not in said:
            yield from spoken(text, f"texts[{i}]", "user")


def _other_calls(calls: list[JSON], said: AbstractSet[str]) -> Iterator[PromptText]:
    for i, call in enumerate(calls):
        if not said >= {*field_strings(call)}:
            yield from laid_out(call, f"tool_calls[{i}]", "assistant")


def _other_images(images: list[JSON], seen: AbstractSet[Image], unreadable: list[str]) -> Iterator[PromptText]:
    """Inline images that were not seen; the others, which nobody here fetches, are unreadable."""
    for i, url in enumerate(images):
        image = read_data_url(url)
        if image is None:
            unreadable.append(f"images[{i}]")
        elif image not in seen:
            yield PromptText(Query("", Kind.IMAGE, images=(image,)), "user", f"images[{i}]")


# ---------------------------------------------------------------------------------------------------- completions


def _read_completion(lists: _Lists) -> Completion:
    """The texts one after the other and each by itself: they may be the parts of one choice or one of each.

    Tool calls are told apart by their place: calls of several choices may have the same index.
    """
    texts = [text for text in lists["texts"] if isinstance(text, str)]
    calls: list[JSON] = [
        {**call, "index": i} if isinstance(call, dict) else call for i, call in enumerate(lists["tool_calls"])
    ]
    images: JSONObject = {"images": lists["images"]} if lists["images"] else {}
    messages: list[JSONObject] = [{"content": [*texts], "tool_calls": calls, **images}]
    if len(texts) > 1:
        messages += [{"content": text} for text in texts]
    chunks: list[Chunk] = []
    for index, message in enumerate(messages):
        reading = _CHAT.read_choice({"message": message}, _CHAT.message_key)
        reading.finished = True
        chunks.append(reading.chunk(index, {}))
    return Completion(tuple(chunks), tuple(texts))


# ---------------------------------------------------------------------------------------------------- answers


def guardrail_answer(asked: GuardrailRequest, decision: Decision) -> JSONObject:
    """``NONE`` lets the text pass as it is, ``BLOCKED`` says why not: by names alone, without a word of the text."""
    if decision.action is Action.ALLOW:
        return {"action": "NONE"}
    what = "prompt" if isinstance(asked.content, Prompt) else "completion"
    if decision.action is Action.FILTER:
        return guardrail_refusal(f"the {what} was filtered: {', '.join(_reasons(decision))}")
    return guardrail_refusal(
        f"the {what} could not be judged ({decision.error}), and the policy does not let it pass unjudged"
    )


def guardrail_refusal(reason: str) -> JSONObject:
    """``BLOCKED``."""
    return {"action": "BLOCKED", "blocked_reason": reason}


def _reasons(decision: Decision) -> Iterator[str]:
    """What led to a text's being filtered."""
    for category, annotation in decision.annotations.items():
        if annotation.filtered:
            severity = annotation.severity
            yield category.value if severity is None else f"{category.value} ({Severity.of(severity).label})"
    yield from (f"blocklist {name}" for name, filtered in decision.blocklists.items() if filtered)


def stream_holdback(texts: Sequence[str], positions: int | None) -> list[int]:
    """``stream_holdback_chars``: how many characters at the end of each text must wait for what comes after it.

    They hold *positions* positions; None: all must wait.
    """
    if positions is None:
        return [len(text) for text in texts]
    return [len(text) - offset_of(text, max(visible(text) - positions, 0)) for text in texts]
