import math
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from safety_proxy.classifiers.guard import (
    Answer,
    GuardServer,
    Scale,
    Token,
    fold,
    graded,
    identity,
    plain,
    question_of,
    table,
)
from safety_proxy.classifiers.hazards import Cutoffs, Hazards
from safety_proxy.classifiers.service import ServiceError
from safety_proxy.classifiers.web import JSONService
from safety_proxy.errors import ConfigError
from safety_proxy.model import JSON, Category, Kind, Query, Turn
from tests.classifiers.guard_emulator import MODEL, LlamaGuardEmulator, ShieldGemmaEmulator

HATE, VIOLENCE, JAILBREAK = Category.HATE, Category.VIOLENCE, Category.JAILBREAK
WORD = re.compile(r"^\s*(Yes|No)\b")
TABLE = Hazards({"war": {VIOLENCE: None}, "trick": {JAILBREAK: None}, "slur": {HATE: 6}, "tax": {}})


def token(text: str, chance: float, **others: float) -> Token:
    return Token(text, math.log(chance), {other: math.log(share) for other, share in others.items()})


def chances(*tokens: Token, text: str = "Yes", pattern: re.Pattern[str] = WORD) -> Mapping[str, float] | None:
    said = pattern.search(text)
    assert said is not None
    return Answer(text, whole=True, tokens=tokens).chances(said, ("Yes", "No"))


class TestChances:
    def test_they_are_the_softmax_over_the_words(self) -> None:
        assert chances(token("Yes", 0.6, Yes=0.6, No=0.2, Maybe=0.2)) == pytest.approx({"Yes": 0.75, "No": 0.25})

    def test_all_ways_to_write_a_word_count_for_it(self) -> None:
        one = Token("Yes", math.log(0.4), {" Yes": math.log(0.2), "Ye": math.log(0.1), "No": math.log(0.3), "\n": -9.0})
        assert chances(one) == pytest.approx({"Yes": 0.7, "No": 0.3})

    @pytest.mark.parametrize("other", ["Note", "Nothing", "yes", "NO", "", " "])
    def test_other_words_and_blanks_do_not_count(self, other: str) -> None:
        found = chances(Token("Yes", math.log(0.5), {"No": math.log(0.1), other: math.log(0.3)}))
        assert found == pytest.approx({"Yes": 5 / 6, "No": 1 / 6})

    def test_a_word_that_is_not_listed_is_as_likely_as_the_least_that_is(self) -> None:
        assert chances(token("Yes", 0.4, I=0.1)) == pytest.approx({"Yes": 0.8, "No": 0.2})

    def test_a_word_that_stands_alone_leaves_the_rest_to_the_other(self) -> None:
        assert chances(token("No", 0.9), text="No") == pytest.approx({"Yes": 0.1, "No": 0.9})

    def test_the_token_that_begins_the_word_tells(self) -> None:
        blank = token("\n\n", 0.99, Yes=0.01)
        assert chances(blank, token("No", 0.8, Yes=0.2), text="\n\nNo") == pytest.approx({"Yes": 0.2, "No": 0.8})

    def test_what_stands_before_the_word_in_its_token_is_left_aside(self) -> None:
        pattern = re.compile(r"<score>\s*(Yes|No)")
        one = Token(">Yes", math.log(0.75), {">No": math.log(0.25)})
        text = "<score>Yes</score>"
        found = chances(Token("<score", 0.0, {}), one, Token("</score>", 0.0, {}), text=text, pattern=pattern)
        assert found == pytest.approx({"Yes": 0.75, "No": 0.25})

    @pytest.mark.parametrize("end", ["<|eot_id|>", "<|im_end|>", "<end_of_turn>", "</s>"])
    def test_a_token_that_ends_the_answer_is_no_part_of_it(self, end: str) -> None:
        assert chances(token("Yes", 0.9), Token(end, 0.0, {}), pattern=re.compile(r"^(Yes|No)$")) is not None

    def test_an_impossible_alternative_has_no_part(self) -> None:
        assert chances(Token("Yes", 0.0, {"No": -9999.0})) == {"Yes": 1.0, "No": 0.0}

    @pytest.mark.parametrize(
        "tokens",
        [
            (),
            (token("No", 0.9),),
            (token("Perhaps", 0.9),),
            (token("token_id:9", 0.9),),
            (Token("Yes", -9999.0, {"I": -9999.0}),),
        ],
    )
    def test_tokens_that_do_not_tell_the_same_tell_nothing(self, tokens: tuple[Token, ...]) -> None:
        assert chances(*tokens) is None


class TestServer:
    @pytest.fixture
    async def llama(self) -> AsyncIterator[LlamaGuardEmulator]:
        emulator = LlamaGuardEmulator()
        await emulator.start()
        yield emulator
        await emulator.stop()

    async def ask(self, url: str, *, chat: bool = True) -> Answer:
        server = GuardServer(JSONService(url), MODEL)
        try:
            if chat:
                return await server.chat([{"role": "user", "content": "fine"}], longest=9, more={"seed": 1})
            return await server.complete("once", longest=9)
        finally:
            await server.close()

    async def test_a_chat_is_asked_for_without_chance_and_with_logprobs(self, llama: LlamaGuardEmulator) -> None:
        answer = await self.ask(llama.base)
        assert (answer.text, answer.whole, len(answer.tokens)) == ("\n\nsafe", True, 3)
        assert llama.bodies() == [
            {
                "model": MODEL,
                "messages": [{"role": "user", "content": "fine"}],
                "temperature": 0,
                "max_tokens": 9,
                "logprobs": True,
                "top_logprobs": 5,
                "seed": 1,
            }
        ]

    async def test_a_completion_is_asked_for_with_a_bare_prompt(self) -> None:
        emulator = ShieldGemmaEmulator()
        await emulator.start()
        answer = await self.ask(emulator.base, chat=False)
        await emulator.stop()
        assert (answer.text, [each.text for each in answer.tokens]) == ("I think", ["I", " think"])
        assert emulator.bodies()[0] == {"model": MODEL, "prompt": "once", "temperature": 0, "max_tokens": 9, "logprobs": 5}

    @pytest.mark.parametrize("marker", ["▁", "Ġ"])
    async def test_the_vocabularys_own_blanks_are_blanks(self, marker: str) -> None:
        emulator = ShieldGemmaEmulator()
        emulator.marker = marker
        await emulator.start()
        answer = await self.ask(emulator.base, chat=False)
        await emulator.stop()
        assert answer.tokens[1].text == " think"

    @pytest.mark.parametrize(
        ("reason", "whole"), [("stop", True), (None, True), ("length", False), ("abort", False), ("content_filter", False)]
    )
    async def test_only_an_answer_that_ended_by_itself_is_whole(
        self, llama: LlamaGuardEmulator, reason: str | None, whole: bool
    ) -> None:
        llama.finish_reason = reason
        assert (await self.ask(llama.base)).whole is whole

    @pytest.mark.parametrize(
        "body",
        [
            b"null",
            b"{}",
            b'{"choices":[]}',
            b'{"choices":[1]}',
            b'{"choices":{"0":{}}}',
            b'{"choices":[{"message":"safe"}]}',
            b'{"choices":[{"message":{"content":null}}]}',
            b'{"choices":[{"message":{"content":["safe"]}}]}',
            b'{"choices":[{"message":{"content":"safe"}},{"message":{"content":"safe"}}]}',
        ],
    )
    @pytest.mark.parametrize("chat", [True, False])
    async def test_what_holds_no_answer_is_invalid(self, llama: LlamaGuardEmulator, body: bytes, chat: bool) -> None:
        llama.fail(body=body)
        with pytest.raises(ServiceError) as failed:
            await self.ask(llama.base, chat=chat)
        assert (failed.value.reason, failed.value.again) == ("invalid_answer", False)

    @pytest.mark.parametrize(
        "logprobs",
        [
            b"null",
            b"[]",
            b'{"content":null,"tokens":null}',
            b'{"content":[1],"tokens":[1],"token_logprobs":[1]}',
            b'{"content":[{"token":"safe"}],"tokens":["safe"],"token_logprobs":[]}',
            b'{"content":[{"token":"safe","logprob":"0"}],"tokens":["safe"],"token_logprobs":["0"]}',
            b'{"content":[{"token":"s","logprob":0},{"token":null,"logprob":0}],"tokens":["s",null],"token_logprobs":[0,null]}',
        ],
    )
    @pytest.mark.parametrize("chat", [True, False])
    async def test_logprobs_that_cannot_be_read_are_none(
        self, llama: LlamaGuardEmulator, logprobs: bytes, chat: bool
    ) -> None:
        llama.fail(body=b'{"choices":[{"message":{"content":"safe"},"text":"safe","logprobs":' + logprobs + b"}]}")
        assert await self.ask(llama.base, chat=chat) == Answer("safe", whole=True)

    @pytest.mark.parametrize(
        "logprobs",
        [
            b'{"content":[{"token":"safe","logprob":-0.5,"top_logprobs":[1,{"token":2,"logprob":-1},{"token":"x","logprob":null}]}]}',
            b'{"content":[{"token":"safe","logprob":-0.5,"top_logprobs":null}]}',
            b'{"tokens":["safe"],"token_logprobs":[-0.5],"top_logprobs":null}',
            b'{"tokens":["safe"],"token_logprobs":[-0.5],"top_logprobs":[null]}',
            b'{"tokens":["safe"],"token_logprobs":[-0.5],"top_logprobs":[{"x":null}]}',
        ],
    )
    async def test_a_token_without_alternatives_is_one(self, llama: LlamaGuardEmulator, logprobs: bytes) -> None:
        llama.fail(body=b'{"choices":[{"message":{"content":"safe"},"text":"safe","logprobs":' + logprobs + b"}]}")
        answer = await self.ask(llama.base, chat=b"content" in logprobs)
        assert answer.tokens == (Token("safe", -0.5, {}),)


class TestTexts:
    @pytest.mark.parametrize(
        ("text", "sent"),
        [
            ("a <|eot_id|><|start_header_id|>b", "a < |eot_id|>< |start_header_id|>b"),
            ("<|im_end|>", "< |im_end|>"),
            ("<end_of_turn>\n<start_of_turn>", "< end_of_turn>\n< start_of_turn>"),
            ("<END CONVERSATION> <end conversation>", "< END CONVERSATION> < end conversation>"),
            ("</think><score> no </score>", "< /think>< score> no < /score>"),
            ("<guardian><no-think>", "< guardian>< no-think>"),
            ("<bos></s>", "< bos></s>"),
        ],
    )
    def test_nobody_writes_a_token_of_the_template(self, text: str, sent: str) -> None:
        assert plain(text) == sent
        assert plain(sent) == sent

    @pytest.mark.parametrize("text", ["a < b", "<b>bold</b>", "x <| y |> z", "if a<|b|", "<!-- -->", "<ending>", "💥"])
    def test_other_texts_stay_as_they_are(self, text: str) -> None:
        assert plain(text) == text

    @pytest.mark.parametrize(
        ("said", "kind", "folded"),
        [
            ("", Kind.USER_PROMPT, "u:text"),
            ("", Kind.COMPLETION, "u:text"),
            ("u:one", Kind.COMPLETION, "u:one a:text"),
            ("s:rules", Kind.COMPLETION, "u:rules a:text"),
            ("a:hi", Kind.COMPLETION, "u:hi+text"),
            ("a:hi", Kind.USER_PROMPT, "u:hi+text"),
            ("a:hi u:one", Kind.COMPLETION, "u:hi+one a:text"),
            ("s:rules u:one a:two", Kind.USER_PROMPT, "u:rules+one a:two u:text"),
            ("u:one a:two", Kind.COMPLETION, "u:one a:two+text"),
            ("u:one a:two t:result", Kind.DOCUMENT, "u:one a:two u:result+text"),
            ("d:rules u:one", Kind.MESSAGE, "u:rules+one+text"),
            ("u: a: u:one a:two a:three", Kind.USER_PROMPT, "u:one a:two+three u:text"),
            ("u: ", Kind.COMPLETION, "u:text"),
        ],
    )
    def test_a_conversation_begins_with_a_user_and_alternates(self, said: str, kind: Kind, folded: str) -> None:
        roles = {"u": "user", "a": "assistant", "s": "system", "d": "developer", "t": "tool"}
        before = tuple(Turn(roles[each[0]], each[2:]) for each in said.split())
        turns = fold(Query("text", kind, conversation=before))
        assert " ".join(f"{t.role[0]}:{t.text}" for t in turns).replace("\n\n", "+") == folded

    def test_no_turn_ends_itself(self) -> None:
        turns = fold(Query("<|eot_id|>", Kind.COMPLETION, conversation=(Turn("user", "<|im_end|>"),)))
        assert [turn.text for turn in turns] == ["< |im_end|>", "< |eot_id|>"]

    def test_a_completion_answers_to_what_the_user_said_last(self) -> None:
        before = (Turn("user", "one"), Turn("assistant", "two"), Turn("user", "<bos>three"), Turn("tool", "four"))
        assert question_of(Query("text", Kind.COMPLETION, conversation=before)) == "< bos>three"
        assert question_of(Query("text", Kind.USER_PROMPT, conversation=before)) is None
        assert question_of(Query("text", Kind.COMPLETION, conversation=(Turn("system", "rules"), Turn("user", " ")))) is None


class TestSeverity:
    @pytest.mark.parametrize("chance", [None, 0.1, 0.9])
    def test_without_cutoffs_the_word_counts(self, chance: float | None) -> None:
        scale = Scale(5, None)
        assert scale.verdict(TABLE, Kind.MESSAGE, ["war"], chance).severities == {HATE: 0, VIOLENCE: 5}
        assert scale.verdict(TABLE, Kind.MESSAGE, ["war"], chance, said=False).severities == {HATE: 0, VIOLENCE: 0}

    @pytest.mark.parametrize("said", [True, False])
    @pytest.mark.parametrize(("chance", "severity"), [(0.1, 0), (0.2, 2), (0.5, 4), (0.8, 6)])
    def test_with_cutoffs_the_probability_counts(self, said: bool, chance: float, severity: int) -> None:
        found = Scale(5, Cutoffs()).verdict(TABLE, Kind.MESSAGE, ["war"], chance, said=said)
        assert found.severities == {HATE: 0, VIOLENCE: severity}

    def test_with_cutoffs_and_no_probability_the_word_counts(self) -> None:
        assert Scale(5, Cutoffs()).verdict(TABLE, Kind.MESSAGE, ["war"]).severities[VIOLENCE] == 5

    @pytest.mark.parametrize(("severity", "detected", "hate"), [(0, False, 0), (2, False, 2), (4, True, 6), (6, True, 6)])
    def test_a_weak_finding_detects_nothing_and_is_weak_whatever_the_row_says(
        self, severity: int, detected: bool, hate: int
    ) -> None:
        found = graded(TABLE, Kind.USER_PROMPT, dict.fromkeys(TABLE.table, severity))
        assert (found.severities, found.detections) == ({HATE: hate, VIOLENCE: severity}, {JAILBREAK: detected})

    def test_a_row_for_a_hazard_that_is_never_looked_for_is_a_mistake(self) -> None:
        assert table(TABLE, {"tax": {HATE: None}, "more": {}}, ["more"]).table["tax"] == {HATE: None}
        with pytest.raises(ConfigError, match="hazards: may have rows for these only: slur, tax, trick, war"):
            table(TABLE, {"War": {HATE: None}})


def test_an_identity_is_one_line_and_holds_neither_url_nor_key() -> None:
    given: dict[str, Any] = {"model": "a\nb", "hazards": TABLE, "scale": Scale(6, None)}
    one = identity("type", JSONService("http://host/v1", {"Authorization": "secret"}), **given)
    assert one == identity("type", JSONService("http://host/v1/"), **given)
    others: list[JSON] = [
        identity("other", JSONService("http://host/v1"), **given),
        identity("type", JSONService("http://elsewhere/v1"), **given),
        identity("type", JSONService("http://host/v1"), "c", TABLE, Scale(6, None)),
        identity("type", JSONService("http://host/v1"), "a\nb", TABLE, Scale(5, None)),
        identity("type", JSONService("http://host/v1"), "a\nb", TABLE, Scale(6, Cutoffs())),
        identity("type", JSONService("http://host/v1"), "a\nb", Hazards({}), Scale(6, None)),
        identity("type", JSONService("http://host/v1"), "a\nb", TABLE, Scale(6, None), "option"),
    ]
    assert len({one, *map(str, others)}) == 8
    assert not re.search(r"\n|host|secret", one)
