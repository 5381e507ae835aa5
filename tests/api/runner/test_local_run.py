"""`agenttask run` as real processes, killed at every place, with aimock's journal as the witness."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.api.runner.conftest import ANSWER, STEPS, MakeJob
from tests.api.runner.local_process import Place
from tests.api.waiting import until


def test_twelve_steps_undisturbed_make_twelve_model_calls(make_job: MakeJob) -> None:
    job = make_job()
    assert job.run() == 0
    assert job.answer == ANSWER
    assert len(job.model.journal(job.name)) == STEPS
    assert [use.n for use in job.tools.uses(task=job.name)] == list(range(1, STEPS))


@pytest.mark.parametrize("number", range(1, STEPS + 1))
def test_killed_at_any_model_call_it_resumes_with_the_same_answer_and_repeats_that_call_alone(
    make_job: MakeJob, number: int
) -> None:
    job = make_job()
    assert job.run(dies=Place(when="during", number=number)) == -signal.SIGKILL
    assert job.run() == 0
    assert job.answer == ANSWER
    assert job.repeated() <= 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_store_call_it_resumes_with_the_same_answer_and_repeats_at_most_one_model_call(
    make_job: MakeJob, when: str
) -> None:
    def killed_at(number: int) -> bool:
        job = make_job()
        code = job.run(dies=Place(when=when, number=number))
        if code == -signal.SIGKILL:
            assert job.run() == 0, job.lines
        else:
            assert code == 0, job.lines
        where = f"killed {when} store call {number}"
        assert job.answer == ANSWER, where
        assert job.repeated() <= 1, where
        keys = [use.idempotency_key for use in job.tools.uses(task=job.name)]
        assert len(keys) - len(set(keys)) <= 1, where
        assert len(set(keys)) == STEPS - 1, where
        return code == -signal.SIGKILL

    killed = [True]
    with ThreadPoolExecutor(max_workers=4) as pool:
        while killed[-1]:
            killed += pool.map(killed_at, range(len(killed), len(killed) + 8))
    assert killed == sorted(killed, reverse=True)
    assert sum(killed) > 2 * STEPS, "it was killed at every store call it makes"


def test_a_second_process_fences_the_first(make_job: MakeJob) -> None:
    job = make_job()
    job.model.release(job.name, hold_after=3)
    first = job.start()
    until("the first is at work", lambda: job.model.begun(job.name) == 4)
    second = job.start()
    until("the second has taken over", lambda: job.model.begun(job.name) == 5)
    job.model.release(job.name)
    assert job.end(second) == 0
    assert job.end(first) == 77
    assert job.answer == ANSWER
    assert job.repeated() <= 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_it_finishes_its_call_and_running_again_repeats_nothing(
    make_job: MakeJob, number: signal.Signals
) -> None:
    job = make_job()
    job.model.release(job.name, hold_after=1)
    process = job.start()
    until("a model call has begun", lambda: job.model.begun(job.name) == 2)
    assert process.pid is not None
    os.kill(process.pid, number)
    job.model.release(job.name, delay_seconds=0.3)
    assert job.end(process) == 75
    assert job.run() == 0
    assert job.answer == ANSWER
    assert job.repeated() == 0


def test_running_it_once_more_after_the_end_prints_the_answer_again(make_job: MakeJob) -> None:
    job = make_job()
    assert job.run() == 0
    assert job.run() == 0
    assert job.answer == ANSWER
    assert len(job.model.journal(job.name)) == STEPS


def test_another_prompt_is_refused_naming_fresh(make_job: MakeJob) -> None:
    job = make_job()
    assert job.run() == 0
    job.write(prompt="Multiply the numbers.")
    assert job.run() == 78
    assert "--fresh" in job.lines
