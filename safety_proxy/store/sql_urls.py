"""The URLs of databases, as operators write them. None of the messages quotes one: they hold passwords."""

from __future__ import annotations

from importlib import import_module
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from safety_proxy.errors import ConfigError

MEMORY: Final = "sqlite://"
"""A database of this process alone, which ends with it."""
FORMS: Final = (
    "sqlite:///relative/path, sqlite:////absolute/path, sqlite:// or postgresql://user:password@host:port/database"
)

_SQLITE: Final = "sqlite://"
_POSTGRES: Final = ("postgresql://", "postgres://")
_PARAMETERS: Final = frozenset({"sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "application_name", "host"})
"""What is passed on to the driver; it would send a misspelt one to the server, as a setting."""
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def check_store_url(url: str) -> str:
    """*url* in its one spelling: ``sqlite://``, ``sqlite:///PATH`` or ``postgresql://…``.

    Raises ValueError with a message that says what is wrong and quotes nothing.
    """
    if url.startswith(_SQLITE):
        return _checked_sqlite(url.removeprefix(_SQLITE))
    for scheme in _POSTGRES:
        if url.startswith(scheme):
            return _checked_postgres(_POSTGRES[0] + url.removeprefix(scheme))
    raise ValueError(f"is no URL of a store: {FORMS}")


def sqlite_path(url: str) -> str | None:
    """Path of the file of *url*, which `check_store_url` gave; None if it is in memory, or PostgreSQL's."""
    return url.removeprefix("sqlite:///") if url.startswith("sqlite:///") else None


def is_postgres(url: str) -> bool:
    """Whether *url* leads to a PostgreSQL. Raises `ConfigError` if it does and the driver is not installed."""
    if not url.startswith(_POSTGRES):
        return False
    try:
        import_module("asyncpg")  # an optional library
    except ImportError:
        raise ConfigError("needs a library: pip install 'safety-proxy[postgres]'", field="store") from None
    return True


def _checked_sqlite(rest: str) -> str:
    if rest in {"", "/:memory:"}:
        return MEMORY
    if not rest.startswith("/"):
        raise ValueError("a path follows three slashes (sqlite:///relative/path), an absolute one four")
    if rest in {"/", "//"} or rest.endswith("/"):
        raise ValueError("names no file")
    if "?" in rest or "\0" in rest:
        raise ValueError("sqlite takes no parameters")
    return f"{_SQLITE}{rest}"


def _checked_postgres(url: str) -> str:
    # Whatever is wrong with it: what was taken for a port, a host or a name may be a piece of the password.
    try:
        parts = urlsplit(url)
        port = parts.port
        given = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ValueError("is no URL of a PostgreSQL; in a password, /, ?, #, @ and : are written %2F and so on") from None
    if parts.fragment or "#" in url or port == 0:
        raise ValueError("is no URL of a PostgreSQL; in a password, /, ?, #, @ and : are written %2F and so on")
    if not parts.hostname and not given.get("host"):
        raise ValueError("names no host")
    if not unquote(parts.path).strip("/"):
        raise ValueError("names no database")
    if not given.keys() <= _PARAMETERS:
        raise ValueError(f"has an unknown parameter; known are {', '.join(sorted(_PARAMETERS))}")
    if given.get("sslmode", "prefer") not in _SSL_MODES:
        raise ValueError(f"has an unknown sslmode; known are {', '.join(_SSL_MODES)}")
    return url
