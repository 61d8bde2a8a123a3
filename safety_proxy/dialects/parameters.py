"""The parameters of a request for which the serverless Llama API states a rule, and those rules.

Source: Microsoft Learn, "How to use the Meta Llama family of models with Azure Machine Learning studio", the tables
"Request schema" of "Completions API" and of "Chat API". What has no rule there is the backend's to refuse: `max_tokens` may
be -1, which some servers take for "no limit". Null counts as absent, nothing is changed, and no default is ever filled in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from safety_proxy.errors import RequestError
from safety_proxy.model import JSON, JSONObject

Rule: TypeAlias = Callable[[str, JSON], None]
"""Called with the path of a field and its value, which is not null; raises `RequestError` if the value breaks the rule."""


def require_valid(body: JSONObject, rules: Mapping[str, Rule]) -> None:
    """Hold the parameters of *body*, each and together, to the rules. Its `stream`, if any, is a boolean.

    Raises `RequestError` that names the field; of two that do not go together, the one whose row has the rule.
    """
    for name, rule in rules.items():
        if body.get(name) is not None:
            rule(name, body[name])
    _require_agreement(body)


def require_content(message: JSONObject, field: str) -> None:
    """A message has a content (table "messages" of "Chat API"), at least one that the table knows: system or user.

    An assistant's may say something else instead, such as a tool call, as in OpenAI's API.
    """
    role = message.get("role")
    if message.get("content") is not None or role not in {"system", "user", "assistant"}:
        return
    if role != "assistant" or not any(value is not None for key, value in message.items() if key not in {"role", "name"}):
        raise RequestError(f"'{field}.content' is required", field=f"{field}.content")


def _require_agreement(body: JSONObject) -> None:
    """What the rows `best_of` and `use_beam_search` ask of other parameters.

    A `best_of` of 1 is the default, which clients send along with any `n` and with streams: it asks for nothing.
    """
    n, best_of, temperature = (_number_or(body.get(name), 1) for name in ("n", "best_of", "temperature"))
    if best_of != 1 and best_of <= n:
        raise RequestError("'best_of' must be greater than 'n', or 1", field="best_of")
    if best_of > 1 and body.get("stream") is True:
        raise RequestError("'best_of' greater than 1 cannot be streamed: leave out 'stream' or 'best_of'", field="best_of")
    if body.get("use_beam_search") is True:
        if best_of <= 1:
            raise RequestError("'use_beam_search' needs 'best_of' greater than 1", field="use_beam_search")
        if temperature != 0:
            raise RequestError("'use_beam_search' needs 'temperature' 0", field="use_beam_search")


def _number_or(value: JSON, default: int) -> float:
    """A value that its rule has let pass, or what the tables name as its default."""
    return value if isinstance(value, int | float) else default


# ---------------------------------------------------------------------------------------------------- rules


def _must_be(field: str, wanted: str) -> RequestError:
    return RequestError(f"'{field}' must be {wanted}", field=field)


def _boolean(field: str, value: JSON) -> None:
    if not isinstance(value, bool):
        raise _must_be(field, "true or false")


def _integer(field: str, value: JSON) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _must_be(field, "an integer")


def _positive(field: str, value: JSON) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _must_be(field, "a positive integer")


def _count(field: str, value: JSON) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _must_be(field, "an integer of at least 0")


def _boolean_or_count(field: str, value: JSON) -> None:
    if not isinstance(value, int) or value < 0:  # a boolean is an integer, too
        raise _must_be(field, "true, false or an integer of at least 0")


def _between(least: int, most: int) -> Rule:
    def require(field: str, value: JSON) -> None:
        if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
            raise _must_be(field, f"a number from {least} to {most}")

    return require


def _strings(field: str, value: JSON) -> None:
    if isinstance(value, str):
        return
    if not isinstance(value, list):
        raise _must_be(field, "a string or an array of strings")
    for i, element in enumerate(value):
        if not isinstance(element, str):
            raise _must_be(f"{field}[{i}]", "a string")


def _integers(field: str, value: JSON) -> None:
    if not isinstance(value, list):
        raise _must_be(field, "an array of integers")
    for i, element in enumerate(value):
        _integer(f"{field}[{i}]", element)


TEXT: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "max_tokens": _integer,
        "top_p": _between(0, 1),  # "probability mass"
        "temperature": _between(0, 2),
        "n": _positive,
        "stop": _strings,
        "best_of": _positive,
        "logprobs": _count,
        "presence_penalty": _between(-2, 2),
        "ignore_eos": _boolean,
        "use_beam_search": _boolean,
        "stop_token_ids": _integers,
        "skip_special_tokens": _boolean,
    }
)
"""The rules of "Completions API". `prompt` and `stream` are read elsewhere: they tell what is judged, and how."""

CHAT: Final[Mapping[str, Rule]] = MappingProxyType({**TEXT, "logprobs": _boolean_or_count})
"""The rules of "Chat API": the same, and `logprobs` as OpenAI's chat has it, too."""
