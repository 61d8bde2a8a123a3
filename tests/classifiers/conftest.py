"""Fixtures for the tests of classifiers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.classifiers.azure_emulator import AzureEmulator


@pytest.fixture
async def azure() -> AsyncIterator[AzureEmulator]:
    """A Content Safety resource on loopback."""
    emulator = AzureEmulator()
    await emulator.start()
    yield emulator
    await emulator.stop()
