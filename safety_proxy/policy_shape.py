"""The shape of a policy file: its keys, their defaults and their bounds, and the JSON Schema that editors use.

The docstrings below are the descriptions that an editor shows. What one key demands of another is not said here: that is
up to `safety_proxy.policy_file`, which can name both.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, field_validator
from pydantic.json_schema import SkipJsonSchema

from safety_proxy.documents import seconds
from safety_proxy.model import JSON, JSONObject

OnError: TypeAlias = Literal["block", "allow"]
Effect: TypeAlias = Literal["block", "annotate"]
Combine: TypeAlias = Literal["any", "all", "first_decisive"]
Threshold: TypeAlias = Literal["low", "medium", "high", "never"]
Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]
ClassifierName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Classifiers: TypeAlias = Annotated[list[ClassifierName], Field(min_length=1)]

LONGEST_WINDOW: Final = 100_000
"""Most positions of a window, its context or its holdback: ten times what one call to Azure's service takes."""
BRIEFEST_HEARTBEAT: Final = 0.1
LONGEST_HEARTBEAT: Final = 600.0
"""Bounds of the heartbeat in seconds. Ten a second is a flood; proxies on the way cut connections long before the other."""


def _unwritten(schema: JSONObject) -> None:
    """Keep the null that stands for "not written" out of the schema: it cannot be written."""
    del schema["default"]


class Shape(BaseModel):
    """What all mappings of a policy file share: no unknown key, no empty value, no guessing at types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_null(cls, value: JSON) -> JSON:
        if value is None:
            raise ValueError("is empty; write a value, or leave the key out")
        return value


_Unwritten: TypeAlias = SkipJsonSchema[None]
_WRITTEN: Final = Field(default=None, json_schema_extra=_unwritten)


class DecisiveShape(Shape):
    """When a classifier is sure: severities (0-7) that settle a category without the next one being asked."""

    below: int = Field(default=2, ge=0, le=7)
    """Severities below this one are safe enough."""
    above: int = Field(default=5, ge=0, le=7)
    """Severities above this one are harmful enough."""


class HarmShape(Shape):
    """The rule for a category that has a severity."""

    block_at: Threshold
    """The lowest severity that is filtered: low (2), medium (4), high (6); never annotates only."""
    on_error: OnError | _Unwritten = _WRITTEN
    """What becomes of a text for which there is no verdict on this category; as for the whole side when not written."""
    classifiers: Classifiers | _Unwritten = _WRITTEN
    """The classifiers whose verdicts count for this category; all of the policy's when not written."""
    combine: Combine = "any"
    """any: the most severe verdict counts; all: the least severe; first_decisive: the classifiers are asked one after the
    other, in the order written, until one is sure."""
    decisive: DecisiveShape | _Unwritten = _WRITTEN
    """When a classifier is sure, for first_decisive: below 2 or above 5 when not written."""


class DetectionShape(Shape):
    """The rule for a category that is found or not found."""

    action: Effect
    """Filter a text in which it is found, or only annotate it."""
    on_error: OnError | _Unwritten = _WRITTEN
    """What becomes of a text for which there is no verdict on this category; as for the whole side when not written."""
    classifiers: Classifiers | _Unwritten = _WRITTEN
    """The classifiers whose verdicts count for this category; all of the policy's when not written."""
    combine: Combine = "any"
    """any: one that finds it is enough; all: all must find it; first_decisive: the first that can tell, in the order
    written; the others are asked only if it cannot."""


def _off_or(example: str) -> BeforeValidator:
    """Accept `off` and mappings, and tell a writer of anything else what to write."""

    def off_or_mapping(value: JSON) -> JSON:
        if value != "off" and not isinstance(value, dict):
            raise ValueError(f"must be `off` or a mapping such as `{example}`")
        return value

    return BeforeValidator(off_or_mapping)


_BRANCH: Final = Discriminator(lambda value: "off" if isinstance(value, str) else "rule")
_Off: TypeAlias = Annotated[Literal["off"], Tag("off")]

Harm: TypeAlias = Annotated[_Off | Annotated[HarmShape, Tag("rule")], _BRANCH, _off_or("{block_at: medium}")]
Detection: TypeAlias = Annotated[_Off | Annotated[DetectionShape, Tag("rule")], _BRANCH, _off_or("{action: block}")]


class BlocklistShape(Shape):
    """Terms and patterns that a text must not hold, whatever the classifiers say."""

    name: str = Field(pattern=r"^[0-9A-Za-z._~-]{1,64}$")
    """Its name in annotations, logs and reports."""
    source: Literal["store"] | _Unwritten = Field(default=None, alias="from", json_schema_extra=_unwritten)
    """store: its terms are kept in the server's store, under the same name, and change there; none are written here."""
    terms: list[str] = Field(default=[], max_length=10_000)
    """Words and phrases, found as whole words in the normalised text (whatever their case, spacing, look-alikes)."""
    patterns: list[str] = Field(default=[], max_length=1_000)
    """Regular expressions in RE2 syntax."""
    exceptions: list[str] = Field(default=[], max_length=10_000)
    """Phrases in which a term or pattern does not count: "Scunthorpe United" for a term that it holds."""
    action: Effect = "block"
    """Filter a text that matches, or only annotate it."""


class SideShape(Shape):
    """What both sides share."""

    on_error: OnError = "block"
    """What becomes of a text for which there is no verdict."""
    hate: Harm | _Unwritten = _WRITTEN
    """Attacks on people for what they are."""
    sexual: Harm | _Unwritten = _WRITTEN
    """Sexual content."""
    violence: Harm | _Unwritten = _WRITTEN
    """Violence, weapons, cruelty."""
    self_harm: Harm | _Unwritten = _WRITTEN
    """Self-harm and suicide."""
    blocklists: list[BlocklistShape] = []
    """The policy's own blocklists for this side."""


class InputShape(SideShape):
    """The rules for prompts: all that a request tells the model."""

    roles: list[Role] = Field(default=["system", "developer", "user", "assistant", "tool"], min_length=1)
    """Whose messages are judged. Tools, schemas and documents count as tool."""
    history: Effect = "block"
    """What a violation in the turns before the last user turn leads to."""
    unreadable: OnError = "block"
    """What becomes of content that no classifier of the policy can read: images, sound, token ids, templates."""
    block_as: Literal["error", "completion"] = "error"
    """What a filtered prompt is answered with: HTTP 400, or a completion without text."""
    parallel: bool = False
    """Call the model while the prompt is being judged, and call that off if it is filtered. Sooner, but it spends tokens."""
    jailbreak: Detection | _Unwritten = _WRITTEN
    """Attempts of the user to talk the model out of its rules. Looked for in user text."""
    indirect_attack: Detection | _Unwritten = _WRITTEN
    """Orders to the model hidden in tool results and documents. Looked for in those."""


class StreamShape(Shape):
    """How a completion is cut into windows. Numbers are positions: characters (code points) that normalisation keeps."""

    mode: Literal["buffered", "whole", "asynchronous"] = "buffered"
    """Release what is judged safe while more arrives; or nothing until all is judged in one piece; or everything at once,
    and tell afterwards what was found."""
    first_window: int = Field(default=80, ge=1, le=LONGEST_WINDOW)
    """Where the first window ends. Small, so that the first words come soon."""
    window: int = Field(default=120, ge=1, le=LONGEST_WINDOW)
    """How much further each later window ends."""
    context: int = Field(default=180, ge=1, le=LONGEST_WINDOW)
    """How much earlier text is judged again with each window. More than holdback."""
    holdback: int = Field(default=50, ge=0, le=LONGEST_WINDOW)
    """How much text judged safe waits for the next window: no part of a harmful span up to this long is released."""
    in_flight: int = Field(default=8, ge=1, le=64)
    """How many windows of a choice are judged at once."""
    heartbeat: str = Field(default="15s", json_schema_extra={"pattern": r"^(off|[0-9]+(\.[0-9]+)?(ms|s|m))$"})
    """After how long a silence an empty delta is sent, such as 250ms, 1.5s, 2m; or off."""

    @field_validator("heartbeat", mode="before")
    @classmethod
    def _normal_heartbeat(cls, heartbeat: JSON) -> str:
        """Equal periods are written alike, so that equal policies have equal identities."""
        if heartbeat == "off":
            return "off"
        period = seconds(heartbeat if isinstance(heartbeat, str) else "")
        if not BRIEFEST_HEARTBEAT <= period <= LONGEST_HEARTBEAT:
            raise ValueError(f"must be off, or between {BRIEFEST_HEARTBEAT:g}s and {LONGEST_HEARTBEAT:g}s")
        return f"{round(period * 1000)}ms" if period % 1 else f"{period:g}s"


class OutputShape(SideShape):
    """The rules for completions: all that the model answers."""

    protected_material_text: Detection | _Unwritten = _WRITTEN
    """Known texts under copyright. Off when not written."""
    protected_material_code: Detection | _Unwritten = _WRITTEN
    """Code of public repositories. Off when not written."""
    stream: StreamShape = StreamShape()
    """How completions are cut into windows."""


class PolicyShape(Shape):
    """A policy: what is judged, what is filtered, and what happens when no decision can be made."""

    version: Literal[1]
    """Version of this format."""
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    """How configurations, headers, logs and reports call the policy."""
    description: str = Field(default="", max_length=1_000)
    """For people."""
    classifiers: list[ClassifierName] = ["embedded"]
    """Names from the configuration. The most severe verdict for each category wins."""
    defaults: Literal["azure", "off"] = "azure"
    """What categories that are not written have: Azure's default, or none. Without classifiers it is always off."""
    conversation: Literal["none", "last_user", "all"] = "last_user"
    """What classifiers that judge a conversation, such as guard models, are told of it, up to 2,000 characters: nothing;
    of a completion, the last user turn; of every text, all that was said before."""
    input: InputShape = InputShape()
    """The rules for prompts."""
    output: OutputShape = OutputShape()
    """The rules for completions."""
    annotations: bool = True
    """Whether answers carry content_filter_results and prompt_filter_results."""

    @field_validator("version", mode="before")
    @classmethod
    def _refuse_true(cls, version: JSON) -> JSON:
        if type(version) is not int:  # to Python, and so to pydantic, 1, 1.0 and true are equal
            raise ValueError("must be 1")
        return version

    @field_validator("name")
    @classmethod
    def _refuse_off(cls, name: str) -> str:
        if name == "off":
            raise ValueError("a policy cannot be called off: that word stands for no policy at all")
        return name


def schema() -> JSONObject:
    """JSON Schema (draft 2020-12) of a policy file, with which editors complete and validate."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **PolicyShape.model_json_schema()}
