"""One or several policies with their classifiers, ready to judge prompts, whole answers and streams.

The proxy, the standalone service and the harness all judge through an `Engine`: there is no second way to a decision.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from safety_proxy.asynchronous import AsynchronousFilter
from safety_proxy.classifiers.base import UNOBSERVED, Classifier, Observer
from safety_proxy.classifiers.blocklist import BlocklistClassifier
from safety_proxy.conversation import MODES, before_completion
from safety_proxy.events import Closed, Item, Shown
from safety_proxy.inquiry import Side
from safety_proxy.model import Decision, Kind, Prompt, Query
from safety_proxy.moderation import (
    MAX_JUDGEMENTS,
    NO_BACKGROUND,
    Background,
    Moderator,
    PromptDecision,
    PromptModerator,
)
from safety_proxy.policy import Policy, Rules, StreamRules
from safety_proxy.relay import Collector, Sink, once, relay
from safety_proxy.stream import HELD_LIMIT, Filter, StreamFilter
from safety_proxy.windows import BEYOND, WindowPolicy

_OWN_LISTS = "the policy's own blocklists"
_STRICTEST_MODE: Final = ("whole", "buffered", "asynchronous").index


class Engine:
    """Enforces *policies* together: all decide on the same verdicts, and the strictest decision holds.

    The first is the deployment's; its stream numbers hold, as far as the others' blocklists allow. Raises `ConfigError`
    if a policy cannot be enforced with these *classifiers* (by name).
    """

    def __init__(
        self,
        policies: Sequence[Policy],
        classifiers: Mapping[str, Classifier],
        *,
        judgements: int = MAX_JUDGEMENTS,
        held_limit: int = HELD_LIMIT,
        observer: Observer = UNOBSERVED,
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
        sides = [_side(p.input, classifiers) for p in policies]
        self._prompts = PromptModerator(sides, judgements=judgements, observer=observer)
        self._completions = Moderator([_side(p.output, classifiers) for p in policies], observer=observer)
        self._conversation = max((policy.output.conversation for policy in policies), key=MODES.index)
        self._tells = any(classifiers[n].reads_conversation for p in policies for n in p.output.classifiers)

    async def moderate_prompt(self, prompt: Prompt, tenant: str = "") -> PromptDecision:
        """Judge a request of *tenant*. Raises `RequestError` for what cannot be judged."""
        return await self._prompts.moderate(prompt, tenant)

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
    ) -> None:
        """Judge a stream while it flows; what may be shown goes to *sink*. Raises what the sink raises, in a group."""
        kind: type[Filter] = AsynchronousFilter if self.stream.mode == "asynchronous" else StreamFilter
        stream_filter = kind(self._window, choices=choices, held_limit=self._held_limit)
        judge = partial(self._completions.judge, background=background)
        await relay(source, stream_filter, judge, sink, heartbeat=self.stream.heartbeat)

    async def moderate_answer(
        self, items: Sequence[Item], *, choices: int, background: Background = NO_BACKGROUND
    ) -> list[Shown]:
        """Judge a whole answer: in the same windows as a stream, all at once, and by the law whatever the mode."""
        window = replace(self._window, in_flight=BEYOND)
        stream_filter = StreamFilter(window, choices=choices, held_limit=BEYOND)
        collector = Collector()
        judge = partial(self._completions.judge, background=background)
        await relay(once([*items, Closed(complete=True)]), stream_filter, judge, collector)
        return collector.effects

    async def moderate_strings(self, strings: Iterable[str]) -> Decision:
        """Judge strings of an answer that is no completion, each by itself and distinct ones once."""
        judged = self._completions.judge([Query(text, Kind.COMPLETION) for text in dict.fromkeys(strings)])
        return judged if isinstance(judged, Decision) else await judged


def _side(rules: Rules, classifiers: Mapping[str, Classifier]) -> Side:
    asked = {name: classifiers[name] for name in rules.classifiers}
    if rules.blocklists:
        asked[_OWN_LISTS] = BlocklistClassifier(list(rules.blocklists.values()), name=_OWN_LISTS)
    return Side(rules, asked)


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
