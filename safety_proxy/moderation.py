"""Texts in, decisions out: asks the classifiers of a policy's side and lets the policy decide.

One verdict path for all uses: windows of a stream, whole answers, prompts, the harness. No `ClassifierError` leaves this
module; what a missing verdict means is decided in `safety_proxy.policy`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from safety_proxy.classifiers.base import UNOBSERVED, Classifier, LocalClassifier, Observer, Remembering
from safety_proxy.conversation import MODES, before_texts
from safety_proxy.dialects.prompt import seams
from safety_proxy.errors import ClassifierError, RequestError
from safety_proxy.inquiry import Inquiry, Side
from safety_proxy.model import ALLOWED, Decision, Prompt, PromptText, Query, Turn
from safety_proxy.policy import InputRules, Rules, annotating, decide, strictest
from safety_proxy.rule import Outcome

MAX_JUDGEMENTS: Final = 256
"""Default for the classifier calls that one prompt may cost."""
LOCAL_JUDGEMENT: Final = 10_000
"""Characters that a local classifier, which is paid for in time and not per call, judges for one call's worth."""
_AT_ONCE: Final = 20_000
"""More characters than this are not judged in place, so that other streams are not kept waiting."""

log = structlog.get_logger("safety_proxy.moderation")


@dataclass(frozen=True, slots=True)
class Background:
    """What is known of texts beside themselves."""

    conversation: tuple[Turn, ...] = ()
    """What was said before, for classifiers that judge a conversation."""
    tenant: str = ""
    """Whose they are: `Query.tenant`."""


NO_BACKGROUND: Final = Background()


class Moderator:
    """Judges texts by one or several sides on the same verdicts; the strictest decision holds.

    Several sides are those of the policy of a deployment and of the policy of the caller's key. *observer* hears of the
    calls that cascades spare.
    """

    def __init__(self, sides: Sequence[Side], *, observer: Observer = UNOBSERVED) -> None:
        self._sides, self._observer = tuple(sides), observer
        self._classifiers = list({id(c): c for side in sides for c in side.classifiers.values()}.values())
        self._local = [c for c in self._classifiers if isinstance(c, LocalClassifier)]

    def judge(
        self, queries: Sequence[Query], background: Background = NO_BACKGROUND
    ) -> Decision | Coroutine[None, None, Decision]:
        """The decision on texts taken together: at once if no classifier needs to be waited for, else a coroutine."""
        if background is not NO_BACKGROUND:
            queries = [replace(q, conversation=background.conversation, tenant=background.tenant) for q in queries]
        if len(self._local) == len(self._classifiers) and sum(len(query.text) for query in queries) <= _AT_ONCE:
            inquiry = Inquiry(self._sides, queries)
            while wanted := inquiry.wanted():
                for classifier, positions in wanted:
                    inquiry.answer(classifier, positions, _ask_now(classifier, inquiry.parts(classifier, positions)))
            self._tell_of(inquiry)
            return self._decide_together(inquiry, queries)
        return self._judge_later(queries)

    async def _judge_later(self, queries: Sequence[Query]) -> Decision:
        inquiry = await self._inquire(queries)
        await self._ask_all(inquiry)
        return self._decide_together(inquiry, queries)

    async def _inquire(self, queries: Sequence[Query]) -> Inquiry:
        """An inquiry; finding the other readings of long texts must not hold up other streams."""
        if sum(len(query.text) for query in queries) <= _AT_ONCE:
            return Inquiry(self._sides, queries)
        return await asyncio.to_thread(Inquiry, self._sides, queries)

    async def _ask_all(self, inquiry: Inquiry) -> None:
        """Ask, round by round, until all is said."""
        while wanted := inquiry.wanted():
            async with asyncio.TaskGroup() as group:
                tasks = [
                    (classifier, positions, group.create_task(_ask(classifier, inquiry.parts(classifier, positions))))
                    for classifier, positions in wanted
                ]
            for classifier, positions, task in tasks:
                inquiry.answer(classifier, positions, task.result())
        self._tell_of(inquiry)

    def _tell_of(self, inquiry: Inquiry) -> None:
        for name, texts in inquiry.spared().items():
            self._observer.spared(name, texts)

    def _decide_together(self, inquiry: Inquiry, queries: Sequence[Query]) -> Decision:
        return strictest(
            decide(side.rules, inquiry.outcomes(side, position), query.kind)
            for position, query in enumerate(queries)
            for side in self._sides
        )


@dataclass(frozen=True, slots=True)
class PromptDecision:
    """What becomes of a request: the decision on all of it, and on each of its prompts."""

    decision: Decision
    prompts: Mapping[int, Decision]


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
        self._refuse_unreadable(prompt)
        texts = [
            text
            for text in prompt.texts
            if (text.query.text or text.query.images) and any(_applied(side, rules, text) for side, rules in self._of_input)
        ]
        before = before_texts(texts, self._conversation)
        texts += seams(texts)
        before += [()] * (len(texts) - len(before))
        if not texts:
            return PromptDecision(ALLOWED, dict.fromkeys(range(prompt.prompts), ALLOWED))
        queries = [replace(text.query, conversation=said, tenant=tenant) for text, said in zip(texts, before, strict=True)]
        inquiry = await self._inquire(queries)
        self._count(inquiry, len(queries))
        await self._ask_all(inquiry)
        decided = list(zip([text.prompt_index for text in texts], self._decide_texts(texts, inquiry), strict=True))
        prompts = {index: strictest(d for i, d in decided if i == index) for index in range(prompt.prompts)}
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


# ------------------------------------------------------------------------------------------------------ asking


async def _ask(classifier: Classifier, queries: Sequence[Query]) -> Sequence[Outcome]:
    try:
        return await classifier.classify(queries) if queries else ()
    except Exception as error:  # noqa: BLE001 - a classifier with a bug must not let text pass
        return _failed(classifier, queries, error)


def _ask_now(classifier: Classifier, queries: Sequence[Query]) -> Sequence[Outcome]:
    """As `_ask`, of a local classifier."""
    try:
        return classifier.classify_now(queries) if queries and isinstance(classifier, LocalClassifier) else ()
    except Exception as error:  # noqa: BLE001 - a classifier with a bug must not let text pass
        return _failed(classifier, queries, error)


def _failed(classifier: Classifier, queries: Sequence[Query], error: Exception) -> list[Outcome]:
    """A failure as the outcome on each query, narrowed to what the classifier would have reported."""
    if not isinstance(error, ClassifierError):
        log.error("classifier.broken", classifier=classifier.name, error=type(error).__name__)
        error = ClassifierError("internal")
    else:
        log.warning("classifier.failed", classifier=classifier.name, reason=error.reason)
    if error.categories is not None:
        return [error] * len(queries)
    return [ClassifierError(error.reason, categories=classifier.reports(query.kind)) for query in queries]
