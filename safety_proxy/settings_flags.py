"""What flags and variables change of the configuration file: backend, policy, and whether there are models at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from safety_proxy import policy_file
from safety_proxy.documents import read
from safety_proxy.errors import ConfigError
from safety_proxy.policy import Policy
from safety_proxy.settings_file import BackendSettings, DeploymentSettings, FileShape, read_secret
from safety_proxy.settings_named import hint
from safety_proxy.settings_service import ServiceShape
from safety_proxy.settings_sources import Given
from safety_proxy.settings_values import KEY_HEADERS, check_secret, check_url

ALONE: Final = "default"
"""Name of the one backend and of the one deployment that ``--backend`` makes where no file tells of deployments."""


def with_backend(file: FileShape, given: Mapping[str, Given]) -> FileShape:
    """The file's deployments with the backend, or the key of a backend, that was given: it is the default deployment's."""
    url, key = given.get("backend"), _backend_key(given)
    if url is not None:
        try:
            check_url(url.text)
        except ValueError as error:
            raise url.error(str(error)) from None
    if not file.deployments:
        if url is None:
            raise ConfigError(
                "nothing to serve: give --backend URL, write deployments in a configuration file, or say --filter-only"
            )
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


def with_policy(
    policies: dict[str, Policy], file: FileShape, given: Mapping[str, Given]
) -> tuple[dict[str, Policy], FileShape]:
    """The policies and deployments where the default deployment has the policy that was given."""
    wanted = given.get("policy")
    if wanted is None:
        return policies, file
    default = file.default_deployment
    if default is None:
        raise wanted.error("is for the default deployment, but the file has no `default_deployment`")
    policies, name = _find_policy(policies, wanted)
    deployment = file.deployments[default].model_copy(update={"policy": name})
    return policies, file.model_copy(update={"deployments": {**file.deployments, default: deployment}})


def _find_policy(policies: dict[str, Policy], wanted: Given) -> tuple[dict[str, Policy], str | None]:
    """The policies with the one that was given, and its name; None for ``off``."""
    if "/" in wanted.text or wanted.text.endswith((".yaml", ".yml")):
        policy = policy_file.load(read(Path(wanted.text)))
        return {**policies, policy.name: policy}, policy.name
    if wanted.text == "off":
        return policies, None
    if wanted.text not in policies:
        raise wanted.error(f"no policy is called `{wanted.text}`; {hint(wanted.text, policies)}")
    return policies, wanted.text


def filter_only(
    policies: dict[str, Policy], file: FileShape, given: Mapping[str, Given]
) -> tuple[dict[str, Policy], FileShape]:
    """The file without models; the policy that was given is the service's."""
    for name in ("backend", "backend_key", "backend_key_file"):
        if name in given:
            raise given[name].error("is for a model server, and --filter-only serves none")
    service = file.service or ServiceShape()
    if "policy" in given:
        policies, wanted = _find_policy(policies, given["policy"])
        if wanted is None:
            raise given["policy"].error("cannot be off: nothing would be left to serve")
        service = service.model_copy(update={"policy": wanted})
    models: dict[str, object] = {"backends": {}, "deployments": {}, "default_deployment": None}
    keys = [key.model_copy(update={"deployments": None}) for key in file.keys]
    return policies, file.model_copy(update={**models, "keys": keys, "service": service})
