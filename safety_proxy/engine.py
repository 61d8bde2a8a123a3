"""One or several policies with their classifiers, ready to judge prompts, whole answers and streams.

The proxy, the standalone service and the harness all judge through an `Engine`: there is no second way to a decision.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from safety_proxy.asynchronous import AsynchronousFilter
from safety_proxy.classifiers.base import UNOBSERVED, Classifier, Explaining, Observer
from safety_proxy.classifiers.blocklist import BlocklistClassifier
from safety_proxy.conversation import MODES, before_completion
from safety_proxy.events import Closed, Finish, Item, Release, Shown
from safety_proxy.inquiry import Side
from safety_proxy.model import Category, Decision, Kind, Prompt, Query, Verdict
from safety_proxy.moderation import NO_BACKGROUND, Background, Judged, Moderator
from safety_proxy.policy import Policy, Rules, StreamRules, annotating, strictest
from safety_proxy.prompt_moderation import MAX_JUDGEMENTS, PromptDecision, PromptExamination, PromptModerator
from safety_proxy.relay import Collector, Judge, Sink, once, relay
from safety_proxy.rule import Rule
from safety_proxy.stream import HELD_LIMIT, Filter, StreamFilter
from safety_proxy.windows import BEYOND, WindowPolicy

Witness = Callable[[Sequence[Judged]], None]
"""Told of all that was said of texts that are judged together, before anybody acts on it."""
Stored = Callable[[Sequence[str]], Classifier]
"""Makes a classifier that searches the blocklists of these names in the store."""

_STRICTEST_MODE: Final = ("whole", "buffered", "asynchronous").index


class Engine:
    """Enforces *policies* together: all decide on the same verdicts, and the strictest decision holds.

    The first is the deployment's; its stream numbers hold, as far as the others' blocklists allow. *stored* gives access to
    blocklists of the store; those of *explaining* are asked by `explain`. Raises `ConfigError` if a policy cannot be
    enforced with these *classifiers* (by name).
    """

    def __init__(
        self,
        policies: Sequence[Policy],
        classifiers: Mapping[str, Classifier],
        *,
        judgements: int = MAX_JUDGEMENTS,
        held_limit: int = HELD_LIMIT,
        observer: Observer = UNOBSERVED,
        stored: Stored | None = None,
        explaining: Mapping[str, Explaining] | None = None,
    ) -> None:
        for policy in policies:
            policy.require({name: classifier.reports for name, classifier in classifiers.items()})
        self.policies = tuple(policies)
        self.identity = "+".join(policy.identity for policy in policies)
        self.annotations = any(policy.annotations for policy in policies)
        self.block_as = policies[0].input.block_as
        self.parallel = all(policy.input.parallel for policy in policies)
        """Whether the backend may be called while the prompt is being judged."""
        self.stream = _stream_rules(policies)
        self._window = _window_policy(self.stream)
        self._held_limit = held_limit
        sides = [_side(p, p.input, classifiers, stored) for p in policies]
        self._prompts = PromptModerator(sides, judgements=judgements, observer=observer)
        self._completions = Moderator([_side(p, p.output, classifiers, stored) for p in policies], observer=observer)
        self._everything = everything = [_everything(policy) for policy in policies]
        self._open = Moderator([_side(p, r, classifiers) for p, r in zip(policies, everything, strict=True)])
        self.classifiers = tuple({n: _identity(classifiers[n]) for rules in everything for n in rules.classifiers}.values())
        """The classifiers that the policies name, as ``name@`` and 12 hex digits of the SHA-256 of what they are."""
        self._asked = [classifiers[name] for rules in everything for name in rules.classifiers]
        self._conversation = max((policy.output.conversation for policy in policies), key=MODES.index)
        self._explaining = explaining or {}
        self._tells = any(classifiers[n].reads_conversation for p in policies for n in p.output.classifiers)

    async def moderate_prompt(self, prompt: Prompt, tenant: str = "") -> PromptDecision:
        """Judge a request of *tenant*. Raises `RequestError` for what cannot be judged."""
        return await self._prompts.moderate(prompt, tenant)

    async def examine_prompt(self, prompt: Prompt, tenant: str = "") -> PromptExamination:
        """As `moderate_prompt`, with all that was said of every text."""
        return await self._prompts.examine_prompt(prompt, tenant)

    async def explain(self, judged: Judged) -> Judged:
        """*judged* with the spans of those classifiers that tell none with a verdict but can if they are asked.

        That takes some 15 microseconds for each character, in a thread.
        """
        outcomes = dict(judged.outcomes)
        for name, said in judged.outcomes.items():
            if isinstance(said, Verdict) and not said.spans and name in self._explaining and judged.query.text:
                explained = await asyncio.to_thread(self._explaining[name].explain, judged.query)
                outcomes[name] = replace(said, spans=explained.spans)
        return replace(judged, outcomes=outcomes)

    async def classify(self, queries: Sequence[Query], background: Background = NO_BACKGROUND) -> list[Judged]:
        """What the policies' classifiers say of texts or images, whatever the rules: every category, nothing filtered.

        A category that has a rule is combined as that says. A `Judged.decision` lacks the annotations of categories on
        which there is no verdict.
        """
        return await self._open.examine(queries, background)

    def undecided(self, judged: Judged, category: Category) -> str | None:
        """Why not all is known of *category* of a text that `classify` judged; None if it is."""
        reasons = (rules.categories[category].judge(judged.outcomes)[1] for rules in self._everything)
        return next((reason for reason in reasons if reason is not None), None)

    def reports(self, kind: Kind) -> frozenset[Category]:
        """The categories that `classify` can tell of for texts of this kind, or for images."""
        readers = [each for each in self._asked if kind is not Kind.IMAGE or each.reads_images]
        return frozenset[Category]().union(*(each.reports(kind) for each in readers))

    def background(self, prompt: Prompt, tenant: str = "") -> Background:
        """What the classifiers of a completion are told beside it: whose it is, and what it answers to."""
        conversation = before_completion(prompt, self._conversation) if self._tells else ()
        return Background(conversation, tenant) if conversation or tenant else NO_BACKGROUND

    async def moderate_stream(
        self,
        source: AsyncGenerator[Sequence[Item], None],
        sink: Sink,
        *,
        choices: int,
        background: Background = NO_BACKGROUND,
        witness: Witness | None = None,
    ) -> None:
        """Judge a stream while it flows; what may be shown goes to *sink*. Raises what the sink raises, in a group."""
        kind: type[Filter] = AsynchronousFilter if self.stream.mode == "asynchronous" else StreamFilter
        stream_filter = kind(self._window, choices=choices, held_limit=self._held_limit)
        judge = self._judge(background, witness)
        await relay(source, stream_filter, judge, sink, heartbeat=self.stream.heartbeat)

    async def moderate_answer(
        self,
        items: Sequence[Item],
        *,
        choices: int,
        background: Background = NO_BACKGROUND,
        witness: Witness | None = None,
    ) -> list[Shown]:
        """Judge a whole answer: in the same windows as a stream, all at once, and by the law whatever the mode."""
        window = replace(self._window, in_flight=BEYOND)
        stream_filter = StreamFilter(window, choices=choices, held_limit=BEYOND)
        collector = Collector()
        judge = self._judge(background, witness)
        await relay(once([*items, Closed(complete=True)]), stream_filter, judge, collector)
        return collector.effects

    def _judge(self, background: Background, witness: Witness | None) -> Judge:
        if witness is None:
            return partial(self._completions.judge, background=background)
        return partial(self._examine, background=background, witness=witness)

    async def _examine(self, queries: Sequence[Query], background: Background, witness: Witness) -> Decision:
        """As `Moderator.judge`, before a witness."""
        judged = await self._completions.examine(queries, background)
        witness(judged)
        return strictest(each.decision for each in judged)

    async def moderate_strings(self, strings: Iterable[str]) -> Decision:
        """Judge strings of an answer that is no completion, each by itself and distinct ones once."""
        judged = self._completions.judge([Query(text, Kind.COMPLETION) for text in dict.fromkeys(strings)])
        return judged if isinstance(judged, Decision) else await judged


def decided(effects: Iterable[Shown]) -> Decision:
    """The decision on a whole answer (`Engine.moderate_answer`): what ended its choices, else that on all windows."""
    shown = list(effects)
    ended = [effect.decision for effect in shown if isinstance(effect, Finish)]
    passed = (each for effect in shown if isinstance(effect, Release) for each in effect.decisions or ())
    return strictest(ended or passed)


def _side(policy: Policy, rules: Rules, classifiers: Mapping[str, Classifier], stored: Stored | None = None) -> Side:
    asked = {name: classifiers[name] for name in rules.classifiers}
    if own := [each for each in rules.blocklists.values() if not each.stored]:
        name = f"blocklists of {policy.name}"
        asked[name] = BlocklistClassifier(own, name=name)
    if others := [each.name for each in rules.blocklists.values() if each.stored]:
        if stored is None:
            raise policy.document.error(f"the blocklist `{others[0]}` is in the store, and there is none")
        asked[f"stored blocklists of {policy.name}"] = stored(others)
    return Side(rules, asked)


def _identity(classifier: Classifier) -> str:
    return f"{classifier.name}@{hashlib.sha256(classifier.identity.encode()).hexdigest()[:12]}"


def _everything(policy: Policy) -> Rules:
    """Rules that only annotate, for every category there is: the policy's own, or the plainest where it has none."""
    written = {**policy.output.categories, **policy.input.categories}
    rules = Rules(
        categories={category: written.get(category, Rule(category)) for category in Category}, classifiers=policy.classifiers
    )
    return annotating(rules)


def _stream_rules(policies: Sequence[Policy]) -> StreamRules:
    """The first policy's numbers, with a holdback that the blocklists of all fit into, and the strictest mode of all."""
    rules = policies[0].output.stream
    holdback = max(rules.holdback, *(policy.output.needed_holdback for policy in policies))
    mode = min((policy.output.stream.mode for policy in policies), key=_STRICTEST_MODE)
    return replace(rules, mode=mode, holdback=holdback, context=max(rules.context, holdback + 1))


def _window_policy(rules: StreamRules) -> WindowPolicy:
    if rules.mode == "whole":
        return WindowPolicy.whole()
    return WindowPolicy(
        first=rules.first_window,
        size=rules.window,
        context=rules.context,
        holdback=rules.holdback,
        in_flight=rules.in_flight,
    )
