"""The routes that are moderated."""

from __future__ import annotations

from safety_proxy.dialects import DIALECTS


def test_every_moderated_route_has_the_dialect_of_its_name() -> None:
    assert {path: dialect.name for path, dialect in DIALECTS.items()} == {
        "/v1/chat/completions": "chat_completions",
        "/chat/completions": "chat_completions",
        "/v1/completions": "completions",
        "/completions": "completions",
    } | {path: dialect.name for path, dialect in DIALECTS.items() if path.startswith("/openai/")}


def test_backends_are_asked_at_the_dialects_own_path() -> None:
    assert all(path.endswith(dialect.path) for path, dialect in DIALECTS.items())
