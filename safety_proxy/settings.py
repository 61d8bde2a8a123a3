"""All that can be set, from flags, environment and configuration file, as one frozen object that is right or not made.

What is set in several places counts in this order: flag, environment variable, file, default. Every name in the file that
stands for something else is followed here, so that nothing dangles; every mistake is a `ConfigError` with the file, line
and field, or the flag or variable, that is to be mended.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pydantic import SecretStr

from safety_proxy import policy_file
from safety_proxy.documents import Document, read, validate
from safety_proxy.policy import Policy
from safety_proxy.settings_audit import AuditShape, found_beside
from safety_proxy.settings_cache import CacheShape
from safety_proxy.settings_classifiers import ClassifierSettings
from safety_proxy.settings_file import (
    BackendSettings,
    DeploymentSettings,
    FileShape,
    KeySettings,
    LimitSettings,
    ListenSettings,
    expand,
)
from safety_proxy.settings_flags import ALONE, filter_only, with_backend, with_policy
from safety_proxy.settings_named import classifiers_in_use, hint
from safety_proxy.settings_service import ServiceShape, found_from
from safety_proxy.settings_sources import Given, gather, unknown_variables
from safety_proxy.settings_usage import MetricsSettings
from safety_proxy.yaml import Place

LOG_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
LOG_FORMATS: Final = ("auto", "json", "pretty")


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """The standalone filtering service."""

    policy: str
    """By which it judges for those whose key has no policy."""
    store: SecretStr
    """Where blocklists are kept: the URL of a database; a file's path is absolute."""
    store_written: bool = False
    """Somebody wrote where the store is."""
    stored_lists: frozenset[str] = frozenset()
    """The names of the store's lists that policies in use are made of."""

    @property
    def store_needed(self) -> bool:
        """Whether to keep up with the store. If not, it is opened when somebody asks for a list."""
        return self.store_written or bool(self.stored_lists)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a server is to run. Times are in seconds, sizes in bytes; all names lead somewhere."""

    listen: ListenSettings
    policies: Mapping[str, Policy]
    """All that can be named: the shipped ones and one's own, which hide shipped ones of their name."""
    classifiers: Mapping[str, ClassifierSettings]
    """Those of the file, and those that policies in use name by their type."""
    backends: Mapping[str, BackendSettings]
    deployments: Mapping[str, DeploymentSettings]
    default_deployment: str | None
    keys: tuple[KeySettings, ...]
    """Who may call. Empty: everybody who can connect."""
    limits: LimitSettings
    cache: CacheShape | None
    """None: no verdict is kept."""
    service: ServiceSettings
    metrics: MetricsSettings
    audit: AuditShape | None
    """None: no request is written down. The path of the file is absolute."""
    drain: float
    workers: int
    log_level: str
    log_format: str
    """json, pretty or auto."""
    warnings: tuple[str, ...] = ()
    """What is allowed but probably not meant."""


def load_settings(*, config: Path | None, flags: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
    """The settings of ``serve``. Raises `ConfigError`.

    *flags* has the flags by name (``backend_key_file``; see `safety_proxy.settings_sources.OPTIONS`), None where not
    given. The files that *config* names are relative to its folder, those that flags and variables name to the current
    one.
    """
    given = gather(flags, environ)
    if config is None and "config" in given:
        config = Path(given["config"].text)
    document = Document("", {}) if config is None else expand(read(config), environ)
    file = validate(FileShape, document)
    policies = _load_policies(file, document)
    _follow_names(file, document, policies)
    if "filter_only" in given and given["filter_only"].yes():
        policies, file = filter_only(policies, file, given)
    else:
        file = with_backend(file, given)
        policies, file = with_policy(policies, file, given)
    _check_shadows(file, document)
    service = _service(file, document)
    in_use = list(_in_use(policies, file.deployments.values(), file.keys, service.policy))
    return Settings(
        listen=_listen(file, document, given),
        policies=MappingProxyType(policies),
        classifiers=MappingProxyType(classifiers_in_use(file, document, in_use, environ)),
        backends=MappingProxyType(file.backends),
        deployments=MappingProxyType(file.deployments),
        default_deployment=file.default_deployment,
        keys=tuple(file.keys),
        limits=file.limits,
        cache=file.cache,
        service=replace(service, stored_lists=frozenset(name for policy in in_use for name in _stored_lists(policy))),
        metrics=file.metrics or ("off" if file.keys else "open"),
        audit=found_beside(file.audit, Path(document.file).parent),
        drain=file.drain,
        workers=given["workers"].whole(1, 1024) if "workers" in given else 1,
        log_level=given["log_level"].one_of(*LOG_LEVELS) if "log_level" in given else "info",
        log_format=given["log_format"].one_of(*LOG_FORMATS) if "log_format" in given else "auto",
        warnings=(
            *unknown_variables(environ),
            *(warning for policy in in_use for warning in policy.warnings),
            *_shadow_warnings(file),
        ),
    )


# ------------------------------------------------------------------------------------------------------------ policies


def _load_policies(file: FileShape, document: Document) -> dict[str, Policy]:
    own: dict[str, Policy] = {}
    for path in _policy_files(file, document):
        policy = policy_file.load(read(path))
        if policy.name in own:
            other = own[policy.name].document.file
            raise policy.document.error(f"`{policy.name}` is also the name of the policy in {other}", ("name",))
        own[policy.name] = policy
    shipped = {name: policy_file.load(read(path)) for name, path in policy_file.shipped().items() if name not in own}
    return {**shipped, **own}


def _policy_files(file: FileShape, document: Document) -> Iterator[Path]:
    """The files that ``policies`` names, each once."""
    seen: set[Path] = set()
    for index, entry in enumerate(file.policies):
        path = Path(document.file).parent / entry
        found = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
        if not path.exists() or not found:
            raise document.error("no such file" if found else "no *.yaml in this folder", ("policies", index))
        for each in found:
            if each.resolve() not in seen:
                seen.add(each.resolve())
                yield each


def _in_use(
    policies: Mapping[str, Policy], deployments: Iterable[DeploymentSettings], keys: Iterable[KeySettings], service: str
) -> Iterator[Policy]:
    enforced = {service} | {key.policy for key in keys}
    names = enforced.union(*({deployment.policy, deployment.shadow} for deployment in deployments))
    return (policies[name] for name in sorted(name for name in names if name is not None))


def _stored_lists(policy: Policy) -> Iterator[str]:
    for side in (policy.input, policy.output):
        yield from (blocklist.name for blocklist in side.blocklists.values() if blocklist.stored)


# --------------------------------------------------------------------------------------------------------------- names


def _follow_names(file: FileShape, document: Document, policies: Mapping[str, Policy]) -> None:
    """Raise unless each name in the file is that of something."""
    for name, deployment in file.deployments.items():
        place: Place = ("deployments", name)
        _require(deployment.backend, file.backends, "backend", document, (*place, "backend"))
        if deployment.policy is not None:
            _require(deployment.policy, policies, "policy", document, (*place, "policy"))
        if deployment.shadow is not None:
            _require(deployment.shadow, policies, "policy", document, (*place, "shadow"))
    if file.default_deployment is not None:
        _require(file.default_deployment, file.deployments, "deployment", document, ("default_deployment",))
    if file.service is not None and file.service.policy is not None:
        _require(file.service.policy, policies, "policy", document, ("service", "policy"))
    for index, key in enumerate(file.keys):
        place = ("keys", index)
        for number, name in enumerate(key.deployments or ()):
            _require(name, file.deployments, "deployment", document, (*place, "deployments", number))
        if key.policy is not None:
            _require(key.policy, policies, "policy", document, (*place, "policy"))
        for other in file.keys[:index]:
            if key.name == other.name or key.sha256 == other.sha256:
                field = "name" if key.name == other.name else "sha256"
                raise document.error("is that of another key too", (*place, field))


def _check_shadows(file: FileShape, document: Document) -> None:
    """Raise for a policy on trial that has nothing to be compared with."""
    for name, deployment in file.deployments.items():
        place: Place = ("deployments", name, "shadow")
        if deployment.shadow is not None and deployment.policy is None:
            raise document.error("is judged beside an enforced policy, and this deployment's is `off`", place)
        if deployment.shadow is not None and deployment.shadow == deployment.policy:
            raise document.error("is the policy that is enforced; name another one", place)


def _shadow_warnings(file: FileShape) -> Iterator[str]:
    """What a policy on trial costs where no verdict is kept."""
    for name, deployment in file.deployments.items() if file.cache is None else ():
        if deployment.shadow is not None:
            yield (
                f"deployments.{name}.shadow: the cache is off, so `{deployment.shadow}` and `{deployment.policy}` share no "
                "verdicts: their classifiers are asked twice"
            )


def _require(name: str, known: Iterable[str], kind: str, document: Document, place: Place) -> None:
    if name not in known:
        raise document.error(f"no {kind} is called `{name}`; {hint(name, known)}", place)


# ------------------------------------------------------------------------------------------------------------ services


def _service(file: FileShape, document: Document) -> ServiceSettings:
    """The filtering service. Unless something else is written it judges as the default deployment does."""
    shape = file.service or ServiceShape()
    default = file.deployments.get(file.default_deployment or "")
    policy = shape.policy or (default.policy if default is not None else None) or ALONE
    return ServiceSettings(policy, found_from(shape.store, Path(document.file).parent), "store" in shape.model_fields_set)


def _listen(file: FileShape, document: Document, given: Mapping[str, Given]) -> ListenSettings:
    """Where to listen. Raises if others than this machine could call without a key, and nobody said that they may."""
    host = given["host"].text if "host" in given else file.listen.host
    port = given["port"].whole(0, 65_535) if "port" in given else file.listen.port
    if file.auth == "keys" and not file.keys:
        raise document.error("asks for keys, but there are none under `keys`", ("auth",))
    if file.auth == "none" and file.keys:
        raise document.error("lets everybody in, but there are keys under `keys`", ("auth",))
    if not file.keys and file.auth is None and not _is_loopback(host):
        message = "can be reached from other machines, and there are no keys; write `keys`, or `auth: none` to let all in"
        raise given["host"].error(message) if "host" in given else document.error(message, ("listen", "host"))
    return ListenSettings(host=host, port=port)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
