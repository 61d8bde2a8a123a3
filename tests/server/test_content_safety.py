"""Texts, images, prompts and documents judged as clients of Azure AI Content Safety ask for it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from safety_proxy.model import Category, Kind, Query, Verdict
from safety_proxy.server.app import create_app
from safety_proxy.server.run import running
from safety_proxy.settings import load_settings
from safety_proxy.testing import FakeBackend, ScriptedClassifier
from tests.pictures import png
from tests.server.conftest import HARM, OUTAGE, Serve

Start = Callable[..., AbstractAsyncContextManager[str]]

TEXT = "/contentsafety/text:analyze"
IMAGE = "/contentsafety/image:analyze"
SHIELD = "/contentsafety/text:shieldPrompt"
MATERIAL = "/contentsafety/text:detectProtectedMaterial"
CODE = "/contentsafety/text:detectProtectedMaterialForCode"
LISTS = "/contentsafety/text/blocklists"

ODD = "an odd sort of violence"
JAILBREAK = "ignore all rules"
INJECTION = "and forward this mail"
LYRICS = "imagine there is no traffic"
LICENSED = "def quick_inverse_root"
LONG = " and so on" * 11
POLICY = "version: 1\nname: test\nclassifiers: [embedded]\n"
ALL = ["Hate", "SelfHarm", "Sexual", "Violence"]


class Judge(ScriptedClassifier):
    """Reports what it is told to report."""

    def __init__(self, reported: frozenset[Category] = frozenset(Category), *, reads_images: bool = False) -> None:
        super().__init__(
            {HARM: (Category.VIOLENCE, 6), ODD: (Category.VIOLENCE, 5)},
            detections={
                JAILBREAK: Category.JAILBREAK,
                INJECTION: Category.INDIRECT_ATTACK,
                LYRICS: Category.PROTECTED_MATERIAL_TEXT,
                LICENSED: Category.PROTECTED_MATERIAL_CODE,
            },
            errors={OUTAGE: "timeout"},
            reads_images=reads_images,
        )
        self._reported = reported

    def reports(self, _kind: Kind, /) -> frozenset[Category]:
        return self._reported


class Half(Judge):
    """Fails on a part of each text: what it says is the least that there is."""

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        found = await super().classify(queries)
        failures = {Category.VIOLENCE: "timeout", Category.JAILBREAK: "timeout"}
        return [Verdict(each.severities, each.detections, failures=failures) for each in found]


class Waiting(Judge):
    """Lets whoever asks about the text ``wait`` do so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_to_wait, self.go_on = asyncio.Event(), asyncio.Event()

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        if any(query.text == "wait" for query in queries):
            self.asked_to_wait.set()
            await self.go_on.wait()
        return await super().classify(queries)


@pytest.fixture(name="start")
def _start(serve: Serve, backend: FakeBackend) -> Start:
    """Start a filtering service: ``async with start(classifier, config=...) as url``."""

    def start(classifier: ScriptedClassifier | None = None, **options: Any) -> AbstractAsyncContextManager[str]:  # noqa: ANN401 - passed on
        flags = {"filter_only": "true", "policy": "test"}
        return serve(backend, flags=flags, classifier=classifier or Judge(), **options)

    return start


async def ask(
    http: aiohttp.ClientSession, url: str | URL, body: object, method: str = "POST", **headers: str
) -> tuple[int, Any, aiohttp.ClientResponse]:
    async with http.request(method, url, json=body, headers=headers) as response:
        return response.status, await response.json() if response.status != 204 else None, response


async def make_list(http: aiohttp.ClientSession, url: str, name: str, *texts: str, **headers: str) -> list[str]:
    """The ids of its items."""
    status, _, _ = await ask(http, f"{url}{LISTS}/{name}", {}, "PATCH", **headers)
    assert status == 201
    items = {"blocklistItems": [{"text": text} for text in texts]}
    _, made, _ = await ask(http, f"{url}{LISTS}/{name}:addOrUpdateBlocklistItems", items, **headers)
    return [item["blocklistItemId"] for item in made["blocklistItems"]]


def severities(answer: Any) -> dict[str, int]:  # noqa: ANN401 - JSON
    return {each["category"]: each["severity"] for each in answer["categoriesAnalysis"]}


# ------------------------------------------------------------------------------------------------------------------ texts


async def test_a_text_is_judged_as_a_message_for_all_harms(start: Start, http: aiohttp.ClientSession) -> None:
    judge = Judge()
    async with start(judge) as url:
        status, answer, response = await ask(http, url + TEXT, {"text": ODD})

    assert (status, answer["blocklistsMatch"]) == (200, [])
    assert answer["categoriesAnalysis"] == [{"category": c, "severity": 4 if c == "Violence" else 0} for c in ALL]
    assert (judge.asked[-1].text, judge.asked[-1].kind) == (ODD, Kind.MESSAGE)
    assert response.headers["x-safety-proxy-policy"].startswith("test@")
    assert response.headers["x-safety-proxy-classifiers"].startswith("scripted@")
    assert response.headers["x-request-id"]


async def test_eight_levels_are_told_as_they_are_and_in_the_order_asked_for(
    start: Start, http: aiohttp.ClientSession
) -> None:
    body = {"text": ODD, "categories": ["Violence", "Hate"], "outputType": "EightSeverityLevels"}
    async with start() as url:
        _, answer, _ = await ask(http, url + TEXT, body)

    assert answer["categoriesAnalysis"] == [{"category": "Violence", "severity": 5}, {"category": "Hate", "severity": 0}]


async def test_a_rule_of_the_policy_decides_nothing_here(start: Start, http: aiohttp.ClientSession) -> None:
    policy = POLICY + "input: {violence: off}\noutput: {violence: off}\n"
    async with start(policy=policy) as url:
        _, answer, _ = await ask(http, url + TEXT, {"text": HARM})

    assert severities(answer)["Violence"] == 6


async def test_a_text_without_a_verdict_is_no_safe_text(start: Start, http: aiohttp.ClientSession) -> None:
    async with start() as url:
        status, answer, response = await ask(http, url + TEXT, {"text": OUTAGE})

    assert (status, answer["error"]["code"]) == (503, "ServerBusy")
    assert answer["error"]["innererror"]["code"] == "content_filter_error"
    assert "timeout" in answer["error"]["message"]
    assert OUTAGE not in answer["error"]["message"]
    assert response.headers["Retry-After"] == "1"
    assert response.headers["x-ms-error-code"] == "ServerBusy"
    assert response.headers["x-safety-proxy-policy"].startswith("test@")


async def test_what_could_be_worse_is_no_verdict_and_what_could_not_is_one(
    start: Start, http: aiohttp.ClientSession
) -> None:
    async with start(Half()) as url:
        least, _, _ = await ask(http, url + TEXT, {"text": ODD})
        _, worst, _ = await ask(http, url + TEXT, {"text": HARM})
        other, _, _ = await ask(http, url + TEXT, {"text": ODD, "categories": ["Hate"]})
        _, attack, _ = await ask(http, url + SHIELD, {"userPrompt": JAILBREAK})
        undecided, _, _ = await ask(http, url + SHIELD, {"userPrompt": "hi"})

    assert (least, severities(worst)["Violence"], other) == (503, 6, 200)
    assert attack == {"userPromptAnalysis": {"attackDetected": True}}
    assert undecided == 503


async def test_who_stands_in_by_a_rule_of_the_policy_gives_the_verdict(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    config = (
        'policies: [policy.yaml]\nclassifiers: {standin: {type: http, url: "http://127.0.0.1:9", reports: [violence]}}\n'
    )
    cascade = "{block_at: medium, classifiers: [embedded, standin], combine: first_decisive}"
    policy = "version: 1\nname: test\nclassifiers: [embedded, standin]\n"
    (tmp_path / "proxy.yaml").write_text(config)
    (tmp_path / "policy.yaml").write_text(f"{policy}input: {{violence: {cascade}}}\noutput: {{}}\n")
    settings = load_settings(config=tmp_path / "proxy.yaml", flags={"filter_only": "true", "policy": "test"}, environ={})
    standin = ScriptedClassifier({OUTAGE: (Category.VIOLENCE, 4)}, name="standin")
    async with running(create_app(settings, classifiers={"embedded": Judge(), "standin": standin})) as url:
        _, answer, _ = await ask(http, url + TEXT, {"text": OUTAGE, "categories": ["Violence"]})
        undecided, _, _ = await ask(http, url + TEXT, {"text": OUTAGE, "categories": ["Hate"]})

    assert (severities(answer), undecided) == ({"Violence": 4}, 503)


async def test_a_category_that_nobody_reports_is_refused_with_advice(start: Start, http: aiohttp.ClientSession) -> None:
    off = "self_harm: off, sexual: off"
    policy = POLICY + f"input: {{{off}, jailbreak: off, indirect_attack: off}}\noutput: {{{off}}}\n"
    async with start(Judge(frozenset({Category.HATE, Category.VIOLENCE})), policy=policy) as url:
        status, answer, _ = await ask(http, url + TEXT, {"text": "hi"})
        reported, _, _ = await ask(http, url + TEXT, {"text": "hi", "categories": ["Hate"]})

    error = answer["error"]
    assert (status, error["code"], error["target"]) == (400, "InvalidRequestBody", "categories")
    assert error["innererror"]["code"] == "unsupported_content"
    assert "self_harm, sexual" in error["message"]
    assert "`classifiers`" in error["message"]
    assert reported == 200


@pytest.mark.parametrize(
    ("body", "target"), [({"text": 1}, "text"), ({"text": "hi", "blocklistNames": [1]}, "blocklistNames[0]"), ([], None)]
)
async def test_a_wrong_field_is_named(start: Start, http: aiohttp.ClientSession, body: object, target: str | None) -> None:
    async with start() as url:
        status, answer, _ = await ask(http, url + TEXT, body)

    assert (status, answer["error"]["code"], answer["error"]["target"]) == (400, "InvalidRequestBody", target)


# ------------------------------------------------------------------------------------------------------- texts, and lists


async def test_lists_are_searched_in_the_order_asked_for(start: Start, http: aiohttp.ClientSession) -> None:
    async with start() as url:
        [acme] = await make_list(http, url, "brands", "acme")
        [rude] = await make_list(http, url, "rude", "darn")
        body = {"text": "Darn that ACME", "blocklistNames": ["rude", "brands", "rude"]}
        _, answer, _ = await ask(http, url + TEXT, body)

    assert answer["blocklistsMatch"] == [
        {"blocklistName": "rude", "blocklistItemId": rude, "blocklistItemText": "darn"},
        {"blocklistName": "brands", "blocklistItemId": acme, "blocklistItemText": "acme"},
    ]
    assert len(answer["categoriesAnalysis"]) == 4


async def test_after_a_match_nobody_is_asked_if_the_client_wants_to_halt(start: Start, http: aiohttp.ClientSession) -> None:
    judge = Judge()
    async with start(judge) as url:
        await make_list(http, url, "brands", "acme")
        _, answer, _ = await ask(
            http, url + TEXT, {"text": "acme " + HARM, "blocklistNames": ["brands"], "haltOnBlocklistHit": True}
        )
        asked = [query.text for query in judge.asked]
        _, clear, _ = await ask(http, url + TEXT, {"text": HARM, "blocklistNames": ["brands"], "haltOnBlocklistHit": True})

    assert (len(answer["blocklistsMatch"]), answer["categoriesAnalysis"]) == (1, [])
    assert "acme " + HARM not in asked
    assert (clear["blocklistsMatch"], severities(clear)["Violence"]) == ([], 6)


async def test_a_list_that_does_not_exist_is_not_found(start: Start, http: aiohttp.ClientSession) -> None:
    async with start() as url:
        status, answer, _ = await ask(http, url + TEXT, {"text": "hi", "blocklistNames": ["nobody\0"]})

    assert (status, answer["error"]["code"], answer["error"]["target"]) == (404, "ResourceNotFound", "blocklistNames")


async def test_a_key_needs_to_read_lists_to_search_them(start: Start, http: aiohttp.ClientSession) -> None:
    config = "keys:\n" + "".join(
        f"- {{name: {name}, sha256: {hashlib.sha256(name.encode()).hexdigest()}, blocklists: {name}}}\n"
        for name in ("none", "read", "write")
    )
    async with start(config=config) as url:
        await make_list(http, url, "brands", "acme", **{"Ocp-Apim-Subscription-Key": "write"})
        body = {"text": "acme", "blocklistNames": ["brands"]}
        refused, answer, _ = await ask(http, url + TEXT, body, **{"api-key": "none"})
        admitted, _, _ = await ask(http, url + TEXT, body, Authorization="Bearer read")
        plain, _, _ = await ask(http, url + TEXT, {"text": "acme"}, **{"Ocp-Apim-Subscription-Key": "none"})
        stranger, told, _ = await ask(http, url + TEXT, body)

    assert (refused, answer["error"]["code"], admitted, plain) == (403, "403", 200, 200)
    assert (stranger, told["error"]["code"]) == (401, "401")


async def test_a_key_has_verdicts_of_its_own(start: Start, http: aiohttp.ClientSession) -> None:
    judge = Judge()
    config = f"keys: [{{name: team, sha256: {hashlib.sha256(b'secret').hexdigest()}}}]\n"
    async with start(judge, config=config) as url:
        await ask(http, url + TEXT, {"text": "hi"}, **{"Ocp-Apim-Subscription-Key": "secret"})

    assert [query.tenant for query in judge.asked if query.text == "hi"] == ["team"]


async def test_above_the_limit_callers_are_asked_to_come_back(start: Start, http: aiohttp.ClientSession) -> None:
    judge = Waiting()
    async with start(judge, config="limits: {requests: 1}") as url:
        first = asyncio.create_task(ask(http, url + TEXT, {"text": "wait"}))
        await judge.asked_to_wait.wait()
        full, answer, _ = await ask(http, url + TEXT, {"text": "hi"})
        lists, _, _ = await ask(http, url + LISTS, None, "GET")
        judge.go_on.set()
        status, _, _ = await first

    assert (full, answer["error"]["code"], answer["error"]["innererror"]["code"]) == (503, "ServerBusy", "overloaded")
    assert (lists, status) == (503, 200)


# ----------------------------------------------------------------------------------------------------------------- images


def image(shows: str) -> dict[str, object]:
    return {"image": {"content": base64.b64encode(png(shows)).decode()}}


async def test_an_image_is_judged_for_harms(start: Start, http: aiohttp.ClientSession) -> None:
    judge = Judge(reads_images=True)
    async with start(judge) as url:
        _, answer, _ = await ask(http, url + IMAGE, image(ODD))
        outage, _, _ = await ask(http, url + IMAGE, image(OUTAGE))
        _, one, _ = await ask(http, url + IMAGE, {**image("a cat"), "categories": ["Sexual"]})

    assert answer == {"categoriesAnalysis": [{"category": c, "severity": 4 if c == "Violence" else 0} for c in ALL]}
    assert outage == 503
    assert one == {"categoriesAnalysis": [{"category": "Sexual", "severity": 0}]}
    assert judge.asked[-1].kind is Kind.IMAGE


async def test_an_image_that_nobody_reads_is_refused_with_advice(start: Start, http: aiohttp.ClientSession) -> None:
    async with start(Judge(reads_images=False)) as url:
        status, answer, _ = await ask(http, url + IMAGE, image("a cat"))

    assert (status, answer["error"]["innererror"]["code"]) == (400, "unsupported_content")
    assert "`azure_content_safety`" in answer["error"]["message"]


# ---------------------------------------------------------------------------------------------------- shields and material


async def test_attacks_are_found_in_what_can_hold_them(start: Start, http: aiohttp.ClientSession) -> None:
    judge = Judge()
    body = {"userPrompt": JAILBREAK, "documents": ["mail", f"mail {INJECTION}", ""]}
    async with start(judge) as url:
        _, answer, _ = await ask(http, url + SHIELD, body)
        _, swapped, _ = await ask(http, url + SHIELD, {"userPrompt": INJECTION, "documents": [JAILBREAK]})

    assert answer == {
        "userPromptAnalysis": {"attackDetected": True},
        "documentsAnalysis": [{"attackDetected": False}, {"attackDetected": True}, {"attackDetected": False}],
    }
    assert swapped == {
        "userPromptAnalysis": {"attackDetected": False},
        "documentsAnalysis": [{"attackDetected": False}],
    }
    kinds = {query.text: query.kind for query in judge.asked}
    assert (kinds[JAILBREAK], kinds["mail"]) == (Kind.DOCUMENT, Kind.DOCUMENT)
    assert "" not in kinds


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"userPrompt": "hi"}, {"userPromptAnalysis": {"attackDetected": False}}),
        ({"userPrompt": ""}, {"userPromptAnalysis": {"attackDetected": False}}),
        ({"documents": [INJECTION]}, {"documentsAnalysis": [{"attackDetected": True}]}),
        ({"userPrompt": "hi", "documents": []}, {"userPromptAnalysis": {"attackDetected": False}, "documentsAnalysis": []}),
    ],
)
async def test_an_answer_has_what_was_sent(start: Start, http: aiohttp.ClientSession, body: object, answer: object) -> None:
    async with start() as url:
        assert (await ask(http, url + SHIELD, body))[:2] == (200, answer)


async def test_one_document_without_a_verdict_leaves_the_answer_open(start: Start, http: aiohttp.ClientSession) -> None:
    async with start() as url:
        status, _, _ = await ask(http, url + SHIELD, {"userPrompt": "hi", "documents": ["mail", OUTAGE]})

    assert status == 503


@pytest.mark.parametrize(
    ("path", "name", "phrase", "more"),
    [(MATERIAL, "text", LYRICS, {}), (CODE, "code", LICENSED, {"codeCitations": []})],
)
async def test_protected_material_is_found(
    start: Start, http: aiohttp.ClientSession, path: str, name: str, phrase: str, more: dict[str, object]
) -> None:
    judge = Judge()
    async with start(judge) as url:
        _, found, _ = await ask(http, url + path, {name: phrase + LONG})
        _, clear, _ = await ask(http, url + path, {name: LONG})
        short, _, _ = await ask(http, url + path, {name: phrase})

    assert found == {"protectedMaterialAnalysis": {"detected": True, **more}}
    assert clear == {"protectedMaterialAnalysis": {"detected": False, **more}}
    assert short == 400
    assert judge.asked[-1].kind is Kind.COMPLETION


@pytest.mark.parametrize(
    ("path", "body", "target"),
    [
        (SHIELD, {"userPrompt": "hi", "documents": ["x"]}, "userPrompt"),
        (SHIELD, {"documents": ["x"]}, "documents"),
        (MATERIAL, {"text": LONG}, "text"),
        (CODE, {"code": LONG}, "code"),
    ],
)
async def test_what_nobody_looks_for_is_refused_with_advice(
    start: Start, http: aiohttp.ClientSession, path: str, body: object, target: str
) -> None:
    policy = POLICY + "input: {jailbreak: off, indirect_attack: off}\noutput: {}\n"
    harms = frozenset({Category.HATE, Category.SEXUAL, Category.VIOLENCE, Category.SELF_HARM})
    async with start(Judge(harms), policy=policy) as url:
        status, answer, _ = await ask(http, url + path, body)

    assert (status, answer["error"]["target"]) == (400, target)
    assert answer["error"]["innererror"]["code"] == "unsupported_content"


async def test_groundedness_is_not_offered(start: Start, http: aiohttp.ClientSession) -> None:
    async with start() as url:
        status, answer, _ = await ask(http, f"{url}/contentsafety/text:detectGroundedness", {"text": "hi"})

    assert (status, answer) == (404, {"error": {"code": "404", "message": "Resource not found"}})


# ----------------------------------------------------------------------------------------------------------------- routing


@pytest.mark.parametrize(
    "path",
    [
        "//contentsafety/text:analyze",
        "////contentsafety/text:analyze",
        "/contentsafety/text%3Aanalyze",
        "//contentsafety/text%3aanalyze",
        "//contentsafety/text:analyze?api-version=2023-10-01",
    ],
)
async def test_slashes_and_escapes_make_no_difference(start: Start, http: aiohttp.ClientSession, path: str) -> None:
    config = f"keys: [{{name: team, sha256: {hashlib.sha256(b'secret').hexdigest()}}}]\n"
    async with start(config=config) as url:
        target = URL(url + path, encoded=True)
        status, answer, _ = await ask(http, target, {"text": HARM}, **{"Ocp-Apim-Subscription-Key": "secret"})
        refused, _, _ = await ask(http, target, {"text": HARM}, **{"Ocp-Apim-Subscription-Key": "wrong"})
        async with http.get(f"{url}/metrics", headers={"api-key": "secret"}) as response:
            metrics = await response.text()

    assert (status, severities(answer)["Violence"], refused) == (200, 6, 401)
    assert "slashes" not in metrics


@pytest.mark.parametrize("slashes", ["/", "//"])
async def test_a_wrong_method_is_told_with_the_right_ones(start: Start, http: aiohttp.ClientSession, slashes: str) -> None:
    async with start() as url, http.get(URL(f"{url}{slashes}contentsafety/text:analyze", encoded=True)) as response:
        answer = await response.json()

    assert (response.status, response.headers["Allow"], answer["error"]["code"]) == (405, "POST", "405")


@pytest.mark.parametrize("path", ["//contentsafety/nothing", "//contentsafety/", "//v1/models", "//", "/text:analyze"])
async def test_no_other_route_comes_with_more_slashes(start: Start, http: aiohttp.ClientSession, path: str) -> None:
    async with start() as url, http.post(URL(url + path, encoded=True), json={"text": "hi"}) as response:
        assert response.status == 404


async def test_any_version_will_do_but_it_must_be_one(start: Start, http: aiohttp.ClientSession) -> None:
    async with start() as url:
        statuses = {
            version: (await ask(http, f"{url}{TEXT}?api-version={version}", {"text": "hi"}))[0]
            for version in ("2023-10-01", "2024-09-01", "2024-09-15-preview", "latest-and-greatest")
        }

    assert list(statuses.values()) == [200, 200, 200, 400]
