"""The kinds of values in a configuration file: names, counts, times, sizes, addresses and secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from safety_proxy.documents import seconds
from safety_proxy.model import JSON

_UNITS: Final[Mapping[str, int]] = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_RESERVED: Final = re.compile(
    "accept|accept-encoding|connection|content-.*|cookie|expect|host|te|trailer|transfer-encoding|upgrade|x-request-id",
    re.IGNORECASE,
)
"""Headers of a request that are ours to write: those of its framing, of its form, and the request's id."""

KEY_HEADERS: Final = frozenset({"authorization", "api-key"})
"""Headers that carry a backend's key."""


def whole(value: JSON) -> JSON:
    """Digits count as a number: what comes from the environment is text."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}", value) else value


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


Name: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/@-]{0,127}$")]
Count: TypeAlias = Annotated[int, BeforeValidator(whole), Field(ge=1, le=1_000_000)]
Port: TypeAlias = Annotated[int, BeforeValidator(whole), Field(ge=0, le=65_535)]
Time: TypeAlias = Annotated[float, BeforeValidator(_seconds), Field(ge=0)]
Wait: TypeAlias = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]
Size: TypeAlias = Annotated[int, BeforeValidator(_size)]
URL: TypeAlias = Annotated[str, AfterValidator(check_url)]
Header: TypeAlias = Annotated[str, AfterValidator(_header)]
Secret: TypeAlias = Annotated[SecretStr, AfterValidator(check_secret)]
