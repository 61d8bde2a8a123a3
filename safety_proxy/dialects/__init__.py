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

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {
        "/v1/chat/completions": ChatCompletions(),
        "/chat/completions": ChatCompletions(),
        "/v1/completions": Completions(),
        "/completions": Completions(),
    }
)
"""The moderated routes, each with its dialect."""
