"""``/healthz``: the process lives. ``/readyz``: it can judge, and is not on its way out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog
from aiohttp import web

from safety_proxy.classifiers.base import Classifier
from safety_proxy.errors import ClassifierError
from safety_proxy.jsontext import write
from safety_proxy.model import JSON, Kind, Query

PAUSE: Final = 1.0
"""Default for the seconds between two attempts to get a first verdict from a classifier."""
_PROBE: Final = (Query("Is the classifier there?", Kind.USER_PROMPT),)

log = structlog.get_logger("safety_proxy.health")


class Readiness:
    """Which classifiers have answered once, and whether the server is draining."""

    def __init__(self, classifiers: Iterable[Classifier], *, pause: float = PAUSE) -> None:
        self._pause = pause
        self._waiting = {classifier.name: classifier for classifier in classifiers}
        self._answered: list[str] = []
        self.draining = False

    async def probe(self) -> None:
        """Ask each classifier until it has answered once."""
        async with asyncio.TaskGroup() as group:
            for classifier in list(self._waiting.values()):
                group.create_task(self._first_answer(classifier))

    async def _first_answer(self, classifier: Classifier) -> None:
        while True:
            try:
                await classifier.classify(_PROBE)
            except ClassifierError as error:
                log.warning("classifier.not_ready", classifier=classifier.name, reason=error.reason)
                await asyncio.sleep(self._pause)
            else:
                self._answered.append(classifier.name)
                del self._waiting[classifier.name]
                return

    @property
    def ready(self) -> bool:
        """Every classifier has answered, and no end is in sight."""
        return not self._waiting and not self.draining

    def report(self) -> JSON:
        """What ``/readyz`` shows: names and states, nothing else."""
        states: JSON = {**dict.fromkeys(self._answered, "answered"), **dict.fromkeys(self._waiting, "waiting")}
        return {"ready": self.ready, "draining": self.draining, "classifiers": states}


READINESS: Final = web.AppKey("readiness", Readiness)


async def healthz(_request: web.Request) -> web.Response:
    """200 as long as the event loop turns."""
    return web.Response(body=write({"status": "ok"}), content_type="application/json")


async def readyz(request: web.Request) -> web.Response:
    """200 when requests can be judged, else 503."""
    readiness = request.app[READINESS]
    return web.Response(
        status=200 if readiness.ready else 503, body=write(readiness.report()), content_type="application/json"
    )
