"""The shape of the configuration file: its keys, their defaults, their bounds; and what is filled in before they count.

The mappings below serve as settings once they are validated, so their fields hold seconds, bytes and secrets, not the
text of the file. What one part demands of another is `safety_proxy.settings`' business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from safety_proxy.documents import Document
from safety_proxy.errors import ConfigError
from safety_proxy.model import JSON
from safety_proxy.policy_shape import ClassifierName, Shape
from safety_proxy.settings_audit import AuditSettings
from safety_proxy.settings_cache import CacheSettings, CacheShape
from safety_proxy.settings_classifiers import ClassifierSettings
from safety_proxy.settings_service import ServiceShape
from safety_proxy.settings_usage import MetricsSettings, PriceSettings, QuotaSettings
from safety_proxy.settings_values import KEY_HEADERS, URL, Count, Header, Name, Port, Secret, Size, Time, Wait
from safety_proxy.yaml import Place

# ------------------------------------------------------------------------------------------------------------- shapes


class ListenSettings(Shape):
    """Where clients connect."""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: Port = 8080


class TimeoutSettings(Shape):
    """How long to wait for a backend, in seconds."""

    connect: Wait = 5.0
    first_byte: Wait = 60.0
    idle: Wait = 60.0


class BackendSettings(Shape):
    """A model server."""

    url: URL
    key: Secret | None = None
    auth: Literal["bearer", "api-key"] = "bearer"
    headers: dict[Header, Secret] = Field(default={})
    query: dict[str, Secret] = Field(default={})
    timeout: TimeoutSettings = TimeoutSettings()

    @model_validator(mode="after")
    def _one_key(self) -> BackendSettings:
        if self.key is not None and {name.lower() for name in self.headers} & KEY_HEADERS:
            raise ValueError("has a key and a header that carries one; write one of them")
        return self


def _policy(value: JSON) -> JSON:
    return None if value == "off" else value


class DeploymentSettings(Shape):
    """A model that clients name."""

    backend: Name
    model: str | None = Field(default=None, min_length=1)
    """Its name at the backend. None: the name that the client used."""
    policy: Annotated[str | None, BeforeValidator(_policy)] = "default"
    """None: the explicit opt-out (`off` in the file)."""
    shadow: str | None = None
    """A policy on trial: it judges beside the one that is enforced, and changes nothing."""
    model_type: Literal["chat_completion", "text_generation", "embeddings"] = "chat_completion"
    """What `/info` says; the words are those of Azure's clients."""
    provider: str = Field(default="unknown", pattern=r"^[A-Za-z0-9][A-Za-z0-9_. -]{0,127}$")
    limits: QuotaSettings | None = None
    """None: no quota."""
    price: PriceSettings | None = None


class KeySettings(Shape):
    """Somebody who may call."""

    name: Name
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    deployments: list[Name] | None = Field(default=None, min_length=1)
    """None: all but those without a policy."""
    policy: str | None = None
    """Decides together with the deployment's."""
    blocklists: Literal["none", "read", "write"] = "read"
    """What it may do with the blocklists of the store: policies of others may be made of them."""


class LimitSettings(Shape):
    """Bounds. Sizes are in bytes."""

    body: Size = 8 * 2**20
    response: Size = 64 * 2**20
    event: Size = 8 * 2**20
    held: Size = 2**20
    requests: Count = 1000
    streams: Count = 2000
    judgements: Count = 256


class FileShape(Shape):
    """The configuration file."""

    listen: ListenSettings = ListenSettings()
    policies: list[str] = Field(default=[])
    classifiers: dict[ClassifierName, ClassifierSettings] = Field(default={})
    backends: dict[Name, BackendSettings] = Field(default={})
    deployments: dict[Name, DeploymentSettings] = Field(default={})
    default_deployment: Name | None = None
    keys: list[KeySettings] = Field(default=[])
    auth: Literal["none", "keys"] | None = None
    metrics: MetricsSettings | None = None
    """None: open where everybody may call, else off."""
    limits: LimitSettings = LimitSettings()
    cache: CacheSettings = CacheShape()
    service: ServiceShape | None = None
    """None: the filtering service as it is by default."""
    audit: AuditSettings = None
    drain: Time = 30.0


# ------------------------------------------------------------------------------------------- what stands for a value

_REFERENCE: Final = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{")


def expand(document: Document, environ: Mapping[str, str]) -> Document:
    """The document with ``${NAME}`` and ``${NAME:-default}`` filled in and the files of secrets read.

    The default also stands in for an empty variable. ``$${`` is a plain ``${``. Files are found relative to the folder
    of the document. Raises `ConfigError` for a variable that is not set or a file that cannot be read.
    """

    def filled(value: JSON, place: Place) -> JSON:
        if isinstance(value, str):
            return _REFERENCE.sub(lambda found: _value(found, document, place, environ), value)
        if isinstance(value, list):
            return [filled(item, (*place, index)) for index, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        inner = {key: filled(item, (*place, key)) for key, item in value.items()}
        if _holds_secret(place) and isinstance(file := inner.get("file"), str) and len(inner) == 1:
            try:
                return read_secret(Path(document.file).parent / file)
            except ConfigError as error:
                raise document.error(error.message, place) from None
        return inner

    content = {key: filled(value, (key,)) for key, value in document.content.items()}
    return Document(document.file, content, document.lines)


def _value(found: re.Match[str], document: Document, place: Place, environ: Mapping[str, str]) -> str:
    name, default = found[1], found[2]
    if found[0] == "$${":
        return "${"
    if name is None:
        raise document.error("holds `${` that is no variable; write ${NAME} or ${NAME:-default}, or $${ for itself", place)
    value = environ.get(name)
    if default is not None:
        return value or default
    if value is None:
        raise document.error(f"the environment variable {name} is not set", place)
    return value


def _holds_secret(place: Place) -> bool:
    match place:
        case ("backends" | "classifiers", _, "key") | ("backends" | "classifiers", _, "headers" | "query", _):
            return True
        case ("cache", "redis", "url" | "secret") | ("service", "store") | ("audit", "secret"):
            return True
        case _:
            return False


def read_secret(path: Path) -> str:
    """The content of the file at *path*, blanks and line ends around it stripped. Raises `ConfigError`."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"the secret's file cannot be read: {error.strerror}", file=str(path)) from None
    except UnicodeDecodeError:
        raise ConfigError("the secret's file is not UTF-8", file=str(path)) from None
