"""A script for LiteLLM's own environment: ``python litellm_driver.py URL``; situations come as JSON, and what it saw goes.

`litellm` takes only older releases of `openai`, so it cannot live beside those that the other tests use.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable
from typing import Any

import litellm
import openai

litellm.suppress_debug_info = True
Given = dict[str, Any]
Seen = dict[str, Any]


def joined(chunks: Iterable[Any]) -> Seen:
    choices = [choice for chunk in chunks for choice in chunk.choices]
    [finish] = [choice.finish_reason for choice in choices if choice.finish_reason is not None]
    return {"text": "".join(choice.delta.content or "" for choice in choices), "finish": finish}


def whole(answer: Any, native: dict[str, Any], name: str) -> Seen:  # noqa: ANN401 - litellm's types are not installed
    [choice] = answer.choices
    native[name] = (getattr(choice, "provider_specific_fields", None) or {}).get("native_finish_reason")
    return {"text": choice.message.content or "", "finish": choice.finish_reason}


def raised(error: openai.APIError) -> Seen:
    return {"status": getattr(error, "status_code", None), "code": error.code}


def request(url: str, system: str, situation: Given) -> Given:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": situation["asks"]}]
    options = {"api_base": f"{url}/v1", "api_key": "k", "max_retries": 0}
    return {"model": "openai/x", "messages": messages, "stream": situation["streamed"], **options}


def drive(requests: dict[str, Given], native: dict[str, Any]) -> dict[str, Seen]:
    told = {}
    for name, given in requests.items():
        try:
            answer = litellm.completion(**given)
            told[name] = joined(answer) if given["stream"] else whole(answer, native, name)
        except openai.APIError as error:
            told[name] = raised(error)
    return told


async def drive_async(requests: dict[str, Given], native: dict[str, Any]) -> dict[str, Seen]:
    told = {}
    for name, given in requests.items():
        try:
            answer = await litellm.acompletion(**given)
            told[name] = joined([part async for part in answer]) if given["stream"] else whole(answer, native, name)
        except openai.APIError as error:
            told[name] = raised(error)
    return told


def main() -> None:
    task = json.load(sys.stdin)
    requests = {name: request(sys.argv[1], task["system"], each) for name, each in task["situations"].items()}
    native: dict[str, Any] = {}
    told = {"sync": drive(requests, native), "async": asyncio.run(drive_async(requests, native)), "native": native}
    sys.stdout.write(json.dumps(told))


main()
