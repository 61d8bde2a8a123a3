"""The words everything else is written in: what is judged, what is said of it, what is decided.

Only the standard library is imported here. All types are immutable and may be shared between tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum, unique
from typing import Final, TypeAlias

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
"""Any JSON value, as orjson reads it."""

JSONObject: TypeAlias = "dict[str, JSON]"
"""A JSON object; unknown keys are kept wherever one travels."""


@unique
class Category(StrEnum):
    """What can be wrong with a text. The values are Azure's keys on the wire and the keys of a policy."""

    HATE = "hate"
    SEXUAL = "sexual"
    VIOLENCE = "violence"
    SELF_HARM = "self_harm"
    JAILBREAK = "jailbreak"
    INDIRECT_ATTACK = "indirect_attack"
    PROTECTED_MATERIAL_TEXT = "protected_material_text"
    PROTECTED_MATERIAL_CODE = "protected_material_code"


HARMS: Final = frozenset({Category.HATE, Category.SEXUAL, Category.VIOLENCE, Category.SELF_HARM})
"""The categories that have a severity. The others are found or not found."""


class Severity(IntEnum):
    """Azure's four named levels on the scale 0-7; odd values round down to the level below."""

    SAFE = 0
    LOW = 2
    MEDIUM = 4
    HIGH = 6

    @classmethod
    def of(cls, value: int) -> Severity:
        """The level that *value* (0-7) belongs to."""
        return cls(value - value % 2)

    @property
    def label(self) -> str:
        """The level's name on the wire: safe, low, medium, high."""
        return self.name.lower()


@unique
class Kind(StrEnum):
    """What a text is to the model; classifiers and rules depend on it."""

    USER_PROMPT = "user_prompt"
    """Written by the user: jailbreak attempts are looked for here."""
    DOCUMENT = "document"
    """Tool results, tool definitions, schemas, documents: indirect attacks are looked for here."""
    MESSAGE = "message"
    """Any other text of a prompt: system, developer and assistant turns."""
    COMPLETION = "completion"
    """Written by the model."""
    IMAGE = "image"
    """A picture in a prompt, without text: harms are looked for, nothing else."""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture that came with a prompt. Its bytes are content, so they are in no representation of it."""

    media_type: str
    """``image/png`` and the like; the bytes begin as that format does."""
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: str
    """system, developer, user, assistant or tool."""
    text: str


@dataclass(frozen=True, slots=True)
class Query:
    """One text to classify, with all that a classifier is told of it; or images, whose kind is `Kind.IMAGE`."""

    text: str
    kind: Kind
    open_left: bool = False
    """The text goes on before its first character: a match that touches this edge does not count."""
    open_right: bool = False
    """The text goes on after its last character: a match that touches this edge does not count."""
    images: tuple[Image, ...] = ()
    """Pictures to judge. Only a classifier with ``reads_images`` is asked about a query that has any."""
    conversation: tuple[Turn, ...] = ()
    """What was said before the text, oldest first. Only a classifier with ``reads_conversation`` is told."""
    tenant: str = ""
    """Whose text it is: the name of the caller's key. Tenants share no verdicts. No classifier is told."""
    channel: str = field(default="", compare=False)
    """For a part of a completion: its place in the choice, as in `safety_proxy.events.Segment`. No classifier is told."""
    offset: int | None = field(default=None, compare=False)
    """How many characters stand before it in its channel, or in its field. None: it is not written there like this. No
    classifier is told."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where a classifier found something: a half-open range of characters of the query's text."""

    start: int
    end: int
    label: str
    """The category or the blocklist."""
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one classifier says of one text. What it does not mention, it did not judge: absence is no zero."""

    severities: Mapping[Category, int] = field(default_factory=dict)
    """0-7 for each harm that was judged."""
    detections: Mapping[Category, bool] = field(default_factory=dict)
    """Found or not, for each other category that was judged."""
    blocklists: Mapping[str, bool] = field(default_factory=dict)
    """Matched or not, for each blocklist that was searched."""
    spans: tuple[Span, ...] = ()
    failures: Mapping[Category, str] = field(default_factory=dict)
    """Reason code for each category that was asked for but stayed undecided, for the whole text or for a part of it."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """The classifier's own calibrated probabilities (0-1) under its own names, if it has any. No decision looks at them."""

    def reports(self, category: Category) -> bool:
        """Whether this verdict says anything about *category*."""
        return category in self.severities or category in self.detections


@unique
class Action(Enum):
    """What happens to a text. The value is the ``finish_reason`` that a client sees."""

    ALLOW = None
    FILTER = "content_filter"
    FAIL = "content_filter_error"

    @property
    def word(self) -> str:
        """What answers of the proxy call it: allow, block, error."""
        return _ACTION_WORDS[self.name]


_ACTION_WORDS: Final[Mapping[str, str]] = {"ALLOW": "allow", "FILTER": "block", "FAIL": "error"}


@dataclass(frozen=True, slots=True)
class Annotation:
    """What the policy made of one category: a severity or a detection, and whether it was acted on."""

    filtered: bool
    severity: int | None = None
    detected: bool | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy makes of the verdicts on a text, or on several taken together."""

    action: Action
    annotations: Mapping[Category, Annotation] = field(default_factory=dict)
    blocklists: Mapping[str, bool] = field(default_factory=dict)
    """The blocklists that matched, and whether that filtered the text."""
    error: str | None = None
    """Reason code of a missing verdict (`ClassifierError.reason`): of a FAIL, of an ALLOW by ``on_error: allow``, and
    beside a FILTER if something else about the text stayed undecided."""


ALLOWED: Final = Decision(Action.ALLOW)
"""The decision on a text in which there was nothing to judge."""


@dataclass(frozen=True, slots=True)
class PromptText:
    """One text of a request that the model will see, or one image."""

    query: Query
    role: str
    """Whose message it is: system, developer, user, assistant, tool."""
    field: str
    """Path of the field in the request, such as ``messages[2].content``."""
    history: bool = False
    """It stands before the last user turn."""
    prompt_index: int = 0
    """Which of several prompts it belongs to."""
    spoken: bool = False
    """It is part of the conversation, which the model sees laid end to end."""
    from_history: bool = False
    """It is a seam that begins before the last user turn and ends in it."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """All that a request tells the model."""

    texts: tuple[PromptText, ...]
    unreadable: tuple[str, ...] = ()
    """Paths of the fields that hold neither text nor an image that could be read: token ids, sound, templates, addresses."""
    prompts: int = 1
    choices: int = 1
    """How many choices the answer will have: n times the number of prompts."""
