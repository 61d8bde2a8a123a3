"""What several commands have in common: names of policies, and files of reports."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import click
import pytest

from safety_proxy.cli_common import command_line, find_policy, load_policy, now, report_file, report_of
from safety_proxy.errors import ConfigError
from safety_proxy.policy_file import shipped


def test_a_policy_is_a_shipped_one_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("version: 1\nname: mine\n")
    Path("folder").mkdir()

    assert find_policy("strict") == shipped()["strict"]
    assert load_policy("./mine.yaml").name == load_policy("mine.yaml").name == "mine"
    assert find_policy("folder") == Path("folder")
    with pytest.raises(ConfigError, match="strikt: no such file, folder or shipped policy; did you mean `strict`"):
        find_policy("strikt")


@pytest.mark.parametrize(
    ("written", "told"), [("json", ("json", "-")), ("html=a.html", ("html", "a.html")), ("json=-", ("json", "-"))]
)
def test_a_report_has_a_format_and_goes_to_a_file_or_to_standard_output(written: str, told: tuple[str, str]) -> None:
    assert report_of(written, ("html", "json")) == told


@pytest.mark.parametrize("written", ["pdf", "", "json=", "=a"])
def test_any_other_report_is_refused(written: str) -> None:
    with pytest.raises(click.UsageError, match="must be one of html, json, and may go to a file: html=FILE"):
        report_of(written, ("html", "json"))


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "report"
    file.write_text("what was there")
    with pytest.raises(ZeroDivisionError), report_file(str(file)) as out:
        out.write(f"half of it {1 // 0}")
    assert file.read_text() == "what was there"
    assert list(tmp_path.iterdir()) == [file]
    with report_file(str(file)) as out:
        out.write("all of it")
    assert file.read_text() == "all of it"
    with (
        pytest.raises(ConfigError, match="cannot be written: No such file or directory"),
        report_file(str(tmp_path / "no" / "x")),
    ):
        pass


def test_reports_tell_when_and_how_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/safety-proxy", "policy", "test", "a b"])

    assert command_line() == "safety-proxy policy test 'a b'"
    assert datetime.fromisoformat(now()).utcoffset() == timedelta(0)
