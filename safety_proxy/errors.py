"""The errors of the package. Each answers "whose fault is it, and what is to be done".

::

    SafetyProxyError
    ├── ConfigError        the operator's: a policy, configuration file, flag or variable is wrong
    ├── RequestError       the client's: a request that cannot be moderated or answered
    ├── BackendError       the model server's: unreachable, slow, broken, or it refused the request
    ├── ClassifierError    a classifier's: no verdict was to be had
    └── StoreError         the store's: its blocklists can neither be read nor changed

Being filtered is a `safety_proxy.model.Decision`, never an exception. No message may contain text of a prompt or a
completion, a key, or an address of a backend: they end in logs and in answers to clients.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from safety_proxy.model import Category


class SafetyProxyError(Exception):
    """Base of all errors raised on purpose."""


class ConfigError(SafetyProxyError):
    """A policy, a configuration file, a flag or an environment variable is wrong.

    Printed as ``file:line: field: message``, leaving out what is not known.
    """

    def __init__(self, message: str, *, file: str | None = None, line: int | None = None, field: str | None = None) -> None:
        self.message, self.file, self.line, self.field = message, file, line, field
        place = file if line is None else f"{file}:{line}"
        super().__init__(": ".join(part for part in (place, field, message) if part))


class RequestError(SafetyProxyError):
    """The client sent something that cannot be served; *status* is the HTTP status (400-499, or 503 when we are full).

    *field* is the path of the offending field (``messages[0].content``) and *code* a word for programs. *retry_after* is in
    seconds. *headers* go with the answer.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str | None = None,
        field: str | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.code, self.field, self.retry_after = message, status, code, field, retry_after
        self.headers = dict(headers or {})


class BackendError(SafetyProxyError):
    """The model server failed or refused.

    *status* is what the client gets: the backend's own 4xx or 5xx, else 502 (broken or unreachable) or 504 (too slow).
    *retry_after* is the backend's ``Retry-After`` in seconds. *code*, *error_type* and *param* are the backend's own
    ``error.code``, ``error.type`` and ``error.param`` where it refused the request and they have the shape of a word.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 502,
        code: str = "backend_error",
        retry_after: int | None = None,
        error_type: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.code, self.retry_after = message, status, code, retry_after
        self.error_type, self.param = error_type, param


class ClassifierError(SafetyProxyError):
    """No verdict was to be had. What that means for the text is the policy's business (``on_error``).

    *reason* is a short code for annotations, logs and metrics:

    - ``timeout``: no answer in time; ``unreachable``: no connection, or one that broke
    - ``rate_limited``: the service, or our own limit for it, does not take more calls now
    - ``overloaded``: our places for calls were taken until it was too late
    - ``circuit_open``: the service failed several times in a row and was not asked
    - ``unauthorized``: it does not take our key; ``server_error``: it failed; ``rejected``: it refused the text
    - ``invalid_answer``: what it said cannot be understood; ``missing_category``: it left something out
    - ``blocklist_missing``: a stored blocklist does not exist; ``store_unavailable``: the lists were never to be had
    - ``internal``: a mistake of our own

    *categories* are those that stay undecided; None means all that the classifier reports.
    """

    def __init__(self, reason: str, message: str = "", *, categories: Collection[Category] | None = None) -> None:
        super().__init__(f"{reason}: {message}" if message else reason)
        self.reason = reason
        self.categories = None if categories is None else frozenset(categories)

    def leaves_open(self, category: Category) -> bool:
        """Whether *category* stays undecided because of this error."""
        return self.categories is None or category in self.categories


class StoreError(SafetyProxyError):
    """The store of blocklists cannot be reached, is too busy, or is broken. Nothing was changed, or nobody can tell.

    *reason* is a short code for answers and logs: ``unreachable``, ``timeout``, ``read_only``, ``full`` (its disk) or
    ``broken``. No message holds an address, a password, or the text of an item.
    """

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(f"{reason}: {message}" if message else reason)
        self.reason = reason
