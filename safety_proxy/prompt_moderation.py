"""Prompts in, decisions out: every text of a request, and the seams of its conversation.

Texts are asked about as everywhere, by `safety_proxy.moderation.Moderator`; what is particular to prompts - roles, history,
content that nobody can read, what judging may cost - is here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from safety_proxy.classifiers.base import UNOBSERVED, Observer, Remembering
from safety_proxy.conversation import MODES, before_texts
from safety_proxy.dialects.prompt import seams
from safety_proxy.errors import RequestError
from safety_proxy.inquiry import Inquiry, Side
from safety_proxy.model import ALLOWED, Decision, Prompt, PromptText
from safety_proxy.moderation import Judged, Moderator
from safety_proxy.policy import InputRules, Rules, annotating, decide, strictest
from safety_proxy.rule import Outcome

MAX_JUDGEMENTS: Final = 256
"""Default for the classifier calls that one prompt may cost."""
LOCAL_JUDGEMENT: Final = 10_000
"""Characters that a local classifier, which is paid for in time and not per call, judges for one call's worth."""


@dataclass(frozen=True, slots=True)
class PromptDecision:
    """What becomes of a request: the decision on all of it, and on each of its prompts."""

    decision: Decision
    prompts: Mapping[int, Decision]


@dataclass(frozen=True, slots=True)
class PromptExamination:
    """What becomes of a request, and why."""

    decided: PromptDecision
    judged: Sequence[Judged]
    """Every text that was judged, the seams last."""
    skipped: Sequence[PromptText] = ()
    """Texts that no policy has anything to say of, by their role or because they are images."""


class PromptModerator(Moderator):
    """Judges prompts. Each side's rules are `InputRules`."""

    def __init__(self, sides: Sequence[Side], *, judgements: int = MAX_JUDGEMENTS, observer: Observer = UNOBSERVED) -> None:
        super().__init__(sides, observer=observer)
        self._of_input = [(side, side.rules) for side in sides if isinstance(side.rules, InputRules)]
        if len(self._of_input) != len(self._sides):
            raise TypeError("prompts are judged by input rules")
        self._judgements = judgements
        self._conversation = max((rules.conversation for _, rules in self._of_input), key=MODES.index)

    async def moderate(self, prompt: Prompt, tenant: str = "") -> PromptDecision:
        """Judge every text and image of a request, which is *tenant*'s, and the seams of its conversation.

        Raises `RequestError`: 400 ``unsupported_content`` for what nobody can read, 413 for a prompt that would cost more
        classifier calls than allowed.
        """
        texts, _ = self._choose(prompt)
        if not texts:
            return PromptDecision(ALLOWED, dict.fromkeys(range(prompt.prompts), ALLOWED))
        return self._decide_prompt(prompt, texts, await self._inquire_prompt(texts, tenant))

    async def examine_prompt(self, prompt: Prompt, tenant: str = "") -> PromptExamination:
        """As `moderate`, with all that was said of every text."""
        texts, skipped = self._choose(prompt)
        if not texts:
            decided = PromptDecision(ALLOWED, dict.fromkeys(range(prompt.prompts), ALLOWED))
            return PromptExamination(decided, (), skipped)
        inquiry = await self._inquire_prompt(texts, tenant)
        decisions = self._decide_texts(texts, inquiry)
        judged = [self._judged(inquiry, i, decisions[i], text) for i, text in enumerate(texts)]
        return PromptExamination(self._decide_prompt(prompt, texts, inquiry, decisions), judged, skipped)

    def _choose(self, prompt: Prompt) -> tuple[list[PromptText], list[PromptText]]:
        """The texts to judge, the seams last; and those that no policy judges. Raises `RequestError`."""
        self._refuse_unreadable(prompt)
        texts: list[PromptText] = []
        skipped: list[PromptText] = []
        for text in prompt.texts:
            if text.query.text or text.query.images:
                judged = any(_applied(side, rules, text) for side, rules in self._of_input)
                (texts if judged else skipped).append(text)
        return [*texts, *seams(texts)], skipped

    async def _inquire_prompt(self, texts: Sequence[PromptText], tenant: str) -> Inquiry:
        """All that the classifiers say. Raises `RequestError`."""
        before = before_texts(texts, self._conversation)
        queries = [replace(text.query, conversation=said, tenant=tenant) for text, said in zip(texts, before, strict=True)]
        inquiry = await self._inquire(queries)
        self._count(inquiry, len(queries))
        await self._ask_all(inquiry)
        return inquiry

    def _decide_prompt(
        self, prompt: Prompt, texts: Sequence[PromptText], inquiry: Inquiry, decisions: Sequence[Decision] | None = None
    ) -> PromptDecision:
        decisions = decisions or self._decide_texts(texts, inquiry)
        of_prompts: dict[int, list[Decision]] = {index: [] for index in range(prompt.prompts)}
        for text, decision in zip(texts, decisions, strict=True):
            of_prompts[text.prompt_index].append(decision)
        prompts = {index: strictest(decided) for index, decided in of_prompts.items()}
        return PromptDecision(strictest(prompts.values()), prompts)

    def _refuse_unreadable(self, prompt: Prompt) -> None:
        """What can be read is decided here and nowhere else: images are opaque to a side that does not read them."""
        images = [text.field for text in prompt.texts if text.query.images]
        for side, rules in self._of_input:
            unread = [*prompt.unreadable, *(images if images and not side.reads_images else ())]
            if unread and rules.unreadable == "block":
                message = f"'{unread[0]}' holds content that no configured classifier can read"
                raise RequestError(message, code="unsupported_content", field=unread[0])

    def _decide_texts(self, texts: Sequence[PromptText], inquiry: Inquiry) -> list[Decision]:
        decisions: list[list[Decision]] = [[] for _ in texts]
        for side, rules in self._of_input:
            known: set[str] = set()
            for position, text in enumerate(texts):
                applied = _applied(side, rules, text)
                if applied is not None:
                    said = inquiry.outcomes(side, position)
                    decisions[position].append(_decide_text(rules, applied, text, said, known))
        return [strictest(on_text) for on_text in decisions]

    def _count(self, inquiry: Inquiry, queries: int) -> None:
        """Raise unless all that may be asked is within the limit. What a classifier has an answer to already is free."""
        calls = 0
        for classifier in self._classifiers:
            parts = inquiry.parts(classifier, range(queries))
            if isinstance(classifier, Remembering):
                parts = [part for part in parts if not classifier.remembers(part)]
            if classifier in self._local:
                calls += -(-sum(len(part.text) for part in parts) // LOCAL_JUDGEMENT)
            else:
                calls += sum(len(part.images) or 1 for part in parts)
        if calls > self._judgements:
            raise RequestError("the prompt is too long to be judged", status=413, code="prompt_too_long")


def _applied(side: Side, rules: InputRules, text: PromptText) -> Rules | None:
    """What a side decides a text by. None: it has nothing to say of it, by the text's role or because it is an image."""
    return rules.of(text) if not text.query.images or side.reads_images else None


def _decide_text(
    rules: InputRules, applied: Rules, text: PromptText, said: Mapping[str, Outcome], known: set[str]
) -> Decision:
    """The decision on one text by one side.

    *known* collects what the texts of the history violate. Where the policy only annotates history, a seam that begins
    there and shows no other violation is not held against the turn that it ends in. (An image explains no words.)
    """
    decision = decide(applied, said, text.query.kind)
    if rules.history == "block":
        return decision
    if text.history and not text.query.images:
        known |= _violations(decide(rules, said, text.query.kind))
    elif text.from_history and known and _violations(decision) <= known:
        return decide(annotating(rules), said, text.query.kind)
    return decision


def _violations(decision: Decision) -> set[str]:
    """The categories and blocklists for which a text was filtered."""
    categories = {category.value for category, annotation in decision.annotations.items() if annotation.filtered}
    return categories | {name for name, filtered in decision.blocklists.items() if filtered}
