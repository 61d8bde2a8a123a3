"""What a verdict is kept by: an HMAC over everything that it may depend on, and over whose text it is.

Who does not know the secret cannot tell from a key which text it stands for, nor try texts until one fits. Texts, identities
and tenants stand one after the other, each behind its length, so that no two queries make the same sequence of bytes.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from itertools import chain
from typing import Final

from safety_proxy.model import Query

LENGTH: Final = 32
"""Bytes of a key."""
_FORMAT: Final = b"verdict 1"
"""Changes with the fields and their order: machines of different versions that share a store find nothing of each other."""
_EDGES: Final = {(False, False): b"--", (True, False): b"<-", (False, True): b"->", (True, True): b"<>"}


def key_of(query: Query, identity: str, *, secret: bytes, shared: bool) -> bytes:
    """The key (HMAC-SHA256, `LENGTH` bytes) of the verdict of the classifier of this *identity* on *query*.

    It is the tenant's own unless verdicts are *shared*. Two queries that differ in anything have different keys. Never
    raises: lone surrogates are encoded as they are.
    """
    fields = list(_fields(query, identity, shared=shared))
    message = b"".join(chain.from_iterable((len(field).to_bytes(8), field) for field in fields))
    return hmac.digest(secret, message, "sha256")


def _fields(query: Query, identity: str, *, shared: bool) -> Iterator[bytes]:
    yield _FORMAT
    # Tells all tenants from the one without a name.
    yield b"*" if shared else b"=" + _bytes(query.tenant)
    yield _bytes(identity)
    yield _bytes(query.kind.value)
    yield _EDGES[query.open_left, query.open_right]
    yield _bytes(query.text)
    yield len(query.conversation).to_bytes(8)
    for turn in query.conversation:
        yield _bytes(turn.role)
        yield _bytes(turn.text)
    for image in query.images:
        yield _bytes(image.media_type)
        yield image.data


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
