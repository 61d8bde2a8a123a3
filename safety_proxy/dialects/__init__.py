"""Wire formats: one file for each endpoint's.

``base`` is what they share; ``parameters`` has the rules for a request's parameters; ``prompt`` and ``reading`` tell which
strings are text; ``codec`` is a stream's half; ``annotations`` alone knows Azure's shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from safety_proxy.dialects.base import Dialect
from safety_proxy.dialects.chat_completions import ChatCompletions
from safety_proxy.dialects.completions import Completions
from safety_proxy.dialects.embeddings import Embeddings

_CHAT, _TEXT = ChatCompletions(), Completions()

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {
        "/v1/chat/completions": _CHAT,
        "/chat/completions": _CHAT,
        "/openai/v1/chat/completions": _CHAT,
        "/openai/deployments/{deployment}/chat/completions": _CHAT,
        "/v1/completions": _TEXT,
        "/completions": _TEXT,
        "/openai/v1/completions": _TEXT,
        "/openai/deployments/{deployment}/completions": _TEXT,
    }
)
"""The routes of completions, each with its dialect."""

EMBEDDINGS: Final[Mapping[str, Embeddings]] = MappingProxyType(
    dict.fromkeys(
        (
            "/v1/embeddings",
            "/embeddings",
            "/openai/v1/embeddings",
            "/openai/deployments/{deployment}/embeddings",
        ),
        Embeddings(),
    )
)
"""The routes of embeddings."""
