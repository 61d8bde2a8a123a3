"""The standalone filtering service: what its endpoints have in common, whoever's API they speak.

Texts are judged by the policy of the caller's key, or by the service's own where it has none, through the same
`safety_proxy.engine.Engine` as requests to a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from safety_proxy.classifiers.stored_blocklists import StoredBlocklists
from safety_proxy.engine import Engine
from safety_proxy.errors import RequestError
from safety_proxy.model import Action
from safety_proxy.server.azure_api import require_api_version
from safety_proxy.server.deployments import Key
from safety_proxy.server.exchange import PROXY
from safety_proxy.server.middleware import FACTS
from safety_proxy.store.base import BlocklistStore


@dataclass(frozen=True, slots=True)
class Service:
    """What the endpoints need: made once, by `safety_proxy.server.app`."""

    policy: str
    """By which those are served whose key has none."""
    engines: Mapping[str, Engine]
    """By the name of the policy: of each that can be enforced with the classifiers that there are."""
    unusable: Mapping[str, str]
    """Why the other policies cannot be."""
    store: BlocklistStore
    lists: StoredBlocklists
    """The store's lists, to search texts for."""

    def engine(self, name: str, field: str = "policy") -> Engine:
        """The engine of a policy. Raises `RequestError` 404 if there is no such policy, 400 if it cannot be enforced."""
        if name in self.unusable:
            message = f"the policy `{name}` cannot be enforced here: {self.unusable[name]}"
            raise RequestError(message, code="policy_unusable", field=field)
        if name not in self.engines:
            raise RequestError("no such policy", status=404, code="policy_not_found", field=field)
        return self.engines[name]


SERVICE: Final = web.AppKey("service", Service)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever called, and what judges for him."""

    request: web.Request
    service: Service
    engine: Engine
    key: Key | None = field(repr=False)

    @property
    def tenant(self) -> str:
        """Name of the key; empty without one."""
        return self.key.name if self.key is not None else ""

    def headers(self, action: Action | None = None, engine: Engine | None = None) -> dict[str, str]:
        """What the head of an answer tells: the policy's identity, its classifiers', and the decision if there is one."""
        judge = engine or self.engine
        told = {"x-safety-proxy-policy": judge.identity, "x-safety-proxy-classifiers": ", ".join(judge.classifiers)}
        if action is not None:
            told["x-safety-proxy-decision"] = action.word
            self.request[FACTS]["decision"] = action.word
        return told

    def require_blocklists(self, *, write: bool = False) -> None:
        """Raise `RequestError` 403 unless the key may read, or change, the blocklists of the store."""
        granted = "write" if self.key is None else self.key.blocklists
        if granted == "none" or (write and granted != "write"):
            what = "change" if write else "read"
            message = f"this key may not {what} blocklists; its `blocklists` in the configuration says so"
            raise RequestError(message, status=403, code="forbidden")


def admit_to_service(request: web.Request) -> Caller:
    """Who calls, and what judges for him. Raises `RequestError` 401, or 400 for an ``api-version`` that is none."""
    service = request.app[SERVICE]
    key = request.app[PROXY].deployments.authenticate(request)
    require_api_version(request)
    name = key.policy.name if key is not None and key.policy is not None else service.policy
    engine = service.engine(name)
    request[FACTS].update(policy=engine.identity)
    return Caller(request, service, engine, key)
