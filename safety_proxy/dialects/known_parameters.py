"""The parameters that the APIs define, and what becomes of others: Azure's header ``extra-parameters``.

A parameter that is missing here is no less judged and forwarded; only who asks for ``error`` or ``drop`` will notice.
Sources: OpenAI's and Azure's references, the serverless Llama API, and what vLLM adds.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from safety_proxy.dialects.vocabulary import METADATA_SHAPE
from safety_proxy.errors import RequestError
from safety_proxy.model import JSON

EXTRA_PARAMETERS: Final = "extra-parameters"
"""The header."""
MODES: Final = ("error", "drop", "pass-through")

_SAMPLING = """model stream stream_options max_tokens temperature top_p n stop seed user frequency_penalty presence_penalty
    logit_bias logprobs best_of ignore_eos use_beam_search stop_token_ids skip_special_tokens"""
_VLLM = """top_k min_p repetition_penalty length_penalty min_tokens early_stopping include_stop_str_in_output
    spaces_between_special_tokens truncate_prompt_tokens prompt_logprobs allowed_token_ids bad_words echo
    add_special_tokens response_format structured_outputs guided_json guided_regex guided_choice guided_grammar
    guided_decoding_backend guided_whitespace_pattern logits_processors return_tokens_as_token_ids return_token_ids
    logprob_token_ids priority request_id cache_salt kv_transfer_params vllm_xargs"""
_CHAT = """messages max_completion_tokens top_logprobs tools tool_choice parallel_tool_calls functions function_call
    modalities audio prediction reasoning_effort verbosity store metadata service_tier web_search_options
    prompt_cache_key prompt_cache_retention safety_identifier moderation data_sources user_security_context
    add_generation_prompt continue_final_message documents chat_template chat_template_kwargs mm_processor_kwargs
    media_io_kwargs include_reasoning"""
_EMBEDDINGS = """input model stream dimensions encoding_format user input_type truncate_prompt_tokens add_special_tokens
    priority request_id cache_salt"""

KNOWN: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "chat_completions": frozenset(f"{_SAMPLING} {_VLLM} {_CHAT}".split()),
        "completions": frozenset(f"{_SAMPLING} {_VLLM} prompt suffix prompt_embeds".split()),
        "embeddings": frozenset(_EMBEDDINGS.split()),
    }
)
"""By the name of the endpoint's format: the known parameters, which are top-level fields of a request."""


def limit_parameters(body: JSON, mode: str, endpoint: str) -> JSON:
    """*body* as *mode*, the header's value, wants it: as it is, or without the parameters that *endpoint* does not define.

    Raises `RequestError` for another mode, and with mode ``error`` if there is such a parameter; it is named if its name
    is a word.
    """
    if mode not in MODES:
        raise RequestError(f"'{EXTRA_PARAMETERS}' must be {', '.join(MODES[:-1])} or {MODES[-1]}", field=EXTRA_PARAMETERS)
    if mode == "pass-through" or not isinstance(body, dict):
        return body
    known = KNOWN[endpoint]
    unknown = next((name for name in body if name not in known), None)
    if unknown is None:
        return body
    if mode == "drop":
        return {name: value for name, value in body.items() if name in known}
    named = unknown if METADATA_SHAPE.fullmatch(unknown) else None
    message = "the request has a parameter that is not known" if named is None else f"'{named}' is not a known parameter"
    raise RequestError(message, code="unknown_parameter", field=named)
