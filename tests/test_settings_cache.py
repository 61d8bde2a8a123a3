"""Claims about the cache of verdicts in the configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest

from safety_proxy.documents import parse, validate
from safety_proxy.errors import ConfigError
from safety_proxy.settings_cache import CacheShape
from safety_proxy.settings_file import FileShape, expand

SECRET = "sk-top-secret-of-some-length"


def cache(text: str, file: str = "p.yaml") -> CacheShape | None:
    return validate(FileShape, expand(parse(text, file), {"REDIS": f"redis://:{SECRET}@h/0"})).cache


def test_verdicts_are_kept_in_64_mib_for_an_hour_unless_something_else_is_written() -> None:
    kept = cache("drain: 1s")
    assert kept is not None
    assert kept.model_dump() == {"size": 64 * 2**20, "ttl": 3600.0, "shared": False, "redis": None}


def test_it_can_be_off() -> None:
    assert cache("cache: off") is None


def test_redis_has_a_url_and_a_secret_which_may_be_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    kept = cache("cache: {redis: {url: '${REDIS}', secret: {file: secret}}}", str(tmp_path / "p.yaml"))
    assert kept is not None
    assert kept.redis is not None
    assert kept.redis.url.get_secret_value() == f"redis://:{SECRET}@h/0"
    assert kept.redis.secret.get_secret_value() == SECRET
    assert kept.redis.timeout == 0.1
    assert SECRET not in repr(kept)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cache: on", "cache: must be a mapping"),
        ("cache: {size: 64}", "cache.size: must be a size"),
        ("cache: {ttl: 0s}", "cache.ttl: must be more than 0"),
        ("cache: {redis: {url: 'redis://h'}}", "cache.redis.secret: is required"),
        (
            f"cache: {{redis: {{url: 'http://{SECRET}', secret: {SECRET}}}}}",
            "cache.redis.url: must be a URL that begins with",
        ),
        ("cache: {redis: {url: 'redis://h', secret: short}}", "cache.redis.secret: must have at least 16 characters"),
    ],
)
def test_mistakes_are_told_without_secrets(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cache(text)
    assert str(caught.value).startswith(f"p.yaml:1: {expected}")
    assert SECRET not in str(caught.value)
