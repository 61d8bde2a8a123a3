"""What is set by flags of ``serve`` and by environment variables, and which of them counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final

from safety_proxy.errors import ConfigError

PREFIX: Final = "SAFETY_PROXY_"

OPTIONS: Final[Mapping[str, str]] = {
    "config": "the configuration file",
    "backend": "URL of the model server",
    "backend_key": "its key (variable only: other users of the machine can read flags)",
    "backend_key_file": "a file that holds its key",
    "policy": "name or file of the policy",
    "filter_only": "serve the filtering service alone, without a model server",
    "host": "address to listen on",
    "port": "port to listen on",
    "workers": "number of processes",
    "log_level": "debug, info, warning, error or critical",
    "log_format": "json, pretty, or auto: pretty on a terminal",
}
"""Everything that a flag or a variable can set: ``backend_key_file`` is ``--backend-key-file`` and
``SAFETY_PROXY_BACKEND_KEY_FILE``."""


@dataclass(frozen=True, slots=True)
class Given:
    """What somebody wrote, and where."""

    text: str = field(repr=False)
    origin: str
    """The flag or variable, as in ``--port`` or ``SAFETY_PROXY_PORT``."""

    def error(self, message: str) -> ConfigError:
        """The error to raise about this. *message* must not quote the text of a key."""
        return ConfigError(message, field=self.origin)

    def whole(self, least: int, most: int) -> int:
        """The text as a whole number. Raises `ConfigError`."""
        if not (self.text.isascii() and self.text.isdigit() and len(self.text) < 10 and least <= int(self.text) <= most):  # noqa: PLR2004 - more digits than any bound has
            raise self.error(f"must be a whole number from {least} to {most}")
        return int(self.text)

    def yes(self) -> bool:
        """Whether the text says yes. Raises `ConfigError` if it says neither yes nor no."""
        return self.one_of("true", "1", "yes", "false", "0", "no") in {"true", "1", "yes"}

    def one_of(self, *words: str) -> str:
        """The text, which is one of *words*. Raises `ConfigError`."""
        if self.text not in words:
            raise self.error(f"must be one of {', '.join(words)}")
        return self.text


def gather(flags: Mapping[str, object], environ: Mapping[str, str]) -> dict[str, Given]:
    """What is given, by name of the option: by a flag, else by a variable. None and empty variables are not given."""
    given = {}
    for name in OPTIONS:
        flag, variable = flags.get(name), PREFIX + name.upper()
        if flag is not None:
            given[name] = Given(str(flag), f"--{name.replace('_', '-')}")
        elif environ.get(variable):
            given[name] = Given(environ[variable], variable)
    return given


def unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    """A warning for each variable that looks like ours and is not."""
    known = [PREFIX + name.upper() for name in OPTIONS]
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            near = get_close_matches(name, known, 1)
            yield f"{name}: no such variable" + (f"; did you mean {near[0]}?" if near else "")
