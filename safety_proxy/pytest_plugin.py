"""The pytest plugin: case files are tests, and a fixture judges by a policy. It does nothing unless it is asked to.

``pytest --safety-policy policies/shop.yaml`` runs every ``*.cases.yaml`` and ``*.cases.jsonl`` that it comes across, and
the files and folders of ``--safety-cases``. docs/testing.md tells the rest.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

# Every run of pytest where the package is installed imports this module; what it is about is imported when it is used.
if TYPE_CHECKING:
    from safety_proxy.harness.cases import Case
    from safety_proxy.harness.suite import PolicyUnderTest, Suite
    from safety_proxy.policy import Policy

_FOUND: Final = (".cases.yaml", ".cases.yml", ".cases.jsonl")
"""How files are called that hold cases wherever they are."""
_GIVEN: Final = frozenset({".yaml", ".yml", ".jsonl"})
_SUITE: Final = pytest.StashKey["Suite"]()
_MARKERS: Final = pytest.StashKey[set[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options."""
    group = parser.getgroup("safety_proxy", "policies of safety-proxy under test")
    group.addoption(
        "--safety-policy",
        metavar="POLICY",
        action="append",
        default=[],
        help="run cases under this policy: a file, or the name of a shipped one; may be given several times",
    )
    group.addoption(
        "--safety-cases",
        metavar="PATH",
        action="append",
        default=[],
        help="a file of cases, or a folder of them, beside the *.cases.yaml and *.cases.jsonl that are found",
    )
    group.addoption("--safety-config", metavar="FILE", help="configuration file whose classifiers the policies may name")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse cases for which there is no policy."""
    if config.option.safety_cases and not config.option.safety_policy:
        raise pytest.UsageError("--safety-cases needs a --safety-policy")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let go of the classifiers."""
    suite = config.stash.get(_SUITE, None)
    if suite is not None:
        del config.stash[_SUITE]
        suite.close()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> CaseFile | None:
    """Files that are called so, and those that are named on the command line."""
    if not parent.config.option.safety_policy:
        return None
    named = parent.session.isinitpath(file_path) and file_path.suffix in _GIVEN
    if named or file_path.name.endswith(_FOUND):
        return CaseFile.from_parent(parent, path=file_path)
    return None


@pytest.hookimpl(tryfirst=True)  # before ``-k`` and ``-m`` choose
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the cases of ``--safety-cases`` that were not come across."""
    present = {item.path for item in items if isinstance(item, CaseItem)}
    for path in _given(config):
        if path not in present:
            present.add(path)
            file: CaseFile = CaseFile.from_parent(session, path=path)
            try:
                items.extend(file.collect())
            except file.CollectError as error:
                raise pytest.UsageError(str(error)) from None


@pytest.fixture(scope="session")
def safety_policy(pytestconfig: pytest.Config) -> Callable[[str | Path], PolicyUnderTest]:
    """Finds a policy: a file, from the root of the tests, or a shipped one by its name. Ask what it ``decides``."""
    from safety_proxy.harness.suite import PolicyUnderTest  # noqa: PLC0415 - see above

    def find(policy: str | Path) -> PolicyUnderTest:
        suite = _suite(pytestconfig)
        return PolicyUnderTest(suite, suite.policy(str(policy), pytestconfig.rootpath))

    return find


def _suite(config: pytest.Config) -> Suite:
    from safety_proxy.harness.suite import Suite  # noqa: PLC0415 - see above

    if _SUITE not in config.stash:
        written = config.option.safety_config
        config.stash[_SUITE] = Suite(_located(config, written) if written is not None else None, os.environ)
    return config.stash[_SUITE]


def _located(config: pytest.Config, path: str) -> Path:
    """Where an option leads: from where pytest was started, or else, for options in a file, from the root of the tests."""
    here = config.invocation_params.dir / path
    return here if here.exists() else config.rootpath / path


def _given(config: pytest.Config) -> Iterator[Path]:
    for written in config.option.safety_cases:
        path = Path(os.path.normpath(_located(config, written)))
        files = sorted(each for each in path.rglob("*") if each.suffix in _GIVEN) if path.is_dir() else [path]
        if not files:
            raise pytest.UsageError(f"--safety-cases: {written}: no *.yaml and no *.jsonl in this folder")
        yield from files


# ---------------------------------------------------------------------------------------------------------------- items


class CaseFile(pytest.File):
    """A file of cases."""

    def collect(self) -> Iterator[CaseItem]:
        """Each case, under each policy that it may be about."""
        from safety_proxy.errors import ConfigError  # noqa: PLC0415 - see above
        from safety_proxy.harness.cases import read_cases  # noqa: PLC0415 - see above

        suite, option = _suite(self.config), self.config.option
        folders = (self.config.invocation_params.dir, self.config.rootpath)
        try:
            policies = [suite.policy(name, *folders) for name in option.safety_policy]
            cases = list(read_cases(self.path))
        except ConfigError as error:
            raise self.CollectError(str(error)) from None
        taken: set[str] = set()
        for case in cases:
            for policy in policies:
                if case.policy in {None, policy.name}:
                    name = _unique(case, policy if len(policies) > 1 else None, taken)
                    yield CaseItem.from_parent(self, name=name, case=case, policy=policy)
        if not taken:
            names = ", ".join(policy.name for policy in policies)
            raise self.CollectError(f"{self.path}: no case is about a policy of --safety-policy ({names})")


def _unique(case: Case, policy: Policy | None, taken: set[str]) -> str:
    """A name that nothing else in the file has, on one line."""
    name = " ".join(case.name.split()).replace("::", ":")
    name += f" [{policy.name}]" if policy is not None else ""
    if name in taken:
        name += f" (line {_line(case)})"
    while name in taken:
        name += "'"
    taken.add(name)
    return name


def _line(case: Case) -> int:
    return int(case.place.rpartition(":")[2])


class CaseItem(pytest.Item):
    """A case under a policy."""

    def __init__(self, *, case: Case, policy: Policy, **given: object) -> None:
        super().__init__(**given)  # type: ignore[arg-type]  # pytest's own
        self._case, self._policy = case, policy
        for tag in sorted(case.tags):
            self.extra_keyword_matches.add(tag)
            if marker := re.sub(r"[^\w.-]", "_", tag).strip("_"):
                _register(self.config, marker)
                self.add_marker(marker)

    def runtest(self) -> None:
        """Judge it. Raises `CaseFailed`."""
        faults = _suite(self.config).run(self._policy, self._case).faults
        if faults:
            raise CaseFailed(faults)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:  # noqa: ARG002 - pytest's
        """What was not as expected, and where that stands. Nothing of ours in between helps anybody."""
        from safety_proxy.errors import ConfigError  # noqa: PLC0415 - see above

        match excinfo.value:
            case CaseFailed(faults=faults):
                head = f"{_near(self._case.place, self.config)}: {self.name}, by {self._policy.identity}"
                return "\n".join([head, *(f"  {fault}" for fault in faults)])
            case ConfigError():
                return str(excinfo.value)
            case _:
                return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where it stands."""
        return self.path, _line(self._case) - 1, self.name


def _register(config: pytest.Config, marker: str) -> None:
    """Make a marker of a tag known, as ``--strict-markers`` wants it."""
    known = config.stash.setdefault(_MARKERS, set())
    if marker not in known:
        known.add(marker)
        config.addinivalue_line("markers", f"{marker}: a tag of cases")


def _near(place: str, config: pytest.Config) -> str:
    return place.removeprefix(f"{config.invocation_params.dir}{os.sep}")


class CaseFailed(AssertionError):  # noqa: N818 - a test that fails is no error
    """Something was decided otherwise than a case expects."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults
