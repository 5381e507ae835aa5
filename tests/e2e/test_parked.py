"""A run that has to wait has no pod meanwhile: for a quota, for a larger budget, for as long as the model asks."""

from __future__ import annotations

import time
from datetime import datetime

from tests.e2e.conftest import Start, Witnesses
from tests.e2e.harness.kube import Api, Kind, Object
from tests.e2e.harness.model import calls, out_of_quota, says_sum
from tests.e2e.harness.tasks import TWELVE_STEPS, Task, twelve_answer, twelve_replies
from tests.e2e.harness.wait import throughout, until

WAIT_SECONDS = 12


def time_of(written: str) -> float:
    return datetime.fromisoformat(written).timestamp()


def works(task: Task) -> bool:
    """Whether a pod of it is there that has not ended."""
    return any(pod["status"].get("phase") not in ("Failed", "Succeeded") for pod in task.pods())


def wait_parked(task: Task, reason: str) -> Object:
    status = task.wait(phase="Checkpointed", reason=reason, what=f"is parked: {reason}")
    assert status["attempts"][-1]["outcome"] == "Parked"
    return status


def test_a_used_up_quota_is_waited_for_without_a_pod_and_the_task_goes_on_by_itself(
    start: Start, witness: Witnesses, api: Api
) -> None:
    task = start("quota", twelve_replies(), faults={5: out_of_quota(seconds=WAIT_SECONDS)})

    parked = wait_parked(task, "ModelQuotaExhausted")

    assert "You exceeded your current quota." in parked["message"]
    assert parked["wake"]["notBefore"] in parked["message"]
    assert set(parked["wake"]) == {"park", "notBefore"}
    asked = witness.model.arrivals(task.model)[-1]
    assert int(asked) + WAIT_SECONDS <= time_of(parked["wake"]["notBefore"]) <= time.time() + WAIT_SECONDS
    until(lambda: not works(task), what="its pod has ended", seen=task.describe)
    # Nobody is woken by what is left of the last pod.
    api.delete(Kind.POD, parked["attempts"][-1]["pod"], namespace=task.namespace, grace_seconds=0)
    wake = time_of(parked["wake"]["notBefore"])
    throughout(
        lambda: (not works(task) and task.status()["attempt"] == 1) or time.time() >= wake,
        what="no pod, and no new attempt",
        seconds=wake - time.time(),
    )

    status = task.wait_finished()

    assert (status["phase"], status["result"]["answer"], status["attempt"]) == ("Completed", twelve_answer(), 2)
    assert status["counts"]["disruptions"] == 0
    assert "wake" not in status
    assert {call.turn for call in witness.model.journal(task.model)} == set(range(TWELVE_STEPS))
    usage = status["usage"]
    assert (usage["modelCalls"], usage["repeatedModelCalls"]) == (TWELVE_STEPS, 0)
    answered = [call for call in witness.model.journal(task.model) if call.status == 200]
    assert len(answered) == TWELVE_STEPS


def test_a_used_up_budget_shows_what_there_is_and_a_larger_one_lets_the_task_go_on(
    start: Start, witness: Witnesses
) -> None:
    task = start("thrifty", twelve_replies(), spec={"budget": {"steps": 4}})

    task.wait_stalled("BudgetExhausted")
    parked = wait_parked(task, "BudgetExhausted")

    assert "4 steps" in parked["message"]
    assert parked["wake"]["budgetAbove"]["steps"] == 4
    assert witness.model.begun(task.model) == 4
    task.patch_spec(budget={"steps": 40})
    status = task.wait_finished()
    assert (status["phase"], status["result"]["answer"], status["attempt"]) == ("Completed", twelve_answer(), 2)
    assert witness.model.repeated(task.model) == {}


def test_a_run_sleeps_without_a_pod_for_as_long_as_the_model_asks(start: Start, witness: Witnesses) -> None:
    replies = [calls(("wait", {"seconds": 31})), says_sum()]
    task = start("sleeper", replies, agent={"tools": [{"name": "wait", "sleep": {}}]})

    parked = wait_parked(task, "Sleeping")

    assert until(lambda: not works(task), what="its pod has ended", seen=task.describe)
    asked = witness.model.arrivals(task.model)[0]
    assert int(asked) + 31 <= time_of(parked["wake"]["notBefore"]) <= time.time() + 31
    status = task.wait_finished()
    assert (status["phase"], status["attempt"]) == ("Completed", 2)
    assert witness.model.begun(task.model) == 2
