"""The borders that docs/architecture.md draws are enforced, and the enforcement itself works."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "safety_proxy"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TOOLS = Path(sys.executable).parent

LONGEST = 400
"""Lines of a source file: above 300 it should be taken apart, above 400 it must be."""

OWN_TASKS: Final = {
    "classifiers/remote.py",  # two requests race, and the error of one must not cancel the other as a group's would
    "store/sql.py",  # opening a database, which is not given up with whoever asked for it first
    "server/shadow.py",  # judges by policies on trial, after the requests that it judges are over
    "server/exchange.py",  # a call to the backend, begun before it is known whether anybody may see its answer
}
"""Where a task has an owner that ends it and waits for its end, in place of a group. (`classifiers/flights.py` has one that
outlives who began it, as long as others wait for it.)"""
TESTED_ELSEWHERE: Mapping[str, str] = {
    "__init__.py": "packages hold no logic of their own; the table of dialects is tested through the routes",
    "events.py": "declarations only; what they mean is tested with the filter that speaks in them",
    "__main__.py": "one line, run by the tests of the command line",
}
"""Source files without a test file of their name, each with the reason."""

IMPORTING = r"""
import importlib, os, pkgutil, sys

package, faults = sys.argv[1], []
sys.dont_write_bytecode = True

class Watched(dict):
    def __getitem__(self, name):
        note_reader(name)
        return super().__getitem__(name)

    def __contains__(self, name):
        note_reader(name)
        return super().__contains__(name)

    def get(self, name, default=None):
        note_reader(name)
        return super().get(name, default)

def note_reader(name):
    frame = sys._getframe(2)
    while frame.f_code.co_filename in {os.__file__, "<frozen os>"}:
        frame = frame.f_back
    if frame.f_code.co_filename.startswith(package):
        faults.append(f"{frame.f_code.co_filename} reads ${name}")

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
TOUCHING = {"socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.mkdir", "os.remove", "os.rename"}

def audit(event, arguments):
    if event in TOUCHING or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING):
        faults.append(f"{event} {arguments}")

os.environ = Watched(os.environ)
sys.addaudithook(audit)
import safety_proxy
names = sys.argv[2:] or [module.name for module in pkgutil.walk_packages(safety_proxy.__path__, "safety_proxy.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print("\n".join(faults))
"""


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=50)  # noqa: S603 - our own tools


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    return run(TOOLS / "lint-imports", "--no-logo", "--no-cache", cwd=tree)


def banned_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    return run(TOOLS / "ruff", "check", "--no-cache", "--select", "TID251", "safety_proxy", cwd=tree)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the package, with its configuration, to break."""
    shutil.copytree(PACKAGE, tmp_path / "safety_proxy")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def prepend(line: str, file: Path) -> None:
    first, future, rest = file.read_text().partition("from __future__ import annotations\n")
    file.write_text(f"{first}{future}\n{line}\n{rest}")


def names_used(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def test_imports_point_inwards_and_the_core_is_pure() -> None:
    outcome = lint_imports(ROOT)
    assert outcome.returncode == 0, outcome.stdout
    assert "2 kept, 0 broken" in outcome.stdout


def test_no_module_of_the_core_imports_what_is_banned() -> None:
    outcome = banned_imports(ROOT)
    assert outcome.returncode == 0, outcome.stdout


def test_a_core_that_imports_the_outside_world_is_refused_twice(tree: Path) -> None:
    banned = ("asyncio", "time", "logging", "aiohttp", "structlog")
    for module in banned:
        prepend(f"import {module}", tree / "safety_proxy" / "stream.py")
    layers = lint_imports(tree)
    assert layers.returncode == 1
    assert [module for module in banned if f"safety_proxy.stream -> {module}" not in layers.stdout] == []
    lint = banned_imports(tree)
    assert lint.returncode == 1
    assert [module for module in banned if f"`{module}` is banned" not in lint.stdout] == []


def test_an_import_that_points_outwards_is_refused(tree: Path) -> None:
    outwards = {"model": "errors", "events": "stream", "stream": "dialects", "relay": "engine", "moderation": "server"}
    for inner, outer in outwards.items():
        prepend(f"import safety_proxy.{outer}", tree / "safety_proxy" / f"{inner}.py")
    outcome = lint_imports(tree)
    assert outcome.returncode == 1
    broken = [f"safety_proxy.{inner} -> safety_proxy.{outer}" for inner, outer in outwards.items()]
    assert [line for line in broken if line not in outcome.stdout] == []


def test_a_module_without_a_place_in_the_layers_is_refused(tree: Path) -> None:
    (tree / "safety_proxy" / "newcomer.py").touch()
    outcome = lint_imports(tree)
    assert outcome.returncode == 1
    assert "safety_proxy.newcomer" in outcome.stdout


def test_no_source_file_is_too_long_to_be_read() -> None:
    lengths = {source.relative_to(PACKAGE).as_posix(): len(source.read_text().splitlines()) for source in SOURCES}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_no_task_is_started_outside_a_task_group() -> None:
    """A task that nobody waits for outlives its request, and its exception is lost. Who starts one sees it end."""
    starters = {"asyncio.create_task", "asyncio.ensure_future", "asyncio.shield"}
    starting = {source.relative_to(PACKAGE).as_posix() for source in SOURCES if starters & set(names_used(source))}
    assert starting - OWN_TASKS == set()


def test_every_source_file_has_a_test_file_of_its_name() -> None:
    sources = Counter(f"test_{source.name}" for source in SOURCES if source.name not in TESTED_ELSEWHERE)
    tests = Counter(test.name for test in (ROOT / "tests").rglob("test_*.py"))
    for source in SOURCES:  # such as embedded/model.py, whose tests may be called test_embedded_model.py
        tests[f"test_{source.name}"] += tests.pop(f"test_{source.parent.name}_{source.name}", 0)
    assert sorted((sources - tests).elements()) == []


def faults_of_importing(tree: Path, *modules: str) -> str:
    """What is found when these modules are imported, or all."""
    outcome = run(sys.executable, "-W", "error", "-c", IMPORTING, f"{tree / 'safety_proxy'}/", *modules, cwd=tree)
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout.strip()


def test_importing_the_package_touches_nothing_outside() -> None:
    """No file is written, no socket used, no process started, and no variable of the environment read by our modules."""
    assert faults_of_importing(ROOT) == ""


def test_a_module_that_does_something_when_it_is_imported_is_found_out(tree: Path) -> None:
    """Each of several, of which every one does another thing."""
    told = {
        "events": ("import os; HOME = os.environ.get('HOME')", "events.py reads $HOME"),
        "edits": ("import os; HOME = os.getenv('HOME')", "edits.py reads $HOME"),
        "verdicts": ("open('trace', 'w').close()", "open ('trace', 'w'"),
        "windows": ("import socket; socket.getaddrinfo('localhost', 1)", "socket.getaddrinfo"),
    }
    for module, (line, _) in told.items():
        prepend(line, tree / "safety_proxy" / f"{module}.py")
    faults = faults_of_importing(tree, *(f"safety_proxy.{module}" for module in told))
    assert [fault for _, fault in told.values() if fault not in faults] == []
