from __future__ import annotations

import re
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # it comes without types, and two calls are not worth a package
import pytest

from safety_proxy.documents import Document, parse, read
from safety_proxy.errors import ConfigError
from safety_proxy.model import HARMS, Category
from safety_proxy.policy import ROLES, Blocklist, Policy, StreamRules
from safety_proxy.policy_file import load, schema, shipped
from safety_proxy.rule import Rule

DOCS = Path(__file__).parent.parent / "docs" / "policies.md"
HEAD = "version: 1\nname: x\n"
ALL_OFF = "hate: off, sexual: off, violence: off, self_harm: off"
WORDS = "blocklists: [{name: words, terms: [acme]}]"


def policy(text: str = "") -> Policy:
    return load(parse(HEAD + text, "p.yaml"))


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        policy(text)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------------------- defaults


def test_a_category_that_is_not_written_has_the_default_of_azure() -> None:
    each = policy()
    harms = {harm: Rule(harm, threshold=4) for harm in HARMS}
    assert each.input.categories == harms | {
        Category.JAILBREAK: Rule(Category.JAILBREAK, threshold=0),
        Category.INDIRECT_ATTACK: Rule(Category.INDIRECT_ATTACK, block=False, threshold=0),
    }
    assert each.output.categories == harms


def test_everything_else_has_the_defaults_of_the_contract() -> None:
    each = policy()
    assert (each.name, each.description, each.classifiers, each.annotations) == ("x", "", ("embedded",), True)
    of_input = each.input
    assert of_input.roles == frozenset(ROLES)
    assert (of_input.history, of_input.unreadable, of_input.block_as) == ("block", "block", "error")
    assert not of_input.fail_open
    assert of_input.blocklists == {}
    assert each.output.stream == StreamRules("buffered", 80, 120, 180, 50, 8, 15.0) == StreamRules()
    assert each.warnings == ()


def test_off_switches_one_category_off() -> None:
    each = policy("input: {hate: off}\noutput: {violence: off}")
    assert set(each.input.categories) == HARMS - {Category.HATE} | {Category.JAILBREAK, Category.INDIRECT_ATTACK}
    assert set(each.output.categories) == HARMS - {Category.VIOLENCE}


def test_defaults_off_switches_all_off_that_are_not_written() -> None:
    each = policy("defaults: off\ninput: {jailbreak: {action: annotate}}\noutput: {hate: {block_at: never}}")
    assert each.input.categories == {Category.JAILBREAK: Rule(Category.JAILBREAK, block=False, threshold=0)}
    assert each.output.categories == {Category.HATE: Rule(Category.HATE, block=False, threshold=0)}


def test_a_policy_of_blocklists_alone_needs_no_classifier() -> None:
    each = policy(f"classifiers: []\ninput: {{{WORDS}}}\noutput: {{{WORDS}}}")
    assert each.input.categories == each.output.categories == {}
    assert each.input.classifiers == each.classifiers == ()
    each.require({})


@pytest.mark.parametrize(("written", "threshold"), [("low", 2), ("medium", 4), ("high", 6)])
def test_thresholds_are_the_lowest_severity_of_their_level(written: str, threshold: int) -> None:
    assert policy(f"output: {{hate: {{block_at: {written}}}}}").output.categories[Category.HATE] == Rule(
        Category.HATE, threshold=threshold
    )


def test_on_error_of_a_side_holds_for_its_categories_and_blocklists_unless_they_say_otherwise() -> None:
    each = policy(
        "output: {on_error: allow, hate: {block_at: low, on_error: block}}\n"
        "input: {sexual: {block_at: low, on_error: allow}}"
    )
    assert each.output.fail_open
    assert [c for c, rule in each.output.categories.items() if not rule.fail_open] == [Category.HATE]
    assert not each.input.fail_open
    assert [c for c, rule in each.input.categories.items() if rule.fail_open] == [Category.SEXUAL]


def test_a_side_asks_only_the_classifiers_that_count_for_one_of_its_rules() -> None:
    each = policy(
        "classifiers: [a, b, c]\ndefaults: off\n"
        "input: {hate: {block_at: low, classifiers: [c]}, jailbreak: {action: block, classifiers: [b, c]}}\n"
        "output: {hate: {block_at: low}}"
    )
    assert each.input.classifiers == ("b", "c")
    assert each.input.categories[Category.JAILBREAK].classifiers == ("b", "c")
    assert each.output.classifiers == ("a", "b", "c")
    assert each.output.categories[Category.HATE].classifiers is None


def test_what_is_written_is_kept() -> None:
    each = policy(
        "description: mine\nannotations: false\n"
        "input: {roles: [user], history: annotate, unreadable: allow, block_as: completion}\n"
        "output:\n  protected_material_text: {action: annotate}\n"
        "  blocklists: [{name: a, terms: [x, y], patterns: ['z'], action: annotate}, {name: b, patterns: ['q']}]\n"
        "  stream: {mode: whole, first_window: 1, window: 2, context: 3, holdback: 0, in_flight: 4, heartbeat: off}"
    )
    assert (each.description, each.annotations) == ("mine", False)
    of_input = each.input
    assert of_input.roles == {"user"}
    assert (of_input.history, of_input.unreadable, of_input.block_as) == ("annotate", "allow", "completion")
    assert each.output.categories[Category.PROTECTED_MATERIAL_TEXT].block is False
    assert each.output.blocklists == {
        "a": Blocklist("a", ("x", "y"), ("z",), block=False),
        "b": Blocklist("b", (), ("q",)),
    }
    assert each.output.stream == StreamRules("whole", 1, 2, 3, 0, 4, None)


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("input: {hate: {block_ad: low}}", "p.yaml:3: input.hate.block_ad: unknown key; did you mean `block_at`?"),
        ("defaults: off\ninput: {}", "p.yaml:4: input: has no rule: no category is on and there is no blocklist"),
        (f"output: {{{ALL_OFF}}}", "p.yaml:3: output: has no rule: no category is on and there is no blocklist"),
        ("classifiers: []", "p.yaml:1: input: has no rule: no category is on and there is no blocklist (without "),
        ("classifiers: []\ninput: {hate: {block_at: low}}", "p.yaml:4: input.hate: cannot be enforced: the policy names no"),
        (
            "output:\n  hate: {block_at: low, classifiers: [embedded, other]}",
            "p.yaml:4: output.hate.classifiers[1]: `other` is not among the policy's classifiers",
        ),
        ("classifiers: [a, b, a]", "p.yaml:3: classifiers[2]: `a` is named twice"),
        (
            "input:\n  blocklists:\n    - {name: a, terms: [x]}\n    - {name: a, terms: [y]}",
            "p.yaml:6: input.blocklists[1]: `a` is named twice",
        ),
        ("output: {blocklists: [{name: a}]}", "p.yaml:3: output.blocklists[0]: has neither terms nor patterns"),
        ("input: {blocklists: [{name: a, terms: [x, ' ']}]}", "p.yaml:3: input.blocklists[0].terms[1]: is blank"),
        ('input: {blocklists: [{name: a, terms: ["\\u200b"]}]}', "p.yaml:3: input.blocklists[0].terms[0]: is blank"),
        (
            "input: {blocklists: [{name: a, patterns: ['(secret']}]}",
            "p.yaml:3: input.blocklists[0].patterns[0]: is not a pattern in RE2 syntax: missing )",
        ),
        (
            "output: {blocklists: [{name: a, patterns: [b, 'x*']}]}",
            "p.yaml:3: output.blocklists[0].patterns[1]: matches the empty text, and so every text",
        ),
        (
            "output:\n  stream:\n    holdback: 70\n    context: 70",
            "p.yaml:6: output.stream.context: must be more than holdback: context is 70, holdback is 70",
        ),
        (
            "output:\n  stream:\n    holdback: 180",
            "p.yaml:4: output.stream.context: must be more than holdback: context is 180, holdback is 180",
        ),
    ],
)
def test_what_could_not_be_enforced_is_refused_with_its_line(text: str, error: str) -> None:
    assert refusal(text)[: len(error)] == error


def test_a_pattern_is_not_cited_in_the_error() -> None:
    assert "secret" not in refusal("input: {blocklists: [{name: a, patterns: ['(secret']}]}")


def test_one_name_may_be_used_on_both_sides() -> None:
    each = policy(f"input: {{{WORDS}}}\noutput: {{{WORDS}}}")
    assert each.input.blocklists == each.output.blocklists == {"words": Blocklist("words", ("acme",))}


def test_a_term_that_a_stream_could_not_withhold_whole_is_refused_with_the_holdback_it_needs() -> None:
    text = "output:\n  blocklists:\n    - name: a\n      terms:\n        - short\n        - {}\n  stream: {{holdback: {}}}"
    assert refusal(text.format("x" * 31, 30)) == (
        "p.yaml:8: output.blocklists[0].terms[1]: is 31 long, so `output.stream.holdback` must be at least 31; it is 30"
    )
    assert policy(text.format("x" * 31, 31)).output.needed_holdback == 31


def test_invisible_characters_do_not_lengthen_a_term() -> None:
    text = 'output: {blocklists: [{name: a, terms: ["' + "x\\u200b" * 30 + '"]}], stream: {holdback: 30}}'
    assert policy(text).output.needed_holdback == 30


def test_terms_of_any_length_are_fine_where_no_window_ends() -> None:
    long = "x" * 300
    assert policy(f"input: {{blocklists: [{{name: a, terms: [{long}]}}]}}").output.needed_holdback == 0
    each = policy(f"output: {{blocklists: [{{name: a, terms: [{long}]}}], stream: {{mode: whole}}}}")
    assert each.output.needed_holdback == 300


def test_where_nothing_is_held_a_term_must_be_shorter_than_the_context_in_which_it_is_seen_whole() -> None:
    text = "output: {{blocklists: [{{name: a, terms: [{}]}}], stream: {{mode: asynchronous, context: 100, holdback: 9}}}}"
    assert policy(text.format("x" * 99)).output.needed_holdback == 99
    assert refusal(text.format("x" * 100)) == (
        "p.yaml:3: output.blocklists[0].terms[0]: is 100 long, so `output.stream.context` must be at least 101; it is 100"
    )


# ------------------------------------------------------------------------------------------------------------- warnings


def test_a_pattern_of_unbounded_length_is_a_warning_on_the_output_side() -> None:
    lists = "blocklists: [{name: a, patterns: ['a{3}', 'ab+c']}]"
    assert policy(f"input: {{{lists}}}").warnings == ()
    assert policy(f"output: {{{lists}, stream: {{mode: whole}}}}").warnings == ()
    (warning,) = policy(f"output: {{{lists}}}").warnings
    assert warning == (
        "p.yaml:3: output.blocklists[0].patterns[1]: matches texts of any length; of a match longer than the holdback (50) "
        "the beginning may be released before it is seen"
    )


def test_a_first_window_that_releases_nothing_is_a_warning() -> None:
    assert policy("output: {stream: {first_window: 51}}").warnings == ()
    assert policy("output: {stream: {first_window: 50}}").warnings == (
        "p.yaml:3: output.stream.first_window: releases nothing: the first window is 50 long, and holdback is 50",
    )


def test_a_policy_that_releases_before_it_judges_is_warned_of() -> None:
    lists = "blocklists: [{name: a, patterns: ['ab+c']}]"
    warnings = policy(f"output: {{{lists}, stream: {{mode: asynchronous, first_window: 40, holdback: 40}}}}").warnings
    of_mode = (
        "asynchronous releases text before it is judged: when a window is found harmful, up to 240 characters from its "
        "start have been shown; holdback has no effect on streams"
    )
    of_pattern = "matches texts of any length; a match that is as long as the context (180) may not be seen whole"
    assert warnings == (
        f"p.yaml:3: output.stream.mode: {of_mode}",
        f"p.yaml:3: output.blocklists[0].patterns[0]: {of_pattern}",
    )


# ------------------------------------------------------------------------------------------------------------- identity


def test_the_identity_is_the_name_and_twelve_hex_digits() -> None:
    assert re.fullmatch(r"x@[0-9a-f]{12}", policy().identity)


@pytest.mark.parametrize(
    "same",
    [
        "# a comment\nannotations: true",
        "defaults: azure\nclassifiers: [embedded]",
        "output: {hate: {on_error: block, block_at: medium}}\ninput: {on_error: block}",
        "input: {jailbreak: {action: block}, roles: [tool, assistant, user, developer, system, user], blocklists: []}",
        "output: {protected_material_text: off, stream: {holdback: 50, heartbeat: 0.25m}}",
    ],
)
def test_writing_out_a_default_does_not_change_the_identity(same: str) -> None:
    assert policy(same).identity == policy().identity


def test_whatever_differs_shows_in_the_identity() -> None:
    texts = [
        "",
        "description: mine",
        "annotations: false",
        "classifiers: [other]",
        "input: {hate: off}",
        "input: {hate: {block_at: low}}",
        "input: {hate: {block_at: never}}",
        "input: {on_error: allow}",
        "input: {roles: [user]}",
        "input: {jailbreak: {action: annotate}}",
        "output: {hate: {block_at: medium, classifiers: [embedded]}}",
        "output: {protected_material_code: {action: block}}",
        f"output: {{{WORDS}}}",
        "output: {stream: {holdback: 51}}",
        "output: {stream: {heartbeat: off}}",
    ]
    assert len({policy(text).identity for text in texts}) == len(texts)


@pytest.mark.parametrize("text", ["", "defaults: off\ninput: {hate: {block_at: low}}\noutput: {hate: {block_at: never}}"])
def test_a_policy_with_its_defaults_filled_in_is_the_same_policy(text: str) -> None:
    each = policy(text)
    again = load(Document("filled", each.to_document()))
    assert again == each
    jsonschema.validate(each.to_document(), schema())


def test_the_filled_in_policy_tells_everything_in_the_order_of_the_documentation() -> None:
    document = policy().to_document()
    assert list(document) == [
        "version",
        "name",
        "description",
        "classifiers",
        "conversation",
        "input",
        "output",
        "annotations",
    ]
    output = document["output"]
    assert isinstance(output, dict)
    assert list(output) == [
        "on_error",
        "hate",
        "sexual",
        "violence",
        "self_harm",
        "protected_material_text",
        "protected_material_code",
        "blocklists",
        "stream",
    ]
    assert output["hate"] == {"block_at": "medium", "on_error": "block", "combine": "any"}
    assert output["protected_material_text"] == "off"


# -------------------------------------------------------------------------------------------------- shipped, documented


@pytest.mark.parametrize("name", ["annotate-only", "azure-default", "default", "permissive", "strict"])
def test_a_shipped_policy_is_found_by_its_name_and_loads_without_warning(name: str) -> None:
    document = read(shipped()[name])
    each = load(document)
    assert (each.name, each.warnings) == (name, ())
    assert each.description
    jsonschema.validate(document.content, schema())


def test_no_other_policy_is_shipped() -> None:
    assert sorted(shipped()) == ["annotate-only", "azure-default", "default", "permissive", "strict"]


def test_the_default_policy_writes_out_the_defaults_and_nothing_else() -> None:
    written = load(read(shipped()["default"]))
    bare = load(Document("bare", {"version": 1, "name": "default", "description": written.description}))
    assert written == bare


def test_the_shipped_policies_do_what_their_descriptions_say() -> None:
    each = {name: load(read(path)) for name, path in shipped().items()}

    def thresholds(name: str) -> set[int | None]:
        both = [*each[name].input.categories.values(), *each[name].output.categories.values()]
        return {rule.threshold if rule.block else None for rule in both if rule.category in HARMS}

    assert {name: thresholds(name) for name in each} == {
        "default": {4},
        "azure-default": {4},
        "strict": {2},
        "permissive": {6},
        "annotate-only": {None},
    }
    assert each["strict"].input.categories[Category.INDIRECT_ATTACK].block
    annotating = each["annotate-only"]
    assert not any(rule.block for rule in annotating.input.categories.values())
    azure = each["azure-default"]
    assert azure.classifiers == ("azure_content_safety",)
    assert azure.output.stream == StreamRules(first_window=480, window=480, context=240, holdback=60)
    assert azure.input.categories == each["default"].input.categories


def test_in_a_wheel_the_policies_are_inside_the_package(tmp_path: Path) -> None:
    package = tmp_path / "safety_proxy"
    (package / "shipped_policies" / "cases").mkdir(parents=True)
    (tmp_path / "policies").mkdir()
    for path in (
        "safety_proxy/shipped_policies/mine.yaml",
        "safety_proxy/shipped_policies/cases/c.yaml",
        "policies/no.yaml",
    ):
        (tmp_path / path).write_text("")
    assert shipped(package) == {"mine": package / "shipped_policies" / "mine.yaml"}


EXAMPLES = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)


def test_the_documentation_has_examples() -> None:
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_each_example_of_the_documentation_loads_without_warning(example: str) -> None:
    document = parse(example, "docs")
    assert load(document).warnings == ()
    jsonschema.validate(document.content, schema())


def test_the_identity_in_the_documentation_is_that_of_the_default_policy() -> None:
    assert load(read(shipped()["default"])).identity in DOCS.read_text(encoding="utf-8")


def test_the_documentation_tells_the_default_of_every_category() -> None:
    filled = policy().to_document()
    for heading, side in (("Input", filled["input"]), ("Output", filled["output"])):
        section = DOCS.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
        rows = dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", section, re.MULTILINE))
        assert isinstance(side, dict)
        for category in set(side) & set(Category):
            rule = side[category]
            meant = (
                {key: value for key, value in rule.items() if key not in {"on_error", "combine"}}
                if isinstance(rule, dict)
                else rule
            )
            assert parse(f"rule: {rows[category]}", "docs").content == {"rule": meant}
