"""The part of the configuration file about the cache of verdicts."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

from safety_proxy.model import JSON
from safety_proxy.policy_shape import Shape
from safety_proxy.settings_values import Secret, Size, Wait

_SHORTEST_SECRET: Final = 16
"""Characters. Who guesses the secret can tell from Redis whether somebody has sent a text that he knows."""


def _redis_url(url: SecretStr) -> SecretStr:
    if urlsplit(url.get_secret_value()).scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("must be a URL that begins with redis://, rediss:// or unix://")
    return url


def _long(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < _SHORTEST_SECRET:
        raise ValueError(f"must have at least {_SHORTEST_SECRET} characters")
    return secret


def _cache(value: JSON) -> JSON:
    return None if value == "off" else value


class RedisSettings(Shape):
    """A store that several machines share."""

    url: Annotated[Secret, AfterValidator(_redis_url)]
    secret: Annotated[Secret, AfterValidator(_long)]
    """Of the keys: machines with the same one share verdicts."""
    timeout: Wait = 0.1
    """Seconds; slower than this it is passed by."""


class CacheShape(Shape):
    """Verdicts that are kept, so that the old turns of a conversation are not judged again."""

    size: Size = 64 * 2**20
    ttl: Wait = 3600.0
    shared: bool = False
    """Whether the callers of different keys share verdicts."""
    redis: RedisSettings | None = None


CacheSettings: TypeAlias = Annotated[CacheShape | None, BeforeValidator(_cache)]
"""None: `off` in the file."""
