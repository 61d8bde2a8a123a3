"""``extra-parameters``: who asks for it is told of unknown parameters, or rid of them."""

from __future__ import annotations

import pytest

from safety_proxy.dialects import DIALECTS, EMBEDDINGS
from safety_proxy.dialects.known_parameters import KNOWN, limit_parameters
from safety_proxy.errors import RequestError
from safety_proxy.model import JSON, JSONObject

SEED = """stream max_tokens top_p temperature n stop best_of logprobs presence_penalty ignore_eos use_beam_search
    stop_token_ids skip_special_tokens"""
"""What the reference of the serverless Llama API lists for both endpoints."""
VLLM = """top_k min_p repetition_penalty ignore_eos stop_token_ids skip_special_tokens include_stop_str_in_output
    chat_template_kwargs structured_outputs echo add_generation_prompt continue_final_message documents
    return_tokens_as_token_ids logprob_token_ids"""
BODY: JSONObject = {"messages": [], "temperature": 1, "odd": 2, "strange words": 3}


def test_every_endpoint_has_its_parameters() -> None:
    names = {each.name for each in DIALECTS.values()} | {each.name for each in EMBEDDINGS.values()}
    assert set(KNOWN) == names


@pytest.mark.parametrize("endpoint", ["chat_completions", "completions"])
def test_the_parameters_of_the_llama_api_are_known(endpoint: str) -> None:
    assert KNOWN[endpoint].issuperset(SEED.split())


def test_the_parameters_of_vllm_are_known() -> None:
    assert KNOWN["chat_completions"].issuperset(VLLM.split())


def test_an_endpoint_does_not_know_the_text_of_another() -> None:
    assert "prompt" not in KNOWN["chat_completions"]
    assert "messages" not in KNOWN["completions"] | KNOWN["embeddings"]


def test_passed_through_means_untouched() -> None:
    assert limit_parameters(BODY, "pass-through", "chat_completions") is BODY


def test_dropped_means_gone() -> None:
    assert limit_parameters(BODY, "drop", "chat_completions") == {"messages": [], "temperature": 1}


def test_an_error_names_the_first_that_is_unknown() -> None:
    with pytest.raises(RequestError, match="'odd' is not a known parameter") as caught:
        limit_parameters(BODY, "error", "chat_completions")
    assert (caught.value.status, caught.value.code, caught.value.field) == (400, "unknown_parameter", "odd")


def test_a_name_that_is_a_text_is_not_repeated() -> None:
    with pytest.raises(RequestError) as caught:
        limit_parameters({"strange words": 3}, "error", "chat_completions")
    assert "strange" not in str(caught.value)
    assert caught.value.field is None


def test_known_parameters_are_no_error() -> None:
    body: JSONObject = {"input": "a", "dimensions": 3}
    assert limit_parameters(body, "error", "embeddings") is body


@pytest.mark.parametrize("body", [[], None, "text"])
@pytest.mark.parametrize("mode", ["error", "drop"])
def test_a_body_that_is_no_object_is_for_others_to_refuse(body: JSON, mode: str) -> None:
    assert limit_parameters(body, mode, "embeddings") is body


@pytest.mark.parametrize("mode", ["", "ignore", "Error", "error, drop"])
def test_any_other_mode_is_refused(mode: str) -> None:
    with pytest.raises(RequestError, match="must be error, drop or pass-through") as caught:
        limit_parameters(BODY, mode, "chat_completions")
    assert caught.value.field == "extra-parameters"
