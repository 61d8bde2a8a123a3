"""Texts in, decisions out: asks the classifiers of a policy's side and lets the policy decide.

One verdict path for all uses: windows of a stream, whole answers, prompts, the harness. No `ClassifierError` leaves this
module; what a missing verdict means is decided in `safety_proxy.policy`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import structlog

from safety_proxy.classifiers.base import Classifier, LocalClassifier, merge, split
from safety_proxy.dialects.prompt import seams
from safety_proxy.errors import ClassifierError, RequestError
from safety_proxy.model import ALLOWED, Decision, Kind, Prompt, PromptText, Query, Verdict
from safety_proxy.policy import InputRules, Outcome, Rules, annotating, applies, decide, strictest

MAX_JUDGEMENTS: Final = 256
"""Default for the classifier calls that one prompt may cost."""
LOCAL_JUDGEMENT: Final = 10_000
"""Characters that a local classifier, which is paid for in time and not per call, judges for one call's worth."""
_AT_ONCE: Final = 20_000
"""More characters than this are not judged in place, so that other streams are not kept waiting."""

log = structlog.get_logger("safety_proxy.moderation")


@dataclass(frozen=True, slots=True)
class Side:
    """The rules of one side of a policy, with the classifiers whose verdicts count for them, by name."""

    rules: Rules
    classifiers: Mapping[str, Classifier]

    @property
    def reads_images(self) -> bool:
        """Whether an image is judged for all that the rules ask of one: each harm that is on has a classifier for it.

        A side without a harm asks nothing of an image, and what nobody is asked about nobody has read.
        """
        readers = {name: c for name, c in self.classifiers.items() if c.reads_images}
        asked = [rule for category, rule in self.rules.categories.items() if applies(category, Kind.IMAGE)]
        return bool(asked) and all(
            any(
                rule.category in c.reports(Kind.IMAGE)
                for name, c in readers.items()
                if rule.classifiers is None or name in rule.classifiers
            )
            for rule in asked
        )


class Moderator:
    """Judges texts by one or several sides on the same verdicts; the strictest decision holds.

    Several sides are those of the policy of a deployment and of the policy of the caller's key.
    """

    def __init__(self, sides: Sequence[Side]) -> None:
        self._sides = tuple(sides)
        self._classifiers = list({id(c): c for side in sides for c in side.classifiers.values()}.values())
        self._local = [c for c in self._classifiers if isinstance(c, LocalClassifier)]

    def judge(self, queries: Sequence[Query]) -> Decision | Coroutine[None, None, Decision]:
        """The decision on texts taken together: at once if no classifier needs to be waited for, else a coroutine."""
        if len(self._local) == len(self._classifiers) and sum(len(query.text) for query in queries) <= _AT_ONCE:
            outcomes = {id(c): _ask_now(c, queries) for c in self._local}
            return strictest(self._decide(query, outcomes, i) for i, query in enumerate(queries))
        return self._judge_later(queries)

    async def _judge_later(self, queries: Sequence[Query]) -> Decision:
        outcomes = await self._ask_all(queries)
        return strictest(self._decide(query, outcomes, i) for i, query in enumerate(queries))

    async def _ask_all(self, queries: Sequence[Query]) -> dict[int, Sequence[Outcome]]:
        """What each classifier (by identity) says of each query."""
        async with asyncio.TaskGroup() as group:
            tasks = {id(c): group.create_task(_ask(c, queries)) for c in self._classifiers}
        return {key: task.result() for key, task in tasks.items()}

    def _decide(self, query: Query, outcomes: Mapping[int, Sequence[Outcome]], position: int) -> Decision:
        return strictest(
            decide(side.rules, {name: outcomes[id(c)][position] for name, c in side.classifiers.items()}, query.kind)
            for side in self._sides
        )


@dataclass(frozen=True, slots=True)
class PromptDecision:
    """What becomes of a request: the decision on all of it, and on each of its prompts."""

    decision: Decision
    prompts: Mapping[int, Decision]


class PromptModerator(Moderator):
    """Judges prompts. Each side's rules are `InputRules`."""

    def __init__(self, sides: Sequence[Side], *, judgements: int = MAX_JUDGEMENTS) -> None:
        super().__init__(sides)
        self._of_input = [(side, side.rules) for side in sides if isinstance(side.rules, InputRules)]
        if len(self._of_input) != len(self._sides):
            raise TypeError("prompts are judged by input rules")
        self._judgements = judgements

    async def moderate(self, prompt: Prompt) -> PromptDecision:
        """Judge every text and image of a request, and the seams of its conversation.

        Raises `RequestError`: 400 ``unsupported_content`` for what nobody can read, 413 for a prompt that would cost more
        classifier calls than allowed.
        """
        self._refuse_unreadable(prompt)
        texts = [
            text
            for text in prompt.texts
            if (text.query.text or text.query.images) and any(_applied(side, rules, text) for side, rules in self._of_input)
        ]
        texts += seams(texts)
        if not texts:
            return PromptDecision(ALLOWED, dict.fromkeys(range(prompt.prompts), ALLOWED))
        queries = [text.query for text in texts]
        self._count(queries)
        outcomes = await self._ask_all(queries)
        decided = list(zip([text.prompt_index for text in texts], self._decide_texts(texts, outcomes), strict=True))
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

    def _decide_texts(self, texts: Sequence[PromptText], outcomes: Mapping[int, Sequence[Outcome]]) -> list[Decision]:
        decisions: list[list[Decision]] = [[] for _ in texts]
        for side, rules in self._of_input:
            known: set[str] = set()
            for position, text in enumerate(texts):
                applied = _applied(side, rules, text)
                if applied is not None:
                    said = {name: outcomes[id(c)][position] for name, c in side.classifiers.items()}
                    decisions[position].append(_decide_text(rules, applied, text, said, known))
        return [strictest(on_text) for on_text in decisions]

    def _count(self, queries: Sequence[Query]) -> None:
        calls = 0
        for classifier in self._classifiers:
            if classifier in self._local:
                calls += -(-sum(len(query.text) for query in queries) // LOCAL_JUDGEMENT)
            else:
                calls += sum(len(part.images) or 1 for group in _parts(classifier, queries) for part in group)
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


def _parts(classifier: Classifier, queries: Sequence[Query]) -> list[list[Query]]:
    """What *classifier* is asked about each query: its parts, or nothing if there are images that it does not read."""
    return [
        split(query, classifier.limit, classifier.overlap) if classifier.reads_images or not query.images else []
        for query in queries
    ]


def _whole(classifier: Classifier, parts: list[list[Query]], said: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes on texts from those on their parts; a verdict that says nothing on what was not asked."""
    if all(len(group) == 1 for group in parts):
        return list(said)
    ends = list(accumulate(len(group) for group in parts))
    return [
        _merged(said[end - len(group) : end], group, classifier.overlap) if group else Verdict()
        for group, end in zip(parts, ends, strict=True)
    ]


def _merged(said: Sequence[Outcome], parts: Sequence[Query], overlap: int) -> Outcome:
    verdicts = []
    for outcome in said:
        if isinstance(outcome, ClassifierError):
            return outcome
        verdicts.append(outcome)
    starts = accumulate((len(part.text) - overlap for part in parts[:-1]), initial=0)
    return merge(verdicts, starts)


async def _ask(classifier: Classifier, queries: Sequence[Query]) -> list[Outcome]:
    parts = _parts(classifier, queries)
    flat = [part for group in parts for part in group]
    try:
        said: Sequence[Outcome] = await classifier.classify(flat) if flat else []
    except Exception as error:  # noqa: BLE001 - a classifier with a bug must not let text pass
        said = _failed(classifier, flat, error)
    return _whole(classifier, parts, said)


def _ask_now(classifier: LocalClassifier, queries: Sequence[Query]) -> list[Outcome]:
    parts = _parts(classifier, queries)
    flat = [part for group in parts for part in group]
    try:
        said: Sequence[Outcome] = classifier.classify_now(flat) if flat else []
    except Exception as error:  # noqa: BLE001 - a classifier with a bug must not let text pass
        said = _failed(classifier, flat, error)
    return _whole(classifier, parts, said)


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
