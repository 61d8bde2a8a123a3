"""Azure AI Content Safety: the blocklists of the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiohttp import web

ROUTES: Final[Sequence[web.RouteDef]] = ()
