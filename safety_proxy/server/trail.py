"""What is noted of one request while it is served: for its line in the audit log, and for a policy on trial.

A `Trail` hears of everything and changes nothing. Whatever goes wrong in it is logged, and ends the trail, not the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Final

import structlog

from safety_proxy.dialects.base import CompletionRequest
from safety_proxy.dialects.evaluation_stages import InputStage
from safety_proxy.engine import Engine, Witness
from safety_proxy.errors import BackendError, RequestError
from safety_proxy.events import Item, Shown
from safety_proxy.jsontext import write
from safety_proxy.model import JSON, Action, Decision, JSONObject, Prompt
from safety_proxy.moderation import Judged
from safety_proxy.prompt_moderation import PromptDecision
from safety_proxy.server.audit import AuditLog
from safety_proxy.server.audit_content import Contents
from safety_proxy.server.audit_record import (
    ChoiceTold,
    Gaps,
    Head,
    Stages,
    Tally,
    completion_gaps,
    gap,
    prompt_gaps,
    record,
    tell_shadow,
)
from safety_proxy.server.audit_texts import Hashing
from safety_proxy.server.shadow import Case, Shadow, Shadows, refusal_of
from safety_proxy.settings_audit import Content

_UNANSWERED: Final = {Action.FILTER: "prompt_blocked", Action.FAIL: "prompt_undecided"}
"""Why the backend was not asked, or its answer not looked at."""
_OVERHEAD: Final = 4_096
"""Bytes that a line about to be written takes beside its texts."""

log = structlog.get_logger("safety_proxy.server")


@dataclass(frozen=True, slots=True)
class Audit:
    """The audit log, and what of the texts stands in it."""

    lines: AuditLog
    content: Content
    hashing: Hashing


@dataclass(frozen=True, slots=True)
class Recorder:
    """What requests leave a trail in. Without either part, in nothing."""

    audit: Audit | None = None
    shadows: Shadows | None = None

    def open(self, head: Head, asked: CompletionRequest, engine: Engine | None, shadow: Engine | None) -> Trail:
        """The trail of a request that is served by *engine*, with a *shadow* beside it."""
        return Trail(self, head, asked, engine, shadow)


NOTHING_NOTED: Final = Recorder()


class Trail(AbstractContextManager["Trail"]):
    """One request's. It ends with the ``with`` block in which the request is served."""

    def __init__(
        self, recorder: Recorder, head: Head, asked: CompletionRequest, engine: Engine | None, shadow: Engine | None
    ) -> None:
        self._audit, self._shadows, self._head, self._asked, self._engine = (
            recorder.audit,
            recorder.shadows,
            head,
            asked,
            engine,
        )
        self._gaps = Gaps()
        self._input: Decision | None = None
        self._output: Tally | None = None
        self._broken = False
        self.left = False
        """The client has closed the connection, and the handler ends as if it had not."""
        self._contents: Contents | None = None
        if self._audit is not None:
            self._contents = Contents(self._audit.content, self._audit.hashing, asked.body, asked.prompt)
        self._shadow: Shadow | None = None
        if self._shadows is not None and shadow is not None and engine is not None:
            self._shadow = self._shadows.open(shadow, head.deployment)

    # ------------------------------------------------------------------------------------------------------- judging

    async def judge_prompt(self, engine: Engine, prompt: Prompt) -> PromptDecision:
        """What *engine* makes of the prompt. Raises `RequestError` as `Engine.moderate_prompt` does."""
        tenant = self._head.key or ""
        try:
            if self._contents is None:
                decided = await engine.moderate_prompt(prompt, tenant)
            else:
                examined = await engine.examine_prompt(prompt, tenant)
                decided = examined.decided
                stage = InputStage(decided.decision, examined.judged, examined.skipped, prompt.unreadable)
                self._safely(self._examined, engine, stage, self._contents)
        except RequestError as error:
            self._input = refusal_of(error)
            raise
        self._input = decided.decision
        return decided

    def _examined(self, engine: Engine, stage: InputStage, contents: Contents) -> None:
        self._gaps.add(prompt_gaps(stage, engine.policies))
        contents.hear(contents.asked, stage.judged)

    @property
    def witness(self) -> Witness | None:
        """Hears of the windows of the completion; None if nobody will read of them."""
        return None if self._contents is None else partial(self._safely, self._heard)

    def _heard(self, judged: Sequence[Judged]) -> None:
        if self._engine is not None and self._contents is not None:
            self._gaps.add(completion_gaps(judged, self._engine.policies))
            self._contents.hear(self._contents.answered, judged)

    # ------------------------------------------------------------------------------------------------------- hearing

    def arrived(self, items: Iterable[Item]) -> None:
        """The backend has sent this."""
        if self._contents is not None or self._shadow is not None:
            self._safely(self._arrived, list(items))

    def _arrived(self, items: Sequence[Item]) -> None:
        if self._contents is not None:
            self._contents.arrived(items)
        if self._shadow is not None:
            self._shadow.arrived(items)

    def shown(self, effects: Iterable[Shown]) -> None:
        """The client is shown this."""
        if self._contents is not None or self._shadow is not None:
            self._safely(self._shown, effects)

    def _shown(self, effects: Iterable[Shown]) -> None:
        self._output = self._output or Tally()
        self._output.shown(effects)

    def decided(self, decision: Decision) -> None:
        """An answer that has no choices was judged as a whole."""
        self._output = Tally()
        self._output.choices[0] = ChoiceTold(decision)

    def _safely(self, note: Callable[..., None], *args: object) -> None:
        """Note something. A mistake in that ends the trail, and is told once."""
        if not self._broken:
            try:
                note(*args)
            except Exception:
                self._broken = True
                log.exception("audit.broken")

    # -------------------------------------------------------------------------------------------------------- ending

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """The request is over. What was raised goes on."""
        shadow, self._shadow = self._shadow, None
        try:
            self._end(error, shadow)
        except Exception:
            log.exception("audit.broken")

    def _end(self, error: BaseException | None, shadow: Shadow | None) -> None:
        reason = "client_left" if self.left else _reason(error)
        if self._engine is None:
            self._gaps.add(gap(stage, "stage", stage, "policy_off") for stage in ("input", "output"))
            self._write(None)
            return
        complete = self._note_unfinished(reason)
        if shadow is None or self._shadows is None:
            self._conclude(error, None)
        elif self._input is None or self._broken:
            self._shadows.leave(shadow)
            self._conclude(error, tell_shadow(shadow.engine.identity, None))
        else:
            output = self._output.decision if self._output is not None and complete else None
            tenant, choices = self._head.key or "", self._asked.prompt.choices
            case = Case(self._asked.prompt, tenant, self._input, output, choices)
            self._shadows.judge(shadow, case, partial(self._shadow_told, shadow))

    def _note_unfinished(self, reason: str | None) -> bool:
        """Tell of the stages that did not come to their end. Whether all of a completion was judged."""
        if self._input is None:
            self._gaps.add([gap("input", "stage", "input", reason or "internal")])
        unasked = _UNANSWERED.get(self._input.action) if self._input is not None else None
        why = unasked or reason or (self._output.failure if self._output is not None else "internal")
        if why is not None:
            self._gaps.add([gap("output", "stage", "output", why)])
        return why is None

    def _conclude(self, error: BaseException | None, shadow: JSON) -> None:
        """A request that was refused before anybody judged it is none that was moderated."""
        if self._input is not None or not isinstance(error, RequestError):
            self._write(shadow)

    def _shadow_told(self, shadow: Shadow, stages: Stages | None, reason: str | None) -> None:
        if reason is not None:
            self._gaps.add([gap("shadow", "stage", "shadow", reason)])
        with suppress(Exception):
            self._write(tell_shadow(shadow.engine.identity, stages))

    def _write(self, shadow: JSON) -> None:
        if self._audit is None or self._contents is None:
            return
        stages = Stages(self._engine.policies if self._engine is not None else (), self._input, self._output)
        weight = max(self._contents.weight(), self._head.size) + _OVERHEAD
        self._audit.lines.put(partial(_line, self._head, stages, self._gaps.tell(), shadow, self._contents), weight)


def _line(head: Head, stages: Stages, gaps: Sequence[JSON], shadow: JSON, contents: Contents) -> bytes:
    blocked = stages.input is not None and stages.input.action is not Action.ALLOW
    choices = stages.output.choices.items() if stages.output is not None else ()
    filtered = frozenset(index for index, choice in choices if choice.decision.action is not Action.ALLOW)
    content: JSONObject = contents.tell(blocked=blocked, filtered=filtered)
    return write(record(head, stages, gaps, shadow, content))


def _reason(error: BaseException | None) -> str | None:
    """Why a request ended before its time. None: it did not."""
    if error is None:
        return None
    if isinstance(error, asyncio.CancelledError):
        return "client_left"
    if isinstance(error, BackendError):
        return "backend_failed"
    return (error.code or "refused") if isinstance(error, RequestError) else "internal"
