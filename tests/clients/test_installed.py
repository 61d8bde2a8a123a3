"""No client is left out of the slow run because it is not installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.clients.conftest import OPTIONAL
from tests.clients.litellm_environment import MISSING, PYTHON

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("package", OPTIONAL.values())
def test_a_client_of_the_extra_is_installed(package: str) -> None:
    assert find_spec(package) is not None, f"{package} is missing: `make test-slow` installs the extra `clients`"


def test_litellm_is_installed_apart() -> None:
    assert PYTHON.exists(), MISSING
