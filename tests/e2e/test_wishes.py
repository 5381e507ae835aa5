"""What a person asks of a running task, suspend and cancel, is done at the next safe point and shown."""

from __future__ import annotations

from tests.e2e.conftest import Start
from tests.e2e.harness.kube import Api, Kind, Object
from tests.e2e.harness.model import ScriptedModel, says
from tests.e2e.harness.tasks import Task, is_true, twelve_answer, twelve_replies
from tests.e2e.harness.wait import throughout, until
from tests.e2e.harness.witness import Bucket


def test_a_suspended_task_has_no_running_pod_and_goes_on_from_its_checkpoint_when_it_is_wanted_again(
    start: Start, model: ScriptedModel, bucket: Bucket
) -> None:
    task = start("paused", twelve_replies(), hold_after=3)
    until(lambda: model.begun(task.model) >= 4, what="its fourth call", seen=task.describe)

    task.patch_spec(suspend=True)
    task.wait_told_to_stop()
    model.release(task.model, delay_seconds=1)
    status = task.wait(what="is suspended", phase="Checkpointed", reason="Suspended")
    until(lambda: not alive(task), what="no pod runs", seen=task.describe)
    assert is_true(task.read(), "Suspended")
    calls = model.begun(task.model)
    throughout(lambda: model.begun(task.model) == calls and not alive(task), what="it rests", seconds=2)
    model.release(task.model)
    task.patch_spec(suspend=False)
    after = task.wait_finished()

    assert (after["phase"], after["result"]["answer"]) == ("Completed", twelve_answer())
    assert after["attempt"] == 2
    assert after["attempts"][1]["resumedFrom"] == status["checkpoint"]["key"]
    assert after["counts"]["failures"] == 0
    assert model.repeated(task.model) == {}, "suspending is graceful: the call under way was finished and kept"
    assert [claim.attempt for claim in bucket.log(task).claims] == [1, 2]


def test_a_cancelled_task_ends_as_cancelled_and_leaves_no_running_pod(start: Start, model: ScriptedModel) -> None:
    task = start("cancelled", twelve_replies(), hold_after=2)
    until(lambda: model.begun(task.model) >= 3, what="its third call", seen=task.describe)

    task.patch_spec(cancel=True)
    task.wait_told_to_stop()
    model.release(task.model, delay_seconds=1)
    status = task.wait_finished()

    assert status["phase"] == "Cancelled"
    until(lambda: not alive(task), what="no pod runs", seen=task.describe)


def test_a_finished_task_goes_with_its_pods_when_its_time_is_over(start: Start, api: Api) -> None:
    task = start("short-lived", [says("Done.")], spec={"ttlSecondsAfterFinished": 3600})
    status = task.wait_finished()
    assert (status["phase"], status["result"]["answer"]) == ("Completed", "Done.")
    assert task.pods(), "for their logs"
    task.patch_spec(ttlSecondsAfterFinished=1)

    until(lambda: api.get(Kind.TASK, task.name, namespace=task.namespace) is None, what="the task goes")
    until(lambda: not task.pods(), what="its pods go")


def test_a_task_that_works_for_longer_than_allowed_is_stopped_and_fails_and_nothing_it_did_is_lost(
    start: Start, model: ScriptedModel, bucket: Bucket
) -> None:
    task = start("overtime", twelve_replies(), hold_after=2, spec={"activeDeadlineSeconds": 3})
    task.pod()
    task.wait_told_to_stop()
    model.release(task.model, delay_seconds=1)

    status = task.wait_finished()

    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")
    assert status["attempts"][-1]["outcome"] == "Stopped"
    log = bucket.log(task)
    assert status["checkpoint"]["key"] == log.records[-1].key
    assert log.replies() == len(model.journal(task.model)), "every reply that was paid for is in the log"
    until(lambda: not alive(task), what="no pod runs", seen=task.describe)


def alive(task: Task) -> list[Object]:
    """The task's pods whose runner may still work."""
    return [pod for pod in task.pods() if pod.get("status", {}).get("phase") in ("Pending", "Running")]
