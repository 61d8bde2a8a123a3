from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it comes without types, and two calls are not worth a package
import pytest

from safety_proxy.documents import parse, validate
from safety_proxy.errors import ConfigError
from safety_proxy.policy_shape import PolicyShape, schema

DOCS = Path(__file__).parent.parent / "docs" / "policies.md"
HEAD = "version: 1\nname: x\n"
SECTIONS = {
    "Input": "InputShape",
    "Output": "OutputShape",
    "Harms": "HarmShape",
    "Detections": "DetectionShape",
    "Blocklists": "BlocklistShape",
    "Stream": "StreamShape",
    "Several classifiers": "DecisiveShape",
}
"""Headings of the documentation, and the part of the schema that each describes."""


def shape(text: str) -> PolicyShape:
    return validate(PolicyShape, parse(HEAD + text, "p.yaml"))


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        shape(text)
    return str(caught.value).removeprefix("p.yaml:3: ")


def parts() -> dict[str, dict[str, Any]]:
    """The properties of each mapping of a policy file, by heading of the documentation."""
    whole: Any = schema()
    inner = {heading: whole["$defs"][name]["properties"] for heading, name in SECTIONS.items()}
    return {"Top level": whole["properties"], **inner}


def documented(heading: str) -> dict[str, str]:
    """Key and default of each row of the table under *heading*."""
    section = DOCS.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) \| .+ \|$", section, re.MULTILINE))


# --------------------------------------------------------------------------------------------------------------- shape


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("input: {hat: off}", "input.hat: unknown key; did you mean `hate`?"),
        ("output: {jailbreak: off}", "output.jailbreak: unknown key; known here: "),
        ("input: {hate: {block_ad: low}}", "input.hate.block_ad: unknown key; did you mean `block_at`?"),
        ("input: {jailbreak: {block_at: low}}", "input.jailbreak.block_at: unknown key; known here: action, "),
        ("input: {hate: {block_at: severe}}", "input.hate.block_at: must be `low`, `medium`, `high` or `never`"),
        ("input: {hate: {block_at: 4}}", "input.hate.block_at: must be `low`, `medium`, `high` or `never`"),
        ("input: {hate: {}}", "input.hate.block_at: is required"),
        ("input: {jailbreak: {}}", "input.jailbreak.action: is required"),
        ("input: {hate: medium}", "input.hate: must be `off` or a mapping such as `{block_at: medium}`"),
        ("input: {hate: false}", "input.hate: must be `off` or a mapping such as `{block_at: medium}`"),
        ("input: {hate: [low]}", "input.hate: must be `off` or a mapping such as `{block_at: medium}`"),
        ("input: {jailbreak: on}", "input.jailbreak: must be `off` or a mapping such as `{action: block}`"),
        ("input: {hate: }", "input.hate: is empty; write a value, or leave the key out"),
        ("input: {hate: {block_at: low, on_error: }}", "input.hate.on_error: is empty"),
        ("input: {hate: {block_at: low, classifiers: }}", "input.hate.classifiers: is empty"),
        ("input: {hate: {block_at: low, classifiers: []}}", "input.hate.classifiers: must have at least 1 item"),
        ("input:", "input: is empty"),
        ("input: {roles: []}", "input.roles: must have at least 1 item"),
        ("input: {roles: [root]}", "input.roles[0]: must be `system`, `developer`, `user`, `assistant` or `tool`"),
        ("input: {on_error: annotate}", "input.on_error: must be `block` or `allow`"),
        ("input: {history: allow}", "input.history: must be `block` or `annotate`"),
        ("input: {block_as: 400}", "input.block_as: must be `error` or `completion`"),
        ("output: {stream: {window: '120'}}", "output.stream.window: must be a whole number"),
        ("output: {stream: {window: true}}", "output.stream.window: must be a whole number"),
        ("output: {stream: {window: 0}}", "output.stream.window: must be at least 1"),
        ("output: {stream: {first_window: 0}}", "output.stream.first_window: must be at least 1"),
        ("output: {stream: {context: 0}}", "output.stream.context: must be at least 1"),
        ("output: {stream: {holdback: -1}}", "output.stream.holdback: must be at least 0"),
        ("output: {stream: {in_flight: 0}}", "output.stream.in_flight: must be at least 1"),
        ("output: {stream: {in_flight: 65}}", "output.stream.in_flight: must be at most 64"),
        ("output: {stream: {window: 100001}}", "output.stream.window: must be at most 100000"),
        ("output: {stream: {mode: fast}}", "output.stream.mode: must be `buffered`, `whole` or `asynchronous`"),
        ("output: {stream: {heartbeat: 15}}", "output.stream.heartbeat: must be a duration such as 250ms, 1.5s or 2m"),
        ("output: {stream: {heartbeat: 1h}}", "output.stream.heartbeat: must be a duration such as 250ms, 1.5s or 2m"),
        ("output: {stream: {heartbeat: 99ms}}", "output.stream.heartbeat: must be off, or between 0.1s and 600s"),
        ("output: {stream: {heartbeat: 10.1m}}", "output.stream.heartbeat: must be off, or between 0.1s and 600s"),
        ("output: {blocklists: [{terms: [x]}]}", "output.blocklists[0].name: is required"),
        ("output: {blocklists: [{name: a b}]}", "output.blocklists[0].name: must have the form "),
        ("output: {blocklists: [{name: a, terms: [1]}]}", "output.blocklists[0].terms[0]: must be text"),
        ("output: {blocklists: [{name: a, action: allow}]}", "output.blocklists[0].action: must be `block` or `annotate`"),
        ("input: {hate: {block_at: low, combine: best}}", "input.hate.combine: must be `any`, `all` or `first_decisive`"),
        ("input: {hate: {block_at: low, decisive: {below: 8}}}", "input.hate.decisive.below: must be at most 7"),
        ("input: {hate: {block_at: low, decisive: {over: 8}}}", "input.hate.decisive.over: unknown key"),
        ("input: {jailbreak: {action: block, decisive: {below: 1}}}", "input.jailbreak.decisive: unknown key"),
        ("input: {parallel: maybe}", "input.parallel: must be true or false"),
        ("conversation: last", "conversation: must be `none`, `last_user` or `all`"),
        ("annotations: 1", "annotations: must be true or false"),
        ("defaults: openai", "defaults: must be `azure` or `off`"),
        ("classifiers: embedded", "classifiers: must be a list"),
        ("classifiers: ['']", "classifiers[0]: must have the form "),
    ],
)
def test_what_is_off_the_scale_or_misspelt_is_refused(text: str, error: str) -> None:
    assert refusal(text)[: len(error)] == error


@pytest.mark.parametrize("version", ["2", "true", "1.0", "'1'", "[]"])
def test_the_version_is_the_number_1(version: str) -> None:
    with pytest.raises(ConfigError, match=r"p\.yaml:1: version: must be 1$"):
        validate(PolicyShape, parse(f"version: {version}\nname: x", "p.yaml"))


@pytest.mark.parametrize(("name", "valid"), [("a", True), ("0.b_c-d", True), ("A", False), ("-a", False), ("a" * 65, False)])
def test_names_are_short_and_plain(name: str, *, valid: bool) -> None:
    text = f"version: 1\nname: {name}"
    if valid:
        assert validate(PolicyShape, parse(text, "p.yaml")).name == name
        return
    with pytest.raises(ConfigError, match=r"name: must have the form"):
        validate(PolicyShape, parse(text, "p.yaml"))


def test_no_policy_is_called_off() -> None:
    with pytest.raises(ConfigError, match="name: a policy cannot be called off"):
        validate(PolicyShape, parse("version: 1\nname: off", "p.yaml"))


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("15s", "15s"),
        ("250ms", "250ms"),
        ("1.5s", "1500ms"),
        ("0.25m", "15s"),
        ("2m", "120s"),
        ("15000ms", "15s"),
        ("off", "off"),
    ],
)
def test_equal_heartbeats_are_written_alike(written: str, normal: str) -> None:
    assert shape(f"output: {{stream: {{heartbeat: {written}}}}}").output.stream.heartbeat == normal


# -------------------------------------------------------------------------------------------------------------- schema


def test_the_schema_is_valid_itself() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "input: {hate: off, violence: {block_at: never, on_error: allow, classifiers: [embedded]}, jailbreak: off}",
        "classifiers: []\ndefaults: off",
        "output: {stream: {mode: whole, heartbeat: 1.5s}, blocklists: [{name: a, terms: [b]}]}",
    ],
)
def test_the_schema_accepts_what_the_shape_accepts(text: str) -> None:
    shape(text)
    jsonschema.validate(parse(HEAD + text, "p.yaml").content, schema())


@pytest.mark.parametrize(
    "text",
    [
        "inputs: {}",
        "input: {hat: off}",
        "input: {hate: on}",
        "input: {hate: }",
        "input: {hate: {block_at: severe}}",
        "input: {hate: {block_at: low, on_error: }}",
        "input: {hate: {block_at: low, classifiers: []}}",
        "input: {jailbreak: {block_at: low}}",
        "output: {jailbreak: off}",
        "output: {stream: {mode: immediate}}",
        "output: {stream: {window: 0}}",
        "output: {stream: {heartbeat: 15}}",
        "output: {stream: {heartbeat: 1h}}",
        "output: {blocklists: [{terms: [b]}]}",
        "name: x",
    ],
)
def test_the_schema_refuses_typos(text: str) -> None:
    head = "" if text.startswith("name") else HEAD
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(parse(head + text, "p.yaml").content, schema())


def test_every_key_has_a_description_for_editors() -> None:
    silent = [
        f"{heading}: {key}" for heading, keys in parts().items() for key, of in keys.items() if "description" not in of
    ]
    assert silent == []


# ------------------------------------------------------------------------------------------------------- documentation


@pytest.mark.parametrize("heading", ["Top level", *SECTIONS])
def test_the_documentation_has_every_key_and_no_other(heading: str) -> None:
    assert sorted(documented(heading)) == sorted(parts()[heading])


@pytest.mark.parametrize("heading", ["Top level", *SECTIONS])
def test_the_documentation_tells_the_true_defaults(heading: str) -> None:
    rows = documented(heading)
    for key, described in parts()[heading].items():
        if isinstance(described.get("default"), dict):
            assert rows[key] == "all defaults"
        elif "default" in described:
            assert parse(f"default: {rows[key].strip('`')}", key).content == {"default": described["default"]}


def test_no_part_of_the_schema_is_left_out_of_the_documentation() -> None:
    whole: Any = schema()
    assert set(whole["$defs"]) == set(SECTIONS.values())
