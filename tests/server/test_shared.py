"""What workers have in common is made from the settings."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from safety_proxy.server.shared import Shared, share
from safety_proxy.settings import load_settings

CONFIG = """
backends: {one: {url: 'http://127.0.0.1:9'}}
deployments:
  llama: {backend: one, limits: azure}
  small: {backend: one, limits: {tokens_per_minute: 7}}
  free: {backend: one}
"""


def shared(tmp_path: Path, workers: int) -> Shared:
    (tmp_path / "proxy.yaml").write_text(CONFIG)
    return share(load_settings(config=tmp_path / "proxy.yaml", flags={"workers": str(workers)}, environ={}))


def test_a_quota_is_made_where_limits_are_written_and_nowhere_else(tmp_path: Path) -> None:
    quotas = shared(tmp_path, 1).quotas
    assert {name: (quota.requests, quota.tokens) for name, quota in quotas.items()} == {
        "llama": (1_000, 400_000),
        "small": (None, 7),
    }


@pytest.mark.parametrize("workers", [1, 3])
def test_every_worker_has_a_row_and_a_lock_that_it_shares(tmp_path: Path, workers: int) -> None:
    made = shared(tmp_path, workers)
    assert len(made.ledger.rows) == workers
    alone = isinstance(made.quotas["llama"]._lock, type(threading.Lock()))
    assert alone is (workers == 1)
