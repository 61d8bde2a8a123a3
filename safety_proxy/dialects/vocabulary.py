"""The words of the wire formats themselves: keys and values that say nothing and so are not judged as text.

A word that is not listed here is judged; a missing word costs a little time, never safety.
"""

from __future__ import annotations

import re
from typing import Final

METADATA_SHAPE: Final = re.compile(r"[A-Za-z0-9_.:/@-]{0,128}")
"""What ids, model names, fingerprints, roles and types look like. Anything longer or else counts as text."""

_ENVELOPE = "id object created model system_fingerprint service_tier choices usage index delta message text finish_reason"
_MESSAGES = """role system developer user assistant tool function content refusal name tool_call_id tool_calls function_call
    type arguments input custom reasoning reasoning_content audio transcript annotations parts image_url
    input_text output_text data detail expires_at url_citation url start_index end_index"""
_REASONS = """stop length content_filter content_filter_error error tool_call eos eos_token abort stop_sequence matched_stop
    end_turn model_length insufficient_system_resource"""
_LOGPROBS = """logprobs tokens token token_logprobs top_logprobs text_offset text_offsets bytes logprob rank decoded_token
    prompt_logprobs prompt_token_ids token_ids stop_reason kv_transfer_params"""
_FILTER = """prompt_filter_results content_filter_results content_filter_result prompt_index filtered detected severity safe
    low medium high hate sexual violence self_harm jailbreak indirect_attack profanity custom_blocklists details
    protected_material_text protected_material_code content_filter_offsets content_filter_raw check_offset start_offset
    end_offset code"""
_USAGE = """prompt_tokens completion_tokens total_tokens prompt_tokens_details completion_tokens_details cached_tokens
    audio_tokens reasoning_tokens text_tokens image_tokens accepted_prediction_tokens rejected_prediction_tokens
    prompt_cache_hit_tokens prompt_cache_miss_tokens cache_read_input_tokens cache_creation_input_tokens cost queue_time
    prompt_time completion_time total_time timings prompt_n prompt_ms predicted_n predicted_ms prompt_per_token_ms
    prompt_per_second predicted_per_token_ms predicted_per_second cache_n"""
_SCHEMA = """properties required items enum description parameters title default format schema strict anyOf oneOf allOf const
    additionalProperties minimum maximum minItems maxItems minLength maxLength pattern $schema $ref $defs definitions
    string number integer boolean array json_schema json_object tools tool_choice functions response_format auto none"""

_PARAMETERS = """messages prompt suffix stream stream_options include_usage include_obfuscation continuous_usage_stats
    max_tokens max_completion_tokens temperature top_p top_k min_p typical_p n best_of stop seed user echo presence_penalty
    frequency_penalty repetition_penalty length_penalty logit_bias ignore_eos use_beam_search stop_token_ids
    skip_special_tokens spaces_between_special_tokens include_stop_str_in_output min_tokens early_stopping
    parallel_tool_calls reasoning_effort verbosity low medium high minimal store metadata modalities prediction documents
    chat_template_kwargs add_generation_prompt continue_final_message add_special_tokens structured_outputs functions
    prompt_cache_key safety_identifier service_tier truncate_prompt_tokens return_tokens_as_token_ids return_token_ids
    logprob_token_ids top_a mirostat enable_thinking keep_alive num_ctx data_sources"""
_EMBEDDINGS = "embedding embeddings list dimensions encoding_format float base64 input_type query document"

VOCABULARY: Final = frozenset(
    f"{_ENVELOPE} {_MESSAGES} {_REASONS} {_LOGPROBS} {_FILTER} {_USAGE} {_SCHEMA} {_PARAMETERS} {_EMBEDDINGS}".split()
)
"""Words that say nothing in an answer."""
PROMPT_VOCABULARY: Final = frozenset(f"{_ENVELOPE} {_MESSAGES} {_LOGPROBS} {_SCHEMA} {_PARAMETERS} {_EMBEDDINGS}".split())
"""Words that say nothing in a request."""


def says_something(text: str, vocabulary: frozenset[str] = VOCABULARY) -> bool:
    """Whether *text*, a string of a field that nobody knows, is to be judged."""
    return text not in vocabulary and not text.isspace() and text != ""
