"""Cases: what is put before a policy, and what it must decide.

A file of YAML holds several under ``cases``; in a file of JSON Lines each line is one, and is read when its turn comes, so
that a hundred thousand of them take no more memory than one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, TextIO, TypeAlias

from pydantic import BeforeValidator, Field, JsonValue, field_validator, model_validator

from safety_proxy.documents import Document, read, validate
from safety_proxy.errors import ConfigError
from safety_proxy.jsontext import parse
from safety_proxy.model import HARMS, JSON, Category, JSONObject
from safety_proxy.policy_shape import Shape
from safety_proxy.yaml import Place

DECISIONS: Final = ("allow", "filter", "error", "unsupported_content", "prompt_too_long")
"""What may be decided on a side: let it pass, filter it, no verdict; and why a request cannot be judged at all."""
Decided: TypeAlias = Literal["allow", "filter", "error", "unsupported_content", "prompt_too_long"]

_OTHER_FIELDS: Final = ("tools", "functions", "documents", "response_format")
_LONGEST_LINE: Final = 8 * 2**20
_MOST_SEVERE: Final = 7


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
    categories: dict[Annotated[Category, Field(strict=False)], CategoryShape] = Field(default={})
    blocklists: list[str] = Field(default=[])
    """Lists that must match."""


Side: TypeAlias = Annotated[SideShape, BeforeValidator(_side)]


class ExpectShape(Shape):
    """What must be decided. A side that is not written is not looked at."""

    input: Side | None = None
    output: Side | None = None


_NOTHING: Final = (None, SideShape())
_NO_FINDING: Final = "must be phrases, each with `error` or categories: the severity (0-7) of a harm, true for another"


def _is_finding(name: str, value: JSON) -> bool:
    if name in HARMS:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_SEVERE
    return value is True


class CaseShape(Shape):
    """One case as it is written."""

    _needs_expectations: ClassVar[bool] = True

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

    @field_validator("verdicts")
    @classmethod
    def _can_be_found(cls, verdicts: dict[str, JSON] | None) -> dict[str, JSON] | None:
        # As a whole, since the field that an error tells would be the phrase, which is content.
        for finding in (verdicts or {}).values():
            if finding == "error":
                continue
            if not isinstance(finding, dict):
                raise ValueError(_NO_FINDING)  # noqa: TRY004 - pydantic's word for a mistake in a file
            for name, value in finding.items():
                if name not in set(Category):
                    raise ValueError(f"no category is called {name}")
                if not _is_finding(name, value):
                    raise ValueError(_NO_FINDING)
        return verdicts

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
        if self._needs_expectations and self.expect.input in _NOTHING and self.expect.output in _NOTHING:
            raise ValueError("expects nothing")
        return self


class _FreeCaseShape(CaseShape):
    """A case that need not expect anything."""

    _needs_expectations: ClassVar[bool] = False

    expect: ExpectShape = ExpectShape()


class _CasesShape(Shape):
    policy: str | None = None
    cases: list[CaseShape] = Field(min_length=1)


class _FreeCasesShape(Shape):
    policy: str | None = None
    cases: list[_FreeCaseShape] = Field(min_length=1)


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


def read_cases(path: Path, *, need_expectations: bool = True) -> Iterator[Case]:
    """The cases of a file, or of the ``*.yaml``, ``*.yml`` and ``*.jsonl`` of a folder and its subfolders, sorted by path.

    Unless they *need_expectations*, some may say only what is to be judged. Raises `ConfigError` with file, line and field
    for the first mistake, and for a folder without a file of cases.
    """
    if path.is_dir():
        files = sorted(each for each in path.rglob("*") if each.suffix in {".yaml", ".yml", ".jsonl"})
        if not files:
            raise ConfigError("no *.yaml and no *.jsonl in this folder", file=str(path))
        for each in files:
            yield from read_cases(each, need_expectations=need_expectations)
    elif path.suffix in {".yaml", ".yml"}:
        yield from _read_yaml(path, need_expectations=need_expectations)
    else:
        try:
            with path.open(encoding="utf-8-sig") as lines:
                yield from read_lines(lines, str(path), need_expectations=need_expectations)
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from None
        except UnicodeDecodeError:
            raise ConfigError("is not UTF-8", file=str(path)) from None


def _read_yaml(path: Path, *, need_expectations: bool) -> Iterator[Case]:
    document = read(path)
    shape = validate(_CasesShape, document) if need_expectations else validate(_FreeCasesShape, document)
    for index, case in enumerate(shape.cases):
        place: Place = ("cases", index)
        yield _case(case, f"{document.file}:{document.line(place)}", f"case {index + 1}", shape.policy)


def read_lines(lines: TextIO | Iterable[str], file: str, *, need_expectations: bool = True) -> Iterator[Case]:
    """The cases of JSON Lines, one for each line that is not blank. Raises `ConfigError` for the first mistake."""
    for number, content in objects(lines, file):
        yield case_of(content, file, number, need_expectations=need_expectations)


def objects(lines: Iterable[str], file: str) -> Iterator[tuple[int, JSONObject]]:
    """The object in each line that is not blank, with the line's number (from 1). Raises `ConfigError`."""
    for number, line in enumerate(lines, 1):
        if len(line) > _LONGEST_LINE:
            raise ConfigError(f"is longer than {_LONGEST_LINE} characters", file=file, line=number)
        if line.strip():
            try:
                content = parse(line.removeprefix("\ufeff").encode())
            except ValueError:
                raise ConfigError("is not JSON, or nested too deep", file=file, line=number) from None
            if not isinstance(content, dict):
                raise ConfigError("is not an object", file=file, line=number)
            yield number, content


def case_of(content: JSONObject, file: str, line: int, *, need_expectations: bool = True) -> Case:
    """The case in one object; it may name a ``policy``. Raises `ConfigError`."""
    policy = content.get("policy")
    content = {key: value for key, value in content.items() if key != "policy"}
    if not isinstance(policy, str | None):
        raise ConfigError("must be text", file=file, line=line, field="policy")
    shape = validate(CaseShape if need_expectations else _FreeCaseShape, Document(file, content, {(): line}))
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
