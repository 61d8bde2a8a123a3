from __future__ import annotations

import sys

import pytest

from safety_proxy.errors import ConfigError
from safety_proxy.store.sql_urls import check_store_url, is_postgres, sqlite_path

POSTGRES = "postgresql://user:hidden@host:5432/lists"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("sqlite:///filter.db", "filter.db"),
        ("sqlite:////var/lib/filter 1%.db", "/var/lib/filter 1%.db"),
    ],
)
def test_sqlite_is_in_memory_or_in_a_file(url: str, path: str | None) -> None:
    assert sqlite_path(check_store_url(url)) == path
    assert not is_postgres(check_store_url(url))


@pytest.mark.parametrize(
    "url",
    [
        POSTGRES,
        "postgresql://host/lists",
        "postgresql://user:a%2Fb@[::1]:5432/lists?sslmode=verify-full&sslrootcert=/ca.pem",
        "postgresql:///lists?host=/run/postgresql",
    ],
)
def test_a_url_of_a_postgres_is_left_as_it_is(url: str) -> None:
    assert check_store_url(url) == url
    assert is_postgres(url)
    assert sqlite_path(url) is None


def test_the_short_scheme_means_the_same() -> None:
    assert check_store_url(POSTGRES.replace("postgresql", "postgres")) == POSTGRES


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "no URL of a store"),
        ("mysql://u:hidden@h/d", "no URL of a store"),
        ("hidden", "no URL of a store"),
        ("sqlite://hidden.db", "three slashes"),
        ("sqlite:///", "no file"),
        ("sqlite:////", "no file"),
        ("sqlite:///hidden/", "no file"),
        ("sqlite:///hidden.db?mode=ro", "no parameters"),
        ("postgresql://u:hidden@h", "no database"),
        ("postgresql://u:hidden@h/", "no database"),
        ("postgresql://u:hidden@/d", "no host"),
        ("postgresql://u:hidden@h:port/d", "no URL of a PostgreSQL"),
        ("postgresql://u:hidden@h:0/d", "no URL of a PostgreSQL"),
        ("postgresql://u:p/hidden@h/d", "no URL of a PostgreSQL"),
        ("postgresql://u:p#hidden@h/d", "no URL of a PostgreSQL"),
        ("postgresql://u:p@h/d#", "no URL of a PostgreSQL"),
        ("postgresql://u:p@[h/d", "no URL of a PostgreSQL"),
        ("postgresql://u:p@h/d?hidden", "no URL of a PostgreSQL"),
        ("postgresql://u:p@h/d?hidden=1", "unknown parameter; known are application_name"),
        ("postgresql://u:p@h/d?sslmode=hidden", "unknown sslmode; known are disable"),
    ],
)
def test_a_url_that_makes_no_sense_is_refused_without_being_quoted(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        check_store_url(url)
    assert "hidden" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigError, match=r"pip install 'safety-proxy\[postgres\]'"):
        is_postgres(POSTGRES)
