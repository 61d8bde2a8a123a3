"""Cases: what is put before a policy, and what it must decide.

A file of YAML holds several under ``cases``; in a file of JSON Lines each line is one, and is read when its turn comes, so
that a hundred thousand of them take no more memory than one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal, TextIO, TypeAlias

import orjson
from pydantic import BeforeValidator, Field, JsonValue, model_validator

from safety_proxy.documents import Document, read, validate
from safety_proxy.errors import ConfigError
from safety_proxy.model import JSON, Category, JSONObject
from safety_proxy.policy_shape import Shape
from safety_proxy.yaml import Place

DECISIONS: Final = ("allow", "filter", "error", "unsupported_content", "prompt_too_long")
"""What may be decided on a side: let it pass, filter it, no verdict; and why a request cannot be judged at all."""
Decided: TypeAlias = Literal["allow", "filter", "error", "unsupported_content", "prompt_too_long"]

_OTHER_FIELDS: Final = ("tools", "functions", "documents", "response_format")
_LONGEST_LINE: Final = 8 * 2**20


def _decided(value: JSON) -> JSON:
    """``block``, the word of the API, is ``filter``."""
    return "filter" if value == "block" else value


def _side(value: JSON) -> JSON:
    return {"decision": value} if isinstance(value, str) else value


class CategoryShape(Shape):
    """What must be found in one category."""

    filtered: bool | None = None
    detected: bool | None = None
    min_severity: int | None = Field(default=None, ge=0, le=7)
    max_severity: int | None = Field(default=None, ge=0, le=7)


class SideShape(Shape):
    """What must be decided on one side."""

    decision: Annotated[Decided | None, BeforeValidator(_decided)] = None
    categories: dict[Category, CategoryShape] = Field(default={})
    blocklists: list[str] = Field(default=[])
    """Lists that must match."""


Side: TypeAlias = Annotated[SideShape, BeforeValidator(_side)]


class ExpectShape(Shape):
    """What must be decided. A side that is not written is not looked at."""

    input: Side | None = None
    output: Side | None = None


class CaseShape(Shape):
    """One case as it is written."""

    name: str = ""
    text: str | None = None
    messages: list[JsonValue] | None = None
    prompt: JsonValue = None
    tools: list[JsonValue] | None = None
    functions: list[JsonValue] | None = None
    documents: list[JsonValue] | None = None
    response_format: JsonValue = None
    completion: JsonValue = None
    verdicts: dict[str, JsonValue] | None = None
    """What classifiers find, in place of asking any: a phrase, and the severity or detection that it stands for."""
    expect: ExpectShape
    tags: list[str] = Field(default=[])

    @model_validator(mode="after")
    def _has_something(self) -> CaseShape:
        inputs = [name for name in ("text", "messages", "prompt") if getattr(self, name) is not None]
        if len(inputs) > 1:
            raise ValueError(f"has {inputs[0]} and {inputs[1]}; a case has one input")
        if not inputs and self.completion is None:
            raise ValueError("has nothing to judge: write text, messages, prompt or completion")
        if self.expect.input is not None and not inputs:
            raise ValueError("expects something of an input that it does not have")
        if self.expect.output is not None and self.completion is None:
            raise ValueError("expects something of a completion that it does not have")
        if self.expect.input is None and self.expect.output is None:
            raise ValueError("expects nothing")
        return self


class _CasesShape(Shape):
    policy: str | None = None
    cases: list[CaseShape] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class ExpectedCategory:
    """What must be found in one category; None is not looked at."""

    filtered: bool | None = None
    detected: bool | None = None
    min_severity: int | None = None
    max_severity: int | None = None


@dataclass(frozen=True, slots=True)
class ExpectedSide:
    """What must be decided on one side."""

    decision: Decided | None = None
    categories: Mapping[Category, ExpectedCategory] = field(default_factory=dict)
    blocklists: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One case. Its texts are content: they are in no representation of it."""

    name: str
    place: str
    """``file:line`` that it was read from."""
    body: JSONObject = field(repr=False)
    """Input and completion, as `safety_proxy.dialects.evaluation.read_evaluation` takes them."""
    input: ExpectedSide | None = None
    output: ExpectedSide | None = None
    tags: frozenset[str] = frozenset()
    policy: str | None = None
    """Name of the policy that it is about. None: any."""
    verdicts: Mapping[str, JSON] | None = field(default=None, repr=False)
    """What classifiers find, in place of asking any; see `CaseShape`."""


# ------------------------------------------------------------------------------------------------------------- reading


def read_cases(path: Path) -> Iterator[Case]:
    """The cases of a file, or of the ``*.yaml``, ``*.yml`` and ``*.jsonl`` of a folder and its subfolders, sorted by path.

    Raises `ConfigError` with file, line and field for the first mistake, and for a folder without a file of cases.
    """
    if path.is_dir():
        files = sorted(each for each in path.rglob("*") if each.suffix in {".yaml", ".yml", ".jsonl"})
        if not files:
            raise ConfigError("no *.yaml and no *.jsonl in this folder", file=str(path))
        for each in files:
            yield from read_cases(each)
    elif path.suffix in {".yaml", ".yml"}:
        yield from _read_yaml(path)
    else:
        try:
            with path.open(encoding="utf-8") as lines:
                yield from read_lines(lines, str(path))
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from None
        except UnicodeDecodeError:
            raise ConfigError("is not UTF-8", file=str(path)) from None


def _read_yaml(path: Path) -> Iterator[Case]:
    document = read(path)
    shape = validate(_CasesShape, document)
    for index, case in enumerate(shape.cases):
        place: Place = ("cases", index)
        yield _case(case, f"{document.file}:{document.line(place)}", f"case {index + 1}", shape.policy)


def read_lines(lines: TextIO | Iterable[str], file: str) -> Iterator[Case]:
    """The cases of JSON Lines, one for each line that is not blank. Raises `ConfigError` for the first mistake."""
    for number, line in enumerate(lines, 1):
        if len(line) > _LONGEST_LINE:
            raise ConfigError(f"is longer than {_LONGEST_LINE} characters", file=file, line=number)
        if line.strip():
            try:
                content = orjson.loads(line)
            except orjson.JSONDecodeError:
                raise ConfigError("is not JSON", file=file, line=number) from None
            if not isinstance(content, dict):
                raise ConfigError("is not an object", file=file, line=number)
            yield case_of(content, file, number)


def case_of(content: JSONObject, file: str, line: int) -> Case:
    """The case in one object; it may name a ``policy``. Raises `ConfigError`."""
    policy = content.pop("policy", None)
    if not isinstance(policy, str | None):
        raise ConfigError("must be text", file=file, line=line, field="policy")
    shape = validate(CaseShape, Document(file, content, {(): line}))
    return _case(shape, f"{file}:{line}", f"line {line}", policy)


def _case(shape: CaseShape, place: str, name: str, policy: str | None) -> Case:
    body: JSONObject = {}
    for key in ("text", "messages", "prompt", *_OTHER_FIELDS, "completion"):
        value: JSON = getattr(shape, key)
        if value is not None:
            body[key] = value
    return Case(
        name=shape.name or name,
        place=place,
        body=body,
        input=_expected(shape.expect.input),
        output=_expected(shape.expect.output),
        tags=frozenset(shape.tags),
        policy=policy,
        verdicts=shape.verdicts,
    )


def _expected(side: SideShape | None) -> ExpectedSide | None:
    if side is None:
        return None
    categories = {category: ExpectedCategory(**each.model_dump()) for category, each in side.categories.items()}
    return ExpectedSide(side.decision, categories, tuple(side.blocklists))
