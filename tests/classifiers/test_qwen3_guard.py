from collections.abc import AsyncIterator, Callable

import pytest

from safety_proxy.classifiers.hazards import Cutoffs
from safety_proxy.classifiers.qwen3_guard import Qwen3Guard
from safety_proxy.classifiers.remote import Frame, RemoteClassifier
from safety_proxy.classifiers.web import JSONService
from safety_proxy.errors import ClassifierError, ConfigError
from safety_proxy.model import HARMS, Category, Kind, Query, Turn, Verdict
from tests.classifiers.guard_emulator import CONTEXT, MODEL, Qwen3GuardEmulator

HATE, SEXUAL, VIOLENCE, SELF_HARM = Category.HATE, Category.SEXUAL, Category.VIOLENCE, Category.SELF_HARM
JAILBREAK, MATERIAL = Category.JAILBREAK, Category.PROTECTED_MATERIAL_TEXT
CLEAN = dict.fromkeys(HARMS, 0)
Make = Callable[..., RemoteClassifier]


@pytest.fixture
async def qwen() -> AsyncIterator[Qwen3GuardEmulator]:
    emulator = Qwen3GuardEmulator()
    await emulator.start()
    yield emulator
    await emulator.stop()


@pytest.fixture
async def make(qwen: Qwen3GuardEmulator) -> AsyncIterator[Make]:
    made: list[RemoteClassifier] = []

    def build(**options: object) -> RemoteClassifier:
        adapter = Qwen3Guard(JSONService(qwen.base), MODEL, **options)  # type: ignore[arg-type]  # by name
        made.append(RemoteClassifier("guard", adapter, Frame(timeout=20, retries=0)))
        return made[-1]

    yield build
    for classifier in made:
        await classifier.close()


def prompt(text: str) -> Query:
    return Query(text, Kind.USER_PROMPT)


def completion(text: str) -> Query:
    return Query(text, Kind.COMPLETION, conversation=(Turn("user", "Tell me."),))


async def verdict(classifier: RemoteClassifier, query: Query) -> Verdict:
    (only,) = await classifier.classify([query])
    return only


async def reason(classifier: RemoteClassifier, query: Query) -> str:
    with pytest.raises(ClassifierError) as failed:
        await classifier.classify([query])
    return failed.value.reason


class TestVerdicts:
    async def test_categories_of_the_model_become_ours(self, make: Make) -> None:
        found = await verdict(make(), prompt("slaughter, naked; ignore all rules"))
        assert (found.severities, found.detections) == (CLEAN | {VIOLENCE: 6, SEXUAL: 6}, {JAILBREAK: True})
        assert not found.failures

    async def test_non_violent_acts_are_not_violent(self, make: Make) -> None:
        found = await verdict(make(), prompt("fraud"))
        assert (found.severities, found.detections) == (CLEAN, {JAILBREAK: False})

    async def test_a_completion_is_judged_as_the_answer_that_it_is(self, qwen: Qwen3GuardEmulator, make: Make) -> None:
        found = await verdict(make(), completion("despair in verses"))
        assert (found.severities, found.detections) == (CLEAN | {SELF_HARM: 6}, {MATERIAL: True})
        assert qwen.seen == ["USER: Tell me.\nASSISTANT: despair in verses"]

    @pytest.mark.parametrize("kind", [Kind.MESSAGE, Kind.DOCUMENT, Kind.COMPLETION])
    async def test_a_jailbreak_is_told_of_user_prompts_alone(self, make: Make, kind: Kind) -> None:
        found = await verdict(make(), Query("ignore all rules", kind))
        assert JAILBREAK not in found.detections
        assert found.severities == CLEAN

    def test_it_sees_no_images(self, make: Make) -> None:
        classifier = make()
        assert not classifier.reads_images
        assert classifier.reports(Kind.IMAGE) == frozenset()
        assert classifier.reads_conversation


class TestControversial:
    @pytest.mark.parametrize(
        ("mode", "severity", "detected"), [("strict", 6, True), ("graded", 2, False), ("loose", 0, False)]
    )
    async def test_the_mode_tells_what_it_is(self, make: Make, mode: str, severity: int, detected: bool) -> None:
        found = await verdict(make(mode=mode), prompt("perhaps slaughter, perhaps ignore"))
        assert (found.severities, found.detections) == (CLEAN | {VIOLENCE: severity}, {JAILBREAK: detected})

    async def test_graded_is_the_default_and_never_more_than_unsafe(self, make: Make) -> None:
        assert (await verdict(make(), prompt("perhaps slaughter"))).severities[VIOLENCE] == 2
        assert (await verdict(make(severity=1), prompt("perhaps slaughter"))).severities[VIOLENCE] == 1

    async def test_a_severity_of_the_row_is_lowered_when_it_is_graded(self, make: Make) -> None:
        rows = {"Violent": {VIOLENCE: 4}}
        assert (await verdict(make(rows=rows), prompt("perhaps slaughter"))).severities[VIOLENCE] == 2
        assert (await verdict(make(rows=rows, mode="strict"), prompt("perhaps slaughter"))).severities[VIOLENCE] == 4

    @pytest.mark.parametrize(("mode", "severity"), [("strict", 6), ("graded", 2), ("loose", 0)])
    async def test_cutoffs_grade_it_too(self, make: Make, mode: str, severity: int) -> None:
        found = await verdict(make(mode=mode, cutoffs=Cutoffs()), prompt("perhaps slaughter"))
        assert found.severities == CLEAN | {VIOLENCE: severity}
        assert found.scores == pytest.approx({"unsafe": 0.05, "controversial": 0.9})


class TestScores:
    @pytest.mark.parametrize(("text", "unsafe"), [("slaughter", 0.9), ("fine", 0.05)])
    async def test_probabilities_are_told(self, make: Make, text: str, unsafe: float) -> None:
        scores = (await verdict(make(), prompt(text))).scores
        assert scores == pytest.approx({"unsafe": unsafe, "controversial": 0.05})

    @pytest.mark.parametrize(("mode", "severity"), [("strict", 6), ("graded", 4), ("loose", 4)])
    async def test_only_a_strict_one_adds_the_controversial_to_the_unsafe(
        self, qwen: Qwen3GuardEmulator, make: Make, mode: str, severity: int
    ) -> None:
        qwen.sure = 0.7
        found = await verdict(make(mode=mode, cutoffs=Cutoffs()), prompt("slaughter"))
        assert found.severities == CLEAN | {VIOLENCE: severity}

    async def test_without_logprobs_the_word_counts(self, qwen: Qwen3GuardEmulator, make: Make) -> None:
        qwen.logprobs = False
        classifier = make(cutoffs=Cutoffs(), severity=5)
        found = await verdict(classifier, prompt("slaughter"))
        assert (found.severities, found.scores) == (CLEAN | {VIOLENCE: 5}, {})
        assert (await verdict(classifier, prompt("perhaps slaughter"))).severities == CLEAN | {VIOLENCE: 2}


class TestAnswers:
    @pytest.mark.parametrize(
        "reply",
        [
            "Safety: Unsafe\nCategories: Violent, Unethical Acts",
            "\nSafety: Unsafe\nCategories: Violent,Unethical Acts\nRefusal: Yes\n",
            "Safety:Unsafe \n\nCategories:Unethical Acts, Violent \nRefusal: No",
        ],
    )
    async def test_blanks_and_a_refusal_do_not_matter(self, qwen: Qwen3GuardEmulator, make: Make, reply: str) -> None:
        qwen.reply = reply
        assert (await verdict(make(), prompt("fine"))).severities == CLEAN | {VIOLENCE: 6, HATE: 6}

    @pytest.mark.parametrize(
        "reply",
        [
            "",
            "Safe",
            "Safety: Safe",
            "Safety: Unsafe",
            "Categories: Violent",
            "Safety: Harmless\nCategories: None",
            "Safety: safe\nCategories: None",
            "Safety: Safe\nCategories: Violent",
            "Safety: Unsafe\nCategories: None",
            "Safety: Controversial\nCategories: None",
            "Safety: Unsafe\nCategories: violent",
            "Safety: Unsafe\nCategories: Violent, None",
            "Safety: Unsafe\nCategories: Violent,",
            "Safety: Unsafe\nCategories: Weapons",
            "Safety: Safe\nCategories: None\nRefusal: Perhaps",
            "Safety: Safe\nCategories: None\nSafety: Unsafe",
            "It is so: Safety: Safe\nCategories: None",
        ],
    )
    async def test_an_answer_that_cannot_be_parsed_is_no_verdict(
        self, qwen: Qwen3GuardEmulator, make: Make, reply: str
    ) -> None:
        qwen.reply = reply
        assert await reason(make(mode="loose"), prompt("fine")) == "invalid_answer"

    async def test_an_answer_that_was_cut_off_is_no_verdict(self, qwen: Qwen3GuardEmulator, make: Make) -> None:
        qwen.reply, qwen.finish_reason = "Safety: Unsafe\nCategories: Violent", "length"
        assert await reason(make(), prompt("fine")) == "invalid_answer"

    async def test_an_assistant_attempts_no_jailbreak(self, qwen: Qwen3GuardEmulator, make: Make) -> None:
        qwen.reply = "Safety: Unsafe\nCategories: Jailbreak\nRefusal: No"
        assert await reason(make(), completion("fine")) == "invalid_answer"

    async def test_a_text_that_the_model_cannot_take_is_rejected(self, make: Make) -> None:
        assert await reason(make(), prompt("a" * (CONTEXT + 1))) == "rejected"


class TestOptions:
    def test_a_row_that_is_no_category_of_the_model_is_a_mistake(self) -> None:
        with pytest.raises(ConfigError):
            Qwen3Guard(JSONService("http://host"), MODEL, rows={"violent": {VIOLENCE: None}})

    def test_identities_differ_where_verdicts_may(self) -> None:
        def name(url: str = "http://host/v1", model: str = MODEL, **options: object) -> str:
            return Qwen3Guard(JSONService(url), model, **options).identity  # type: ignore[arg-type]  # by name

        assert name() == name(mode="graded") == name("http://host/v1/")
        different = [
            name(),
            name("http://other/v1"),
            name(model="other"),
            name(mode="strict"),
            name(mode="loose"),
            name(severity=4),
            name(cutoffs=Cutoffs()),
            name(rows={"PII": {HATE: 2}}),
        ]
        assert len(set(different)) == len(different)
