"""All that can be set, from flags, environment and configuration file, as one frozen object that is right or not made.

What is set in several places counts in this order: flag, environment variable, file, default. Every name in the file that
stands for something else is followed here, so that nothing dangles; every mistake is a `ConfigError` with the file, line
and field, or the flag or variable, that is to be mended.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pydantic import SecretStr

from safety_proxy import policy_file
from safety_proxy.documents import Document, read, validate
from safety_proxy.errors import ConfigError
from safety_proxy.policy import Policy
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
    read_secret,
)
from safety_proxy.settings_named import classifiers_in_use, hint
from safety_proxy.settings_sources import Given, gather, unknown_variables
from safety_proxy.settings_usage import MetricsSettings
from safety_proxy.settings_values import KEY_HEADERS, check_secret, check_url
from safety_proxy.yaml import Place

ALONE: Final = "default"
"""Name of the one backend and of the one deployment that ``--backend`` makes where no file tells of deployments."""
LOG_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
LOG_FORMATS: Final = ("auto", "json", "pretty")


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
    metrics: MetricsSettings
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
    file = _with_backend(file, given)
    policies, file = _with_policy(policies, file, given)
    in_use = list(_in_use(policies, file.deployments.values(), file.keys))
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
        metrics=file.metrics or ("off" if file.keys else "open"),
        drain=file.drain,
        workers=given["workers"].whole(1, 1024) if "workers" in given else 1,
        log_level=given["log_level"].one_of(*LOG_LEVELS) if "log_level" in given else "info",
        log_format=given["log_format"].one_of(*LOG_FORMATS) if "log_format" in given else "auto",
        warnings=(*unknown_variables(environ), *(warning for policy in in_use for warning in policy.warnings)),
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
    policies: Mapping[str, Policy], deployments: Iterable[DeploymentSettings], keys: Iterable[KeySettings]
) -> Iterator[Policy]:
    names = {deployment.policy for deployment in deployments} | {key.policy for key in keys}
    return (policies[name] for name in sorted(name for name in names if name is not None))


# --------------------------------------------------------------------------------------------------------------- names


def _follow_names(file: FileShape, document: Document, policies: Mapping[str, Policy]) -> None:
    """Raise unless each name in the file is that of something."""
    for name, deployment in file.deployments.items():
        place: Place = ("deployments", name)
        _require(deployment.backend, file.backends, "backend", document, (*place, "backend"))
        if deployment.policy is not None:
            _require(deployment.policy, policies, "policy", document, (*place, "policy"))
    if file.default_deployment is not None:
        _require(file.default_deployment, file.deployments, "deployment", document, ("default_deployment",))
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


def _require(name: str, known: Iterable[str], kind: str, document: Document, place: Place) -> None:
    if name not in known:
        raise document.error(f"no {kind} is called `{name}`; {hint(name, known)}", place)


# ----------------------------------------------------------------------------------------------- flags and variables


def _with_backend(file: FileShape, given: Mapping[str, Given]) -> FileShape:
    """The file's deployments with the backend, or the key of a backend, that was given: it is the default deployment's."""
    url, key = given.get("backend"), _backend_key(given)
    if url is not None:
        try:
            check_url(url.text)
        except ValueError as error:
            raise url.error(str(error)) from None
    if not file.deployments:
        if url is None:
            raise ConfigError("nothing to serve: give --backend URL, or write deployments in a configuration file")
        backends = {**file.backends, ALONE: BackendSettings(url=url.text).model_copy(update={"key": key})}
        deployments = {ALONE: DeploymentSettings(backend=ALONE)}
        return file.model_copy(update={"backends": backends, "deployments": deployments, "default_deployment": ALONE})
    if url is None and key is None:
        return file
    if file.default_deployment is None:
        origin = "backend" if url is not None else "backend_key" if "backend_key" in given else "backend_key_file"
        raise given[origin].error("is for the default deployment, but the file has no `default_deployment`")
    name = file.deployments[file.default_deployment].backend
    before = file.backends[name]
    if url is not None:  # the key before is not for another server
        backend = BackendSettings(url=url.text).model_copy(update={"key": key, "timeout": before.timeout})
    else:
        headers = {header: value for header, value in before.headers.items() if header.lower() not in KEY_HEADERS}
        backend = before.model_copy(update={"key": key, "headers": headers})
    return file.model_copy(update={"backends": {**file.backends, name: backend}})


def _backend_key(given: Mapping[str, Given]) -> SecretStr | None:
    key, file = given.get("backend_key"), given.get("backend_key_file")
    source = key or file
    if source is None:
        return None
    if key is not None and file is not None:
        if key.origin.startswith("--") or not file.origin.startswith("--"):
            raise file.error(f"is given together with {key.origin}; give one of them")
        source = file
    text = read_secret(Path(source.text)) if source is file else source.text
    try:
        return check_secret(SecretStr(text))
    except ValueError as error:
        raise source.error(str(error)) from None


def _with_policy(
    policies: dict[str, Policy], file: FileShape, given: Mapping[str, Given]
) -> tuple[dict[str, Policy], FileShape]:
    """The policies and deployments where the default deployment has the policy that was given."""
    wanted = given.get("policy")
    if wanted is None:
        return policies, file
    default = file.default_deployment
    if default is None:
        raise wanted.error("is for the default deployment, but the file has no `default_deployment`")
    name: str | None = wanted.text
    if "/" in wanted.text or wanted.text.endswith((".yaml", ".yml")):
        policy = policy_file.load(read(Path(wanted.text)))
        name, policies = policy.name, {**policies, policy.name: policy}
    elif wanted.text == "off":
        name = None
    elif wanted.text not in policies:
        raise wanted.error(f"no policy is called `{wanted.text}`; {hint(wanted.text, policies)}")
    deployment = file.deployments[default].model_copy(update={"policy": name})
    return policies, file.model_copy(update={"deployments": {**file.deployments, default: deployment}})


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
