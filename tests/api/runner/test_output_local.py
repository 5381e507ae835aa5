"""Answers of a given form, by real processes against aimock: repaired, given by a tool, and killed in between."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.api.runner.conftest import Job, MakeJob
from tests.api.runner.local_process import Place
from tests.e2e.harness.model import Reply, calls, says
from tests.e2e.harness.tools import number_of

SCHEMA = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
JSON: dict[str, Any] = {"output": {"format": "Json", "schema": SCHEMA}}
FINISH: dict[str, Any] = {**JSON, "finish": "Tool", "toolChoice": "Required"}
GOOD = {"sum": number_of(1)}
REPAIRED: list[Reply] = [
    calls(("number", {"n": 1})),
    says("It is a lot."),
    says('{"sum": "a lot"}'),
    says(json.dumps(GOOD)),
]
FINISHED: list[Reply] = [
    calls(("number", {"n": 1})),
    says("I have it."),
    calls(("finish", {"answer": {"sum": None}})),
    calls(("finish", {"answer": GOOD})),
]
WAYS = {"repaired in further turns": (JSON, REPAIRED), "given by the tool finish": (FINISH, FINISHED)}
MakeOutputJob = Callable[[], Job]


@pytest.fixture(params=WAYS)
def make_output_job(request: pytest.FixtureRequest, make_job: MakeJob) -> MakeOutputJob:
    agent, replies = WAYS[request.param]

    def make() -> Job:
        job = make_job()
        job.model.script(job.name, replies)
        manifest = json.loads(job.file.read_text())
        manifest["spec"]["agent"] |= agent
        job.file.write_text(json.dumps(manifest))
        return job

    return make


def test_an_answer_of_the_wrong_form_is_asked_for_again_until_it_is_right(make_output_job: MakeOutputJob) -> None:
    job = make_output_job()
    assert job.run() == 0, job.lines
    assert json.loads(job.answer) == GOOD
    assert len(job.model.journal(job.name)) == 4


@pytest.mark.parametrize("number", range(1, 5))
def test_killed_at_any_model_call_of_a_repair_it_repeats_that_call_alone(
    make_output_job: MakeOutputJob, number: int
) -> None:
    job = make_output_job()
    assert job.run(dies=Place(when="during", number=number)) == -signal.SIGKILL
    assert job.run() == 0, job.lines
    assert json.loads(job.answer) == GOOD
    assert job.repeated() <= 1


@pytest.mark.parametrize("make_output_job", ["given by the tool finish"], indirect=True)
def test_killed_after_any_append_of_a_repair_no_model_call_is_repeated(make_output_job: MakeOutputJob) -> None:
    number, code = 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        number += 1
        job = make_output_job()
        code = job.run(dies=Place(when="after", number=number))
        if code == -signal.SIGKILL:
            assert job.run() == 0, job.lines
        assert json.loads(job.answer) == GOOD, f"killed after store call {number}"
        assert job.repeated() == 0, f"killed after store call {number}"
    assert code == 0
    assert number > 8
