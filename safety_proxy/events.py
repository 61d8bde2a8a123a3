"""What enters the stream filter (`Item`) and what it orders (`Effect`).

The filter (`safety_proxy.stream`) and its driver (`safety_proxy.relay`) speak in these words alone; they know no wire
format. Payloads are opaque to the filter: they are released unchanged or never.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from safety_proxy.model import Decision, JSONObject, Query

# ---------------------------------------------------------------------------------------------- what enters the filter


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of visible text with the channel that it belongs to."""

    channel: str
    """The text's place in its choice: ``content``, ``reasoning``, ``refusal``, ``text``, ``tool_call:0``."""
    text: str
    whole: bool = False
    """Judged in one piece when its choice ends, not in windows: clients act on a tool call only then."""
    beside: bool = False
    """It stands beside the visible text, as logprobs do, and takes no positions of its own."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One event of the backend about one choice. Atomic: it reaches the client unchanged, or not at all."""

    choice: int
    payload: JSONObject
    segments: tuple[Segment, ...] = ()
    finished: bool = False
    """It carries the backend's ``finish_reason``: the choice's last chunk."""
    strings: tuple[str, ...] = ()
    """Strings of fields that nobody knows; each is judged by itself before the chunk leaves."""
    alternatives: tuple[str, ...] = ()
    """Tokens that the model did not choose (``top_logprobs``); those of one window are judged as one text."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One event about the whole stream, such as usage. It keeps its place: all before it is settled first."""

    payload: JSONObject
    strings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """The backend broke off. Nothing of what it said about that is shown to the client."""

    message: str
    """Our own words."""
    code: str = "backend_error"


@dataclass(frozen=True, slots=True)
class Closed:
    """The backend's stream is over; *failure* tells why, if it did not end as it should."""

    failure: Failure | None = None
    complete: bool = False
    """The backend said that this is all (``[DONE]``)."""


Item: TypeAlias = Chunk | Frame | Closed

# ---------------------------------------------------------------------------------------------- what the filter orders


class WindowId(NamedTuple):
    """Names one question to the classifiers. Frames count as choice -1."""

    choice: int
    number: int


@dataclass(frozen=True, slots=True)
class Classify:
    """Judge these texts together and answer through `Filter.decide`. At least one query."""

    window: WindowId
    queries: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """Show this chunk or frame to the client. *decisions* are those on the windows that its text lies in.

    None: they are told apart from the text, by `Annotate`; when this is shown, there may be none yet.
    """

    item: Chunk | Frame
    decisions: tuple[Decision, ...] | None = ()


class Offsets(NamedTuple):
    """Which text of a choice a decision told apart from it is about.

    In characters (code points) of the visible text of the choice, all channels in order of arrival, from its first one.
    """

    check: int
    """Text before this is done with: what is decided later is about text behind it. Never decreases within a choice."""
    start: int
    """The first character that the decision is about."""
    end: int
    """The first one behind those."""


@dataclass(frozen=True, slots=True)
class Annotate:
    """Tell what was decided on text of this choice that has been released already. The choice goes on."""

    choice: int
    decision: Decision
    offsets: Offsets


@dataclass(frozen=True, slots=True)
class Finish:
    """We end this choice: its ``finish_reason`` is ``decision.action.value``. Exactly once, and nothing of it follows."""

    choice: int
    decision: Decision
    offsets: Offsets | None = None
    """Where text was released unjudged: which of it the decision is about. The text behind it is not to be used either."""


@dataclass(frozen=True, slots=True)
class StopReading:
    """No choice is left that the backend could add to: close the connection to it."""


@dataclass(frozen=True, slots=True)
class End:
    """The stream is over: write the dialect's last frame. The last effect, exactly once.

    With a *failure*, the choices in *unfinished* - begun or not - are ended together with it.
    """

    failure: Failure | None = None
    unfinished: tuple[int, ...] = ()


Shown: TypeAlias = Release | Annotate | Finish | End
"""What the client gets to see."""

Effect: TypeAlias = Classify | StopReading | Shown
