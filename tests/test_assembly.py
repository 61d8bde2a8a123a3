"""From settings to classifiers that judge requests."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from safety_proxy.assembly import build_cache, build_classifier, build_classifiers, dress
from safety_proxy.classifiers.base import UNOBSERVED, LocalClassifier, Remembering
from safety_proxy.classifiers.blocklist import BlocklistClassifier
from safety_proxy.classifiers.embedded import EmbeddedClassifier
from safety_proxy.classifiers.fallback import WithFallback
from safety_proxy.classifiers.remote import RemoteClassifier
from safety_proxy.documents import parse, validate
from safety_proxy.errors import ClassifierError, ConfigError
from safety_proxy.model import Category, Kind, Query, Verdict
from safety_proxy.settings_cache import CacheShape, RedisSettings
from safety_proxy.settings_classifiers import ClassifierSettings
from safety_proxy.settings_file import FileShape
from safety_proxy.testing import ScriptedClassifier

SERVICES = """\
classifiers:
  openai: {type: openai_moderation}
  llama: {type: llama_guard, url: "http://h/v1", model: m}
  qwen: {type: qwen3_guard, url: "http://h/v1", model: m}
  gemma: {type: shield_gemma, url: "http://h/v1", model: m}
  granite: {type: granite_guardian, url: "http://h/v1", model: m, version: "3.3"}
  shields: {type: prompt_guard, url: "http://h"}
  own: {type: http, url: "http://h", reports: [hate], key: k, headers: {x-a: b}}
  azure: {type: azure_content_safety, endpoint: "http://127.0.0.1:1", key: k}
  words: {type: blocklist, lists: [{name: x, terms: [y]}]}
  embedded: {type: embedded}
"""


def settings(text: str) -> dict[str, ClassifierSettings]:
    return validate(FileShape, parse(text, "p.yaml")).classifiers


async def test_each_type_is_built() -> None:
    made = build_classifiers(settings(SERVICES))
    assert {name for name, each in made.items() if isinstance(each, RemoteClassifier)} == set(made) - {"words", "embedded"}
    assert isinstance(made["words"], BlocklistClassifier)
    assert isinstance(made["embedded"], EmbeddedClassifier)
    for name, each in made.items():
        assert each.name == name
        assert each.identity
        await each.close()


async def test_identities_hold_no_secret_and_tell_models_apart() -> None:
    text = "classifiers:\n" + "".join(
        f"  {name}: {{type: llama_guard, url: 'http://h', model: {model}, key: sk-secret, headers: {{x-key: sk-secret}}}}\n"
        for name, model in (("a", "one"), ("b", "one"), ("c", "two"))
    )
    a, b, c = build_classifiers(settings(text)).values()
    assert a.identity == b.identity != c.identity
    assert "sk-secret" not in a.identity


def test_a_row_for_a_hazard_that_nobody_has_is_told_with_the_classifier() -> None:
    text = "classifiers: {guard: {type: llama_guard, url: 'http://h', model: m, hazards: {S99: hate}}}"
    with pytest.raises(ConfigError, match=r"^classifiers\.guard\.hazards: "):
        build_classifier("guard", settings(text)["guard"])


@pytest.mark.parametrize(("workers", "calls"), [(1, 1000), (3, 333), (5000, 1)])
def test_worker_processes_share_a_rate(workers: int, calls: int) -> None:
    made = build_classifier("azure", settings(SERVICES)["azure"], workers=workers)
    assert isinstance(made, RemoteClassifier)
    assert made._frame.rate == (calls, 10.0)


def test_there_may_be_no_cache() -> None:
    assert build_cache(None, UNOBSERVED) is None


async def test_a_cache_may_have_redis_behind_it() -> None:
    redis = RedisSettings(url="redis://127.0.0.1:1", secret="a secret of some length")  # type: ignore[arg-type]  # made secrets
    cache = build_cache(CacheShape(redis=redis), UNOBSERVED)
    assert cache is not None
    await cache.close()


class Down(ScriptedClassifier):
    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        self.asked += queries
        raise ClassifierError("timeout")


async def test_what_one_leaves_undecided_the_other_decides_and_only_its_own_word_is_kept() -> None:
    guarded = "{type: llama_guard, url: 'http://h', model: m, fallback: standin}"
    text = f"classifiers: {{guard: {guarded}, standin: {{type: embedded}}}}"
    guard, standin = Down(name="guard"), ScriptedClassifier({"bad": (Category.HATE, 4)}, name="standin")
    dressed = dress({"guard": guard, "standin": standin}, settings(text), build_cache(CacheShape(), UNOBSERVED), UNOBSERVED)
    assert isinstance(dressed["guard"], WithFallback)
    for _ in range(2):
        (verdict,) = await dressed["guard"].classify([Query("bad", Kind.USER_PROMPT)])
        assert verdict.severities[Category.HATE] == 4
    assert len(guard.asked) == 2
    assert len(standin.asked) == 1


def test_local_classifiers_stay_local_and_remember() -> None:
    made = {"embedded": EmbeddedClassifier()}
    cached = dress(made, {}, build_cache(CacheShape(), UNOBSERVED), UNOBSERVED)["embedded"]
    plain = dress(made, {}, None, UNOBSERVED)["embedded"]
    assert isinstance(cached, LocalClassifier)
    assert isinstance(cached, Remembering)
    assert isinstance(plain, LocalClassifier)
    assert not isinstance(plain, Remembering)
