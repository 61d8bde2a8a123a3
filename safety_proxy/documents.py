"""YAML as people write it: policies, the configuration file and case files, with the line of every value.

`safety_proxy.yaml` tells which part of YAML is read. Every mistake is a `ConfigError` with file, line and field; values
are never quoted in it, since a configuration file holds secrets.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from safety_proxy.errors import ConfigError
from safety_proxy.model import JSON, JSONObject
from safety_proxy.yaml import Place, compose, dotted

LARGEST: Final = 1024 * 1024
"""Longest file in bytes. The longest blocklists that people keep are a tenth of it."""


@dataclass(frozen=True, slots=True)
class Document:
    """The content of one file. Without *lines* it may also stand for an object that came as JSON."""

    file: str
    """What the file is called in errors."""
    content: JSONObject
    lines: Mapping[Place, int] = field(default_factory=dict)
    """Line, counted from 1, of each key and each list item."""

    def line(self, place: Place) -> int | None:
        """The line of the key or item at *place*, or of the nearest one around it. None if no line is known."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place)

    def error(self, message: str, place: Place = ()) -> ConfigError:
        """The error to raise about the value at *place*, which need not exist: it may be missing, or a default."""
        return ConfigError(message, file=self.file, line=self.line(place), field=dotted(place) or None)


def seconds(duration: str) -> float:
    """The seconds in a duration such as ``250ms``, ``1.5s`` or ``2m``. Raises ValueError for anything else."""
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m)", duration)
    if found is None:
        raise ValueError("must be a duration such as 250ms, 1.5s or 2m")
    return float(found[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0}[found[2]]


# ------------------------------------------------------------------------------------------------------------- reading


def read(path: Path) -> Document:
    """The document in the file at *path*. Raises `ConfigError`, also when there is no such file or it is not UTF-8."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from None
    if len(raw) > LARGEST:
        raise ConfigError(f"is longer than {LARGEST} bytes", file=str(path))
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError("is not UTF-8", file=str(path), line=line) from None
    return parse(text, str(path))


def parse(text: str, file: str) -> Document:
    """The one document in *text*, whose top level is a mapping. Raises `ConfigError` that names *file* and the line."""
    if len(text.encode("utf-8", "surrogatepass")) > LARGEST:
        raise ConfigError(f"is longer than {LARGEST} bytes", file=file)
    content, lines = compose(text, file)
    return Document(file, content, MappingProxyType(lines))


# ---------------------------------------------------------------------------------------------------------- validating

Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], document: Document) -> Model:
    """The document as a *model*. Raises `ConfigError` for the first mistake: file, line, field, and what is expected.

    The values that stand in the document are never quoted. The messages of ValueErrors that validators of *model*
    raise are passed on as they are, so they must not quote values either.
    """
    try:
        return model.model_validate(document.content)
    except ValidationError as error:
        raise _first_mistake(model, document, error.errors(include_url=False, include_input=False)) from None


def _first_mistake(model: type[BaseModel], document: Document, errors: Iterable[ErrorDetails]) -> ConfigError:
    placed = [(_place(document.content, error), error) for error in errors]

    def order(mistake: tuple[Place, ErrorDetails]) -> tuple[bool, int]:
        # A key is often missing because it is misspelt: then the misspelt one is the better line to show.
        return mistake[1]["type"] == "missing", document.line(mistake[0]) or 0

    first, _ = min(placed, key=order)
    # Every branch of a union reports; the branch that got furthest is what the writer meant.
    inside = [mistake for mistake in placed if mistake[0][: len(first)] == first]
    place, error = max(inside, key=lambda mistake: (len(mistake[0]), mistake[1]["type"] != "missing"))
    if error["type"] == "extra_forbidden":
        return document.error(_unknown_key(str(place[-1]), _keys(model, place[:-1])), place)
    return document.error(_message(error), place)


def _place(content: JSON, error: ErrorDetails) -> Place:
    """The place that *error* is about: its location without the names of union branches, which pydantic mixes in."""
    place: Place = ()
    for part in error["loc"]:
        if (isinstance(content, dict) and part in content) or (isinstance(content, list) and isinstance(part, int)):
            content = content[part]  # type: ignore[index]  # the line above made sure of it
            place = (*place, part)
    if error["type"] == "missing":
        place = (*place, error["loc"][-1])
    return place


def _unknown_key(key: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known) or 'none'}"
    return f"unknown key; {hint}"


def _keys(model: type[BaseModel], place: Place) -> list[str]:
    """The keys that *model* knows at *place*."""
    leaves = list(_leaves(model))
    for part in place:
        leaves = [inner for leaf in leaves for inner in _step(leaf, part)]
    models = [leaf for leaf in leaves if isinstance(leaf, type) and issubclass(leaf, BaseModel)]
    return list(dict.fromkeys(key for leaf in models for key in _fields(leaf)))


def _fields(model: type[BaseModel]) -> dict[str, object]:
    return {info.alias or name: info.annotation for name, info in model.model_fields.items()}


def _leaves(annotation: object) -> Iterator[object]:
    """The models and containers in a field's type, whatever unions and annotations are wrapped around them."""
    if get_origin(annotation) in {list, tuple, dict} or isinstance(annotation, type):
        yield annotation
    else:
        for argument in get_args(annotation):
            yield from _leaves(argument)


def _step(leaf: object, part: str | int) -> Iterator[object]:
    if isinstance(leaf, type) and issubclass(leaf, BaseModel):
        yield from _leaves(_fields(leaf).get(str(part)))
    elif get_args(leaf):
        yield from _leaves(get_args(leaf)[-1 if get_origin(leaf) is dict else 0])


_MESSAGES: Final[Mapping[str, str]] = {
    "missing": "is required",
    "string_type": "must be text (put numbers and the like in quotes)",
    "string_pattern_mismatch": "must have the form {pattern}",
    "string_too_short": "must have at least {min_length} character(s)",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} item(s)",
    "too_long": "must have at most {max_length} items",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "frozen_set_type": "must be a list",
    "dict_type": "must be a mapping (key: value)",
    "model_type": "must be a mapping (key: value)",
    "model_attributes_type": "must be a mapping (key: value)",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "union_tag_invalid": "must have {discriminator} set to one of {expected_tags}",
    "union_tag_not_found": "must have {discriminator} set",
    "value_error": "{error}",
}
"""Our words for pydantic's error types (pydantic.dev, Validation Errors). None may cite the value."""


def _message(error: ErrorDetails) -> str:
    words: dict[str, object] = error.get("ctx", {})
    return _MESSAGES.get(error["type"], "is not valid").format_map(words).replace("'", "`")
