"""One line of the audit log: what a request was, who judged it, what was decided, and what was not evaluated. Pure.

The fields are those of docs/audit.md. Names of fields and channels are words of the formats: what a client has made up
shows as ``*``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import Final

from safety_proxy.dialects.evaluation_gaps import missed_classifiers, missed_rules
from safety_proxy.dialects.evaluation_stages import InputStage, summary
from safety_proxy.dialects.evaluation_texts import Judged
from safety_proxy.dialects.known_parameters import KNOWN
from safety_proxy.dialects.prompt import OPAQUE_FIELDS
from safety_proxy.dialects.vocabulary import PROMPT_VOCABULARY
from safety_proxy.events import Annotate, Chunk, End, Finish, Item, Release, Shown
from safety_proxy.jsontext import as_object
from safety_proxy.model import ALLOWED, JSON, Decision, JSONObject
from safety_proxy.policy import Policy, strictest

MOST_GAPS: Final = 100
"""Entries of ``not_evaluated``; a conversation of a thousand messages that a policy leaves out needs no more."""
BY_DESIGN: Final = frozenset({"off", "not_applicable"})
"""Reasons that the policy and the format give, and no request: who knows the policy knows them."""
REASONS: Final = frozenset({"stop", "length", "tool_calls", "function_call", "content_filter", "eos", "abort", "error"})
"""What backends end a choice with; anything else is told as ``other``."""

_WORDS: Final = PROMPT_VOCABULARY.union(OPAQUE_FIELDS, *KNOWN.values())
_COMPONENT: Final = re.compile(r"([^\[\]]*)((?:\[\d+\])*)")


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a request before anybody has judged it."""

    time: float
    """Its arrival, in seconds since 1970."""
    request_id: str
    route: str
    deployment: str
    key: str | None
    dialect: str
    stream: bool
    policy: str
    """Identity; ``off`` where the deployment has opted out."""
    classifiers: Sequence[str] = ()
    size: int = 0
    """Bytes of its body. Not told."""

    def tell(self) -> JSONObject:
        """The first fields of a line."""
        when = datetime.fromtimestamp(self.time, UTC).isoformat(timespec="milliseconds")
        return {
            "time": when.replace("+00:00", "Z"),
            "request_id": self.request_id,
            "route": self.route,
            "deployment": self.deployment,
            "key": self.key,
            "dialect": self.dialect,
            "stream": self.stream,
            "policy": self.policy,
            "classifiers": [*self.classifiers],
        }


# ------------------------------------------------------------------------------------------------------ not evaluated


def gap(stage: str, what: str, name: str, reason: str) -> JSONObject:
    """An entry of ``not_evaluated``; its words are those of `safety_proxy.dialects.evaluation_gaps`, and a few more."""
    return {"stage": stage, "what": what, "name": name, "reason": reason}


class Gaps:
    """Collects what was not evaluated, each thing once, however many windows a stream has."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, ...], JSONObject] = {}
        self._cut = 0

    def add(self, entries: Iterable[JSONObject]) -> None:
        """Take these, but for what the policy itself leaves out."""
        for entry in entries:
            if entry["reason"] in BY_DESIGN:
                continue
            told = {**entry, "name": known_path(str(entry["name"]))} if entry["what"] == "field" else entry
            key = tuple(map(str, told.values()))
            if key not in self._found:
                if len(self._found) < MOST_GAPS:
                    self._found[key] = told
                else:
                    self._cut += 1

    def tell(self) -> list[JSON]:
        """As the line has them."""
        cut = [gap("input", "field", f"{self._cut} more", "cut")] if self._cut else []
        return [*self._found.values(), *cut]


def prompt_gaps(stage: InputStage, policies: Sequence[Policy]) -> list[JSONObject]:
    """What was not evaluated of a prompt."""
    return [as_object(entry) for entry in stage.missed(policies)]


def completion_gaps(judged: Sequence[Judged], policies: Sequence[Policy]) -> Iterator[JSONObject]:
    """What was not evaluated of some windows of a completion."""
    rules = [policy.output for policy in policies]
    return chain(missed_rules("output", rules, judged), missed_classifiers("output", rules, judged))


def known_path(path: str) -> str:
    """A path of a request without the words that a client has made up: ``metadata.*``, ``messages[2].content``."""
    return ".".join(_known(component) for component in path.split("."))


def _known(component: str) -> str:
    found = _COMPONENT.fullmatch(component)
    return f"{found[1]}{found[2]}" if found is not None and found[1] in _WORDS else "*"


# ---------------------------------------------------------------------------------------------------------- decisions


@dataclass(slots=True)
class ChoiceTold:
    """What was made of one choice so far."""

    decision: Decision = ALLOWED
    finish_reason: str | None = None
    _last: tuple[Decision, ...] = field(default=(), repr=False)

    def add(self, decisions: tuple[Decision, ...]) -> None:
        """Join the decisions on a chunk; many chunks share those of a window."""
        if decisions is not self._last and decisions != self._last:
            self._last = decisions
            self.decision = strictest((self.decision, *decisions))


class Tally:
    """What was decided on a completion, choice by choice, as it goes to the client, or would."""

    def __init__(self) -> None:
        self.choices: dict[int, ChoiceTold] = {}
        self.failure: str | None = None
        """Why the backend's answer ended before the completion did."""

    def shown(self, effects: Iterable[Shown]) -> None:
        """Take what one turn has brought."""
        for effect in effects:
            match effect:
                case Release(item=Chunk() as chunk, decisions=decisions):
                    choice = self._choice(chunk.choice)
                    choice.add(decisions or ())
                    if chunk.finished:
                        choice.finish_reason = reason_of(chunk)
                case Annotate(choice=index, decision=decision):
                    self._choice(index).add((decision,))
                case Finish(choice=index, decision=decision):
                    choice = self._choice(index)
                    choice.add((decision,))
                    choice.finish_reason = decision.action.value
                case End(failure=failure, unfinished=unfinished) if failure is not None:
                    self.failure = failure.code
                    for index in unfinished:
                        self._choice(index).finish_reason = "error"
                case _:
                    pass

    def _choice(self, index: int) -> ChoiceTold:
        return self.choices.setdefault(index, ChoiceTold())

    @property
    def decision(self) -> Decision:
        """The strictest of the choices."""
        return strictest(choice.decision for choice in self.choices.values())

    def tell(self, policies: Sequence[Policy]) -> JSONObject:
        """The stage as a line has it."""
        rules = [policy.output for policy in policies]
        return {
            "choices": [
                {"index": index, "finish_reason": choice.finish_reason, **summary(choice.decision, rules)}
                for index, choice in sorted(self.choices.items())
            ]
        }


def tell_input(decision: Decision, policies: Sequence[Policy]) -> JSONObject:
    """The stage as a line has it."""
    return summary(decision, [policy.input for policy in policies])


def choice_of(item: Chunk) -> JSONObject:
    """The choice in the payload of a chunk: of an event, or of a whole answer."""
    choices = item.payload.get("choices")
    return as_object(choices[0]) if isinstance(choices, list) and choices else item.payload


def reason_of(item: Chunk) -> str | None:
    """The backend's ``finish_reason``, if it is one that is known."""
    reason = choice_of(item).get("finish_reason")
    if reason is None:
        return None
    return reason if isinstance(reason, str) and reason in REASONS else "other"


def chunks_of(items: Iterable[Item]) -> Iterator[Chunk]:
    """What is about a choice."""
    return (item for item in items if isinstance(item, Chunk))


# --------------------------------------------------------------------------------------------------------------- lines


@dataclass(frozen=True, slots=True)
class Stages:
    """What was decided, by policies that decide together."""

    policies: Sequence[Policy]
    input: Decision | None = None
    output: Tally | None = None

    def decision(self, *, off: bool = False) -> str:
        """The strictest word of all; ``error`` where nothing was decided that should have been."""
        output = None if self.output is None else self.output.decision
        decisions = [decision for decision in (self.input, output) if decision is not None]
        if not decisions:
            return "allow" if off else "error"
        return strictest(decisions).action.word

    def tell(self) -> JSONObject:
        """The fields ``input`` and ``output``."""
        return {
            "input": None if self.input is None else tell_input(self.input, self.policies),
            "output": None if self.output is None else self.output.tell(self.policies),
        }


def tell_shadow(identity: str, stages: Stages | None) -> JSONObject:
    """What a policy on trial would have decided. None: nobody knows; ``not_evaluated`` tells why."""
    if stages is None:
        return {"policy": identity, "decision": None, "input": None, "output": None}
    return {"policy": identity, "decision": stages.decision(), **stages.tell()}


def record(head: Head, stages: Stages, gaps: Sequence[JSON], shadow: JSON, content: Mapping[str, JSON]) -> JSONObject:
    """The whole line. *content* is empty, or has the field of this name."""
    return {
        **head.tell(),
        "decision": stages.decision(off=head.policy == "off"),
        **stages.tell(),
        "not_evaluated": [*gaps],
        "shadow": shadow,
        **content,
    }
