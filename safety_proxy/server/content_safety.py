"""Azure AI Content Safety: texts, images, prompts and documents.

An answer tells what the classifiers of the caller's policy say, whatever its rules do about it. What nobody could judge is
an error: a client takes a severity of 0 for "safe".
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any, Final

from aiohttp import web
from yarl import URL

from safety_proxy.dialects.content_safety import (
    analyses,
    read_image_analysis,
    read_material,
    read_shielding,
    read_text_analysis,
    shielding_answer,
)
from safety_proxy.errors import ClassifierError, RequestError
from safety_proxy.model import HARMS, JSON, Category, JSONObject, Kind, Query, Severity
from safety_proxy.moderation import Background, Judged
from safety_proxy.server.exchange import PROXY, json_response, read_json
from safety_proxy.server.middleware import CONTENT_SAFETY, FACTS
from safety_proxy.server.service import Caller, Handler, admit_to_service
from safety_proxy.store.base import NoSuchListError

DIALECT: Final = "content_safety"

_Operation = Callable[[Caller, JSON], Awaitable[JSONObject]]

_READERS: Final = {
    Category.HATE: "`embedded`",
    Category.SEXUAL: "`embedded`",
    Category.VIOLENCE: "`embedded`",
    Category.SELF_HARM: "`embedded`",
    Category.JAILBREAK: "`embedded`",
    Category.INDIRECT_ATTACK: "`embedded`",
    Category.PROTECTED_MATERIAL_TEXT: "one of type `azure_content_safety` with the check `protected_material_text`",
    Category.PROTECTED_MATERIAL_CODE: "one of type `azure_content_safety` with the check `protected_material_code`",
}
"""A classifier that reports the category."""
