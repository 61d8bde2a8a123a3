"""Prompt Guard: labels count by their place, long texts in segments, and the highest score counts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.classifiers.prompt_guard import API, PromptGuard, segments
from safety_proxy.classifiers.remote import Frame, RemoteClassifier
from safety_proxy.classifiers.web import JSONService
from safety_proxy.errors import ClassifierError
from safety_proxy.model import Category, Kind, Query, Verdict
from tests.classifiers.prompt_guard_emulator import ATTACK, INJECTION, TOKENS, PromptGuardEmulator, tokens

JAILBREAK, INDIRECT = Category.JAILBREAK, Category.INDIRECT_ATTACK
Make = Callable[..., object]
BOTH = pytest.mark.parametrize("api", ["classify", "predict"])


class Bench:
    """A server, and the classifier that asks it."""

    def __init__(self) -> None:
        self.server = PromptGuardEmulator()
        self.made: list[RemoteClassifier] = []

    async def start(self, api: API, labels: int = 2, cutoff: float = 0.5) -> RemoteClassifier:
        self.server = PromptGuardEmulator(api, labels)
        await self.server.start()
        adapter = PromptGuard(JSONService(self.server.url), "m", api=api, cutoff=cutoff)
        self.made.append(RemoteClassifier("shields", adapter, Frame(timeout=20, retries=0)))
        return self.made[-1]


@pytest.fixture(name="bench")
async def _bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    for classifier in bench.made:
        await classifier.close()
        await bench.server.stop()


async def verdict(classifier: RemoteClassifier, text: str, kind: Kind = Kind.USER_PROMPT) -> Verdict:
    (only,) = await classifier.classify([Query(text, kind)])
    return only


@BOTH
async def test_of_two_labels_the_last_is_malicious_in_prompts_and_in_documents(bench: Bench, api: API) -> None:
    asked = await bench.start(api)
    assert await verdict(asked, "fine") == Verdict(detections={JAILBREAK: False}, scores={"malicious": 0.01})
    assert (await verdict(asked, ATTACK)).detections == {JAILBREAK: True}
    assert (await verdict(asked, ATTACK, Kind.DOCUMENT)).detections == {INDIRECT: True}


@BOTH
async def test_of_three_labels_an_injection_counts_in_documents_only(bench: Bench, api: API) -> None:
    asked = await bench.start(api, labels=3)
    assert (await verdict(asked, INJECTION)).detections == {JAILBREAK: False}
    found = await verdict(asked, INJECTION, Kind.DOCUMENT)
    assert found.detections == {INDIRECT: True}
    assert found.scores == pytest.approx({"jailbreak": 0.05, "injection": 0.9})
    assert (await verdict(asked, ATTACK)).detections == {JAILBREAK: True}


@BOTH
async def test_the_cutoff_decides(bench: Bench, api: API) -> None:
    assert (await verdict(await bench.start(api, cutoff=0.99), ATTACK)).detections == {JAILBREAK: False}


@pytest.mark.parametrize("kind", [Kind.MESSAGE, Kind.COMPLETION])
async def test_other_texts_are_not_asked_about(bench: Bench, kind: Kind) -> None:
    asked = await bench.start("classify")
    assert await verdict(asked, ATTACK, kind) == Verdict()
    assert asked.reports(kind) == frozenset()
    assert not bench.server.received


@pytest.mark.parametrize("names", [["BENIGN", "MALICIOUS"], ["benign", "malicious"], ["LABEL_0", "LABEL_1"]])
async def test_names_of_labels_are_known(bench: Bench, names: list[str]) -> None:
    asked = await bench.start("predict")
    bench.server.names = names
    assert (await verdict(asked, ATTACK)).detections == {JAILBREAK: True}


async def test_names_of_three_labels_are_known(bench: Bench) -> None:
    asked = await bench.start("predict", labels=3)
    bench.server.names = ["BENIGN", "INJECTION", "JAILBREAK"]
    assert (await verdict(asked, ATTACK)).detections == {JAILBREAK: True}


async def test_an_answer_that_is_not_nested_is_that_on_one_text(bench: Bench) -> None:
    asked = await bench.start("predict")
    entries = [{"label": "LABEL_1", "score": 0.9}, {"label": "LABEL_0", "score": 0.1}]
    bench.server.fail(body=json.dumps(entries).encode())
    assert (await verdict(asked, "x")).detections == {JAILBREAK: True}


async def test_rows_in_another_order_go_by_their_index(bench: Bench) -> None:
    asked = await bench.start("classify")
    long = "word " * 800
    count = len(segments(long))
    rows = [{"index": i, "probs": [0.9, 0.1]} for i in reversed(range(count))]
    rows[0]["probs"] = [0.1, 0.9]
    bench.server.fail(body=json.dumps({"data": rows}).encode())
    assert (await verdict(asked, long)).detections == {JAILBREAK: True}


@pytest.mark.parametrize(
    ("api", "body"),
    [
        ("classify", {"data": [{"probs": [0.1, 0.2, 0.3, 0.4]}]}),
        ("classify", {"data": [{"probs": [0.5, 0.5]}, {"probs": [0.5, 0.5]}]}),
        ("classify", {"data": [{"probs": [0.5, None]}]}),
        ("classify", {"data": [None]}),
        ("classify", {"data": [{"label": "LABEL_0"}]}),
        ("classify", []),
        ("predict", {}),
        ("predict", []),
        ("predict", [[{"label": "UNSURE", "score": 0.5}, {"label": "LABEL_1", "score": 0.5}]]),
        ("predict", [[{"label": "LABEL_1", "score": 0.5}]]),
        ("predict", [[{"label": "LABEL_2", "score": 0.9}, {"label": "LABEL_1", "score": 0.1}]]),
        ("predict", [[{"label": "JAILBREAK", "score": 0.9}, {"label": "INJECTION", "score": 0.1}]]),
        ("predict", [[{"label": "MALICIOUS", "score": 0.9}, {"label": "LABEL_1", "score": 0.1}]]),
        ("predict", [[{"label": "LABEL_0", "score": "0.5"}, {"label": "LABEL_1", "score": 0.5}]]),
    ],
)
async def test_what_cannot_be_read_is_no_verdict(bench: Bench, api: API, body: object) -> None:
    asked = await bench.start(api)
    bench.server.fail(body=json.dumps(body).encode())
    with pytest.raises(ClassifierError, match="invalid_answer"):
        await verdict(asked, "x")


@pytest.mark.parametrize(
    "rows",
    [
        [{"probs": [0.9, 0.1]}, {"probs": [0.9, 0.05, 0.05]}],
        [{"index": 0, "probs": [0.9, 0.1]}, {"index": 0, "probs": [0.9, 0.1]}],
    ],
)
async def test_rows_of_several_models_or_twice_of_one_segment_are_no_verdict(bench: Bench, rows: list[object]) -> None:
    asked = await bench.start("classify")
    text = "word " * 250
    assert len(segments(text)) == len(rows)
    bench.server.fail(body=json.dumps({"data": rows}).encode())
    with pytest.raises(ClassifierError, match="invalid_answer"):
        await verdict(asked, text)


@BOTH
@pytest.mark.parametrize("filler", ["x", "qz7 ", "\u00a0", "\u3000", "\ufdfa", "中", "😀", " \n", "\x00"])
async def test_no_filler_pushes_an_attack_out_of_what_the_model_reads(bench: Bench, api: API, filler: str) -> None:
    asked = await bench.start(api)
    assert (await verdict(asked, filler * 1_000 + ATTACK)).detections == {JAILBREAK: True}
    assert (await verdict(asked, "a" + filler * 1_000 + "a")).detections == {JAILBREAK: False}


async def test_a_server_that_is_set_to_cut_texts_off_is_told_not_to(bench: Bench) -> None:
    await verdict(await bench.start("predict"), "fine")
    assert bench.server.bodies() == [{"inputs": [["fine"]], "truncate": False}]


async def test_a_segment_that_has_too_many_tokens_all_the_same_is_undecided(bench: Bench) -> None:
    asked = await bench.start("predict")
    bench.server.fail(status=413, body=b'{"error":"must have less than 512 tokens","error_type":"Validation"}')
    with pytest.raises(ClassifierError, match="rejected"):
        await verdict(asked, "x")


@BOTH
@pytest.mark.parametrize("place", [0, 1_900, 10_000, 39_000])
async def test_an_attack_is_found_wherever_in_a_long_text_it_stands(bench: Bench, api: API, place: int) -> None:
    text = ("word " * 8_000)[:place] + ATTACK + ("word " * 8_000)[place:]
    assert (await verdict(await bench.start(api), text)).detections == {JAILBREAK: True}
    assert len(bench.server.received) > 1


@given(st.text(st.sampled_from("ab \n.1é中😀\u0301\u00a0\u3000\ufdfa\ud800"), max_size=4_000))
def test_segments_fit_hold_the_whole_text_and_overlap(text: str) -> None:
    parts = segments(text)
    assert all(tokens(part) <= TOKENS for part in parts)
    rebuilt, place = parts[0], 0
    for part in parts[1:]:
        place = text.find(part, place + 1)
        assert 0 < place < len(rebuilt)
        rebuilt = text[: place + len(part)]
    assert rebuilt == text


def test_long_texts_are_cut_in_linear_time() -> None:
    assert len(segments("\ud800\x00 word中" * 20_000)) > 100


async def test_model_cutoff_and_server_are_the_identity() -> None:
    service = JSONService("http://h", {"Authorization": "Bearer secret"})
    identities = {
        PromptGuard(service, "a").identity,
        PromptGuard(service, "b").identity,
        PromptGuard(service, "a", cutoff=0.9).identity,
        PromptGuard(JSONService("http://i"), "a").identity,
    }
    assert len(identities) == 4
    assert "secret" not in "".join(identities)
