"""The composition root: settings in, application out. Everything that is shared is made here and handed on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import aiohttp
from aiohttp import web

from safety_proxy.assembly import build_cache, build_classifiers, dress
from safety_proxy.backend import Backend, open_session
from safety_proxy.classifiers.base import Classifier, Explaining, Observer
from safety_proxy.classifiers.stored_blocklists import StoredBlocklists
from safety_proxy.dialects import DIALECTS, EMBEDDINGS
from safety_proxy.engine import Engine
from safety_proxy.errors import ConfigError
from safety_proxy.server import blocklists, content_safety, evaluation, litellm, moderations
from safety_proxy.server.accounts import Accounts, show_limits
from safety_proxy.server.audit import AuditLog
from safety_proxy.server.audit_texts import Hashing
from safety_proxy.server.deployments import Deployment, Deployments, Key
from safety_proxy.server.embeddings import embed
from safety_proxy.server.exchange import PROXY, Proxy
from safety_proxy.server.health import READINESS, Readiness, healthz, readyz
from safety_proxy.server.load import Load
from safety_proxy.server.meters import AUDIT_LOST, Meters
from safety_proxy.server.metrics import METRICS_KEY, Metrics, measure, show_metrics
from safety_proxy.server.middleware import identify, translate_errors
from safety_proxy.server.models import list_models, show_info, show_model
from safety_proxy.server.openapi import DESCRIPTION, describe, show_description
from safety_proxy.server.proxy import complete
from safety_proxy.server.service import SERVICE, Service
from safety_proxy.server.shadow import Shadows
from safety_proxy.server.shared import Shared, share
from safety_proxy.server.trail import Audit, Recorder
from safety_proxy.settings import Settings
from safety_proxy.settings_file import BackendSettings
from safety_proxy.settings_usage import MetricsKey
from safety_proxy.store.sql import SQLStore

_Context = Callable[[web.Application], AsyncIterator[None]]


def create_app(
    settings: Settings,
    *,
    classifiers: Mapping[str, Classifier] | None = None,
    shared: Shared | None = None,
    worker: int = 0,
    clock: Callable[[], float] = time.time,
) -> web.Application:
    """The proxy. *classifiers*, by name, stand in for those of the settings; the application closes neither kind twice.

    *shared* is what it has in common with other processes, of which it is number *worker*; *clock* tells quotas the time.
    Raises `ConfigError` if a policy cannot be enforced.
    """
    app = web.Application(middlewares=[measure, identify, translate_errors], client_max_size=settings.limits.body)
    shared = shared or share(settings)
    meters = Meters(shared.ledger.rows[worker])
    if classifiers is None:
        classifiers = build_classifiers(settings.classifiers, workers=settings.workers, observer=meters)
    cache = build_cache(settings.cache, meters)
    app[METRICS_KEY] = Metrics(shared.ledger, meters, shared.quotas, settings.metrics, clock)
    prices = {name: each.price for name, each in settings.deployments.items() if each.price is not None}
    store = SQLStore(settings.service.store.get_secret_value())
    explaining = {name: each for name, each in classifiers.items() if isinstance(each, Explaining)}
    dressed = dress(classifiers, settings.classifiers, cache, meters)
    bench = _Bench(settings, dressed, meters, StoredBlocklists(store), explaining)
    engines = _engines(bench)
    app[SERVICE] = _service(bench, store)
    needed = [bench.lists.classifier(names)] if (names := sorted(settings.service.stored_lists)) else []
    app[READINESS] = Readiness([*classifiers.values(), *needed])
    recorder = _recorder(app, settings, meters)
    app.cleanup_ctx.append(_closing([*classifiers.values(), *([cache] if cache is not None else []), store]))
    if settings.service.store_needed:
        app.cleanup_ctx.append(_following)
    app.cleanup_ctx.append(_probing)
    app.cleanup_ctx.append(_connecting(settings, engines, Accounts(meters, shared.quotas, prices, clock), recorder))
    if recorder.shadows is not None:  # given up before their classifiers are closed
        app.cleanup_ctx.append(_closing([recorder.shadows]))
    app.on_shutdown.append(_drain)
    app.on_response_prepare.append(show_limits)
    app[DESCRIPTION] = describe(keys=bool(settings.keys), metrics_key=isinstance(settings.metrics, MetricsKey))
    _add_routes(app)
    return app


def _add_routes(app: web.Application) -> None:
    """All routes there are; each has its row in `safety_proxy.server.openapi`."""
    for path in DIALECTS:
        app.router.add_post(path, complete)
    for path in EMBEDDINGS:
        app.router.add_post(path, embed)
    for prefix in ("/v1", "/openai/v1"):
        app.router.add_get(f"{prefix}/models", list_models, allow_head=False)
        app.router.add_get(f"{prefix}/models/{{model:.+}}", show_model, allow_head=False)
    for routes in (content_safety.ROUTES, blocklists.ROUTES, moderations.ROUTES, evaluation.ROUTES, litellm.ROUTES):
        app.router.add_routes(routes)
    app.router.add_get("/info", show_info, allow_head=False)
    app.router.add_get("/openapi.json", show_description, allow_head=False)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", show_metrics, allow_head=False)


@dataclass(frozen=True, slots=True)
class _Bench:
    """What engines are made of."""

    settings: Settings
    classifiers: Mapping[str, Classifier]
    observer: Observer
    lists: StoredBlocklists
    explaining: Mapping[str, Explaining]

    def engine(self, *names: str) -> Engine:
        """One that enforces the policies of these names together. Raises `ConfigError`."""
        policies = [self.settings.policies[name] for name in names]
        limits = self.settings.limits
        return Engine(
            policies,
            self.classifiers,
            judgements=limits.judgements,
            held_limit=limits.held,
            observer=self.observer,
            stored=self.lists.classifier,
            explaining=self.explaining,
        )


def _engines(bench: _Bench) -> dict[tuple[str | None, str | None], Engine]:
    """One for each policy of a deployment, enforced or on trial, together with each policy of a key, or with none."""
    deployments = bench.settings.deployments.values()
    on_trial = {deployment.shadow for deployment in deployments if deployment.shadow is not None}
    of_deployments = {deployment.policy for deployment in deployments} | on_trial
    of_keys = {None, *(key.policy for key in bench.settings.keys)}
    pairs = {
        names: [*dict.fromkeys(name for name in names if name is not None)] for names in product(of_deployments, of_keys)
    }
    return {names: bench.engine(*policies) for names, policies in pairs.items() if policies}


def _service(bench: _Bench, store: SQLStore) -> Service:
    """The filtering service, for every policy that can be enforced. Raises `ConfigError` if the policies in use cannot."""
    service = bench.settings.service
    in_use = {service.policy, *(key.policy for key in bench.settings.keys if key.policy is not None)}
    engines: dict[str, Engine] = {}
    unusable: dict[str, str] = {}
    for name in bench.settings.policies:
        try:
            engines[name] = bench.engine(name)
        except ConfigError as error:
            if name in in_use:
                raise
            unusable[name] = error.message
    return Service(service.policy, engines, unusable, store, bench.lists)


async def _following(app: web.Application) -> AsyncIterator[None]:
    """Keep up with the store, beside all else, until the server ends."""
    async with asyncio.TaskGroup() as group:
        following = group.create_task(app[SERVICE].lists.follow())
        yield
        following.cancel()


def _connecting(
    settings: Settings, engines: dict[tuple[str | None, str | None], Engine], accounts: Accounts, recorder: Recorder
) -> _Context:
    async def connecting(app: web.Application) -> AsyncIterator[None]:
        async with open_session() as session:
            backends = {
                name: _backend(name, each, settings.limits.response, session) for name, each in settings.backends.items()
            }
            deployments = {
                name: Deployment(
                    name,
                    backends[each.backend],
                    each.model,
                    settings.policies[each.policy] if each.policy is not None else None,
                    each.model_type,
                    each.provider,
                    settings.policies[each.shadow] if each.shadow is not None else None,
                )
                for name, each in settings.deployments.items()
            }
            app[PROXY] = Proxy(
                Deployments(deployments, settings.default_deployment, _keys(settings)),
                engines,
                Load(settings.limits.requests, settings.limits.streams, tell=accounts.meters.loaded),
                accounts,
                settings.limits.event,
                recorder,
            )
            yield

    return connecting


def _recorder(app: web.Application, settings: Settings, meters: Meters) -> Recorder:
    """What is noted of requests; the file of the audit log is open from the start of *app* to its very end."""
    shadows = Shadows(meters) if any(each.shadow is not None for each in settings.deployments.values()) else None
    if settings.audit is None:
        return Recorder(None, shadows)
    secret = settings.audit.secret
    hashing = Hashing(None if secret is None else secret.get_secret_value().encode())
    lines = AuditLog(settings.audit.path, lambda lost: meters.count(AUDIT_LOST, amount=lost))

    async def writing(_app: web.Application) -> AsyncIterator[None]:
        lines.open()
        yield
        await lines.close()

    app.cleanup_ctx.append(writing)
    return Recorder(Audit(lines, settings.audit.content, hashing), shadows)


def _backend(name: str, settings: BackendSettings, limit: int, session: aiohttp.ClientSession) -> Backend:
    return Backend(
        session=session,
        name=name,
        url=settings.url,
        key=settings.key.get_secret_value() if settings.key is not None else None,
        auth=settings.auth,
        headers={header: value.get_secret_value() for header, value in settings.headers.items()},
        query={field: value.get_secret_value() for field, value in settings.query.items()},
        connect=settings.timeout.connect,
        first_byte=settings.timeout.first_byte,
        idle=settings.timeout.idle,
        response_limit=limit,
    )


def _keys(settings: Settings) -> list[Key]:
    return [
        Key(
            key.name,
            bytes.fromhex(key.sha256),
            frozenset(key.deployments) if key.deployments is not None else None,
            settings.policies[key.policy] if key.policy is not None else None,
            key.blocklists,
        )
        for key in settings.keys
    ]


class _Closable(Protocol):
    async def close(self) -> None: ...


def _closing(closables: Sequence[_Closable]) -> _Context:
    async def closing(_app: web.Application) -> AsyncIterator[None]:
        yield
        for each in closables:
            await each.close()

    return closing


async def _probing(app: web.Application) -> AsyncIterator[None]:
    """Ask every classifier for a first verdict, beside all else, until each has given one or the server ends."""
    async with asyncio.TaskGroup() as group:
        probing = group.create_task(app[READINESS].probe())
        yield
        probing.cancel()


async def _drain(app: web.Application) -> None:
    app[READINESS].draining = True
