"""What is told of one stage of an evaluation, input or output: the decision, what led to it, and every text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safety_proxy.dialects.evaluation_gaps import missed_classifiers, missed_fields, missed_rules, missed_text
from safety_proxy.dialects.evaluation_texts import Judged, in_order, input_text, output_text
from safety_proxy.events import Chunk
from safety_proxy.model import JSON, Annotation, Category, Decision, JSONObject, PromptText, Severity
from safety_proxy.policy import Policy, Rules, strictest


@dataclass(frozen=True, slots=True)
class InputStage:
    """What was made of a prompt."""

    decision: Decision
    judged: Sequence[Judged]
    skipped: Sequence[PromptText] = ()
    """What no policy has anything to say of."""
    unreadable: Sequence[str] = ()
    """Fields that passed although nobody could read them."""

    def tell(self, policies: Sequence[Policy]) -> JSONObject:
        """The stage as the answer has it."""
        rules = [policy.input for policy in policies]
        return {**summary(self.decision, rules), "texts": [input_text(each) for each in self.judged]}

    def missed(self, policies: Sequence[Policy]) -> list[JSON]:
        """What was not evaluated, and why."""
        rules = [policy.input for policy in policies]
        return [
            *missed_fields(rules, self.skipped, self.unreadable),
            *missed_rules("input", rules, self.judged),
            *missed_classifiers("input", rules, self.judged),
        ]


@dataclass(frozen=True, slots=True)
class JudgedChoice:
    """What was made of one choice of a completion."""

    said: Chunk
    decision: Decision
    judged: Sequence[Judged]
    """The texts of all windows that were judged, in any order."""

    def texts(self) -> list[Judged]:
        """Those in the order of the choice, channel by channel; what stands in no channel comes last."""
        channels = list(dict.fromkeys(segment.channel for segment in self.said.segments))

        def place(judged: Judged) -> tuple[int, int]:
            channel, offset = judged.query.channel, judged.query.offset
            return (channels.index(channel) if channel in channels else len(channels), offset or 0)

        return sorted(self.judged, key=place)


@dataclass(frozen=True, slots=True)
class OutputStage:
    """What was made of a completion."""

    choices: Sequence[JudgedChoice]

    @property
    def decision(self) -> Decision:
        """The strictest of the choices."""
        return strictest(choice.decision for choice in self.choices)

    def tell(self, policies: Sequence[Policy]) -> JSONObject:
        """The stage as the answer has it."""
        rules = [policy.output for policy in policies]
        choices: list[JSON] = [
            {"index": i, "finish_reason": choice.decision.action.value, **summary(choice.decision, rules)}
            for i, choice in enumerate(self.choices)
        ]
        texts: list[JSON] = [output_text(each, i) for i, choice in enumerate(self.choices) for each in choice.texts()]
        return {**summary(self.decision, rules), "choices": choices, "texts": texts}

    def missed(self, policies: Sequence[Policy]) -> list[JSON]:
        """What was not evaluated, and why."""
        rules = [policy.output for policy in policies]
        judged = [each for choice in self.choices for each in choice.judged]
        return [
            *(gap for i, choice in enumerate(self.choices) for gap in missed_text(i, choice.said, choice.judged)),
            *missed_rules("output", rules, judged),
            *missed_classifiers("output", rules, judged),
        ]


def summary(decision: Decision, rules: Sequence[Rules]) -> JSONObject:
    """A decision, category by category, beside what the *rules* of the policies filter."""
    return {
        "decision": decision.action.word,
        "categories": {
            category.value: _category(category, annotation, rules) for category, annotation in in_order(decision.annotations)
        },
        "blocklists": {name: {"filtered": filtered} for name, filtered in decision.blocklists.items()},
        "error": decision.error,
    }


def _category(category: Category, annotation: Annotation, rules: Sequence[Rules]) -> JSONObject:
    """What was found of a category, beside what the policy filters of it."""
    blocking = [rule for each in rules if (rule := each.categories.get(category)) is not None and rule.block]
    if annotation.severity is None:
        action = "block" if blocking else "annotate"
        return {"filtered": annotation.filtered, "detected": bool(annotation.detected), "action": action}
    threshold = min((rule.threshold for rule in blocking), default=None)
    return {
        "filtered": annotation.filtered,
        "severity": annotation.severity,
        "label": Severity.of(annotation.severity).label,
        "threshold": "never" if threshold is None else Severity.of(threshold).label,
    }
