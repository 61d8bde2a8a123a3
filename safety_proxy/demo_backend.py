"""The scripted model behind ``safety-proxy demo`` and ``docker-compose.yml``: no GPU, no weights, the same answers always.

``python -m safety_proxy.demo_backend`` runs it alone. It speaks OpenAI's chat and text completions, streamed (a word at a
time) or whole, and answers by the first word of its script that occurs in the last user message.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import Final

from aiohttp import web

from safety_proxy.jsontext import as_object, parse, write
from safety_proxy.model import JSON, JSONObject
from safety_proxy.sse import DONE, encode

MODEL: Final = "demo-model"
OFFENCE: Final = "I will cut your throat and kill your family"
"""What the villain says. The tour shows that no part of it reaches the client. It fits into the default holdback."""

SCRIPT: Final[Mapping[str, str]] = {
    "moon": (
        "The Moon is on average 384,400 kilometres away from the Earth. That is about thirty times the width of our planet. "
        "Light needs a little more than a second to get there. The Apollo crews needed three days, and brought back rocks "
        "that taught us how old the Solar System is."
    ),
    "villain": (
        "The rain had stopped when Martha opened the letter. She read it twice, slowly, standing under the lamp in the "
        "hall, while the clock struck eleven. The paper smelled of tobacco, and the stamp came from a town where she knew "
        "nobody. Somebody had taken care to write in capital letters, and had signed with the picture of a crow. It said: "
        f"{OFFENCE}. She folded the paper, put on her coat and walked to the police station."
    ),
}
_DEFAULT: Final = "I am a scripted model. Ask me about the moon, or for a story with a villain."
_PAUSE: Final = 0.02
"""Seconds between two words: fifty tokens a second, as a real model might."""


def answer_to(body: JSONObject) -> str:
    """What the script says to a request."""
    messages = body.get("messages")
    asked = as_object(messages[-1]).get("content") if isinstance(messages, list) and messages else body.get("prompt")
    return next((answer for word, answer in SCRIPT.items() if word in str(asked).lower()), _DEFAULT)


def _events(body: JSONObject, *, chat: bool) -> Iterator[JSONObject]:
    """The answer as events: each word with the blank before it, then the finish."""
    head: JSONObject = {"id": "demo-1", "object": _object(chat=chat, stream=True), "created": 1700000000, "model": MODEL}
    for word in re.findall(r"\s*\S+", answer_to(body)):
        text: JSONObject = {"delta": {"content": word}} if chat else {"text": word}
        yield {**head, "choices": [{"index": 0, **text, "finish_reason": None}]}
    text = {"delta": {}} if chat else {"text": ""}
    yield {**head, "choices": [{"index": 0, **text, "finish_reason": "stop"}]}


def _whole(body: JSONObject, *, chat: bool) -> JSONObject:
    answer = answer_to(body)
    words = len(answer.split())
    text: JSONObject = {"message": {"role": "assistant", "content": answer}} if chat else {"text": answer}
    usage: JSON = {"prompt_tokens": 8, "completion_tokens": words, "total_tokens": 8 + words}
    choice: JSONObject = {"index": 0, **text, "finish_reason": "stop"}
    head: JSONObject = {"id": "demo-1", "object": _object(chat=chat, stream=False), "created": 1700000000, "model": MODEL}
    return {**head, "choices": [choice], "usage": usage}


def _object(*, chat: bool, stream: bool) -> str:
    return ("chat.completion" + (".chunk" if stream else "")) if chat else "text_completion"


async def _complete(request: web.Request) -> web.StreamResponse:
    body = as_object(parse(await request.read()))
    chat = request.path.endswith("/chat/completions")
    if body.get("stream") is not True:
        return web.Response(body=write(_whole(body, chat=chat)), content_type="application/json")
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for event in _events(body, chat=chat):
        await response.write(encode(write(event)))
        await asyncio.sleep(_PAUSE)
    await response.write(encode(DONE))
    return response


def create_backend() -> web.Application:
    """The model server."""
    app = web.Application()
    app.router.add_post("/v1/chat/completions", _complete)
    app.router.add_post("/v1/completions", _complete)
    return app


def main() -> None:
    """Run it until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m safety_proxy.demo_backend", description="A scripted model server.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    flags = parser.parse_args()
    web.run_app(create_backend(), host=flags.host, port=flags.port, print=None, handler_cancellation=True)


if __name__ == "__main__":
    main()
