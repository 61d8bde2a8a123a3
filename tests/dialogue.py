"""What is said to a filter, and what it answers, in short."""

from __future__ import annotations

from typing import ClassVar

from safety_proxy.events import Chunk, Classify, Closed, Effect, Item, Release, Segment, WindowId
from safety_proxy.model import ALLOWED, Action, Decision, Kind, Query
from safety_proxy.stream import Filter, StreamFilter
from safety_proxy.windows import WindowPolicy

POLICY = WindowPolicy(first=4, size=4, context=3, holdback=2, in_flight=3)
FILTERED = Decision(Action.FILTER)
DONE = Closed(complete=True)


def says(text: str, choice: int = 0, *, strings: tuple[str, ...] = (), channel: str = "content") -> Chunk:
    return Chunk(choice, {"text": text}, (Segment(channel, text),) if text else (), strings=strings)


def stops(choice: int = 0, text: str = "") -> Chunk:
    return Chunk(choice, {"text": text}, (Segment("content", text),) if text else (), finished=True)


def calls(text: str, choice: int = 0) -> Chunk:
    return Chunk(choice, {"call": text}, (Segment("tool_call:0.arguments", text, whole=True),))


def asks(number: int, *texts: str, choice: int = 0, left: bool = False, right: bool = False) -> Classify:
    return Classify(WindowId(choice, number), tuple(Query(text, Kind.COMPLETION, left, right) for text in texts))


class Dialogue:
    """Feeds a filter and tells what came of it, released items in short."""

    make: ClassVar[type[Filter]] = StreamFilter

    def __init__(self, policy: WindowPolicy = POLICY, **options: int) -> None:
        self.filter = self.make(policy, **options)

    def feed(self, *items: Item) -> list[Effect | Item]:
        return self._short(self.filter.feed(items))

    def decide(self, number: int, decision: Decision = ALLOWED, choice: int = 0) -> list[Effect | Item]:
        return self._short(self.filter.decide(WindowId(choice, number), decision))

    def _short(self, effects: list[Effect]) -> list[Effect | Item]:
        return [effect.item if isinstance(effect, Release) else effect for effect in effects]
