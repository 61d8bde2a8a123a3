"""Azure AI Content Safety: texts, images, prompts and documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiohttp import web

ROUTES: Final[Sequence[web.RouteDef]] = ()
