"""From a policy file to a `Policy`: defaults filled in, and everything refused that could not be enforced as written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

import orjson

from safety_proxy.documents import Document, seconds, validate
from safety_proxy.model import HARMS, Category, JSONObject, Severity
from safety_proxy.normalise import is_unbounded
from safety_proxy.policy import ROLES, Blocklist, InputRules, OutputRules, Policy, StreamRules
from safety_proxy.policy_lists import require_distinct, require_searchable
from safety_proxy.policy_shape import (
    DecisiveShape,
    DetectionShape,
    HarmShape,
    PolicyShape,
    SideShape,
    StreamShape,
    schema,
)
from safety_proxy.rule import Rule
from safety_proxy.yaml import Place

__all__ = ["load", "schema", "shipped"]

_THRESHOLDS: Final[Mapping[str, int]] = {"low": Severity.LOW, "medium": Severity.MEDIUM, "high": Severity.HIGH}

_AZURE: Final[Mapping[Category, HarmShape | DetectionShape]] = {
    **{category: HarmShape(block_at="medium") for category in sorted(HARMS)},
    Category.JAILBREAK: DetectionShape(action="block"),
    Category.INDIRECT_ATTACK: DetectionShape(action="annotate"),
}
"""Azure's defaults. Azure also has its protected-material filters on for completions. They are off here until a policy
names them: few classifiers report them, and a policy that cannot be enforced never starts."""

_UNBOUNDED: Final = (
    "matches texts of any length; of a match longer than the holdback ({}) the beginning may be released before it is seen"
)
_UNSEEN: Final = "matches texts of any length; a match that is as long as the context ({}) may not be seen whole"
_ASYNCHRONOUS: Final = (
    "asynchronous releases text before it is judged: when a window is found harmful, up to {} characters from its start "
    "have been shown; holdback has no effect on streams"
)

Side = TypeVar("Side", bound=SideShape)


def shipped(package: Path = Path(__file__).parent) -> Mapping[str, Path]:
    """The files of the policies that come with the package, by name. In a source tree they stand beside it."""
    inside = package / "shipped_policies"
    folder = inside if inside.is_dir() else package.parent / "policies"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load(document: Document) -> Policy:
    """The policy in *document*. Raises `ConfigError` for the first mistake, with file, line and field."""
    shape = _fill(validate(PolicyShape, document))
    require_distinct(shape, document)
    longest = require_searchable(shape, document)
    stream = shape.output.stream
    if stream.context <= stream.holdback:
        message = f"must be more than holdback: context is {stream.context}, holdback is {stream.holdback}"
        raise document.error(message, ("output", "stream", "context"))
    filled = _document(shape)
    digest = hashlib.sha256(orjson.dumps(filled, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return Policy(
        name=shape.name,
        description=shape.description,
        classifiers=tuple(shape.classifiers),
        input=_input(shape, document),
        output=_output(shape, document, longest),
        annotations=shape.annotations,
        identity=f"{shape.name}@{digest[:12]}",
        warnings=tuple(_warnings(shape, document)),
        filled=filled,
        document=document,
    )


# ------------------------------------------------------------------------------------------------------------- defaults


def _fill(shape: PolicyShape) -> PolicyShape:
    """The same policy with every default written out, so that equal policies look equal."""
    defaults = _AZURE if shape.defaults == "azure" and shape.classifiers else {}
    roles = [role for role in ROLES if role in shape.input.roles]
    return shape.model_copy(
        update={
            "input": _fill_side(shape.input, defaults).model_copy(update={"roles": roles}),
            "output": _fill_side(shape.output, defaults),
        }
    )


def _document(shape: PolicyShape) -> JSONObject:
    """The filled-in policy in the shape of its file. No default is left that ``defaults`` could be about."""
    filled: JSONObject = shape.model_dump(mode="json", exclude={"defaults", "input", "output"}, exclude_none=True)
    annotations = filled.pop("annotations")
    for name, side in (("input", shape.input), ("output", shape.output)):
        written = side.model_dump(mode="json", exclude_none=True, by_alias=True)
        last = [*_categories(side), "blocklists", "stream"]
        filled[name] = {
            key: written[key] for key in sorted(written, key=lambda key: last.index(key) + 1 if key in last else 0)
        }
    return {**filled, "annotations": annotations}


def _fill_side(side: Side, defaults: Mapping[Category, HarmShape | DetectionShape]) -> Side:
    filled: dict[str, object] = {}
    for category in _categories(side):
        rule = getattr(side, category) or defaults.get(category, "off")
        if isinstance(rule, HarmShape | DetectionShape):
            rule = rule.model_copy(update={"on_error": rule.on_error or side.on_error})
        if isinstance(rule, HarmShape) and rule.combine == "first_decisive":
            rule = rule.model_copy(update={"decisive": rule.decisive or DecisiveShape()})
        filled[category] = rule
    return side.model_copy(update=filled)


def _categories(side: SideShape) -> list[Category]:
    """The categories that a side can have rules for."""
    return [category for category in Category if category in type(side).model_fields]


# --------------------------------------------------------------------------------------------------------------- rules


def _input(shape: PolicyShape, document: Document) -> InputRules:
    categories, written = _rules(shape, "input", shape.input, document), shape.input
    return InputRules(
        categories=categories,
        blocklists=_blocklists(written),
        fail_open=written.on_error == "allow",
        classifiers=_counting(categories, shape),
        roles=frozenset(written.roles),
        history=written.history,
        unreadable=written.unreadable,
        block_as=written.block_as,
        parallel=written.parallel,
        conversation=shape.conversation,
    )


def _output(shape: PolicyShape, document: Document, longest: int) -> OutputRules:
    categories, written = _rules(shape, "output", shape.output, document), shape.output
    return OutputRules(
        categories=categories,
        blocklists=_blocklists(written),
        fail_open=written.on_error == "allow",
        classifiers=_counting(categories, shape),
        stream=_stream(written.stream),
        needed_holdback=longest,
        conversation=shape.conversation,
    )


def _rules(shape: PolicyShape, name: str, side: SideShape, document: Document) -> Mapping[Category, Rule]:
    rules = {}
    for category in _categories(side):
        written = getattr(side, category)
        if isinstance(written, HarmShape | DetectionShape):
            _require_classifiers(written, shape, document, (name, category.value))
            rules[category] = _rule(category, written, tuple(shape.classifiers))
    if not rules and not side.blocklists:
        hint = "" if shape.classifiers else " (without classifiers, nothing is on by default)"
        raise document.error(f"has no rule: no category is on and there is no blocklist{hint}", (name,))
    return MappingProxyType(rules)


def _counting(rules: Mapping[Category, Rule], shape: PolicyShape) -> tuple[str, ...]:
    """The classifiers that count for any of *rules*, in the order of the policy."""
    return tuple(name for name in shape.classifiers if any(rule.counts(name) for rule in rules.values()))


def _blocklists(side: SideShape) -> Mapping[str, Blocklist]:
    return MappingProxyType(
        {
            written.name: Blocklist(
                written.name,
                tuple(written.terms),
                tuple(written.patterns),
                block=written.action == "block",
                exceptions=tuple(written.exceptions),
                stored=written.source is not None,
            )
            for written in side.blocklists
        }
    )


def _rule(category: Category, written: HarmShape | DetectionShape, everybody: tuple[str, ...]) -> Rule:
    word = written.block_at if isinstance(written, HarmShape) else written.action
    counting = None if written.classifiers is None else tuple(written.classifiers)
    decisive = (written.decisive if isinstance(written, HarmShape) else None) or DecisiveShape()
    return Rule(
        category,
        block=word not in {"never", "annotate"},
        threshold=_THRESHOLDS.get(word, Severity.SAFE),
        fail_open=written.on_error == "allow",
        classifiers=everybody if counting is None and written.combine == "first_decisive" else counting,
        combine=written.combine,
        below=decisive.below,
        above=decisive.above,
    )


def _stream(written: StreamShape) -> StreamRules:
    return StreamRules(
        mode=written.mode,
        first_window=written.first_window,
        window=written.window,
        context=written.context,
        holdback=written.holdback,
        in_flight=written.in_flight,
        heartbeat=None if written.heartbeat == "off" else seconds(written.heartbeat),
    )


# --------------------------------------------------------------------------------------------------------- refusals


def _require_classifiers(rule: HarmShape | DetectionShape, shape: PolicyShape, document: Document, place: Place) -> None:
    """A rule counts on classifiers, and only on those that the policy names; a cascade leads somewhere."""
    if not shape.classifiers:
        raise document.error("cannot be enforced: the policy names no classifier", place)
    if isinstance(rule, HarmShape) and rule.decisive is not None:
        if rule.combine != "first_decisive":
            raise document.error("is only for `combine: first_decisive`", (*place, "decisive"))
        if rule.decisive.below > rule.decisive.above + 1:
            raise document.error("`below` and `above` overlap: a severity cannot be both", (*place, "decisive"))
    for index, name in enumerate(rule.classifiers or ()):
        if name not in shape.classifiers:
            raise document.error(f"`{name}` is not among the policy's classifiers", (*place, "classifiers", index))


def _warnings(shape: PolicyShape, document: Document) -> Iterator[str]:
    """What may be meant, but promises less than it seems to."""
    stream = shape.output.stream
    if stream.mode == "whole":
        return
    if stream.mode == "asynchronous":
        shown = max(stream.first_window, stream.window) + stream.window
        yield str(document.error(_ASYNCHRONOUS.format(shown), ("output", "stream", "mode")))
    elif stream.first_window <= stream.holdback:
        message = f"releases nothing: the first window is {stream.first_window} long, and holdback is {stream.holdback}"
        yield str(document.error(message, ("output", "stream", "first_window")))
    unbounded = _UNSEEN.format(stream.context) if stream.mode == "asynchronous" else _UNBOUNDED.format(stream.holdback)
    for index, blocklist in enumerate(shape.output.blocklists):
        for number, pattern in enumerate(blocklist.patterns):
            if is_unbounded(pattern):
                yield str(document.error(unbounded, ("output", "blocklists", index, "patterns", number)))
