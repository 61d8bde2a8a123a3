"""Which deployment a request means, and whether its sender may use it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from aiohttp import web

from safety_proxy.backend import Backend
from safety_proxy.errors import RequestError
from safety_proxy.policy import Policy
from safety_proxy.server.azure_api import route_of

DEPLOYMENT_HEADER: Final = "azureml-model-deployment"


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model that clients name."""

    name: str
    backend: Backend
    model: str | None
    """The model's name at the backend; None passes on the name that the client used."""
    policy: Policy | None
    """None: the explicit opt-out."""
    model_type: str = "chat_completion"
    """What ``/info`` says that the model does."""
    provider: str = "unknown"
    """Whose model it is, for ``/info`` and the list of models."""
    shadow: Policy | None = None
    """Judges beside the policy, without effect."""


@dataclass(frozen=True, slots=True)
class Key:
    """Somebody who may call."""

    name: str
    digest: bytes
    """SHA-256 of the key."""
    deployments: frozenset[str] | None
    """None: all but those that opted out of filtering."""
    policy: Policy | None
    """Decides together with the deployment's; it can only tighten."""
    blocklists: Literal["none", "read", "write"] = "read"
    """What it may do with the blocklists of the store."""

    def may_use(self, deployment: Deployment) -> bool:
        """Whether the deployment is open to this key."""
        if self.deployments is None:
            return deployment.policy is not None
        return deployment.name in self.deployments


@dataclass(frozen=True, slots=True)
class Deployments:
    """All that can be called, and who may call it. Without keys, everybody may call everything."""

    by_name: Mapping[str, Deployment]
    default: str | None = None
    keys: Sequence[Key] = ()

    def authenticate(self, request: web.Request) -> Key | None:
        """The key that the request carries; None if none is needed. Raises `RequestError` 401.

        All keys are compared, each in constant time, so that the time taken tells nothing.
        """
        if not self.keys:
            return None
        digest = hashlib.sha256(presented_key(request).encode("utf-8", "surrogateescape")).digest()
        found = [key for key in self.keys if hmac.compare_digest(key.digest, digest)]
        if not found:
            raise RequestError("no valid key was presented", status=401, code="invalid_api_key")
        return found[0]

    def choose(self, request: web.Request, model: str | None, key: Key | None) -> Deployment:
        """By header, path, ``model`` or default, in this order.

        Raises `RequestError` 404 if there is none for this key, or the path names none beside a header that does.
        """
        named = {
            DEPLOYMENT_HEADER: request.headers.get(DEPLOYMENT_HEADER),
            "deployment": request.match_info.get("deployment"),
        }
        found = [self.find(name, key, field) for field, name in named.items() if name]
        return found[0] if found else self.find(model if model in self.by_name else self.default, key, "model")

    def find(self, name: str | None, key: Key | None, field: str) -> Deployment:
        """The deployment of that name, which *field* gave. Raises `RequestError` 404 if there is none for this key."""
        deployment = self.by_name.get(name) if name is not None else None
        if deployment is None or not (key is None or key.may_use(deployment)):
            raise RequestError("no such deployment", status=404, code="deployment_not_found", field=field)
        return deployment

    def open_to(self, key: Key | None) -> list[Deployment]:
        """The deployments that may be called with this key."""
        return [each for each in self.by_name.values() if key is None or key.may_use(each)]


_OTHER_HEADERS: Final[Mapping[str, str]] = {
    "/contentsafety/": "Ocp-Apim-Subscription-Key",
    "/integrations/": "x-api-key",
}
"""Where else clients put the key, by how the routes that they call begin."""


def presented_key(request: web.Request) -> str:
    """The key of a request: ``Authorization`` with or without ``Bearer``, ``api-key``, or what clients of the route send."""
    scheme, _, rest = request.headers.get("Authorization", "").strip().partition(" ")
    if rest and scheme.lower() == "bearer":
        return rest.strip()
    if scheme and not rest:
        return scheme
    route = route_of(request)
    others = (header for beginning, header in _OTHER_HEADERS.items() if route.startswith(beginning))
    return next(filter(None, map(request.headers.get, ("api-key", *others))), "")
