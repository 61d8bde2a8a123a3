"""``/v1/moderations``: texts and images in, thirteen categories out, as OpenAI's moderation endpoint has them.

Format: openai/openai-openapi, `CreateModerationRequest` and `CreateModerationResponse`. Of a request ``input`` alone is
judged; ``model`` is echoed, and other fields say nothing.

What a result tells:

``flagged``
    The policy filters the input as a prompt, for whatever reason: a harm, a jailbreak, a blocklist. So it may be true where
    no category is. Where a category is true, it is true.
``category_scores``
    Under each of OpenAI's names the classifier's own probability, if it has one under that name (or under ours, such as
    ``self_harm``) in `Verdict.scores`. Else ``hate``, ``sexual``, ``violence``, ``self-harm`` stand for the severity (0-7)
    of the harm, by `grade`: 0, .1, .2, .35, .5, .65, .8, .9. Of several classifiers, and of several parts of an input, the
    highest counts. So that scores say the same as the policy, they keep to the range of the severity that it found: safe is
    below .2, low from .2, medium from .5, high from .8 on. The highest of the names that count for a harm is in its range;
    none is above it, unless it is in that of another harm, for which it counts, too.
``categories``
    True where the policy filtered a harm that the name counts for, and the name's score is at least that of the policy's
    ``block_at``, as the highest of the harm's names always is. So each harm that was filtered makes some name true, and of
    several names those that the classifier told apart. ``illicit`` counts for no harm and is never true.
``category_applied_input_types``
    ``text``, ``image`` or both, by what was judged for it. What nobody judged is false, 0 and ``[]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from safety_proxy.dialects.base import read_model
from safety_proxy.dialects.images import MAX_IMAGES, read_image
from safety_proxy.dialects.prompt import prompts_of, spoken
from safety_proxy.errors import RequestError
from safety_proxy.jsontext import as_object
from safety_proxy.model import (
    JSON,
    Action,
    Category,
    Decision,
    JSONObject,
    Kind,
    Prompt,
    PromptText,
    Query,
    Severity,
    Verdict,
)
from safety_proxy.policy import Policy

MODEL: Final = "omni-moderation-latest"
"""What is echoed where no model was named: OpenAI's default."""
MAX_INPUTS: Final = 1_000
"""Elements of ``input``. OpenAI states no limit; each is answered by a result of about a kilobyte, however short it is."""

_HATE, _SEXUAL, _VIOLENCE, _SELF_HARM = Category.HATE, Category.SEXUAL, Category.VIOLENCE, Category.SELF_HARM
NAMES: Final[Mapping[str, tuple[Category, ...]]] = MappingProxyType(
    {
        "harassment": (_HATE,),
        "harassment/threatening": (_HATE, _VIOLENCE),
        "hate": (_HATE,),
        "hate/threatening": (_HATE, _VIOLENCE),
        "illicit": (),
        "illicit/violent": (_VIOLENCE,),
        "self-harm": (_SELF_HARM,),
        "self-harm/intent": (_SELF_HARM,),
        "self-harm/instructions": (_SELF_HARM,),
        "sexual": (_SEXUAL,),
        "sexual/minors": (_SEXUAL,),
        "violence": (_VIOLENCE,),
        "violence/graphic": (_VIOLENCE,),
    }
)
"""OpenAI's categories, each with the harms that it counts for."""
_PLAIN: Final = {_HATE: "hate", _SEXUAL: "sexual", _VIOLENCE: "violence", _SELF_HARM: "self-harm"}
"""The name that stands for all of a harm."""
_FAMILIES: Final = {
    harm: (plain, *(name for name, harms in NAMES.items() if harm in harms and name != plain))
    for harm, plain in _PLAIN.items()
}
"""The names that count for a harm, the plain one first: of equal scores it is taken for the highest."""
_OURS: Final = {harm.value: plain for harm, plain in _PLAIN.items()}
_GRADES: Final = (0.0, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)
_DIGITS: Final = 6
_STEP: Final = 10**-_DIGITS


@dataclass(frozen=True, slots=True)
class ModerationRequest:
    """A request that has been read."""

    prompt: Prompt
    """Each text of an array is a prompt of its own; parts are one."""
    model: str


@dataclass(frozen=True, slots=True)
class Said:
    """What one classifier says of a text or an image of an input."""

    verdict: Verdict
    image: bool = False


# ------------------------------------------------------------------------------------------------------------ requests


def read_request(body: JSON) -> ModerationRequest:
    """Understand a request. Raises `RequestError` naming the field that is wrong."""
    if not isinstance(body, dict):
        raise RequestError("the body must be a JSON object")
    model = read_model(body)
    given = body.get("input")
    if given is None:
        raise RequestError("'input' is required", field="input")
    if not isinstance(given, str | list) or not (given or isinstance(given, str)):
        raise RequestError("'input' must be a string or a non-empty array", field="input")
    if isinstance(given, list) and len(given) > MAX_INPUTS:
        raise RequestError(f"'input' must have at most {MAX_INPUTS} elements", field="input")
    prompt = _read_parts(given) if isinstance(given, list) and isinstance(given[0], dict) else _read_texts(given)
    return ModerationRequest(prompt, MODEL if model is None else model)


def _read_texts(given: str | list[JSON]) -> Prompt:
    if isinstance(given, list):
        for i, element in enumerate(given):
            if not isinstance(element, str):
                raise RequestError(f"'input[{i}]' must be a string, as the first element is one", field=f"input[{i}]")
    texts = tuple(prompts_of(given, "input", []))
    return Prompt(texts, prompts=len(given) if isinstance(given, list) else 1, choices=0)


def _read_parts(parts: Sequence[JSON]) -> Prompt:
    texts: list[PromptText] = []
    unreadable: list[str] = []
    images = 0
    for i, part in enumerate(parts):
        field = f"input[{i}]"
        match as_object(part).get("type"):
            case "text":
                texts += spoken(_required_string(as_object(part), "text", field), f"{field}.text", "user")
            case "image_url":
                place = f"{field}.image_url"
                image = read_image(_require_url(as_object(part), place), frozenset({"image_url"}))
                images += image is not None
                if image is None or images > MAX_IMAGES:
                    unreadable.append(place)
                else:
                    texts.append(PromptText(Query("", Kind.IMAGE, images=(image,)), "user", place))
            case _:
                raise RequestError(f"'{field}.type' must be text or image_url", field=f"{field}.type")
    return Prompt(tuple(texts), tuple(unreadable), choices=0)


def _required_string(holder: JSONObject, key: str, field: str) -> str:
    value = holder.get(key)
    if not isinstance(value, str):
        raise RequestError(f"'{field}.{key}' must be a string", field=f"{field}.{key}")
    return value


def _require_url(part: JSONObject, place: str) -> JSONObject:
    """The part, if it has an address as OpenAI's or as Azure's clients write it."""
    value = part.get("image_url")
    if not isinstance(value, str):
        _required_string(as_object(value), "url", place)
    return part


# ------------------------------------------------------------------------------------------------------------- results


def grade(severity: int) -> float:
    """The score that stands for a severity (0-7) without one."""
    return _GRADES[severity]


def thresholds(policies: Iterable[Policy]) -> dict[Category, int]:
    """The lowest severity at which one of *policies* filters a prompt, for each harm that one does."""
    found: dict[Category, int] = {}
    for policy in policies:
        for category, rule in policy.input.categories.items():
            if category in _PLAIN and rule.block:
                found[category] = min(rule.threshold, found.get(category, rule.threshold))
    return found


def result(decision: Decision, said: Sequence[Said], filtered_at: Mapping[Category, int]) -> JSONObject:
    """The result for one input: the policy's *decision* on it, what was *said* of it, and its `thresholds`."""
    told = [(each, _told(each.verdict)) for each in said]
    severities = {harm: found for harm in _PLAIN if (found := _severity(harm, decision, said)) is not None}
    own = {name: max(highs) for name in NAMES if (highs := [scores[name] for _, scores in told if name in scores])}
    scores = _fitted(own, severities)
    return {
        "flagged": decision.action is Action.FILTER,
        "categories": {name: _filtered(name, scores, decision, filtered_at) for name in NAMES},
        "category_scores": {name: round(scores.get(name, 0.0), _DIGITS) for name in NAMES},
        "category_applied_input_types": {name: _applied(name, told) for name in NAMES},
    }


def answer(identity: str, model: str, results: Iterable[JSONObject]) -> JSONObject:
    """The whole answer."""
    return {"id": f"modr-{identity}", "model": model, "results": [*results]}


def _told(verdict: Verdict) -> dict[str, float]:
    """What a verdict tells under OpenAI's names."""
    graded = {_PLAIN[harm]: grade(severity) for harm, severity in verdict.severities.items()}
    own = {_OURS.get(name, name): min(max(score, 0.0), 1.0) for name, score in verdict.scores.items()}
    return {**graded, **{name: score for name, score in own.items() if name in NAMES}}


def _severity(harm: Category, decision: Decision, said: Iterable[Said]) -> int | None:
    """What the policy found; of a harm that it has no rule for, what was said."""
    annotation = decision.annotations.get(harm)
    if annotation is not None:
        return annotation.severity
    return max((each.verdict.severities[harm] for each in said if harm in each.verdict.severities), default=None)


def _fitted(own: Mapping[str, float], severities: Mapping[Category, int]) -> dict[str, float]:
    """*own* scores, moved into the ranges of the severities that they count for."""
    scores = dict(own)
    for name in own:
        judged = [severities[harm] for harm in NAMES[name] if harm in severities]
        if judged:
            scores[name] = min(scores[name], _ceiling(max(judged)))
    for harm, severity in severities.items():
        if highest := _highest(harm, scores):
            scores[highest] = max(scores[highest], grade(Severity.of(severity)))
    return scores


def _ceiling(severity: int) -> float:
    level = Severity.of(severity)
    return 1.0 if level is Severity.HIGH else grade(level + 2) - _STEP


def _highest(harm: Category, scores: Mapping[str, float]) -> str | None:
    return max((name for name in _FAMILIES[harm] if name in scores), key=scores.__getitem__, default=None)


def _filtered(name: str, scores: Mapping[str, float], decision: Decision, filtered_at: Mapping[Category, int]) -> bool:
    if name not in scores:
        return False
    filtered = {harm for harm in NAMES[name] if harm in decision.annotations and decision.annotations[harm].filtered}
    return any(scores[name] >= grade(filtered_at[harm]) for harm in filtered if harm in filtered_at)


def _applied(name: str, told: Iterable[tuple[Said, Mapping[str, float]]]) -> list[JSON]:
    of_images = {each.image for each, scores in told if name in scores}
    return [kind for kind, image in (("text", False), ("image", True)) if image in of_images]
