"""`agenttask run` of a run that has to wait: exit code 76, no model call before its time has come, then it goes on."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from agenttask.contract import Exit

from tests.api.runner.conftest import ANSWER, STEPS, Job, MakeJob
from tests.api.waiting import until
from tests.e2e.harness.model import calls, out_of_quota, says_sum


def without_quota(make_job: MakeJob, *, seconds: int) -> Job:
    """A job that parked at its fifth call, and may go on after so many seconds."""
    job = make_job()
    replies = [*(calls(("number", {"n": n})) for n in range(1, STEPS)), says_sum()]
    job.model.script(job.name, replies, faults={4: out_of_quota(seconds=seconds)})
    assert job.run() == Exit.PARKED
    assert "You exceeded your current quota." in job.lines
    return job


def test_a_used_up_quota_ends_the_process_and_before_its_time_has_come_no_other_makes_a_call(make_job: MakeJob) -> None:
    job = without_quota(make_job, seconds=3600)
    assert job.run() == Exit.PARKED
    assert len(job.model.journal(job.name)) == 5


def test_a_run_without_quota_goes_on_when_its_time_has_come(make_job: MakeJob) -> None:
    job = without_quota(make_job, seconds=1)
    goes_on = datetime.fromisoformat(job.lines.rpartition("goes on at ")[2].split()[0])
    until("the time has come", lambda: datetime.now(UTC) >= goes_on)
    assert job.run() == 0
    assert job.answer == ANSWER
    assert len([call for call in job.model.journal(job.name) if call.status == 200]) == STEPS


def test_a_used_up_budget_ends_the_process_and_it_goes_on_with_a_larger_one(make_job: MakeJob) -> None:
    job = make_job()
    budget(job, steps=3)
    assert job.run() == Exit.PARKED
    assert job.run() == Exit.PARKED
    assert len(job.model.journal(job.name)) == 3
    budget(job, steps=30)
    assert job.run() == 0
    assert (job.answer, job.repeated()) == (ANSWER, 0)


def budget(job: Job, *, steps: int) -> None:
    manifest = json.loads(job.file.read_text())
    manifest["spec"]["budget"] = {"steps": steps}
    job.file.write_text(json.dumps(manifest))
