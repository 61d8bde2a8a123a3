"""What the worker processes of one machine have in common: made before they are forked, and inherited by all."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from safety_proxy.server.ledger import Ledger
from safety_proxy.server.quotas import Lock, Quota
from safety_proxy.settings import Settings


@dataclass(frozen=True, slots=True)
class Shared:
    """Memory that all workers see."""

    ledger: Ledger
    """With a row for each worker."""
    quotas: Mapping[str, Quota]
    """Of the deployments that have one, by name."""


def share(settings: Settings) -> Shared:
    """For ``settings.workers`` processes."""
    quotas = {
        name: Quota(
            _lock(settings.workers),
            requests=deployment.limits.requests_per_minute,
            tokens=deployment.limits.tokens_per_minute,
        )
        for name, deployment in settings.deployments.items()
        if deployment.limits is not None
    }
    return Shared(Ledger(settings.workers), quotas)


def _lock(workers: int) -> Lock:
    return threading.Lock() if workers == 1 else multiprocessing.get_context("fork").Lock()
