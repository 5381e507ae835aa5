"""A store that damages a record is found out, and the task waits for a person or goes on, as it says itself."""

from __future__ import annotations

from tests.e2e.conftest import Start
from tests.e2e.harness.kube import Api, Object
from tests.e2e.harness.model import ScriptedModel
from tests.e2e.harness.tasks import TWELVE_STEPS, Task, condition, twelve_answer, twelve_replies
from tests.e2e.harness.wait import until
from tests.e2e.harness.witness import Bucket


def test_a_damaged_record_stalls_the_task_and_once_it_may_rewind_condition_event_and_counter_say_what_was_lost(
    start: Start, api: Api, model: ScriptedModel, bucket: Bucket
) -> None:
    task = start("damaged", twelve_replies(), hold_after=6, spec={"checkpoint": {"onCorruption": "Stall"}})
    until(lambda: model.begun(task.model) >= 7, what="its seventh call", seen=task.describe)
    task.patch_spec(suspend=True)
    task.wait_told_to_stop()
    model.release(task.model, delay_seconds=1)
    before = task.wait(what="is suspended", phase="Checkpointed", reason="Suspended")
    records = bucket.log(task).records
    model.release(task.model)
    bad = next(record for record in records if record.step == 4)
    lost = records[-1].seq - bad.seq + 1
    bucket.damage(task, bad.key)
    kept, calls = bucket.objects(task), model.begun(task.model)

    task.patch_spec(suspend=False)
    stalled = task.wait_stalled("CheckpointCorrupt")

    assert bad.key in stalled["message"]
    assert bucket.objects(task) == kept, "nothing was written"
    assert model.begun(task.model) == calls, "nothing was paid for"
    assert condition(task.read(), "Damaged") is None

    task.patch_spec(checkpoint={"onCorruption": "Rewind"})
    after = task.wait_finished()

    assert (after["phase"], after["result"]["answer"]) == ("Completed", twelve_answer())
    damaged = condition(task.read(), "Damaged")
    assert damaged is not None
    assert (damaged["status"], damaged["reason"]) == ("True", "RecordsLost")
    words = f"records {bad.seq} to {records[-1].seq} are lost, and it went on from record {bad.seq - 1}"
    assert bad.key in damaged["message"]
    assert words in damaged["message"]
    assert after["counts"]["lostRecords"] == lost
    assert after["counts"]["failures"] == 0
    assert [words in event["note"] for event in events(api, task, reason="RecordsLost")] == [True]
    repeated = sum(model.repeated(task.model).values())
    paid = TWELVE_STEPS + repeated - 1
    assert after["usage"]["modelCalls"] == paid, "all that was lost is charged, but for the reply nobody can read"
    assert 1 <= repeated <= before["progress"]["step"] - 3


def events(api: Api, task: Task, *, reason: str) -> list[Object]:
    """The task's Events with this reason."""
    path = f"/apis/events.k8s.io/v1/namespaces/{task.namespace}/events"
    found: list[Object] = api.request("GET", path)["items"]
    return [event for event in found if event["regarding"].get("uid") == task.uid and event["reason"] == reason]
