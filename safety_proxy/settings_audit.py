"""The part of the configuration file about what is written down of every request."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from safety_proxy.model import JSON
from safety_proxy.policy_shape import Shape
from safety_proxy.settings_values import Secret

Content: TypeAlias = Literal["none", "hash", "redacted", "full"]
"""What of the texts stands in a line of the audit log."""

_SHORTEST_SECRET: Final = 16
"""Characters. Who guesses the secret can tell from the log whether somebody has sent a text that he knows."""


def _long(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < _SHORTEST_SECRET:
        raise ValueError(f"must have at least {_SHORTEST_SECRET} characters")
    return secret


def _audit(value: JSON) -> JSON:
    return None if value == "off" else value


class AuditShape(Shape):
    """The audit log: a line for each moderated request."""

    sink: Literal["jsonl"] = "jsonl"
    path: str = Field(default="audit.jsonl", min_length=1)
    content: Content = "hash"
    secret: Annotated[Secret, AfterValidator(_long)] | None = None
    """Of the hashes. None: they are plain SHA-256, which whoever has a text can compute."""


AuditSettings: TypeAlias = Annotated[AuditShape | None, BeforeValidator(_audit)]
"""None: nothing is written (`off` in the file, or nothing)."""


def found_beside(audit: AuditShape | None, folder: Path) -> AuditShape | None:
    """*audit* with its file, if it is a relative one, in *folder*."""
    return audit and audit.model_copy(update={"path": str(folder.resolve() / audit.path)})
