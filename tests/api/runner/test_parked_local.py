"""`agenttask run` of a run that has to wait: exit code 76, no model call before its time has come, then it goes on."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from agenttask.contract import Exit

from tests.api.runner.conftest import ANSWER, STEPS, Job, MakeJob
from tests.api.waiting import until
from tests.e2e.harness.model import calls, out_of_quota, says_sum

WAIT_SECONDS = 5


def test_a_used_up_quota_ends_the_process_and_it_goes_on_when_its_time_has_come(make_job: MakeJob) -> None:
    job = make_job()
    replies = [*(calls(("number", {"n": n})) for n in range(1, STEPS)), says_sum()]
    job.model.script(job.name, replies, faults={4: out_of_quota(seconds=WAIT_SECONDS)})
    assert job.run() == Exit.PARKED
    asked = len(job.model.journal(job.name))
    assert "You exceeded your current quota." in job.lines
    goes_on = datetime.fromisoformat(job.lines.rpartition("goes on at ")[2].split()[0])
    assert job.run() == Exit.PARKED
    assert len(job.model.journal(job.name)) == asked, "too early, and no call was made"
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
