"""The shape of the configuration file: its keys, their defaults, their bounds; and what is filled in before they count.

The mappings below serve as settings once they are validated, so their fields hold seconds, bytes and secrets, not the
text of the file. What one part demands of another is `safety_proxy.settings`' business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, SecretStr, Tag, model_validator

from safety_proxy.documents import Document, seconds
from safety_proxy.errors import ConfigError
from safety_proxy.model import JSON
from safety_proxy.policy import Blocklist
from safety_proxy.policy_shape import ClassifierName, Shape
from safety_proxy.settings_usage import MetricsSettings, PriceSettings, QuotaSettings, whole
from safety_proxy.yaml import Place

# ---------------------------------------------------------------------------------------------------- kinds of values

_UNITS: Final[Mapping[str, int]] = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_RESERVED: Final = re.compile(
    "accept|accept-encoding|connection|content-.*|cookie|expect|host|te|trailer|transfer-encoding|upgrade|x-request-id",
    re.IGNORECASE,
)
"""Headers of a request that are ours to write: those of its framing, of its form, and the request's id."""

KEY_HEADERS: Final = frozenset({"authorization", "api-key"})
"""Headers that carry a backend's key."""


def _seconds(value: JSON) -> float:
    return seconds(value if isinstance(value, str) else "")


def _size(value: JSON) -> int:
    found = re.fullmatch(r"([0-9]{1,9})(B|KiB|MiB|GiB)", value if isinstance(value, str) else "")
    if found is None or int(found[1]) == 0:
        raise ValueError("must be a size such as 512KiB or 8MiB")
    return int(found[1]) * _UNITS[found[2]]


def check_url(url: str) -> str:
    """*url* as it is, if a server can be called there. Raises ValueError, which does not quote it, if not."""
    message = "must be a URL that begins with http:// or https:// and names a host"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ValueError(message) from None
    if not usable or not re.fullmatch(r"[!-~]+", url):
        raise ValueError(message)
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must be a URL without user, query and fragment (there are keys for those)")
    return url


def check_secret(secret: SecretStr) -> SecretStr:
    """*secret* as it is, if it can stand in a header. Raises ValueError, which does not quote it, if not."""
    if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", secret.get_secret_value()):
        raise ValueError("must be printable ASCII, not empty, without blanks at the ends")
    return secret


def _header(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", name):
        raise ValueError("is not a name of a header")
    if _RESERVED.fullmatch(name):
        raise ValueError("is a header that cannot be set")
    return name


def _policy(value: JSON) -> JSON:
    return None if value == "off" else value


Name: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/@-]{0,127}$")]
Count: TypeAlias = Annotated[int, BeforeValidator(whole), Field(ge=1, le=1_000_000)]
Port: TypeAlias = Annotated[int, BeforeValidator(whole), Field(ge=0, le=65_535)]
Time: TypeAlias = Annotated[float, BeforeValidator(_seconds), Field(ge=0)]
Wait: TypeAlias = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]
Size: TypeAlias = Annotated[int, BeforeValidator(_size)]
URL: TypeAlias = Annotated[str, AfterValidator(check_url)]
Secret: TypeAlias = Annotated[SecretStr, AfterValidator(check_secret)]

# ------------------------------------------------------------------------------------------------------------- shapes


class ListenSettings(Shape):
    """Where clients connect."""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: Port = 8080


class EmbeddedSettings(Shape):
    """The classifier that ships with the package."""

    type: Literal["embedded"]


class AzureSettings(Shape):
    """Azure AI Content Safety."""

    type: Literal["azure_content_safety"]
    endpoint: URL
    key: Secret
    timeout: Wait = 2.0
    concurrency: Count = 32


class TermList(Shape):
    """Terms and patterns (RE2 syntax) under one name."""

    name: str = Field(pattern=r"^[0-9A-Za-z._~-]{1,64}$")
    terms: list[str] = Field(default=[], max_length=10_000)
    patterns: list[str] = Field(default=[], max_length=1_000)

    @model_validator(mode="after")
    def _not_empty(self) -> TermList:
        if not self.terms and not self.patterns:
            raise ValueError("has neither terms nor patterns")
        return self


class BlocklistSettings(Shape):
    """Blocklists that several policies share."""

    type: Literal["blocklist"]
    lists: list[TermList] = Field(min_length=1)

    @property
    def blocklists(self) -> tuple[Blocklist, ...]:
        """The lists as the classifier takes them."""
        return tuple(Blocklist(each.name, tuple(each.terms), tuple(each.patterns)) for each in self.lists)


_TYPES: Final = ("embedded", "azure_content_safety", "blocklist")


def _typed(value: JSON) -> JSON:
    if isinstance(value, dict) and value.get("type") not in _TYPES:
        raise ValueError(f"must have a `type`, one of: {', '.join(_TYPES)}")
    return value


ClassifierSettings: TypeAlias = Annotated[
    Annotated[EmbeddedSettings, Tag("embedded")]
    | Annotated[AzureSettings, Tag("azure_content_safety")]
    | Annotated[BlocklistSettings, Tag("blocklist")],
    Discriminator(lambda value: value["type"] if isinstance(value, dict) else getattr(value, "type", "embedded")),
    BeforeValidator(_typed),
]


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
    headers: dict[Annotated[str, AfterValidator(_header)], Secret] = Field(default={})
    query: dict[str, Secret] = Field(default={})
    timeout: TimeoutSettings = TimeoutSettings()

    @model_validator(mode="after")
    def _one_key(self) -> BackendSettings:
        if self.key is not None and {name.lower() for name in self.headers} & KEY_HEADERS:
            raise ValueError("has a key and a header that carries one; write one of them")
        return self


class DeploymentSettings(Shape):
    """A model that clients name."""

    backend: Name
    model: str | None = Field(default=None, min_length=1)
    """Its name at the backend. None: the name that the client used."""
    policy: Annotated[str | None, BeforeValidator(_policy)] = "default"
    """None: the explicit opt-out (`off` in the file)."""
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
        case ("backends" | "classifiers", _, "key") | ("backends", _, "headers" | "query", _):
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
