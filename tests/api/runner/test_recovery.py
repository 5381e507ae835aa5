"""SIGKILL at every boundary of a turn, for each recovery mode, with aimock and counted effects as the witnesses.

A model that gives all its calls the same id, tools of both kinds, four calls in two turns.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.api.runner.conftest import Job, MakeJob
from tests.api.runner.effects import Account, EffectServer, booked, tools
from tests.api.runner.local_process import THINKING_SECONDS, Place
from tests.api.waiting import until
from tests.e2e.harness.model import Reply, says_sum

ANSWER = f"The sum is {1 + 2 + 4 + 8}."
FIRST = 9
"""The store calls before read and claim; test_local_run kills at those."""
MODES = ["Idempotent", "Once", "Reconcile"]


def asks(*numbers: int) -> Reply:
    """A reply with a call of each tool, both with the id that all calls have."""
    return {
        "toolCalls": [
            {"id": "call_0", "name": tool, "arguments": {"number": number}}
            for tool, number in zip(("pay", "book"), numbers, strict=True)
        ]
    }


@pytest.fixture(scope="module")
def server() -> Iterator[EffectServer]:
    server = EffectServer()
    yield server
    server.close()


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Makes tasks and kills their first process."""

    make_job: MakeJob
    server: EffectServer

    def job(self, *, recovery: str, on_doubt: str = "TellModel", thinking: float = 0.0) -> tuple[Job, Account]:
        job = self.make_job()
        account = self.server.accounts[job.name] = Account(keyed=recovery == "Idempotent")
        job.model.script(job.name, [asks(1, 2), asks(4, 8), says_sum()], delay_seconds=thinking)
        self.write(job, recovery=recovery, on_doubt=on_doubt)
        return job, account

    def write(self, job: Job, *, recovery: str, on_doubt: str) -> None:
        made = tools(recovery=recovery, url=self.server.url(job.name), folder=job.folder, on_doubt=on_doubt)
        job.file.write_text(json.dumps(job.manifest(prompt="Pay and book.", tools=made)))

    def run(self, job: Job, account: Account, *, dies: Place | None = None) -> int:
        process = job.start(dies=dies)
        assert process.pid is not None
        account.pid = process.pid
        account.known.set()
        return job.end(process)


@pytest.fixture
def bench(make_job: MakeJob, server: EffectServer) -> Bench:
    return Bench(make_job=make_job, server=server)


def check(job: Job, account: Account, *, recovery: str, where: str) -> bool:
    """What holds wherever the first process was killed; whether the model was told of a doubt."""
    effects = Counter(account.effects) + booked(job.folder)
    assert job.repeated() <= 1, where
    assert max(effects.values()) == 1, where
    if recovery != "Once":
        assert job.answer == ANSWER, where
        assert len(effects) == 4, where
    return job.answer != ANSWER


@pytest.mark.parametrize("recovery", MODES)
def test_killed_at_any_store_call_of_two_turns_effects_of_keyed_tools_are_one_and_once_tools_run_never_twice(
    bench: Bench, recovery: str
) -> None:
    def killed_at(place: Place) -> bool:
        job, account = bench.job(recovery=recovery)
        code = bench.run(job, account, dies=place)
        if code == -signal.SIGKILL:
            assert bench.run(job, account) == 0, job.lines
        else:
            assert code == 0, job.lines
        check(job, account, recovery=recovery, where=f"killed {place.when} store call {place.number}")
        return code == -signal.SIGKILL

    # Started, three replies, four results and the end; a turn's intents where calls must not run twice.
    calls = 9 if recovery == "Idempotent" else 11
    numbers = range(FIRST, FIRST + calls + 1)
    places = [Place(when=when, number=number) for number in numbers for when in ("before", "after")]
    with ThreadPoolExecutor(max_workers=4) as pool:
        killed = list(pool.map(killed_at, places))
    assert not killed[-1]
    # Two results that come at once share a record.
    assert sum(killed) >= 2 * (calls - 2), "it was killed at every call of its two turns"


INSIDE = {
    "the first model call": Place(when="during", number=1),
    "the second": Place(when="during", number=2),
    "the request, before its effect": Place(when="before", number=0),
    "the request, after it": Place(when="after", number=0),
    "the command, before its effect": Place(when="before", number=-1),
    "the command, after it": Place(when="after", number=-1),
}


@pytest.mark.parametrize("recovery", MODES)
def test_killed_inside_a_model_call_or_a_tool_of_either_kind(bench: Bench, recovery: str) -> None:
    def killed_inside(where: str) -> bool:
        place = INSIDE[where]
        job, account = bench.job(recovery=recovery, thinking=THINKING_SECONDS)
        if place.number == 0:
            account.dies = place.when
        if place.number == -1:
            (job.folder / "book-dies").write_text(place.when)
        dies = place if place.when == "during" else None
        assert bench.run(job, account, dies=dies) == -signal.SIGKILL, where
        assert bench.run(job, account) == 0, job.lines
        return check(job, account, recovery=recovery, where=f"killed inside {where}")

    with ThreadPoolExecutor(max_workers=3) as pool:
        told = dict(zip(INSIDE, pool.map(killed_inside, INSIDE), strict=True))
    assert {where for where, doubt in told.items() if doubt} == (
        {where for where in INSIDE if "effect" in where or "after" in where} if recovery == "Once" else set()
    )


def test_a_doubt_that_stalls_is_named_and_goes_on_once_the_task_is_edited(bench: Bench) -> None:
    job, account = bench.job(recovery="Once", on_doubt="Stall")
    account.dies = "after"
    assert bench.run(job, account) == -signal.SIGKILL
    for _ in range(2):
        assert bench.run(job, account) == 78
    assert "InDoubt" in job.lines
    assert "of pay was begun by attempt 1" in job.lines
    bench.write(job, recovery="Once", on_doubt="TellModel")
    assert bench.run(job, account) == 0
    assert max((Counter(account.effects) + booked(job.folder)).values()) == 1


def test_a_runner_that_sleeps_through_its_own_replacement_leaves_the_result_of_its_call(bench: Bench) -> None:
    job, account = bench.job(recovery="Once", on_doubt="Stall")
    account.waits.clear()
    process = job.start()
    assert process.pid is not None
    until("the call is under way", lambda: account.under_way)
    os.kill(process.pid, signal.SIGSTOP)
    account.waits.set()
    until("it took effect", lambda: len(account.effects) >= 1)
    assert bench.run(job, account) == 78
    assert "InDoubt" in job.lines
    os.kill(process.pid, signal.SIGCONT)
    assert job.end(process) == 77
    assert bench.run(job, account) == 0, job.lines
    assert job.answer == ANSWER
    assert "settledBy=Late" in job.lines
    assert max((Counter(account.effects) + booked(job.folder)).values()) == 1


def test_a_doubt_that_fails_the_task_ends_it(bench: Bench) -> None:
    job, account = bench.job(recovery="Once", on_doubt="Fail")
    account.dies = "before"
    assert bench.run(job, account) == -signal.SIGKILL
    assert bench.run(job, account) == 1
    assert "in doubt: call" in job.lines
    assert account.effects == []
