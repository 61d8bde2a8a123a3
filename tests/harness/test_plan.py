"""A plan travels, and what is judged by it is judged by the classifiers that its policies name, live or on tape."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from safety_proxy.errors import ConfigError
from safety_proxy.harness.cases import case_of
from safety_proxy.harness.desk import Job
from safety_proxy.harness.outcome import Outcome
from safety_proxy.harness.plan import AT_ONCE, Bench, Plan, Source
from safety_proxy.harness.recording import Recording, recording_to
from safety_proxy.jsontext import as_object
from safety_proxy.model import HARMS, JSON, JSONObject
from safety_proxy.policy_file import shipped

GUARDED = """\
version: 1
name: guarded
classifiers: [guard]
input: {jailbreak: off, indirect_attack: off}
output: {}
"""
CONFIG = """\
classifiers:
  guard: {type: http, url: "%s", key: "${GUARD_KEY}", reports: [hate, sexual, violence, self_harm]%s}
backends: {llama: {url: "${NOT_SET}"}}
"""
HARM = "x" * 150 + " harm " + "y" * 150


def source(text: str, file: str = "p.yaml") -> Source:
    return Source(file, text.encode())


def case(name: str = "n", **body: JSON) -> Job:
    expect: JSONObject = {"output": "filter"} if "completion" in body else {"input": "allow"}
    return Job(case_of({"name": name, "expect": expect, **body}, "cases.jsonl", 7))


@asynccontextmanager
async def guard(answer: Callable[[str], JSON]) -> AsyncIterator[tuple[str, list[str]]]:
    """A classifier of one's own, at a URL, with the texts that it was asked about."""
    asked: list[str] = []

    async def judge(request: web.Request) -> web.Response:
        texts = [str(as_object(each)["text"]) for each in (await request.json())["texts"]]
        asked.extend(texts)
        assert request.headers["Authorization"] == "Bearer secret"
        return web.json_response({"verdicts": [answer(text) for text in texts]})

    app = web.Application()
    app.router.add_post("/", judge)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/", asked
    finally:
        await runner.cleanup()


def finding(text: str) -> JSON:
    return {"severities": {harm.value: 6 if "harm" in text else 0 for harm in HARMS}}


def failing(text: str) -> JSON:
    return {"failures": {harm.value: "server_error" for harm in HARMS}} if "harm" in text else finding(text)


async def outcomes(plan: Plan, environ: Mapping[str, str], *jobs: Job) -> list[Outcome]:
    bench = Bench(plan, environ)
    try:
        return [await bench.run(job) for job in jobs]
    finally:
        await bench.close()


JOBS = (case(text="hello"), case(completion=HARM), case(text="hello again", completion=HARM))


# ----------------------------------------------------------------------------------------------------------- plans


async def test_a_plan_travels_and_judges_each_case_by_the_policy_that_its_job_names() -> None:
    policies = tuple(Source.read(shipped()[name]) for name in ("default", "permissive"))
    plan = pickle.loads(pickle.dumps(Plan(policies, cuttings=1)))  # noqa: S301 - our own
    assert plan == Plan(policies, cuttings=1)

    bench = plan()
    job = case(text="How do I bake a cake?").case
    told = [(await bench.run(Job(job, policy))).policy for policy in (0, 1, 0)]
    await bench.close()

    assert [each.partition("@")[0] for each in told] == ["default", "permissive", "default"]
    assert bench.at_once == 1


def test_what_a_plan_holds_is_not_shown_with_it() -> None:
    assert "harm" not in repr(Plan((source("harm"),), source("harm"), replay=source("harm")))


def test_a_file_that_cannot_be_read_is_told_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        Source.read(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"p\.yaml:2: is not UTF-8"):
        Source("p.yaml", b"a: b\n\xff\n").document()
    with pytest.raises(ConfigError, match=r"p\.yaml:1: version: is required"):
        Plan((source("name: p\n"),))()


async def test_secrets_are_filled_in_where_cases_are_judged() -> None:
    async with guard(finding) as (url, asked):
        plan = Plan((source(GUARDED),), source(CONFIG % (url, ""), "proxy.yaml"))
        (outcome,) = await outcomes(plan, {"GUARD_KEY": "secret"}, JOBS[1])
    assert outcome.faults == ()
    assert asked
    assert Bench(plan, {"GUARD_KEY": "secret"}).at_once == AT_ONCE


async def test_a_classifier_that_cannot_be_had_is_missed_by_the_first_case_that_needs_it() -> None:
    plan = Plan((source(GUARDED),), source(CONFIG % ("http://127.0.0.1", ""), "proxy.yaml"))
    brought = case(text="the phrase", verdicts={"another": {"hate": 4}})
    assert (await outcomes(plan, {}, brought))[0].faults == ()
    with pytest.raises(ConfigError, match=r"proxy\.yaml:2: classifiers\.guard\.key: the environment variable GUARD_KEY"):
        await outcomes(plan, {}, brought, JOBS[0])
    with pytest.raises(ConfigError, match=r"p\.yaml:3: classifiers\[0\]: no classifier is called `guard`"):
        await outcomes(Plan((source(GUARDED),)), {}, JOBS[0])


# ----------------------------------------------------------------------------------------------------------- tapes


async def recorded(path: Path, answer: Callable[[str], JSON], more: str = "") -> tuple[Plan, list[Outcome]]:
    """The plan to replay a recording, and what came of it when it was made."""
    async with guard(answer) as (url, _):
        plan = Plan((source(GUARDED),), source(CONFIG % (url, more), "proxy.yaml"), cuttings=3, record=path)
        with recording_to(path):
            told = await outcomes(plan, {"GUARD_KEY": "secret"}, *JOBS)
    replay = Source(str(path), Recording.read(path))
    return Plan(plan.policies, plan.config, cuttings=3, replay=replay), told


@pytest.mark.parametrize("environ", [{"GUARD_KEY": "secret"}, {}])
async def test_a_replay_comes_to_the_same_without_the_service_and_without_its_key(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    plan, before = await recorded(tmp_path / "r.jsonl", finding)

    assert [outcome.faults for outcome in before] == [(), (), ()]
    assert await outcomes(plan, environ, *JOBS) == before
    assert Bench(plan, environ).at_once == 1


async def test_a_replay_fails_and_falls_back_as_the_run_did(tmp_path: Path) -> None:
    plan, before = await recorded(tmp_path / "r.jsonl", failing, ", fallback: embedded, retries: 0")
    assert before[1].output is not None
    assert (before[1].output.decision, before[1].output.error) == ("allow", None)
    assert await outcomes(plan, {}, *JOBS) == before

    plan, before = await recorded(tmp_path / "s.jsonl", failing, ", retries: 0")
    assert before[1].output is not None
    assert (before[1].output.decision, before[1].output.error) == ("error", "server_error")
    assert await outcomes(plan, {}, *JOBS) == before


async def test_a_case_that_was_not_recorded_ends_a_replay(tmp_path: Path) -> None:
    plan, _ = await recorded(tmp_path / "r.jsonl", finding)
    with pytest.raises(ConfigError, match=r"cases\.jsonl:7: what `guard` says of this case is not recorded in .*r\.jsonl"):
        await outcomes(plan, {}, case(text="something else"))


async def test_a_classifier_that_has_changed_ends_a_replay(tmp_path: Path) -> None:
    plan, _ = await recorded(tmp_path / "r.jsonl", finding)
    other = Plan(plan.policies, source(CONFIG % ("http://127.0.0.1/other", ""), "proxy.yaml"), replay=plan.replay)
    with pytest.raises(ConfigError, match=r"r\.jsonl: `guard` is not what was recorded: identity was http:.*; record again"):
        await outcomes(other, {"GUARD_KEY": "secret"}, JOBS[0])
    with pytest.raises(ConfigError, match=r"r\.jsonl: no classifier `embedded` is recorded"):
        await outcomes(Plan((source(GUARDED.replace("guard]", "embedded]")),), replay=plan.replay), {}, JOBS[0])


async def test_what_cannot_be_recorded_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        await outcomes(Plan((source(GUARDED),), record=tmp_path / "no" / "r.jsonl"), {}, JOBS[0])
