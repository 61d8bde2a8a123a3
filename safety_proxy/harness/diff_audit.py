"""Recorded traffic: the lines of an audit log as cases to be judged again, or as decisions that were made already.

A line is an object with the decisions on a request, and with ``content: full`` the request and its completion. Nothing is
taken for granted: a log may end in a torn line, and lines of other versions may lack what is looked for. What cannot be used
is counted, and why.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from safety_proxy.errors import ConfigError
from safety_proxy.harness.cases import DECISIONS, Case
from safety_proxy.harness.diff import EXAMPLES, Diff, Difference, difference
from safety_proxy.harness.diff_reasons import Rulebook, Stance
from safety_proxy.harness.diff_rules import Change, changes
from safety_proxy.harness.outcome import FoundSide
from safety_proxy.jsontext import as_object, parse, strings
from safety_proxy.model import JSON, Action, Annotation, Category, Decision, JSONObject
from safety_proxy.policy import Policy, strictest

TORN: Final = "no whole line of an audit log"
NO_CONTENT: Final = "recorded without its texts (content is not full)"
CUT: Final = "recorded only in part, being too long"
NO_INPUT: Final = "nothing in it to be judged again"
NO_SHADOW: Final = "recorded without a shadow policy"
OTHER_POLICIES: Final = "decided by other policies"
UNDECIDED: Final = "decided by one of the policies only"
"""Why a line is not used."""

_OWN: Final = frozenset({"id", "policy", "completion", "text", "messages", "prompt"})
"""Fields that mean something else in a case than in a request."""
_INPUTS: Final = ("messages", "prompt", "text")
_MARK_OF_A_CUT: Final = re.compile(r"\[[0-9]+ (characters|items|fields) cut\]\Z")
"""How the audit log ends what it did not write down to the end."""
_SIDES: Final = ("input", "output")
_ACTIONS: Final = {action.word: action for action in Action}


def read_lines(files: Iterable[str], skipped: Counter[str]) -> Iterator[tuple[str, JSONObject]]:
    """The lines of audit logs, each with its ``file:line``; ``-`` is standard input. Those that are torn are *skipped*.

    Raises `ConfigError` for a file that cannot be read.
    """
    for file in files:
        try:
            with nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    if not line.strip():
                        continue
                    content = _parsed(line)
                    if content:
                        yield f"{file}:{number}", content
                    else:
                        skipped[TORN] += 1
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", file=file) from None


def _parsed(line: bytes) -> JSONObject:
    """The object in a line. Empty: there is none."""
    try:
        return as_object(parse(line))
    except ValueError:
        return {}


# ----------------------------------------------------------------------------------------------------------- judged again


def audit_cases(lines: Iterable[tuple[str, JSONObject]], skipped: Counter[str]) -> Iterator[Case]:
    """The recorded requests and completions, as cases that expect nothing. What holds none is *skipped*."""
    for place, line in lines:
        content = as_object(line.get("content"))
        request = as_object(content.get("request"))
        if not request or content.get("form", "full") != "full":
            skipped[NO_CONTENT] += 1
        elif any(map(_MARK_OF_A_CUT.search, strings(content))):
            skipped[CUT] += 1
        elif body := _body(request, content.get("completion")):
            yield Case(name=_name(line), place=place, body=body)
        else:
            skipped[NO_INPUT] += 1


def _body(request: JSONObject, completion: JSON) -> JSONObject:
    """A request and what was answered, as an evaluation has them. Empty: nothing in it can be judged."""
    source = next((key for key in _INPUTS if request.get(key) is not None), None)
    body: JSONObject = {}
    if source is not None:
        body[source] = request[source]
    if source in {"messages", "prompt"}:
        body |= {key: value for key, value in request.items() if key not in _OWN}
    if isinstance(completion, list):  # of a choice that never came there is nothing
        completion = [each for each in completion if each is not None]
    # The recorded request may be an evaluation, which has its completion in itself.
    if said := completion or request.get("completion"):
        body["completion"] = said
    return body


def _name(line: JSONObject) -> str:
    name = line.get("request_id")
    return name if isinstance(name, str) else ""


# ------------------------------------------------------------------------------------------------------- decided already


def shadow_diffs(
    lines: Iterable[tuple[str, JSONObject]],
    skipped: Counter[str],
    *,
    pair: tuple[Policy, Policy] | None = None,
    examples: int = EXAMPLES,
) -> list[Diff]:
    """What the enforced and the shadow policies of recorded requests decided differently, a diff for each two of them.

    With a *pair*, only what these two policies decided, as they are now. What is not used is *skipped*.
    """
    wanted = None if pair is None else (pair[0].identity, pair[1].identity)
    told = () if pair is None else changes(*pair)
    diffs: dict[tuple[str, str], Diff] = {}
    for place, line in lines:
        shadow = as_object(line.get("shadow"))
        enforced, other = line.get("policy"), shadow.get("policy")
        if not isinstance(enforced, str) or not isinstance(other, str):
            skipped[NO_SHADOW] += 1
        elif wanted not in {None, (enforced, other)}:
            skipped[f"{OTHER_POLICIES}: {enforced}, shadow {other}"] += 1
        elif sides := [each for each in _SIDES if _found(line.get(each)) and _found(shadow.get(each))]:
            diff = diffs.setdefault((enforced, other), Diff(enforced, other, told, kept=examples))
            found = (_recorded(place, line, shadow, side, pair, told) for side in sides)
            diff.add([each for each in found if each is not None])
        else:
            skipped[UNDECIDED] += 1
    return list(diffs.values())


def _recorded(
    place: str, line: JSONObject, shadow: JSONObject, side: str, pair: tuple[Policy, Policy] | None, told: Sequence[Change]
) -> Difference | None:
    """What was decided differently on one side of one line. Of a policy that is not at hand, the line tells the rules."""
    one, other = line.get(side), shadow.get(side)
    rules = Rulebook(_stance(one), _stance(other)) if pair is None else Rulebook.of(side, *pair, told)
    return difference(place, _name(line), side, _found(one), _found(other), rules)


def _found(recorded: JSON) -> FoundSide | None:
    """What was decided on a stage. None: it was not judged, or what was decided is not understood."""
    decision = _decision(recorded)
    if decision is None:
        return None
    if decision.action is Action.FAIL and decision.error in DECISIONS:  # a request that could not be judged at all
        return FoundSide(decision.error)
    return FoundSide.of(decision)


def _decision(recorded: JSON) -> Decision | None:
    """The strictest decision of a stage."""
    decisions = [_one_decision(each) for each in _parts(recorded)]
    known = [each for each in decisions if each is not None]
    return strictest(known) if known and len(known) == len(decisions) else None


def _parts(recorded: JSON) -> list[JSONObject]:
    """The decisions of a stage: that on the prompt, or one for each choice."""
    stage = as_object(recorded)
    choices = stage.get("choices")
    return [as_object(each) for each in choices] if isinstance(choices, list) else [stage]


def _one_decision(told: JSONObject) -> Decision | None:
    action = _ACTIONS.get(str(told.get("decision")))
    if action is None:
        return None
    annotations = {category: _annotation(each) for category, each in _categories(told)}
    blocklists = {name: bool(as_object(each).get("filtered")) for name, each in as_object(told.get("blocklists")).items()}
    error = told.get("error")
    return Decision(action, annotations, blocklists, error if isinstance(error, str) else None)


def _categories(told: JSONObject) -> Iterator[tuple[Category, JSONObject]]:
    written = as_object(told.get("categories"))
    return ((category, as_object(written[category])) for category in Category if category in written)


def _annotation(told: JSONObject) -> Annotation:
    severity, detected = told.get("severity"), told.get("detected")
    return Annotation(
        bool(told.get("filtered")),
        severity if isinstance(severity, int) else None,
        detected if isinstance(detected, bool) else None,
    )


def _stance(recorded: JSON) -> Stance:
    """What the policies that decided a stage make of what was found, as far as it tells."""
    words: dict[Category, str] = {}
    lists: dict[str, str] = {}
    for part in _parts(recorded):
        for category, told in _categories(part):
            words[category] = str(told.get("threshold", told.get("action", "unknown")))
        for name, matched in as_object(part.get("blocklists")).items():
            lists[name] = "block" if as_object(matched).get("filtered") else "annotate"
    return Stance(words, lists)
