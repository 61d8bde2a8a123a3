"""Claims about what two policies say differently."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from safety_proxy.documents import parse, read
from safety_proxy.harness.diff_rules import changes
from safety_proxy.policy import Policy
from safety_proxy.policy_file import load, shipped

HEAD = "version: 1\nname: p\n"


def policy(text: str = "", head: str = HEAD) -> Policy:
    return load(parse(f"{head}{text}\n", "p.yaml"))


def told(a: str, b: str) -> Mapping[str, tuple[str, str]]:
    return {each.key: (each.words, each.direction) for each in changes(policy(a), policy(b))}


def test_what_is_written_out_and_what_is_a_default_are_no_change() -> None:
    assert changes(policy(), policy("input: {hate: {block_at: medium, on_error: block}, history: block}")) == ()


def test_names_and_descriptions_are_no_change() -> None:
    assert changes(policy(), policy(head="version: 1\nname: q\ndescription: another\n")) == ()


def test_every_shipped_policy_differs_in_nothing_from_itself_and_in_something_from_each_other() -> None:
    loaded = {name: load(read(path)) for name, path in shipped().items()}
    for one, a in loaded.items():
        for other, b in loaded.items():
            assert bool(changes(a, b)) == (one != other)


@pytest.mark.parametrize(
    ("a", "b", "key", "words", "direction"),
    [
        ("", "input: {hate: {block_at: high}}", "input.hate.block_at", "medium -> high", "looser"),
        ("", "input: {hate: {block_at: low}}", "input.hate.block_at", "medium -> low", "stricter"),
        ("", "input: {jailbreak: {action: annotate}}", "input.jailbreak.action", "block -> annotate", "looser"),
        ("", "output: {stream: {window: 200}}", "output.stream.window", "120 -> 200", "changed"),
        ("", "annotations: false", "annotations", "true -> false", "changed"),
        ("", "classifiers: [one, two]", "classifiers", "embedded -> one, two", "changed"),
        (
            "",
            "input: {roles: [user]}",
            "input.roles",
            "system, developer, user, assistant, tool -> user",
            "changed",
        ),
        (
            "",
            "output: {protected_material_text: {action: block}}",
            "output.protected_material_text",
            "off -> action block on_error block combine any",
            "stricter",
        ),
        (
            "",
            "input: {blocklists: [{name: house, terms: [a, b]}]}",
            "input.blocklists.house",
            "none -> terms 2 action block",
            "stricter",
        ),
    ],
)
def test_a_change_is_told_with_what_it_does_by_itself(a: str, b: str, key: str, words: str, direction: str) -> None:
    assert told(a, b) == {key: (words, direction)}


def test_a_rule_that_only_annotates_is_as_loose_as_one_that_is_off() -> None:
    assert told("input: {hate: {block_at: never}}", "input: {hate: off}")["input.hate"][1] == "changed"


def test_entries_of_a_list_are_counted_and_not_shown() -> None:
    a = "input: {blocklists: [{name: house, terms: [one, two, three]}]}"
    b = "input: {blocklists: [{name: house, terms: [two, four, five, three]}]}"
    assert told(a, b) == {"input.blocklists.house.terms": ("2 added, 1 removed", "changed")}
    c = "input: {blocklists: [{name: house, terms: [three, two, one]}]}"
    assert told(a, c) == {"input.blocklists.house.terms": ("in another order", "changed")}


def test_lists_are_told_apart_by_their_names() -> None:
    one, other = "{name: one, terms: [a]}", "{name: other, terms: [b]}"
    assert told(f"input: {{blocklists: [{one}]}}", f"input: {{blocklists: [{other}, {one}]}}") == {
        "input.blocklists.other": ("none -> terms 1 action block", "stricter")
    }


def test_a_change_reads_as_a_sentence() -> None:
    (change,) = changes(policy(), policy("input: {hate: {block_at: high}}"))
    assert str(change) == "input.hate.block_at: medium -> high"
