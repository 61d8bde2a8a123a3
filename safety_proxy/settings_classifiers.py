"""The shapes of classifiers in the configuration file.

As those of `safety_proxy.settings_file`, they serve as settings once they are validated: fields hold seconds and secrets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from safety_proxy.model import HARMS, JSON, Category
from safety_proxy.policy import Blocklist
from safety_proxy.policy_shape import ClassifierName, Shape
from safety_proxy.settings_values import KEY_HEADERS, URL, Count, Header, Secret, Wait, whole

# ------------------------------------------------------------------------------------------------------ what is common


class BreakerSettings(Shape):
    """When a service that fails is left alone, and for how long."""

    failures: Count = 5
    probe: Wait = 5.0


class RateSettings(Shape):
    """How many requests of one kind a service takes in a time."""

    requests: Count
    per: Wait = 10.0


class RemoteSettings(Shape):
    """What all services have: how they are relied on."""

    timeout: Wait = 2.0
    concurrency: Count = 32
    rate: RateSettings | None = None
    retries: Annotated[int, BeforeValidator(whole), Field(ge=0, le=5)] = 1
    breaker: BreakerSettings = BreakerSettings()
    hedge: Wait | None = None
    fallback: ClassifierName | None = None


class ServerSettings(RemoteSettings):
    """A service with a URL."""

    url: URL
    key: Secret | None = None
    headers: dict[Header, Secret] = Field(default={})

    @model_validator(mode="after")
    def _one_key(self) -> ServerSettings:
        if self.key is not None and {name.lower() for name in self.headers} & KEY_HEADERS:
            raise ValueError("has a key and a header that carries one; write one of them")
        return self


def _number(value: JSON) -> JSON:
    return float(value) if type(value) is int else value


Score: TypeAlias = Annotated[float, BeforeValidator(_number), Field(ge=0, le=1)]


class CutoffSettings(Shape):
    """The scores from which on a severity is low, medium, high."""

    low: Score = 0.2
    medium: Score = 0.5
    high: Score = 0.8

    @model_validator(mode="after")
    def _rising(self) -> CutoffSettings:
        if not 0 < self.low <= self.medium <= self.high:
            raise ValueError("must rise from low to high, and low must be more than 0")
        return self


def _category(value: JSON) -> Category:
    try:
        return Category(str(value))
    except ValueError:
        raise ValueError(f"must be one of: {', '.join(Category)}") from None


CategoryName: TypeAlias = Annotated[Category, BeforeValidator(_category)]
SeverityLevel: TypeAlias = Annotated[int, BeforeValidator(whole), Field(ge=0, le=7)]


def _levels(value: JSON) -> JSON:
    """`violence`, `[violence, sexual]`, or `{violence: 6}` with a severity."""
    if isinstance(value, str):
        return {value: None}
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return dict.fromkeys(map(str, value))
    return value


Row: TypeAlias = Annotated[dict[CategoryName, SeverityLevel | None], BeforeValidator(_levels)]
HazardRows: TypeAlias = dict[str, Row]

# ---------------------------------------------------------------------------------------------------------- local ones


class EmbeddedSettings(Shape):
    """The classifier that ships with the package."""

    type: Literal["embedded"]


class TermList(Shape):
    """Terms and patterns (RE2 syntax) under one name."""

    name: str = Field(pattern=r"^[0-9A-Za-z._~-]{1,64}$")
    terms: list[str] = Field(default=[], max_length=10_000)
    patterns: list[str] = Field(default=[], max_length=1_000)
    exceptions: list[str] = Field(default=[], max_length=10_000)

    @model_validator(mode="after")
    def _not_empty(self) -> TermList:
        if not self.terms and not self.patterns:
            raise ValueError("has neither terms nor patterns")
        return self


class BlocklistSettings(Shape):
    """Blocklists that several policies share."""

    type: Literal["blocklist"]
    lists: list[TermList] = Field(min_length=1)

    @property
    def blocklists(self) -> tuple[Blocklist, ...]:
        """The lists as the classifier takes them."""
        return tuple(
            Blocklist(each.name, tuple(each.terms), tuple(each.patterns), exceptions=tuple(each.exceptions))
            for each in self.lists
        )


# --------------------------------------------------------------------------------------------------------------- azure

Check: TypeAlias = Literal["harms", "shields", "protected_material_text", "protected_material_code"]


class EntraSettings(Shape):
    """Tokens of Microsoft Entra ID in place of a key."""

    client_id: str | None = Field(default=None, min_length=1)
    """Of a user-assigned managed identity."""
    authority: URL = "https://login.microsoftonline.com"
    audience: URL = "https://cognitiveservices.azure.com"


class AzureSettings(RemoteSettings):
    """Azure AI Content Safety."""

    type: Literal["azure_content_safety"]
    endpoint: URL
    key: Secret | None = None
    entra: EntraSettings | None = None
    checks: list[Check] | None = Field(default=None, min_length=1)
    """None: harms and shields, and what else the policies that name it have rules for."""
    blocklists: list[Annotated[str, Field(pattern=r"^[0-9A-Za-z._~-]{1,64}$")]] = Field(default=[], max_length=100)
    rate: RateSettings | None = RateSettings(requests=1000)

    @model_validator(mode="after")
    def _one_credential(self) -> AzureSettings:
        if (self.key is None) == (self.entra is None):
            raise ValueError("needs a `key` or `entra`, and not both")
        return self


# -------------------------------------------------------------------------------------------------------------- others


class OpenAIModerationSettings(ServerSettings):
    """A server with OpenAI's moderation endpoint."""

    type: Literal["openai_moderation"]
    url: URL = "https://api.openai.com/v1"
    model: str = Field(default="omni-moderation-latest", min_length=1)
    images: bool = True
    cutoffs: CutoffSettings = CutoffSettings()
    hazards: HazardRows = Field(default={})


class GuardSettings(ServerSettings):
    """A guard model behind an OpenAI-compatible server."""

    model: str = Field(min_length=1)
    severity: SeverityLevel = 6
    cutoffs: CutoffSettings | None = None
    hazards: HazardRows = Field(default={})


class LlamaGuardSettings(GuardSettings):
    """Llama Guard 3 or 4."""

    type: Literal["llama_guard"]
    variant: Literal["3-1b", "3-8b", "3-11b-vision", "4"] | None = None
    """None: as the model's name tells."""
    contents: Literal["parts", "string"] | None = None
    """None: as the variant's template wants it."""


class Qwen3GuardSettings(GuardSettings):
    """Qwen3Guard-Gen."""

    type: Literal["qwen3_guard"]
    mode: Literal["strict", "loose", "graded"] = "graded"


class ShieldGemmaSettings(GuardSettings):
    """ShieldGemma."""

    type: Literal["shield_gemma"]
    cutoffs: CutoffSettings | None = CutoffSettings()


class GraniteGuardianSettings(GuardSettings):
    """Granite Guardian."""

    type: Literal["granite_guardian"]
    version: Literal["3.0", "3.1", "3.2", "3.3", "4.1"] | None = None
    """None: as the model's name tells."""
    definitions: dict[str, Annotated[str, Field(min_length=1, max_length=2000)]] = Field(default={})


class PromptGuardSettings(ServerSettings):
    """Prompt Guard 1 or 2."""

    type: Literal["prompt_guard"]
    model: str = Field(default="meta-llama/Llama-Prompt-Guard-2-86M", min_length=1)
    api: Literal["classify", "predict"] = "classify"
    cutoff: Score = 0.5


class HTTPSettings(ServerSettings):
    """A webhook of one's own."""

    type: Literal["http"]
    reports: list[CategoryName] = Field(min_length=1)
    images: bool = False
    conversation: bool = False
    limit: Count | None = None
    overlap: Annotated[int, BeforeValidator(whole), Field(ge=0)] = 0

    @model_validator(mode="after")
    def _advancing(self) -> HTTPSettings:
        if self.limit is not None and self.overlap >= self.limit:
            raise ValueError("has an overlap that is not less than its limit")
        if self.images and not HARMS & set(self.reports):
            raise ValueError("reads images, but reports no harm")
        return self


_SHAPES: Final[Mapping[str, type[Shape]]] = {
    "embedded": EmbeddedSettings,
    "blocklist": BlocklistSettings,
    "azure_content_safety": AzureSettings,
    "openai_moderation": OpenAIModerationSettings,
    "llama_guard": LlamaGuardSettings,
    "prompt_guard": PromptGuardSettings,
    "qwen3_guard": Qwen3GuardSettings,
    "shield_gemma": ShieldGemmaSettings,
    "granite_guardian": GraniteGuardianSettings,
    "http": HTTPSettings,
}


def _typed(value: JSON) -> JSON:
    if isinstance(value, dict) and value.get("type") not in _SHAPES:
        raise ValueError(f"must have a `type`, one of: {', '.join(_SHAPES)}")
    return value


ClassifierSettings: TypeAlias = Annotated[
    Annotated[EmbeddedSettings, Tag("embedded")]
    | Annotated[BlocklistSettings, Tag("blocklist")]
    | Annotated[AzureSettings, Tag("azure_content_safety")]
    | Annotated[OpenAIModerationSettings, Tag("openai_moderation")]
    | Annotated[LlamaGuardSettings, Tag("llama_guard")]
    | Annotated[PromptGuardSettings, Tag("prompt_guard")]
    | Annotated[Qwen3GuardSettings, Tag("qwen3_guard")]
    | Annotated[ShieldGemmaSettings, Tag("shield_gemma")]
    | Annotated[GraniteGuardianSettings, Tag("granite_guardian")]
    | Annotated[HTTPSettings, Tag("http")],
    Discriminator(lambda value: value["type"] if isinstance(value, dict) else getattr(value, "type", "embedded")),
    BeforeValidator(_typed),
]
