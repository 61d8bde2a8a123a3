"""The frame of the project: what is built, shipped and documented fits together."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from ruamel.yaml import YAML

import safety_proxy
from safety_proxy.settings import load_settings

ROOT: Final = Path(__file__).parents[1]
BUILT: Final = {"__pycache__", "build", "dist", "htmlcov", "node_modules"}
DOCUMENTS: Final = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
        *(ROOT / "policies").rglob("*.md"),
    ]
)
COMPOSE: Final = ROOT / "docker-compose.yml"
SERVICES: Final = YAML(typ="safe").load(COMPOSE.read_text())["services"]

MACHINE_PATH: Final = re.compile(r"(?<![\w.])/(?:work|tmp|root|home)/")
PLACES: Final = re.compile(r"`((?:safety_proxy|tests|policies|docs|examples|benchmarks|\.ci)/[\w./{},*-]*)`")
LINKS: Final = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
COMMANDS: Final = re.compile(r"\bmake ((?:[A-Z_]+=\S+ )*)([a-z][a-z-]*)\b(?=[^\n`]*`|\s*$|\s+#)", re.MULTILINE)


def files() -> Iterator[Path]:
    """Every file that belongs to the project."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [
            name for name in folders if name not in BUILT and (not name.startswith(".") or name in {".ci", ".github"})
        ]
        yield from (Path(folder, name) for name in names if not name.startswith(".coverage"))


def identify(path: Path) -> str:
    return str(path.relative_to(ROOT))


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def project() -> dict[str, str]:
    table: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


# ------------------------------------------------------------------------------------------------------------- containers


def test_the_compose_file_follows_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own file
    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_runs_with_as_few_rights_as_it_can(name: str) -> None:
    service = SERVICES[name]
    assert int(service["user"].partition(":")[0]) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_has_a_healthcheck(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_what_asks_for_no_key_is_published_on_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_files_that_are_mounted_exist_and_cannot_be_written() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source, _, mode = volume.split(":")
            assert (ROOT / source).is_file()
            assert mode == "ro"


def test_the_image_does_not_run_as_root_and_tells_whether_it_is_well() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    last_stage = lines[max(i for i, line in enumerate(lines) if line.startswith("FROM ")) :]
    users = [line.removeprefix("USER ") for line in last_stage if line.startswith("USER ")]
    assert users
    assert int(users[-1].partition(":")[0]) > 0
    assert any(line.startswith("HEALTHCHECK ") for line in last_stage)
    assert 'ENTRYPOINT ["safety-proxy"]' in last_stage


def test_the_image_is_built_from_all_that_the_wheel_needs() -> None:
    """.dockerignore lets nothing in that it does not name."""
    named = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert named == {"LICENSE", "README.md", "policies", "pyproject.toml", "safety_proxy"}
    assert all((ROOT / name).exists() for name in named)


def test_the_sidecar_example_is_a_valid_configuration_for_the_compose_file() -> None:
    settings = load_settings(config=ROOT / "examples/sidecar/proxy.yaml", flags={}, environ={})
    assert settings.listen.host == "0.0.0.0"
    (port,) = SERVICES["proxy"]["ports"]
    assert str(settings.listen.port) == port.rpartition(":")[2]
    (backend,) = settings.backends.values()
    command = SERVICES["backend"]["command"]
    assert backend.url == f"http://backend:{command[command.index('--port') + 1]}/v1"


# ------------------------------------------------------------------------------------------------------------- commands


def test_ci_runs_without_being_asked_how() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["/bin/bash", "-n", str(script)], check=True)  # noqa: S603 - our own script
    assert "set -euo pipefail" in script.read_text()


def test_ci_calls_only_targets_that_exist() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    called = {target for line in re.findall(r"^make ([a-z -]+)", script, re.MULTILINE) for target in line.split()}
    assert called <= targets()
    assert {"test", "test-slow", "lint", "types"} <= called
    assert re.search("^make test PYTEST_ARGS=.*--cov .*\n.*coverage. report", script, re.MULTILINE)


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_documentation_names_only_targets_of_the_makefile(document: str) -> None:
    named = {target for _, target in COMMANDS.findall((ROOT / document).read_text())}
    assert named
    assert named <= targets()


# ------------------------------------------------------------------------------------------------------------- documents


def test_the_license_is_apache_2() -> None:
    assert project()["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text()
    assert re.search(r"Apache License\s+Version 2\.0, January 2004", text)
    assert "END OF TERMS AND CONDITIONS" in text


def test_package_project_and_changelog_agree_on_the_version() -> None:
    versions = re.findall(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert safety_proxy.__version__ == project()["version"] == versions[0]


@pytest.mark.parametrize("document", DOCUMENTS, ids=identify)
def test_documentation_links_lead_somewhere(document: Path) -> None:
    links = [link for link in LINKS.findall(document.read_text()) if not re.match(r"[a-z]+:", link)]
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=identify)
def test_documentation_names_only_files_that_exist(document: Path) -> None:
    """Names in code spans that begin with a folder of the tree; ``{a,b}`` and ``*`` as in a shell."""
    missing = [
        name
        for place in PLACES.findall(document.read_text())
        for name in alternatives(place)
        if not any(ROOT.glob(name.rstrip("/")))
    ]
    assert missing == []


def alternatives(place: str) -> list[str]:
    head, brace, rest = place.partition("{")
    if not brace:
        return [place]
    inside, _, tail = rest.partition("}")
    return [name for word in inside.split(",") for name in alternatives(f"{head}{word}{tail}")]


def test_the_report_that_security_md_suggests_runs() -> None:
    """Its last line asserts what the law promises."""
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "SECURITY.md").read_text(), re.MULTILINE | re.DOTALL)
    exec(code, {})  # noqa: S102 - our own example


def test_every_decision_is_in_the_index() -> None:
    """docs/adr/README.md lists every decision record, by its title, in order."""
    folder = ROOT / "docs" / "adr"
    records = sorted(folder.glob("[0-9]*.md"))
    titles = [record.read_text().partition("\n")[0].removeprefix("# ") for record in records]
    listed = re.findall(r"^\| \[(\d{4})\]\(([^)]+)\) \| ([^|]+) \|", (folder / "README.md").read_text(), re.MULTILINE)
    assert [(name, f"{number}: {title.strip()}") for number, name, title in listed] == [
        (record.name, title) for record, title in zip(records, titles, strict=True)
    ]


def test_the_tree_names_no_path_of_one_machine() -> None:
    naming = []
    for file in files():
        content = file.read_bytes()
        if b"\0" not in content and MACHINE_PATH.search(content.decode("utf-8", "replace")):
            naming.append(identify(file))
    assert naming == []
