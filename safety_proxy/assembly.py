"""From settings to classifiers: each adapter in its frame."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import singledispatch

from safety_proxy.classifiers.azure import AzureContentSafety
from safety_proxy.classifiers.base import UNOBSERVED, Classifier, Observer
from safety_proxy.classifiers.blocklist import BlocklistClassifier
from safety_proxy.classifiers.cache import MemoryStore, VerdictCache
from safety_proxy.classifiers.embedded import EmbeddedClassifier
from safety_proxy.classifiers.entra import EntraCredential
from safety_proxy.classifiers.fallback import WithFallback
from safety_proxy.classifiers.granite_guardian import GraniteGuardian
from safety_proxy.classifiers.hazards import Cutoffs
from safety_proxy.classifiers.llama_guard import LlamaGuard
from safety_proxy.classifiers.observed import observed
from safety_proxy.classifiers.openai_moderation import OpenAIModeration
from safety_proxy.classifiers.prompt_guard import PromptGuard
from safety_proxy.classifiers.qwen3_guard import Qwen3Guard
from safety_proxy.classifiers.redis_store import RedisStore
from safety_proxy.classifiers.remote import Frame, RemoteClassifier
from safety_proxy.classifiers.service import Adapter
from safety_proxy.classifiers.shield_gemma import ShieldGemma
from safety_proxy.classifiers.web import JSONService
from safety_proxy.classifiers.webhook import Webhook
from safety_proxy.errors import ConfigError
from safety_proxy.settings_cache import CacheShape
from safety_proxy.settings_classifiers import (
    AzureSettings,
    BlocklistSettings,
    ClassifierSettings,
    CutoffSettings,
    EmbeddedSettings,
    EntraSettings,
    GraniteGuardianSettings,
    HTTPSettings,
    LlamaGuardSettings,
    OpenAIModerationSettings,
    PromptGuardSettings,
    Qwen3GuardSettings,
    RemoteSettings,
    ServerSettings,
    ShieldGemmaSettings,
)


def build_classifiers(
    settings: Mapping[str, ClassifierSettings], *, workers: int = 1, observer: Observer = UNOBSERVED
) -> dict[str, Classifier]:
    """The classifiers of the configuration, by name; see `build_classifier`."""
    return {name: build_classifier(name, each, workers=workers, observer=observer) for name, each in settings.items()}


def build_cache(settings: CacheShape | None, observer: Observer) -> VerdictCache | None:
    """Where verdicts are kept, if they are. Raises `ConfigError` if the library for Redis is not installed."""
    if settings is None:
        return None
    redis = settings.redis
    return VerdictCache(
        MemoryStore(settings.size, settings.ttl),
        shared_store=None
        if redis is None
        else RedisStore(redis.url.get_secret_value(), ttl=settings.ttl, timeout=redis.timeout),
        secret=secrets.token_bytes(32) if redis is None else redis.secret.get_secret_value().encode(),
        shared=settings.shared,
        observer=observer,
    )


def dress(
    classifiers: Mapping[str, Classifier],
    settings: Mapping[str, ClassifierSettings],
    cache: VerdictCache | None,
    observer: Observer,
) -> dict[str, Classifier]:
    """*classifiers* as they judge requests: their calls counted, their verdicts kept, their failures made good by others.

    What a stand-in says is kept as its own: when the other one is back, it is asked.
    """
    kept = {name: observed(each, observer) for name, each in classifiers.items()}
    if cache is not None:  # searching a text for words takes no longer than looking for a verdict on it
        kept = {n: each if isinstance(classifiers[n], BlocklistClassifier) else cache.wrap(each) for n, each in kept.items()}
    fallbacks = {name: each.fallback for name, each in settings.items() if isinstance(each, RemoteSettings)}
    return {
        name: each if (standin := fallbacks.get(name)) is None else WithFallback(each, kept[standin], observer)
        for name, each in kept.items()
    }


def build_classifier(
    name: str, settings: ClassifierSettings, *, workers: int = 1, observer: Observer = UNOBSERVED
) -> Classifier:
    """The classifier that *settings* describe, called *name*, without its fallback and without a cache.

    *workers* is how many processes share a service's rate: each has its part. Raises `ConfigError` for what a type does not
    have, such as a row for a hazard that it does not know.
    """
    if isinstance(settings, EmbeddedSettings):
        return EmbeddedClassifier(name)
    if isinstance(settings, BlocklistSettings):
        return BlocklistClassifier(settings.blocklists, name)
    try:
        adapter = _adapter(settings)
    except ConfigError as error:
        raise ConfigError(error.message, field=".".join(filter(None, ("classifiers", name, error.field)))) from None
    return RemoteClassifier(name, adapter, _frame(settings, workers), observer=observer)


def _frame(settings: RemoteSettings, workers: int) -> Frame:
    rate = settings.rate
    return Frame(
        timeout=settings.timeout,
        concurrency=settings.concurrency,
        rate=None if rate is None else (max(rate.requests // workers, 1), rate.per),
        retries=settings.retries,
        failures=settings.breaker.failures,
        probe=settings.breaker.probe,
        hedge=settings.hedge,
    )


@singledispatch
def _adapter(settings: RemoteSettings) -> Adapter:
    raise TypeError(f"no adapter for {type(settings).__name__}")


@_adapter.register
def _azure(settings: AzureSettings) -> AzureContentSafety:
    entra = settings.entra
    if settings.key is not None:
        credential: str | EntraCredential = settings.key.get_secret_value()
    else:
        entra = entra or EntraSettings()
        credential = EntraCredential(client_id=entra.client_id, authority=entra.authority)
    return AzureContentSafety(
        settings.endpoint,
        credential,
        scope=None if entra is None else f"{entra.audience.rstrip('/')}/.default",
        checks=frozenset(settings.checks or ("harms", "shields")),
        blocklists=tuple(settings.blocklists),
    )


@_adapter.register
def _openai_moderation(settings: OpenAIModerationSettings) -> OpenAIModeration:
    return OpenAIModeration(
        _service(settings),
        settings.model,
        images=settings.images,
        cutoffs=_cutoffs(settings.cutoffs),
        rows=settings.hazards,
    )


@_adapter.register
def _llama_guard(settings: LlamaGuardSettings) -> LlamaGuard:
    return LlamaGuard(
        _service(settings),
        settings.model,
        variant=settings.variant,
        contents=settings.contents,
        severity=settings.severity,
        cutoffs=_optional(settings.cutoffs),
        rows=settings.hazards,
    )


@_adapter.register
def _qwen3_guard(settings: Qwen3GuardSettings) -> Qwen3Guard:
    return Qwen3Guard(
        _service(settings),
        settings.model,
        mode=settings.mode,
        severity=settings.severity,
        cutoffs=_optional(settings.cutoffs),
        rows=settings.hazards,
    )


@_adapter.register
def _shield_gemma(settings: ShieldGemmaSettings) -> ShieldGemma:
    return ShieldGemma(
        _service(settings),
        settings.model,
        severity=settings.severity,
        cutoffs=_optional(settings.cutoffs),
        rows=settings.hazards,
    )


@_adapter.register
def _granite_guardian(settings: GraniteGuardianSettings) -> GraniteGuardian:
    return GraniteGuardian(
        _service(settings),
        settings.model,
        version=settings.version,
        severity=settings.severity,
        cutoffs=_optional(settings.cutoffs),
        rows=settings.hazards,
        definitions=settings.definitions,
    )


@_adapter.register
def _prompt_guard(settings: PromptGuardSettings) -> PromptGuard:
    return PromptGuard(_service(settings), settings.model, api=settings.api, cutoff=settings.cutoff)


@_adapter.register
def _webhook(settings: HTTPSettings) -> Webhook:
    return Webhook(
        _service(settings),
        reports=frozenset(settings.reports),
        images=settings.images,
        conversation=settings.conversation,
        limit=settings.limit,
        overlap=settings.overlap,
    )


def _service(settings: ServerSettings) -> JSONService:
    headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
    if settings.key is not None:
        headers["Authorization"] = f"Bearer {settings.key.get_secret_value()}"
    return JSONService(settings.url, headers)


def _cutoffs(settings: CutoffSettings) -> Cutoffs:
    return Cutoffs(settings.low, settings.medium, settings.high)


def _optional(settings: CutoffSettings | None) -> Cutoffs | None:
    return None if settings is None else _cutoffs(settings)
