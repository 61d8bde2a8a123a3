"""Where blocklists are kept, as it is written in the configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from safety_proxy.settings_service import STORE, ServiceShape, found_from


def store(url: str) -> str:
    return ServiceShape(store=SecretStr(url)).store.get_secret_value()


def test_by_default_they_are_in_a_file_beside_the_configuration(tmp_path: Path) -> None:
    shape = ServiceShape()

    assert (shape.policy, shape.store.get_secret_value()) == (None, STORE)
    assert found_from(shape.store, tmp_path).get_secret_value() == f"sqlite:///{tmp_path}/filter.db"


@pytest.mark.parametrize("url", ["sqlite:////var/lib/filter.db", "sqlite://", "postgresql://user:secret@host/db"])
def test_what_is_absolute_is_the_same_from_everywhere(url: str, tmp_path: Path) -> None:
    assert found_from(SecretStr(store(url)), tmp_path).get_secret_value() == store(url)


@pytest.mark.parametrize("url", ["filter.db", "mysql://user:secret@host/db", "sqlite:///", ""])
def test_what_is_no_store_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        store(url)

    assert "secret" not in str(refused.value)
