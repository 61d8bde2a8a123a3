"""Policies in somebody's suite of tests: loaded once, and judged by in one event loop for all tests.

The loop has a thread of its own, so tests may ask whether they run in a loop themselves or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import Any, Final, TypeVar

from safety_proxy import policy_file
from safety_proxy.classifiers.base import Classifier
from safety_proxy.documents import read
from safety_proxy.errors import ConfigError
from safety_proxy.harness.cases import Case, case_of
from safety_proxy.harness.classifiers import classifiers_for
from safety_proxy.harness.outcome import Outcome
from safety_proxy.harness.runner import Runner
from safety_proxy.model import JSON, JSONObject
from safety_proxy.policy import Policy

_Result = TypeVar("_Result")
_HERE: Final = "decides()"


class Suite:
    """Judges cases by policies. Close it."""

    def __init__(self, config: Path | None, environ: Mapping[str, str]) -> None:
        """*config* is the configuration file with the classifiers that policies may name; *environ* fills it in."""
        self._config, self._environ = config, environ
        self._policies: dict[str, Policy] = {}
        self._scripted: dict[str, Runner] = {}
        self._runners: dict[str, Runner] = {}
        self._classifiers: list[Classifier] = []
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="safety_proxy", daemon=True)
        self._thread.start()

    def policy(self, name: str, *folders: Path) -> Policy:
        """The shipped policy of this name, or the file, which the first of the *folders* has that has it.

        A path has a ``/`` or ends in ``.yaml``. Raises `ConfigError`.
        """
        shipped = policy_file.shipped()
        if "/" not in name and not name.endswith((".yaml", ".yml")):
            if name not in shipped:
                raise ConfigError(f"no policy is called so; shipped are: {', '.join(shipped)}", file=name)
            path = shipped[name]
        else:
            path = next((found for folder in folders if (found := folder / name).exists()), Path(name))
        if str(path) not in self._policies:
            self._policies[str(path)] = policy_file.load(read(path))
        return self._policies[str(path)]

    def run(self, policy: Policy, case: Case) -> Outcome:
        """What is decided on *case*. Raises `ConfigError` if it cannot be judged."""
        return self._in_loop(self._run(policy, case))

    def close(self) -> None:
        """Let go of the classifiers, and end the loop."""
        self._in_loop(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _run(self, policy: Policy, case: Case) -> Outcome:
        # Whoever brings verdicts along needs no classifier, nor what it costs to make one, such as the key of a service.
        if case.verdicts is not None:
            if policy.identity not in self._scripted:
                self._scripted[policy.identity] = Runner(policy, {})
            return await self._scripted[policy.identity].run(case)
        if policy.identity not in self._runners:
            made = classifiers_for([policy], self._config, self._environ)
            self._classifiers += made.values()
            self._runners[policy.identity] = Runner(policy, made)
        return await self._runners[policy.identity].run(case)

    async def _close(self) -> None:
        for classifier in self._classifiers:
            await classifier.close()
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()

    def _in_loop(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class PolicyUnderTest:
    """One policy, to be asked in a test."""

    def __init__(self, suite: Suite, policy: Policy) -> None:
        self._suite = suite
        self.policy = policy

    def decides(
        self,
        *,
        text: str | None = None,
        messages: Sequence[JSON] | None = None,
        prompt: JSON = None,
        completion: JSON = None,
        verdicts: Mapping[str, JSON] | None = None,
        **others: JSON,
    ) -> Outcome:
        """What is decided on a case with these keys: ``input`` and ``output`` of it, None where there is none.

        Its ``faults`` are empty unless the decision on a completion depends on how it is cut into a stream. Raises
        `ConfigError` for what cannot be judged.
        """
        given: dict[str, Any] = {
            "text": text,
            "messages": None if messages is None else [*messages],
            "prompt": prompt,
            "completion": completion,
            "verdicts": None if verdicts is None else {**verdicts},
        }
        content: JSONObject = {**{key: value for key, value in given.items() if value is not None}, **others}
        try:
            case = case_of(content, _HERE, 1, need_expectations=False)
            return self._suite.run(self.policy, case)
        except ConfigError as error:
            raise ConfigError(error.message, file=_HERE, field=error.field) from None
