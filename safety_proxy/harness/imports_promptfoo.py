"""Tests of promptfoo as cases: what its asserts about safety mean for a policy.

Read are a ``promptfooconfig.yaml`` and a file with ``tests`` alone, as promptfoo.dev/docs/configuration/reference describes
them. Prompts and tests stand in the file itself, prompts use plain variables (``{{name}}``), and of the asserts these are
understood; ``config: {purpose: redteam}`` turns ``guardrails`` round, as it does there:

- ``guardrails``, ``not-is-refusal``: the prompt is allowed, and so is ``providerOutput``, if there is one
- ``not-guardrails``, ``is-refusal``: the importer's side is filtered
- ``moderation``: ``providerOutput`` is allowed, or not filtered for the categories in ``value``

What else a file holds is left out, and counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Final

from safety_proxy.classifiers.hazards import OPENAI
from safety_proxy.documents import Document, read
from safety_proxy.harness.cases import Case, Decided, ExpectedCategory, ExpectedSide
from safety_proxy.harness.imported import Importer
from safety_proxy.harness.promptfoo_prompts import PromptTemplate, prompts_of
from safety_proxy.jsontext import as_object
from safety_proxy.model import JSON, Category, JSONObject
from safety_proxy.yaml import Place

_ALLOWING: Final = frozenset({"guardrails", "not-is-refusal"})
_FILTERING: Final = frozenset({"not-guardrails", "is-refusal"})
_MERGED: Final = ("vars", "options", "metadata")
_UNREAD: Final[Mapping[str, str]] = {
    "threshold": "a test that passes by its score",
    "assertScoringFunction": "a test that passes by its score",
    "prompts": "a test for some of the prompts",
    "transformVars": "a test whose variables a program makes",
}
"""Keys of a test, or of its options, that make it mean something else than what is read."""
_PLAIN: Final = re.compile(r"[a-z0-9:-]{1,40}")


@dataclass(slots=True)
class _Wanted:
    """What the asserts of one test want."""

    decisions: dict[str, Decided] = field(default_factory=dict)
    """By side."""
    unfiltered: set[Category] = field(default_factory=set)
    """Categories that must not filter the output."""

    def expected(self, side: str) -> ExpectedSide | None:
        """The same as a case has it."""
        categories = dict.fromkeys(sorted(self.unfiltered) if side == "output" else (), ExpectedCategory(filtered=False))
        decision = self.decisions.get(side)
        return ExpectedSide(decision, categories) if decision is not None or categories else None


def read_promptfoo(path: Path, importer: Importer) -> Iterator[Case]:
    """The cases in a file of promptfoo's: one for each test, prompt, and value of a variable that has several.

    Raises `ConfigError`, also for prompts, tests or variables that are in other files.
    """
    document = read(path)
    tests = document.content.get("tests")
    if not isinstance(tests, list):
        raise document.error("must be a list of tests that stand here, not in another file", ("tests",))
    default = document.content.get("defaultTest")
    if not isinstance(default, dict | None):
        raise document.error("must be a mapping that stands here, not in another file", ("defaultTest",))
    for index, _ in enumerate(_list(document, document.content, ("scenarios",))):
        _skip(importer, document, "a scenario", ("scenarios", index))
    for index, test in enumerate(tests):
        place: Place = ("tests", index)
        if not isinstance(test, dict):
            raise document.error("must be a mapping that stands here, not in another file", place)
        yield from _cases(document, place, test, default or {}, importer)


def _cases(document: Document, place: Place, test: JSONObject, default: JSONObject, importer: Importer) -> Iterator[Case]:
    merged = {**default, **test}
    for key in _MERGED:
        merged[key] = {**_mapping(document, default, ("defaultTest", key)), **_mapping(document, test, (*place, key))}
    options = as_object(merged["options"])
    for key in (*merged, *options):
        if key in _UNREAD:
            _skip(importer, document, _UNREAD[key], place)
            return
    completion = merged.get("providerOutput")
    if not isinstance(completion, str | None):
        _skip(importer, document, "a test whose output is no text", place)
        return
    wanted = _wanted(document, place, (test, default, options), importer, judged=completion is not None)
    sides = wanted.expected("input"), wanted.expected("output")
    if importer.need_expectations and sides == (None, None):
        _skip(importer, document, "a test without an assert about safety", place)
        return
    for name, body in _bodies(document, place, merged, options):
        yield Case(
            name=name,
            place=f"{document.file}:{document.line(place)}",
            body=body if completion is None else {**body, "completion": completion},
            input=sides[0],
            output=sides[1],
            tags=frozenset(_tags(as_object(merged["metadata"]))),
        )


def _bodies(document: Document, place: Place, test: JSONObject, options: JSONObject) -> Iterator[tuple[str, JSONObject]]:
    """What each prompt makes of each choice of variables, with a name for it."""
    description = test.get("description")
    called = description if isinstance(description, str) and description else f"test {int(place[-1]) + 1}"
    prompts = prompts_of(document, options)
    for number, prompt in enumerate(prompts, 1):
        values = _values(document, place, prompt, test, options)
        several = any(len(each) > 1 for each in values)
        for variant, chosen in enumerate(product(*values), 1):
            name = called + (f", prompt {number}" if len(prompts) > 1 else "") + (f", variant {variant}" if several else "")
            yield name, prompt.body(dict(zip(prompt.variables, chosen, strict=True)))


def _values(
    document: Document, place: Place, prompt: PromptTemplate, test: JSONObject, options: JSONObject
) -> list[list[str]]:
    """The values of each variable that a prompt uses: all of a list are tried, with all of every other."""
    values: list[list[str]] = []
    for name in prompt.variables:
        where = (*place, "vars", name)
        value = as_object(test["vars"]).get(name)
        if value is None:
            raise document.error(f"the prompt uses the variable `{name}`, which is not there", (*place, "vars"))
        if isinstance(value, list) and options.get("disableVarExpansion"):
            raise document.error("is a list, which is not to be expanded", where)
        if value == []:
            raise document.error("must have at least 1 item", where)
        values.append([_written(document, each, where) for each in (value if isinstance(value, list) else [value])])
    return values


def _written(document: Document, value: JSON, place: Place) -> str:
    """A variable's value in a text, as a template engine writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        raise document.error("must be text or a number", place)
    if isinstance(value, str) and value.startswith("file://"):
        raise document.error("is in another file; only what stands here is read", place)
    return str(value)


def _tags(metadata: JSONObject) -> Iterator[str]:
    for key, value in metadata.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str | int | float):
                yield f"{key}={str(each).lower() if isinstance(each, bool) else each}"


# -------------------------------------------------------------------------------------------------------------- asserts


def _wanted(
    document: Document, place: Place, merged: tuple[JSONObject, JSONObject, JSONObject], importer: Importer, *, judged: bool
) -> _Wanted:
    """What the asserts of a test want, its own and the default ones; *judged* is whether there is an output."""
    test, default, options = merged
    wanted = _Wanted()
    inherited = not options.get("disableDefaultAsserts")
    places = [("defaultTest", "assert")] if inherited else []
    for where, source in [*((each, default) for each in places), ((*place, "assert"), test)]:
        for index, written in enumerate(_list(document, source, where)):
            _want(document, (*where, index), as_object(written), importer, wanted, judged=judged)
    return wanted


def _want(
    document: Document, place: Place, written: JSONObject, importer: Importer, wanted: _Wanted, *, judged: bool
) -> None:
    kind = written.get("type")
    if not isinstance(kind, str):
        raise document.error("is required", (*place, "type"))
    if kind == "guardrails" and as_object(written.get("config")).get("purpose") == "redteam":
        kind = "not-guardrails"
    if kind in _ALLOWING:
        sides = {"input", "output"} if judged else {"input"}
    elif kind in _FILTERING:
        sides = {importer.side}
    elif kind == "moderation":
        sides = {"output"}
    else:
        shown = kind if _PLAIN.fullmatch(kind) else "unknown"
        _skip(importer, document, f"an assert of type {shown}", place)
        return
    if "output" in sides and not judged:
        _skip(importer, document, "an assert about an output that is not there", place)
        return
    if kind == "moderation" and written.get("value"):
        wanted.unfiltered |= _moderated(document, (*place, "value"), written["value"])
        return
    decision: Decided = "filter" if kind in _FILTERING else "allow"
    for side in sides:
        if wanted.decisions.setdefault(side, decision) != decision:
            raise document.error(f"wants the {side} to be {decision}ed; another assert wants the opposite", place)


def _moderated(document: Document, place: Place, value: JSON) -> set[Category]:
    """Our categories for those of OpenAI's moderation that an assert names."""
    found: set[Category] = set()
    for index, name in enumerate(value if isinstance(value, list) else [value]):
        if not isinstance(name, str) or not OPENAI.table.get(name):
            known = ", ".join(hazard for hazard, levels in OPENAI.table.items() if levels)
            raise document.error(f"must be of: {known}", (*place, index))
        found |= set(OPENAI.table[name])
    return found


# ---------------------------------------------------------------------------------------------------------------- shape


def _skip(importer: Importer, document: Document, reason: str, place: Place) -> None:
    error = document.error(reason, place)
    importer.skip(reason, document.file, error.line, error.field)


def _mapping(document: Document, source: JSONObject, place: Place) -> JSONObject:
    value = source.get(str(place[-1]))
    if not isinstance(value, dict | None):
        raise document.error("must be a mapping that stands here, not in another file", place)
    return value or {}


def _list(document: Document, source: JSONObject, place: Place) -> list[JSON]:
    value = source.get(str(place[-1]))
    if not isinstance(value, list | None):
        raise document.error("must be a list that stands here, not in another file", place)
    return value or []
