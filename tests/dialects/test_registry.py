"""The routes that are moderated."""

from __future__ import annotations

import pytest

from safety_proxy.dialects import DIALECTS, EMBEDDINGS

PREFIXES = ["/v1", "", "/openai/v1", "/openai/deployments/{deployment}"]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_moderated_route_has_the_dialect_of_its_name(prefix: str) -> None:
    assert DIALECTS[f"{prefix}/chat/completions"].name == "chat_completions"
    assert DIALECTS[f"{prefix}/completions"].name == "completions"
    assert EMBEDDINGS[f"{prefix}/embeddings"].name == "embeddings"


def test_there_are_no_other_routes() -> None:
    assert len(DIALECTS) + len(EMBEDDINGS) == 3 * len(PREFIXES)


def test_backends_are_asked_at_the_dialects_own_path() -> None:
    assert all(path.endswith(dialect.path) for path, dialect in DIALECTS.items())
    assert all(path.endswith(endpoint.path) for path, endpoint in EMBEDDINGS.items())
