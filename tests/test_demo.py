"""Claims about `safety-proxy demo`."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner

from safety_proxy import demo, demo_backend, policy_file
from safety_proxy.cli import main
from safety_proxy.demo import CONFIGURATION, invitation, staged
from safety_proxy.demo_backend import OFFENCE, SCRIPT
from safety_proxy.jsontext import parse
from safety_proxy.logs import configure_logging, reset_logging

ROOT = Path(__file__).parents[1]
DEMO = [sys.executable, "-m", "safety_proxy", "demo"]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script speaks faster than a model, but still word by word."""
    monkeypatch.setattr(demo_backend, "_PAUSE", 0.002)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    configure_logging(pretty=False, level="error")
    yield
    reset_logging()


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with staged("127.0.0.1", 0) as url:
        yield url


async def test_every_line_to_paste_for_a_shell_gets_the_answer_it_is_there_for(url: str) -> None:
    lines = re.findall(r"^curl .*\\\n.*", invitation(url), re.MULTILINE)
    answers = []
    async with aiohttp.ClientSession() as session:
        for line in lines:
            _, _, address, _, header, _, body = shlex.split(line.replace("\\\n", " "))
            name, value = header.split(": ")
            async with session.post(address, data=body, headers={name: value}) as response:
                answers.append(
                    (response.status, response.content_type, re.findall(r'finish_reason":"(\w+)', await response.text()))
                )
    stream, whole = "text/event-stream", "application/json"
    assert answers == [
        (200, stream, ["stop"]),
        (200, whole, ["stop"]),
        (400, whole, []),
        (200, stream, ["content_filter"]),
        (200, stream, ["content_filter_error"]),
    ]


async def test_a_stream_and_a_whole_answer_say_the_same(url: str) -> None:
    body = {"model": "demo-model", "messages": [{"role": "user", "content": "moon"}]}
    async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/chat/completions", json=body) as response:
        answer = parse(await response.read())
    assert isinstance(answer, dict)
    assert SCRIPT["moon"] in str(answer["choices"])


async def test_the_lines_to_paste_for_python_run_with_openais_client(url: str) -> None:
    program = invitation(url).partition("# The same with OpenAI's client")[2].partition("\n")[2]
    python = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    told, errors = await python.communicate()
    assert (python.returncode, errors) == (0, b"")
    assert told.decode().startswith("The rain had stopped")
    assert told.decode().endswith("\nfinish_reason: content_filter\n")
    assert OFFENCE.split(" ", 1)[0] not in told.decode()


async def test_it_waits_for_a_signal_once_it_has_said_what_to_paste(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    invited = asyncio.Event()

    def invite(url: str) -> str:
        invited.set()
        return f"use {url}"

    monkeypatch.setattr(demo, "invitation", invite)
    async with asyncio.TaskGroup() as group:
        demonstration = group.create_task(demo.demonstrate("127.0.0.1", 0, once=False))
        await invited.wait()
        assert not demonstration.done()
        os.kill(os.getpid(), signal.SIGTERM)
    assert demonstration.result() is True
    assert re.fullmatch(r"use http://127\.0\.0\.1:\d+\n\nstopped\n", capsys.readouterr().out)


async def test_all_that_the_tour_expects_comes_true(capsys: pytest.CaptureFixture[str]) -> None:
    assert await demo.demonstrate("127.0.0.1", 0, once=True) is True
    told = capsys.readouterr()
    assert "All as expected." in told.out
    assert "FAILED" not in told.out
    assert told.err == ""


async def test_the_usual_port_is_left_for_a_free_one_if_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(demo, "DEFAULT_PORT", taken.getsockname()[1])
        async with staged("127.0.0.1", None) as url, aiohttp.ClientSession() as session:
            assert not url.endswith(f":{demo.DEFAULT_PORT}")
            async with session.get(f"{url}/healthz") as response:
                assert response.status == 200


async def test_a_port_that_was_asked_for_is_not_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        async with staged("127.0.0.1", taken.getsockname()[1]):
            pass


async def test_the_usual_port_is_not_left_for_another_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "DEFAULT_PORT", 0)
    with pytest.raises(OSError, match="assign"):
        async with staged("192.0.2.1", None):  # an address for documentation, of no machine (RFC 5737)
            pass


def test_its_policies_pass_the_same_inspection_as_anybodys() -> None:
    outcome = CliRunner().invoke(main, ["policy", "check", "--config", str(CONFIGURATION)])
    assert outcome.exit_code == 0, outcome.output
    assert re.match(r"ok   demo-unjudged@[0-9a-f]{12}  ", outcome.stdout)
    assert "default" in policy_file.shipped()


# --------------------------------------------------------------------------------------------------------------- process


def test_once_is_a_tour_of_four_requests_that_ends_well_within_15_seconds() -> None:
    outcome = subprocess.run(  # noqa: S603 - our own program
        [*DEMO, "--once"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=15
    )
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert re.findall(r"^(\d)\. ", outcome.stdout, re.MULTILINE) == ["1", "2", "3", "4"]
    assert re.findall(r"finish_reason (\w+)", outcome.stdout) == ["stop", "content_filter", "content_filter_error"]
    assert "HTTP 400, code content_filter\n" in outcome.stdout
    assert outcome.stdout.rstrip().splitlines()[-1].startswith("All as expected.")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_runs_until_it_is_told_to_stop_and_ends_well(number: signal.Signals) -> None:
    with subprocess.Popen(  # noqa: S603 - our own program
        [*DEMO, "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("The proxy listens on http://127.0.0.1:")
        while not process.stdout.readline().startswith("print("):
            pass
        process.send_signal(number)
        told, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert told.endswith("\nstopped\n")
