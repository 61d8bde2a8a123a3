"""The part of the configuration file about use: what a deployment may use, what that costs, who may see the counters."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from safety_proxy.model import JSON
from safety_proxy.policy_shape import Shape
from safety_proxy.settings_values import whole

AZURE: Final[JSON] = {"requests_per_minute": 1_000, "tokens_per_minute": 400_000}
"""The limits of a deployment of Azure's serverless API."""


def _amount(value: JSON) -> JSON:
    return float(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,12})?", value) else value


def _quota(value: JSON) -> JSON:
    if isinstance(value, str) and value != "azure":
        raise ValueError("must be `azure`, or have `requests_per_minute` or `tokens_per_minute`")
    return AZURE if value == "azure" else value


PerMinute: TypeAlias = Annotated[int, BeforeValidator(whole), Field(ge=1, le=10**12)]
Amount: TypeAlias = Annotated[float, BeforeValidator(_amount), Field(ge=0, le=10**9, allow_inf_nan=False)]


class QuotaShape(Shape):
    """What a deployment may use within a minute. None: as much as comes."""

    requests_per_minute: PerMinute | None = None
    tokens_per_minute: PerMinute | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> QuotaShape:
        if self.requests_per_minute is None and self.tokens_per_minute is None:
            raise ValueError("has neither `requests_per_minute` nor `tokens_per_minute`")
        return self


QuotaSettings: TypeAlias = Annotated[QuotaShape, BeforeValidator(_quota)]


class PriceSettings(Shape):
    """What 1,000 tokens cost."""

    prompt: Amount = 0.0
    completion: Amount = 0.0
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")


class MetricsKey(Shape):
    """Who may see the counters."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


MetricsSettings: TypeAlias = Literal["open", "off"] | MetricsKey
