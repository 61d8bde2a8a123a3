"""Blocklists of a policy: what cannot be searched for, or could slip through a stream, is refused at load."""

from __future__ import annotations

import pytest

from safety_proxy.documents import parse
from safety_proxy.errors import ConfigError
from safety_proxy.policy import LONGEST_STORED, Blocklist, Policy
from safety_proxy.policy_file import load

STORED = "blocklists: [{name: house, from: store}]"


def policy(rest: str) -> Policy:
    return load(parse(f"version: 1\nname: p\n{rest}\n", "p.yaml"))


def test_a_list_of_the_store_has_a_name_and_an_action_and_its_terms_elsewhere() -> None:
    stored = "blocklists: [{name: house, from: store, action: annotate}]"

    assert policy(f"input: {{{stored}}}").input.blocklists == {"house": Blocklist("house", block=False, stored=True)}


@pytest.mark.parametrize("key", ["terms", "patterns", "exceptions"])
def test_what_is_written_beside_a_list_of_the_store_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^p.yaml:3: input.blocklists\[0\].{key}: cannot be written here"):
        policy(f"input: {{blocklists: [{{name: house, from: store, {key}: [x]}}]}}")


def test_what_streams_withhold_must_fit_the_longest_term_that_the_store_takes() -> None:
    with pytest.raises(ConfigError) as refused:
        policy(f"output: {{{STORED}}}")

    assert str(refused.value) == (
        "p.yaml:3: output.blocklists[0].from: is kept in the store, where terms may be 128 long, so "
        "`output.stream.holdback` must be at least 128; it is 50"
    )
    assert policy(f"output: {{{STORED}, stream: {{holdback: 128}}}}").output.needed_holdback == LONGEST_STORED
    assert policy(f"output: {{{STORED}, stream: {{mode: whole}}}}").output.needed_holdback == LONGEST_STORED


def test_a_policy_without_lists_of_the_store_is_the_one_that_it_was() -> None:
    written = policy("input: {blocklists: [{name: house, terms: [acme]}]}")

    assert "from" not in str(written.to_document())
    assert load(parse(f"version: 1\nname: p\ninput: {{{STORED}}}\n", "p.yaml")).identity != written.identity


def test_a_filled_in_policy_with_a_list_of_the_store_is_the_same_policy() -> None:
    written = policy(f"input: {{{STORED}}}")

    assert load(parse(str(written.to_document()).replace("'", '"').replace("True", "true"), "q.yaml")).identity == (
        written.identity
    )
