"""The proxy's fixtures, for tests with real clients."""

from tests.server.conftest import _backend, _http, _serve

__all__ = ["_backend", "_http", "_serve"]
