"""OpenAI's moderation endpoint: scores make severities, and what is missing is no zero."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

import pytest

from safety_proxy.classifiers.hazards import Cutoffs, Levels
from safety_proxy.classifiers.openai_moderation import OpenAIModeration
from safety_proxy.classifiers.remote import Frame, RemoteClassifier
from safety_proxy.classifiers.web import JSONService
from safety_proxy.errors import ClassifierError, ConfigError
from safety_proxy.model import HARMS, Category, Kind, Query, Verdict
from tests.classifiers.moderation_emulator import CATEGORIES, PATH, ModerationEmulator
from tests.pictures import picture

HATE, SEXUAL, VIOLENCE, SELF_HARM = Category.HATE, Category.SEXUAL, Category.VIOLENCE, Category.SELF_HARM
CLEAN = dict.fromkeys(HARMS, 0)
Make = Callable[..., RemoteClassifier]


@pytest.fixture(name="server")
async def _server() -> AsyncIterator[ModerationEmulator]:
    service = ModerationEmulator()
    await service.start()
    yield service
    await service.stop()


@pytest.fixture(name="make")
async def _make(server: ModerationEmulator) -> AsyncIterator[Make]:
    made = []

    def build(
        *, images: bool = True, cutoffs: Cutoffs | None = None, rows: dict[str, Levels] | None = None
    ) -> RemoteClassifier:
        service = JSONService(f"{server.url}/v1", {"Authorization": "Bearer k"})
        adapter = OpenAIModeration(service, "omni-moderation-latest", images=images, cutoffs=cutoffs, rows=rows)
        made.append(RemoteClassifier("openai", adapter, Frame(timeout=20, retries=0)))
        return made[-1]

    yield build
    for classifier in made:
        await classifier.close()


async def verdict(classifier: RemoteClassifier, text: str, kind: Kind = Kind.MESSAGE) -> Verdict:
    (only,) = await classifier.classify([Query(text, kind)])
    return only


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a mild day", {}),
        ("hatred", {HATE: 6}),
        ("bully", {HATE: 2}),
        ("naked", {SEXUAL: 4}),
        ("slaughter", {VIOLENCE: 6}),
        ("threat", {HATE: 4, VIOLENCE: 4}),
        ("despair and naked", {SELF_HARM: 6, SEXUAL: 4}),
    ],
)
async def test_the_highest_score_of_a_harm_makes_its_severity(make: Make, text: str, expected: dict[Category, int]) -> None:
    found = await verdict(make(), text)
    assert found.severities == CLEAN | expected
    assert not found.detections
    assert not found.failures
    assert found.scores.keys() == set(CATEGORIES)


async def test_texts_share_a_request_and_keep_their_order(server: ModerationEmulator, make: Make) -> None:
    texts = ["hatred" if i % 3 == 0 else "fine" for i in range(40)]
    found = await make().classify([Query(text, Kind.COMPLETION) for text in texts])
    assert [each.severities[HATE] for each in found] == [6 if text == "hatred" else 0 for text in texts]
    assert sorted(len(body["input"]) for body in server.bodies()) == [8, 32]
    assert {request.path for request in server.received} == {PATH}
    assert server.bodies()[0]["model"] == "omni-moderation-latest"


async def test_cutoffs_may_be_others(make: Make) -> None:
    found = await verdict(make(cutoffs=Cutoffs(0.1, 0.25, 0.95)), "bully and slaughter")
    assert found.severities == CLEAN | {HATE: 4, VIOLENCE: 6}


async def test_rows_of_the_table_may_be_others(make: Make) -> None:
    classifier = make(rows={"harassment": {}, "hate": {VIOLENCE: 3}})
    found = await verdict(classifier, "bully and hatred")
    assert found.severities[VIOLENCE] == 3
    assert found.severities[HATE] == 0
    assert classifier.identity != make().identity


async def test_a_table_that_reports_nothing_is_refused(make: Make) -> None:
    with pytest.raises(ConfigError, match="leaves nothing to report"):
        make(rows={name: {} for name in CATEGORIES})


async def test_a_missing_category_leaves_undecided_what_it_counts_for(server: ModerationEmulator, make: Make) -> None:
    server.left_out = {"sexual/minors", "violence"}
    found = await verdict(make(), "a slaughter")
    assert found.failures == {SEXUAL: "missing_category", VIOLENCE: "missing_category"}
    assert found.severities == {HATE: 0, SELF_HARM: 0, VIOLENCE: 6}


async def test_older_models_know_nothing_illicit_and_decide_all_the_same(server: ModerationEmulator, make: Make) -> None:
    server.legacy = True
    assert await verdict(make(), "fine") == Verdict(
        CLEAN, scores=dict.fromkeys((name for name in CATEGORIES if not name.startswith("illicit")), 0.001)
    )


@pytest.mark.parametrize("missing", ["illicit", "illicit/violent"])
async def test_one_illicit_hazard_without_the_other_was_left_out(
    server: ModerationEmulator, make: Make, missing: str
) -> None:
    server.left_out = {missing}
    found = await verdict(make(rows={"illicit": {VIOLENCE: None}}), "fine")
    assert found.failures == {VIOLENCE: "missing_category"}
    assert VIOLENCE not in found.severities


async def test_what_the_server_flags_below_the_cutoffs_is_safe(server: ModerationEmulator, make: Make) -> None:
    result = {
        "flagged": True,
        "categories": dict.fromkeys(CATEGORIES, True),
        "category_scores": dict.fromkeys(CATEGORIES, 0.1),
    }
    server.fail(body=json.dumps({"results": [result]}).encode())
    assert (await verdict(make(), "x")).severities == CLEAN


@pytest.mark.parametrize("flag", ["false", 0, []])
async def test_an_odd_flag_is_no_zero(server: ModerationEmulator, make: Make, flag: object) -> None:
    flags = dict.fromkeys(CATEGORIES, False) | {"hate": flag}
    server.fail(body=json.dumps({"results": [{"categories": flags}]}).encode())
    found = await verdict(make(), "x")
    assert found.failures == {HATE: "invalid_answer"}
    assert HATE not in found.severities


@pytest.mark.parametrize(
    "result",
    [None, [], "safe", {"category_scores": "none", "categories": dict.fromkeys(CATEGORIES, False)}, {"categories": [False]}],
)
async def test_a_result_that_cannot_be_read_is_no_verdict(server: ModerationEmulator, make: Make, result: object) -> None:
    server.fail(body=json.dumps({"results": [result]}).encode())
    with pytest.raises(ClassifierError, match="invalid_answer"):
        await verdict(make(), "x")


async def test_a_missing_key_is_told_apart(server: ModerationEmulator) -> None:
    classifier = RemoteClassifier("openai", OpenAIModeration(JSONService(f"{server.url}/v1"), "m"), Frame(retries=0))
    with pytest.raises(ClassifierError, match="unauthorized"):
        await verdict(classifier, "x")
    await classifier.close()


def test_all_that_a_verdict_depends_on_is_the_identity() -> None:
    service = JSONService("http://h", {"Authorization": "Bearer secret"})
    identities = {
        OpenAIModeration(service, "a").identity,
        OpenAIModeration(service, "b").identity,
        OpenAIModeration(service, "a", images=False).identity,
        OpenAIModeration(service, "a", cutoffs=Cutoffs(0.1)).identity,
        OpenAIModeration(service, "a", rows={"violence": {}}).identity,
        OpenAIModeration(JSONService("http://i"), "a").identity,
    }
    assert len(identities) == 6
    assert "secret" not in "".join(identities)


async def test_a_server_without_scores_is_taken_at_its_word(server: ModerationEmulator, make: Make) -> None:
    flags = {name: name == "hate" for name in CATEGORIES}
    server.fail(body=json.dumps({"results": [{"flagged": True, "categories": flags}]}).encode())
    found = await verdict(make(), "x")
    assert found.severities == CLEAN | {HATE: 4}
    assert not found.scores


@pytest.mark.parametrize("score", ["0.9", None, True, 2, -1, [], float("1e400")])
async def test_an_odd_score_is_no_zero(server: ModerationEmulator, make: Make, score: object) -> None:
    scores = dict.fromkeys(CATEGORIES, 0.0) | {"hate": score}
    body = json.dumps({"results": [{"category_scores": scores}]}).encode()
    server.fail(body=body)
    if score == float("inf"):  # no JSON
        with pytest.raises(ClassifierError, match="invalid_answer"):
            await verdict(make(), "x")
        return
    found = await verdict(make(), "x")
    assert set(found.failures) == {HATE}
    assert HATE not in found.severities


class TestImages:
    async def test_an_image_is_judged_for_what_the_service_looks_for(self, server: ModerationEmulator, make: Make) -> None:
        classifier = make()
        (found,) = await classifier.classify([Query("", Kind.IMAGE, images=(picture("slaughter"),))])
        assert found.severities == {SEXUAL: 0, VIOLENCE: 6, SELF_HARM: 0}
        assert classifier.reports(Kind.IMAGE) == {SEXUAL, VIOLENCE, SELF_HARM}
        (part,) = server.bodies()[0]["input"]
        assert part["image_url"]["url"].startswith("data:image/png;base64,")

    async def test_each_image_and_the_text_are_asked_about_apart(self, server: ModerationEmulator, make: Make) -> None:
        asked = Query("hatred", Kind.MESSAGE, images=(picture("naked"), picture("a cat")))
        (found,) = await make().classify([asked])
        assert found.severities == CLEAN | {HATE: 6, SEXUAL: 4}
        assert len(server.received) == 3

    async def test_what_an_image_was_not_looked_at_for_is_undecided(self, server: ModerationEmulator, make: Make) -> None:
        scores = dict.fromkeys(CATEGORIES, 0.0)
        kinds = {name: ["text", "image"] if name.startswith("violence") else ["text"] for name in CATEGORIES}
        result = {"category_scores": scores, "category_applied_input_types": kinds}
        server.fail(body=json.dumps({"results": [result]}).encode())
        (found,) = await make().classify([Query("", Kind.IMAGE, images=(picture(),))])
        assert found.severities == {VIOLENCE: 0}
        assert found.failures == dict.fromkeys((SEXUAL, SELF_HARM), "missing_category")

    @pytest.mark.parametrize("kinds", [["text"], [], None, "image"])
    async def test_one_hazard_of_a_harm_that_was_not_looked_for_leaves_it_undecided(
        self, server: ModerationEmulator, make: Make, kinds: object
    ) -> None:
        applied = {name: ["image"] for name in CATEGORIES} | {"violence/graphic": kinds}
        result = {"category_scores": dict.fromkeys(CATEGORIES, 0.0), "category_applied_input_types": applied}
        server.fail(body=json.dumps({"results": [result]}).encode())
        (found,) = await make().classify([Query("", Kind.IMAGE, images=(picture(),))])
        assert found.severities == {SEXUAL: 0, SELF_HARM: 0}
        assert found.failures == {VIOLENCE: "missing_category"}

    async def test_images_may_be_left_to_others(self, make: Make) -> None:
        classifier = make(images=False)
        assert not classifier.reads_images
        assert not classifier.reports(Kind.IMAGE)
