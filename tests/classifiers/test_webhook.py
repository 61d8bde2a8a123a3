"""A webhook of one's own: one documented shape, read strictly."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

import pytest

from safety_proxy.classifiers.remote import Frame, RemoteClassifier
from safety_proxy.classifiers.service import ServiceError
from safety_proxy.classifiers.web import JSONService
from safety_proxy.classifiers.webhook import Webhook
from safety_proxy.errors import ClassifierError
from safety_proxy.model import HARMS, Category, Kind, Query, Span, Turn, Verdict
from tests.classifiers.webhook_emulator import ATTACK, WebhookEmulator
from tests.pictures import picture

HATE, VIOLENCE, JAILBREAK, INDIRECT = Category.HATE, Category.VIOLENCE, Category.JAILBREAK, Category.INDIRECT_ATTACK
ALL = HARMS | {JAILBREAK, INDIRECT}
SECRET = "Zwetschge"
Make = Callable[..., RemoteClassifier]


@pytest.fixture(name="hook")
async def _hook() -> AsyncIterator[WebhookEmulator]:
    service = WebhookEmulator()
    await service.start()
    yield service
    await service.stop()


@pytest.fixture(name="make")
async def _make(hook: WebhookEmulator) -> AsyncIterator[Make]:
    made = []

    def build(reports: frozenset[Category] = ALL, *, images: bool = False, conversation: bool = False) -> RemoteClassifier:
        service = JSONService(f"{hook.url}/judge", {"Authorization": "Bearer k"})
        adapter = Webhook(service, reports=reports, images=images, conversation=conversation)
        made.append(RemoteClassifier("own", adapter, Frame(timeout=20, retries=0)))
        return made[-1]

    yield build
    for classifier in made:
        await classifier.close()


async def verdict(classifier: RemoteClassifier, query: Query) -> Verdict:
    (only,) = await classifier.classify([query])
    return only


async def answered(hook: WebhookEmulator, make: Make, answer: object, text: str = "some text") -> Verdict:
    hook.fail(body=json.dumps({"verdicts": [answer]}).encode())
    return await verdict(make(), Query(text, Kind.USER_PROMPT))


async def test_a_text_goes_with_what_is_known_of_it_and_a_verdict_comes(hook: WebhookEmulator, make: Make) -> None:
    found = await verdict(make(), Query(f"so much hatred, {ATTACK}", Kind.USER_PROMPT, open_left=True))
    assert found.severities == dict.fromkeys(HARMS, 0) | {HATE: 6}
    assert found.detections == {JAILBREAK: True}
    assert found.spans == (Span(8, 14, "hate"),)
    assert found.scores == {"worst": 0.5}
    text = {"text": f"so much hatred, {ATTACK}", "kind": "user_prompt", "open_left": True, "open_right": False}
    assert hook.bodies() == [{"version": 1, "texts": [text]}]


async def test_sixteen_texts_share_a_request(hook: WebhookEmulator, make: Make) -> None:
    found = await make().classify([Query("hatred" if i == 20 else "fine", Kind.MESSAGE) for i in range(40)])
    assert [i for i, each in enumerate(found) if each.severities[HATE]] == [20]
    assert sorted(len(body["texts"]) for body in hook.bodies()) == [8, 16, 16]


async def test_images_and_conversation_go_only_where_they_are_wanted(hook: WebhookEmulator, make: Make) -> None:
    told = (Turn("user", "hello"),)
    wanting = make(images=True, conversation=True)
    found = await verdict(wanting, Query("x", Kind.MESSAGE, images=(picture("slaughter"),), conversation=told))
    assert found.severities[VIOLENCE] == 7
    (text,) = hook.bodies()[0]["texts"]
    assert text["conversation"] == [{"role": "user", "text": "hello"}]
    assert text["images"][0]["media_type"] == "image/png"
    await verdict(make(), Query("x", Kind.MESSAGE, conversation=told))
    assert "conversation" not in hook.bodies()[1]["texts"][0]
    assert wanting.reports(Kind.IMAGE) == HARMS
    assert make().reports(Kind.IMAGE) == frozenset()


async def test_a_text_with_images_has_a_request_of_its_own(hook: WebhookEmulator, make: Make) -> None:
    texts = [Query("fine", Kind.MESSAGE), Query("hatred", Kind.MESSAGE, images=(picture(),)), Query("naked", Kind.MESSAGE)]
    found = await make(images=True).classify(texts)
    assert [max(each.severities.values()) for each in found] == [0, 6, 4]
    asked = [[text["text"] for text in body["texts"]] for body in hook.bodies()]
    assert sorted(asked) == [["fine", "naked"], ["hatred"]]


@pytest.mark.parametrize("path", ["/judge", "/judge/"])
async def test_it_is_asked_at_the_very_url(hook: WebhookEmulator, path: str) -> None:
    classifier = RemoteClassifier("own", Webhook(JSONService(hook.url + path), reports=ALL), Frame(retries=0))
    hook.fail(body=b'{"verdicts":[{"severities":{"hate":0}}]}')
    await verdict(classifier, Query("x", Kind.MESSAGE))
    await classifier.close()
    assert [request.path for request in hook.received] == [path]


async def test_what_is_not_reported_is_passed_over(hook: WebhookEmulator, make: Make) -> None:
    found = await verdict(make(frozenset({HATE})), Query("hatred and slaughter", Kind.USER_PROMPT))
    assert (found.severities, found.detections, found.failures) == ({HATE: 6}, {}, {})


async def test_a_kind_of_text_that_nothing_is_reported_for_is_not_sent(hook: WebhookEmulator, make: Make) -> None:
    assert await verdict(make(frozenset({JAILBREAK})), Query("x", Kind.COMPLETION)) == Verdict()
    assert not hook.received


async def test_a_missing_category_is_undecided(hook: WebhookEmulator, make: Make) -> None:
    found = await answered(hook, make, {"severities": {"hate": 2}, "detections": {"jailbreak": False}})
    assert found.severities == {HATE: 2}
    assert found.failures == dict.fromkeys(HARMS - {HATE}, "missing_category")


async def test_its_own_failures_have_its_reasons(hook: WebhookEmulator, make: Make) -> None:
    answer = {
        "severities": {"hate": 0, "sexual": 0},
        "failures": {"violence": "model_down", "self_harm": f"could not: {SECRET}", "jailbreak": "timeout"},
    }
    found = await answered(hook, make, answer)
    assert found.failures == {VIOLENCE: "model_down", Category.SELF_HARM: "invalid_answer", JAILBREAK: "timeout"}


@pytest.mark.parametrize(
    "answer",
    [
        {"severities": {"hate": "3"}},
        {"severities": {"hate": 3.0}},
        {"severities": {"hate": True}},
        {"severities": {"hate": 8}},
        {"severities": {"hate": -1}},
        {"severities": {"hate": None}},
        {"severities": {"spam": 1}},
        {"severities": {"jailbreak": 1}},
        {"severities": [1]},
        {"detections": {"jailbreak": 1}},
        {"detections": {"hate": False}},
        {"blocklists": {"a b": True}},
        {"blocklists": {"a": "yes"}},
        {"spans": [{"start": 0, "end": 0, "label": "x"}]},
        {"spans": [{"start": 0, "end": 10, "label": "x"}]},
        {"spans": [{"start": -1, "end": 1, "label": "x"}]},
        {"spans": [{"start": 0, "end": 1}]},
        {"scores": {"x": 2}},
        {"scores": {"x": "1"}},
        {"failures": {"spam": "x"}},
        "hate",
        None,
        7,
    ],
)
async def test_what_is_not_of_the_shape_is_no_verdict(hook: WebhookEmulator, make: Make, answer: object) -> None:
    with pytest.raises(ClassifierError, match=r"^invalid_answer$") as failed:
        await answered(hook, make, answer, text=SECRET)
    assert SECRET not in repr(failed.value.__cause__)
    assert failed.value.__context__ is None


async def test_the_error_of_validation_which_quotes_the_answer_goes_no_further(hook: WebhookEmulator) -> None:
    hook.fail(body=json.dumps({"verdicts": [{"severities": {"hate": SECRET}}]}).encode())
    adapter = Webhook(JSONService(hook.url), reports=ALL)
    (question,) = adapter.questions([Query(SECRET, Kind.MESSAGE)])
    with pytest.raises(ServiceError, match=r"^invalid_answer$") as failed:
        await question.ask()
    assert failed.value.__cause__ is failed.value.__context__ is None
    await adapter.close()


@pytest.mark.parametrize("body", [{}, {"verdicts": []}, {"verdicts": [{}, {}]}, [], None, {"verdicts": {}}])
async def test_an_answer_about_other_texts_is_none(hook: WebhookEmulator, make: Make, body: object) -> None:
    hook.fail(body=json.dumps(body).encode())
    with pytest.raises(ClassifierError, match="invalid_answer"):
        await verdict(make(), Query("x", Kind.MESSAGE))


async def test_lists_and_unknown_keys_are_taken(hook: WebhookEmulator, make: Make) -> None:
    answer = {"severities": dict.fromkeys(HARMS, 0), "detections": {"jailbreak": False}, "blocklists": {"a": True}, "new": 1}
    found = await answered(hook, make, answer)
    assert found.blocklists == {"a": True}
    assert not found.failures


def test_what_it_judges_and_where_is_the_identity() -> None:
    service = JSONService("http://h", {"Authorization": "Bearer secret"})
    identities = {
        Webhook(service, reports=ALL).identity,
        Webhook(service, reports=HARMS).identity,
        Webhook(service, reports=ALL, conversation=True).identity,
        Webhook(service, reports=ALL, limit=10).identity,
        Webhook(service, reports=ALL, images=True).identity,
        Webhook(JSONService("http://i"), reports=ALL).identity,
        Webhook(JSONService("http://i/"), reports=ALL).identity,
    }
    assert len(identities) == 7
    assert "secret" not in "".join(identities)
