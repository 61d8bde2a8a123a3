"""The part of the configuration file about the standalone filtering service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, SecretStr

from safety_proxy.policy_shape import Shape
from safety_proxy.store.sql_urls import check_store_url

STORE: Final = "sqlite:///filter.db"
"""Where blocklists are kept unless something else is written."""
_FILE: Final = "sqlite:///"


def _store(url: SecretStr) -> SecretStr:
    return SecretStr(check_store_url(url.get_secret_value()))


StoreURL: TypeAlias = Annotated[SecretStr, AfterValidator(_store)]
"""A secret, since it may hold a password."""


class ServiceShape(Shape):
    """The standalone filtering service."""

    policy: str | None = None
    """Whose classifiers and rules it judges by. None: those of the default deployment, or of `default`."""
    store: StoreURL = SecretStr(STORE)
    """Where blocklists are kept."""


def found_from(store: SecretStr, folder: Path) -> SecretStr:
    """*store* with its file, if it is a relative one, in *folder*."""
    url = store.get_secret_value()
    path = url.removeprefix(_FILE)
    if not url.startswith(_FILE) or not path or path.startswith("/"):
        return store
    return SecretStr(f"{_FILE}{folder.resolve() / path}")
