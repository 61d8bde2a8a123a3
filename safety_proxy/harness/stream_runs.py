"""A completion as a stream of which it is known what came when, and verdicts that are at hand when they are needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from typing import NamedTuple

from safety_proxy.classifiers.base import Classifier, LocalClassifier
from safety_proxy.dialects.base import Dialect
from safety_proxy.dialects.codec import StreamCodec, StreamOptions
from safety_proxy.errors import ClassifierError
from safety_proxy.events import Chunk, Finish, Item, Release, Shown
from safety_proxy.harness.cuttings import KINDS, cuttings
from safety_proxy.model import JSON, Action, Category, Kind, Query, Verdict
from safety_proxy.moderation import Background
from safety_proxy.normalise import visible
from safety_proxy.rule import Outcome
from safety_proxy.sse import SSEDecoder


class Asking:
    """A `Classifier` that is *asked*, and whose answers are remembered until `known` is cleared."""

    def __init__(self, name: str, asked: Classifier) -> None:
        self.name, self.asked = name, asked
        self.identity, self.limit, self.overlap = asked.identity, asked.limit, asked.overlap
        self.reads_images, self.reads_conversation = asked.reads_images, asked.reads_conversation
        self.known: dict[Query, Outcome] = {}

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        """As the classifier."""
        return self.asked.reports(kind)

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """From memory, or as the classifier; a failure is remembered, too, so that all settings meet it."""
        missing = [query for query in dict.fromkeys(queries) if query not in self.known]
        if missing:
            try:
                self.known.update(zip(missing, await self.asked.classify(missing), strict=True))
            except ClassifierError as error:
                self.known.update(dict.fromkeys(missing, error))
        return self.recall(queries)

    def recall(self, queries: Sequence[Query]) -> list[Verdict]:
        """What is known. Raises the first failure that is."""
        outcomes = [self.known[query] for query in queries]
        for outcome in outcomes:
            if isinstance(outcome, ClassifierError):
                raise ClassifierError(outcome.reason, categories=outcome.categories)
        return [outcome for outcome in outcomes if isinstance(outcome, Verdict)]

    async def close(self) -> None:
        """The classifier is closed by who made it."""


class Known(Asking):
    """A `LocalClassifier` that says what another one has found out; a local one is asked when that is needed."""

    def __init__(self, other: Asking) -> None:
        super().__init__(other.name, other.asked)
        self.known = other.known

    def classify_now(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """From memory, or as the classifier."""
        missing = [query for query in dict.fromkeys(queries) if query not in self.known]
        if missing and isinstance(self.asked, LocalClassifier):
            self.known.update(zip(missing, self.asked.classify_now(missing), strict=True))
        return self.recall(queries)


# ------------------------------------------------------------------------------------------------------------- streams


class Piece(NamedTuple):
    """Where the text of a chunk stands."""

    end: int
    """Positions up to its end."""
    length: int
    """Positions of its own."""
    places: tuple[tuple[str, int, int], ...]
    """Channel, first character there, and the one behind the last."""


class Said:
    """One choice of a completion, in the pieces of a stream."""

    def __init__(self, dialect: Dialect, said: JSON, background: Background) -> None:
        self.background = background
        codec, decoder = StreamCodec(dialect, StreamOptions(annotations=False)), SSEDecoder()
        (tokens,) = (each for each in cuttings(dialect, [said], count=len(KINDS)) if each.name == "tokens")
        events = (event for read in tokens.reads for event in decoder.feed(read))
        self.items = [item for event in events for item in codec.decode(event)]
        self.ends: list[int] = []
        """Of each item: the positions that have come with it, and those before."""
        self.places: dict[int, Piece] = {}
        """By the identity of a chunk."""
        self._lay()

    def _lay(self) -> None:
        came = 0
        characters: Counter[str] = Counter()
        for item in self.items:
            if isinstance(item, Chunk):
                places = []
                length = 0
                for segment in (each for each in item.segments if not each.beside):
                    start = characters[segment.channel]
                    characters[segment.channel] += len(segment.text)
                    places.append((segment.channel, start, characters[segment.channel]))
                    length += 0 if segment.whole else visible(segment.text)
                came += length
                self.places[id(item)] = Piece(came, length, tuple(places))
            self.ends.append(came)


class Client:
    """Sends the pieces of a choice one by one, and sees what comes out, and when."""

    def __init__(self, said: Said) -> None:
        self._said = said
        self._came = 0
        self.released: list[tuple[Piece, int]] = []
        """With the positions that had come by then."""
        self.ended: Action | None = None

    async def source(self) -> AsyncGenerator[Sequence[Item], None]:
        """The stream; each piece comes when all is done that the one before led to."""
        for item, end in zip(self._said.items, self._said.ends, strict=True):
            self._came = end
            yield (item,)

    async def write(self, effects: Sequence[Shown]) -> None:
        """Note what is shown."""
        for effect in effects:
            if isinstance(effect, Release) and (piece := self._said.places.get(id(effect.item))) is not None:
                self.released.append((piece, self._came))
            elif isinstance(effect, Finish):
                self.ended = effect.decision.action

    async def heartbeat(self, choice: int) -> None:
        """Nobody waits."""
