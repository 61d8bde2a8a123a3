"""A request as the model will see it: every text, its place, and the seams between the turns of a conversation."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Final

from safety_proxy.dialects.vocabulary import PROMPT_VOCABULARY, says_something
from safety_proxy.errors import RequestError
from safety_proxy.jsontext import as_object, strings, unescape
from safety_proxy.model import JSON, JSONObject, Kind, PromptText, Query
from safety_proxy.verdicts import split

SEAM: Final = 200
"""Characters either side of a border between two texts of a conversation that are judged together."""
_PIECE: Final = 2_000
"""Longest stretch of a conversation's short texts that is judged as one, in characters."""

_KINDS: Final = {
    "user": Kind.USER_PROMPT,
    "tool": Kind.DOCUMENT,
    "system": Kind.MESSAGE,
    "developer": Kind.MESSAGE,
    "assistant": Kind.MESSAGE,
}
_ALIASES: Final = {"function": "tool"}

OPAQUE_FIELDS: Final = frozenset(
    {
        "prompt_embeds",
        "prompt_token_ids",
        "input_ids",
        "input_embeds",
        "allowed_token_ids",
        "kv_transfer_params",
        "multi_modal_data",
        "chat_template",
    }
)
"""Fields that bring the model what no classifier of text can read, or compute text at the backend (Jinja)."""
_TEMPLATE_OPTIONS: Final = "chat_template_kwargs"
"""Variables for the backend's own template; vLLM would take a whole template from here, too."""

_TOOL_FIELDS: Final = frozenset(
    {
        "tools",
        "functions",
        "response_format",
        "documents",
        "structured_outputs",
        "data_sources",
        "guided_json",
        "json_schema",
    }
)
"""Fields whose text counts as ``tool``: definitions, schemas and documents, often written by somebody else."""


def role_of(role: str) -> str:
    """The role whose rules hold for a message; one that nobody knows is nobody's privilege and counts as ``user``."""
    role = _ALIASES.get(role, role)
    return role if role in _KINDS else "user"


def kind_of(role: str) -> Kind:
    """What a text of this role is to the model."""
    return _KINDS[role_of(role)]


def field_strings(value: JSON) -> list[str]:
    """The strings of a field that say something, in order; those with JSON's escapes (tool arguments) also without."""
    found: list[str] = []
    for text in strings(value):
        if says_something(text, PROMPT_VOCABULARY):
            found.append(text)
            decoded = unescape(text)
            if decoded != text:
                found.append(decoded)
    return found


def laid_out(value: JSON, field: str, role: str, *, history: bool = False) -> Iterator[PromptText]:
    """All strings of a field end to end, a line each, as one text; nothing if none says anything."""
    found = field_strings(value)
    if found:
        yield PromptText(Query("\n".join(found), kind_of(role)), role_of(role), field, history)


def spoken(text: str, field: str, role: str, *, history: bool = False) -> Iterator[PromptText]:
    """A text of the conversation; one that holds escaped characters, as many a tool's JSON does, also without escapes."""
    yield PromptText(Query(text, kind_of(role), offset=0), role_of(role), field, history, spoken=True)
    decoded = unescape(text) if "\\u" in text else text
    if decoded != text:
        yield PromptText(Query(decoded, kind_of(role)), role_of(role), field, history)


def other_fields(body: JSONObject, known: Collection[str]) -> Iterator[PromptText]:
    """The texts of the top-level fields that are not in *known*, their keys included where the format has no such word."""
    for key, value in body.items():
        if key not in known and key not in OPAQUE_FIELDS:
            role = "tool" if key in _TOOL_FIELDS else "user"
            yield from laid_out({key: value}, key, role)


def opaque_fields(body: JSONObject) -> Iterator[str]:
    """The top-level fields that nobody can read, where they hold anything; and a template among a template's variables."""
    yield from (key for key in body if key in OPAQUE_FIELDS and body[key] is not None)
    if as_object(body.get(_TEMPLATE_OPTIONS)).get("chat_template") is not None:
        yield f"{_TEMPLATE_OPTIONS}.chat_template"


def prompts_of(value: JSON, field: str, unreadable: list[str]) -> Iterator[PromptText]:
    """Each prompt of a field that holds one or several, as a text of its own, by number.

    Token ids, alone or in lists, nobody here can read: their places go to *unreadable*. Raises `RequestError`.
    """
    if isinstance(value, str):
        yield from _one_prompt(value, field, 0)
        return
    if not isinstance(value, list) or not value:
        raise RequestError(f"'{field}' must be a string or a non-empty array", field=field)
    if is_tokens(value):
        unreadable.append(field)
        return
    for i, element in enumerate(value):
        place = f"{field}[{i}]"
        if isinstance(element, str):
            yield from _one_prompt(element, place, i)
        elif isinstance(element, list) and is_tokens(element):
            unreadable.append(place)
        else:
            raise RequestError(f"'{place}' must be a string or token ids", field=place)


def _one_prompt(text: str, field: str, index: int) -> Iterator[PromptText]:
    for read in spoken(text, field, "user"):
        yield replace(read, prompt_index=index, spoken=False)


def is_tokens(prompt: list[JSON]) -> bool:
    """Whether an array is one prompt in token ids, and not several prompts."""
    return all(isinstance(element, int) and not isinstance(element, bool) for element in prompt)


def seams(texts: Sequence[PromptText]) -> Iterator[PromptText]:
    """The borders between the texts of a conversation, laid end to end with nothing and with a space between.

    `SEAM` characters either side are judged; where borders lie closer together, the whole run of short texts is judged
    as one, so the cost stays linear in the conversation. A seam of several kinds is judged as a plain message; the texts
    of one kind that follow each other are judged as that kind, too.
    """
    conversation = [text for text in texts if text.spoken and text.query.text]
    stretches = [list(stretch) for _, stretch in groupby(conversation, key=lambda text: text.query.kind)]
    for stretch in (conversation, *stretches) if len(stretches) > 1 else (conversation,):
        for joint in ("", " "):
            yield from _seams(stretch, joint)


def _seams(texts: Sequence[PromptText], joint: str) -> Iterator[PromptText]:
    run: list[PromptText] = []
    for text in texts:
        run.append(text)
        if len(text.query.text) > 2 * SEAM and len(run) > 1:
            yield from _pieces(_seam(run, joint))
            run = [text]
    if len(run) > 1:
        yield from _pieces(_seam(run, joint))


def _pieces(seam: PromptText) -> Iterator[PromptText]:
    """A long run in parts at places of its own, so that a conversation that grows changes only the last of them."""
    return (replace(seam, query=query) for query in split(seam.query, _PIECE, 2 * SEAM))


def _seam(run: Sequence[PromptText], joint: str) -> PromptText:
    first, *middle, last = (text.query.text for text in run)
    joined = joint.join((first[-SEAM:], *middle, last[:SEAM]))
    kinds = {text.query.kind for text in run}
    query = Query(
        joined,
        kinds.pop() if len(kinds) == 1 else Kind.MESSAGE,
        open_left=len(first) > SEAM,
        open_right=len(last) > SEAM,
    )
    old = [text.history for text in run]
    field = f"{run[0].field} to {run[-1].field}"
    return PromptText(query, run[-1].role, field, all(old), from_history=any(old) and not all(old))
