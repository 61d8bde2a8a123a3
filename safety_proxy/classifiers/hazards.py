"""From the words that a guard model or a moderation service has for harm to our categories.

The tables are data: every guard has one as its default, and a configuration may replace any row of it. There is no official
mapping from one taxonomy to another; these are ours, and the documentation shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from safety_proxy.model import HARMS, Category, Kind, Verdict
from safety_proxy.rule import applies

Levels: TypeAlias = Mapping[Category, int | None]
"""What finding a hazard means: a severity (0-7) for each harm; None where the classifier's own says how severe it is. A
category that is found or not has any number but 0, or None."""


def _only(*categories: Category) -> Levels:
    return dict.fromkeys(categories)


@dataclass(frozen=True, slots=True)
class Hazards:
    """A table of hazards. A hazard with an empty row is known, but none of our categories."""

    table: Mapping[str, Levels]

    def replaced(self, rows: Mapping[str, Levels]) -> Hazards:
        """The same table with *rows* in place of its own, or beside them."""
        return Hazards({**self.table, **rows})

    def reports(self, kind: Kind) -> frozenset[Category]:
        """The categories that texts of *kind* are judged for by way of this table."""
        found = {category for levels in self.table.values() for category in levels}
        if kind is Kind.IMAGE:
            found &= HARMS
        return frozenset(category for category in found if applies(category, kind))

    def verdict(self, found: Mapping[str, int], kind: Kind) -> Verdict:
        """The verdict on a text of *kind* in which the hazards *found* were seen, each with the severity (0-7) of its own.

        All other categories of the table are safe. Raises KeyError for a hazard that is not in the table.
        """
        severities = dict.fromkeys(sorted(self.reports(kind) & HARMS), 0)
        detections = dict.fromkeys(sorted(self.reports(kind) - HARMS), False)
        for hazard, severity in found.items():
            for category, level in self.table[hazard].items():
                if category in severities:
                    severities[category] = max(severities[category], severity if level is None else level)
                elif category in detections:
                    detections[category] = detections[category] or (severity if level is None else level) > 0
        return Verdict(severities, detections)

    def identity(self) -> str:
        """The table in one line, for `Classifier.identity`: equal for equal tables only, whatever the hazards are called."""
        rows = (f"{name!r}={_levels(levels)}" for name, levels in sorted(self.table.items()))
        return ",".join(rows)


def _levels(levels: Levels) -> str:
    return "+".join(f"{category}{'' if level is None else level}" for category, level in sorted(levels.items()))


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """The scores (0-1) from which on a severity is low, medium, high."""

    low: float = 0.2
    medium: float = 0.5
    high: float = 0.8

    def severity(self, score: float) -> int:
        """0, 2, 4 or 6."""
        return 2 * sum(score >= cutoff for cutoff in (self.low, self.medium, self.high))


_HATE, _SEXUAL, _VIOLENCE, _SELF_HARM = Category.HATE, Category.SEXUAL, Category.VIOLENCE, Category.SELF_HARM

LLAMA_GUARD: Final = Hazards(
    {
        "S1": _only(_VIOLENCE),  # violent crimes
        "S2": {},  # non-violent crimes
        "S3": _only(_SEXUAL, _VIOLENCE),  # sex-related crimes
        "S4": _only(_SEXUAL),  # child sexual exploitation
        "S5": {},  # defamation
        "S6": {},  # specialized advice
        "S7": {},  # privacy
        "S8": _only(Category.PROTECTED_MATERIAL_TEXT),  # intellectual property
        "S9": _only(_VIOLENCE),  # indiscriminate weapons
        "S10": _only(_HATE),
        "S11": _only(_SELF_HARM),  # suicide and self-harm
        "S12": _only(_SEXUAL),  # sexual content
        "S13": {},  # elections
        "S14": {},  # code interpreter abuse
    }
)
"""Llama Guard 3 and 4 (model cards in meta-llama/PurpleLlama)."""

QWEN3_GUARD: Final = Hazards(
    {
        "Violent": _only(_VIOLENCE),
        "Non-violent Illegal Acts": {},
        "Sexual Content or Sexual Acts": _only(_SEXUAL),
        "PII": {},
        "Suicide & Self-Harm": _only(_SELF_HARM),
        "Unethical Acts": _only(_HATE),
        "Politically Sensitive Topics": {},
        "Copyright Violation": _only(Category.PROTECTED_MATERIAL_TEXT),
        "Jailbreak": _only(Category.JAILBREAK),
    }
)
"""Qwen3Guard-Gen (README of QwenLM/Qwen3Guard)."""

OPENAI: Final = Hazards(
    {
        "harassment": _only(_HATE),
        "harassment/threatening": _only(_HATE, _VIOLENCE),
        "hate": _only(_HATE),
        "hate/threatening": _only(_HATE, _VIOLENCE),
        "illicit": {},
        "illicit/violent": _only(_VIOLENCE),
        "self-harm": _only(_SELF_HARM),
        "self-harm/intent": _only(_SELF_HARM),
        "self-harm/instructions": _only(_SELF_HARM),
        "sexual": _only(_SEXUAL),
        "sexual/minors": _only(_SEXUAL),
        "violence": _only(_VIOLENCE),
        "violence/graphic": _only(_VIOLENCE),
    }
)
"""OpenAI's moderation endpoint: the thirteen categories of omni-moderation (openai/openai-openapi)."""

SHIELD_GEMMA: Final = Hazards(
    {
        "Dangerous Content": _only(_VIOLENCE, _SELF_HARM),
        "Harassment": _only(_HATE),
        "Hate Speech": _only(_HATE),
        "Sexually Explicit Information": _only(_SEXUAL),
    }
)
"""ShieldGemma's four policies (model card). Its dangerous content is harm to others and to oneself."""

GRANITE_GUARDIAN: Final = Hazards(
    {
        "social_bias": _only(_HATE),
        "sexual_content": _only(_SEXUAL),
        "violence": _only(_VIOLENCE),
        "self_harm": _only(_SELF_HARM),  # no risk of its own: asked for by a definition
        "jailbreak": _only(Category.JAILBREAK),
    }
)
"""Granite Guardian's risks, of which each costs a call."""
