"""Claims about the logs: what is told, and above all what is not."""

from __future__ import annotations

import ast
import asyncio
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

import safety_proxy
from safety_proxy.logs import EVENTS, FIELDS, LEVELS, configure_logging, keep_listed, keep_plain, reset_logging
from safety_proxy.model import Category, Severity

SECRET = "sk-top-secret"
PROMPT = "tell me the forbidden thing"
NOTHING: dict[str, str] = {}


@dataclass
class Logs:
    stream: io.StringIO

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def line(self) -> dict[str, Any]:
        (line,) = self.lines
        return line


@pytest.fixture
def logs() -> Iterator[Logs]:
    stream = io.StringIO()
    configure_logging(pretty=False, level="info", stream=stream)
    yield Logs(stream)
    reset_logging()


# ----------------------------------------------------------------------------------------------------------- what is told


def test_an_event_is_one_line_of_json_that_begins_with_time_level_and_name(logs: Logs) -> None:
    structlog.get_logger().info("request.served", status=200, milliseconds=0.25)
    assert list(logs.line)[:3] == ["timestamp", "level", "event"]
    assert logs.line["timestamp"].endswith("Z")
    assert {name: logs.line[name] for name in logs.line if name != "timestamp"} == {
        "level": "info",
        "event": "request.served",
        "status": 200,
        "milliseconds": 0.25,
    }


def test_what_is_bound_to_the_context_is_in_every_line(logs: Logs) -> None:
    with structlog.contextvars.bound_contextvars(request_id="req-1"):
        structlog.get_logger().info("request.served", prompt_decision="allow")
    assert logs.line["request_id"] == "req-1"


def test_the_pretty_form_is_for_people() -> None:
    stream = io.StringIO()
    configure_logging(pretty=True, level="info", stream=stream)
    structlog.get_logger().info("server.started", port=8080)
    reset_logging()
    assert "server.started" in stream.getvalue()
    assert "port=8080" in stream.getvalue()
    assert "{" not in stream.getvalue()


def test_logs_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(pretty=False, level="info")
    structlog.get_logger().info("server.started")
    reset_logging()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "server.started"


@pytest.mark.parametrize(("level", "expected"), [("debug", 5), ("info", 4), ("warning", 3), ("error", 2), ("critical", 1)])
def test_events_below_the_level_are_left_out(level: str, expected: int) -> None:
    stream = io.StringIO()
    configure_logging(pretty=False, level=level, stream=stream)
    for method in LEVELS:
        getattr(structlog.get_logger(), method)("server.started")
    reset_logging()
    assert len(stream.getvalue().splitlines()) == expected


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="debug, info"):
        configure_logging(pretty=False, level="loud")


# ------------------------------------------------------------------------------------------------------- what is not told


def test_fields_that_are_not_listed_are_dropped_and_named(logs: Logs) -> None:
    structlog.get_logger().info("request.served", prompt=PROMPT, body=PROMPT, status=400)
    assert PROMPT not in logs.text
    assert logs.line["dropped"] == ["body", "prompt"]
    assert logs.line["status"] == 400


def test_an_event_that_is_not_listed_loses_its_name(logs: Logs) -> None:
    structlog.get_logger().info(f"judging {PROMPT}", status=400)
    assert logs.line["event"] == "log.unlisted"
    assert PROMPT not in logs.text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
        ("a\nb\x1b[2J\ud800", "a�b�[2J�"),
        (b"bytes", "bytes"),
        (object(), "object"),
        (Category.HATE, "hate"),
        (Severity.HIGH, 6),
        (2**63 - 1, 2**63 - 1),
        (2**63, "int"),
        (True, True),
        (None, None),
        (0.5, 0.5),
        ({Category.HATE: Severity.HIGH}, {"hate": 6}),
        ({"a": {"b": PROMPT}}, {"a": "dict"}),
        ((1, "b", [PROMPT]), [1, "b", "list"]),
        (frozenset({"b", "a"}), ["a", "b"]),
        ({"a"}, ["a"]),
        (list(range(99)), list(range(32))),
        (dict.fromkeys(range(99), 0), dict.fromkeys(map(str, range(32)), 0)),
    ],
)
def test_values_are_plain_and_small(value: object, expected: object) -> None:
    assert keep_plain(None, "info", {"status": value}) == {"status": expected}


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.sampled_from(sorted(FIELDS)) | st.text(),
        st.none()
        | st.text()
        | st.integers()
        | st.floats()
        | st.binary()
        | st.lists(st.text())
        | st.dictionaries(st.text(), st.text()),
    )
)
def test_whatever_is_logged_makes_one_line_of_json_with_listed_fields_and_short_strings(fields: dict[str, Any]) -> None:
    stream = io.StringIO()
    configure_logging(pretty=False, level="info", stream=stream)
    fields.pop("exc_info", None)
    structlog.get_logger().info("request.served", **{name: value for name, value in fields.items() if name != "event"})
    reset_logging()
    (line,) = stream.getvalue().splitlines()
    told = json.loads(line)
    assert set(told) <= set(FIELDS)
    assert all(len(value) <= 200 for value in told.values() if isinstance(value, str))


def test_an_exception_is_told_without_its_words_and_variables(logs: Logs) -> None:
    def fail(text: str) -> None:
        try:
            NOTHING[text]
        except KeyError as error:
            raise ValueError(text) from error

    try:
        fail(PROMPT)
    except ValueError:
        structlog.get_logger().exception("request.crashed")
    assert PROMPT not in logs.text
    assert (logs.line["level"], logs.line["error"], logs.line["causes"]) == ("error", "ValueError", ["KeyError"])
    assert any("test_logs.py:" in place and place.endswith(" fail") for place in logs.line["trace"])


def test_exceptions_in_a_group_are_told_from_the_first(logs: Logs) -> None:
    error = ExceptionGroup(PROMPT, [ValueError(PROMPT), OSError(PROMPT)])
    structlog.get_logger().error("request.crashed", exc_info=error)
    assert (logs.line["error"], logs.line["causes"]) == ("ExceptionGroup", ["ValueError"])
    assert PROMPT not in logs.text


def test_a_suppressed_context_is_not_told(logs: Logs) -> None:
    def fail() -> None:
        try:
            NOTHING[PROMPT]
        except KeyError:
            raise ValueError from None

    try:
        fail()
    except ValueError as error:
        structlog.get_logger().error("request.crashed", exc_info=error)
    assert logs.line["causes"] == []


def test_exceptions_that_cause_each_other_end_somewhere(logs: Logs) -> None:
    one, other = ValueError(), KeyError()
    one.__cause__, other.__cause__ = other, one
    structlog.get_logger().error("request.crashed", exc_info=one)
    assert logs.line["causes"] == ["KeyError"]


def test_without_an_exception_there_is_none_to_tell(logs: Logs) -> None:
    structlog.get_logger().error("request.crashed", exc_info=True)
    assert "error" not in logs.line
    assert "exc_info" not in logs.line


# --------------------------------------------------------------------------------------------------------------- libraries


def test_libraries_are_told_by_place_and_exception_class_alone(logs: Logs) -> None:
    try:
        int(PROMPT)
    except ValueError:
        logging.getLogger("azure.core").exception("sent %s", PROMPT)
    assert PROMPT not in logs.text
    assert logs.line["event"] == "library.message"
    assert (logs.line["logger"], logs.line["level"], logs.line["error"]) == ("azure.core", "error", "ValueError")
    assert "test_logs.py:" in logs.line["place"]


@pytest.mark.parametrize("name", ["azure.core.pipeline", "aiohttp.access", "aiohttp.server", "asyncio", "anything"])
def test_libraries_are_heard_from_warning_on(logs: Logs, name: str) -> None:
    logging.getLogger(name).info(PROMPT)
    assert logs.lines == []
    logging.getLogger(name).log(35, PROMPT)
    assert logs.line["level"] == "warning"
    assert PROMPT not in logs.text


async def test_a_malformed_request_is_logged_without_a_byte_of_it(logs: Logs) -> None:
    async def answer(_: web.BaseRequest) -> web.Response:
        raise AssertionError

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"POST / HTTP/1.1\r\nAuthorization: Bearer {SECRET}\r\nbad header {PROMPT}\r\n\r\n".encode())
    assert b"400" in await reader.readline()
    writer.close()
    await runner.cleanup()
    assert (logs.line["event"], logs.line["logger"]) == ("library.message", "aiohttp.server")
    assert logs.line["error"] == "BadHttpMessage"
    assert SECRET not in logs.text
    assert "forbidden" not in logs.text


# ------------------------------------------------------------------------------------------------------------ life cycle


class BrokenStream(io.StringIO):
    def write(self, _: str) -> int:
        raise BrokenPipeError


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    configure_logging(pretty=False, level="info", stream=BrokenStream())
    structlog.get_logger().info("server.started")
    logging.getLogger("azure").error("x")
    reset_logging()


def test_configuring_twice_logs_once() -> None:
    stream = io.StringIO()
    for _ in range(2):
        configure_logging(pretty=False, level="info", stream=stream)
    logging.getLogger("azure").warning("x")
    reset_logging()
    assert len(stream.getvalue().splitlines()) == 1


def test_resetting_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", logging.ERROR)
    before = (logging.ERROR, list(root.handlers))
    configure_logging(pretty=False, level="info", stream=io.StringIO())
    configure_logging(pretty=False, level="debug", stream=io.StringIO())
    structlog.contextvars.bind_contextvars(request_id="req-1")
    reset_logging()
    assert (root.level, list(root.handlers)) == before
    assert structlog.contextvars.get_contextvars() == {}
    assert not structlog.is_configured()


def test_a_logger_made_before_follows_a_later_configuration() -> None:
    logger = structlog.get_logger()
    first, second = io.StringIO(), io.StringIO()
    for stream in (first, second):
        configure_logging(pretty=False, level="info", stream=stream)
        logger.info("server.started")
    reset_logging()
    assert [len(stream.getvalue().splitlines()) for stream in (first, second)] == [1, 1]


# --------------------------------------------------------------------------------------------------------------- the lists

PACKAGE = Path(safety_proxy.__file__).parent


def logged() -> Iterator[tuple[str, str | None, list[str]]]:
    """Each call of a method of `log` or `logger` in the package: where, the event if it is a literal, the fields."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if isinstance(node.func.value, ast.Name) and node.func.value.id in {"log", "logger"}:
                event = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
                names = [word.arg or "**" for word in node.keywords if word.arg != "exc_info"]
                yield f"{path.name}:{node.lineno}", event if isinstance(event, str) else None, names


def test_every_event_that_the_package_logs_is_listed() -> None:
    unlisted = [
        (place, event, names) for place, event, names in logged() if event not in EVENTS or not {*names} <= {*FIELDS, "**"}
    ]
    assert unlisted == []


@pytest.mark.parametrize("names", [EVENTS, FIELDS], ids=["events", "fields"])
def test_every_event_and_field_is_documented(names: dict[str, str]) -> None:
    page = (PACKAGE.parent / "docs" / "configuration.md").read_text()
    assert [name for name, meaning in names.items() if f"| `{name}` | {meaning} |" not in page] == []


def test_the_guard_keeps_listed_events_as_they_are() -> None:
    event = {"event": "server.started", "port": 1}
    assert keep_listed(None, "info", dict(event)) == event
