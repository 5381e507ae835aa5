"""Forks on the cluster: of a running task, of one that is gone, and of a checkpoint that is not there."""

from __future__ import annotations

from tests.e2e.conftest import Start
from tests.e2e.harness.kube import Api, Kind
from tests.e2e.harness.model import ScriptedModel, says
from tests.e2e.harness.tasks import TWELVE_STEPS, Task, is_true, twelve_answer, twelve_replies
from tests.e2e.harness.wait import until
from tests.e2e.harness.witness import Bucket

STEP = 3


def record_of(bucket: Bucket, task: Task, *, step: int) -> str:
    """Key of the last record with so many steps: once the next has begun, its calls are all answered."""
    until(lambda: bucket.log(task).replies() > step, what=f"step {step + 1}", seen=task.describe)
    return next(record.key for record in reversed(bucket.log(task).records) if record.step == step)


def test_a_fork_of_a_running_task_goes_on_from_an_older_record_and_disturbs_nothing(
    start: Start, model: ScriptedModel, bucket: Bucket, api: Api
) -> None:
    original = start("original", twelve_replies(), hold_after=STEP + 1)
    key = record_of(bucket, original, step=STEP)
    fork = start("fork", twelve_replies(), spec={"prompt": None, "resumeFrom": {"task": "original", "key": key}})

    status = fork.wait_finished()

    assert (status["phase"], status["result"]["answer"]) == ("Completed", twelve_answer())
    assert [call.turn for call in model.journal(fork.model)] == list(range(STEP, TWELVE_STEPS)), "nothing paid again"
    assert status["forkedFrom"] == {"task": "original", "uid": original.uid, "key": key, "seq": int(key[-12:])}
    assert status["usage"]["modelCalls"] == TWELVE_STEPS - STEP
    assert status["usage"]["inherited"]["modelCalls"] == STEP
    first = bucket.log(fork).records[0]
    assert first.origin is not None
    assert first.origin.digest == bucket.log(original).by_key(key).digest
    events = api.list(Kind.EVENT, namespace=original.namespace)
    told = [
        one["message"] for one in events if one["reason"] == "Forked" and one["involvedObject"]["uid"] == original.uid
    ]
    assert told == [f"AgentTask fork goes on from {key}."]
    assert not is_true(original.read(), "Finished")
    model.release(original.model)
    after = original.wait_finished()
    assert (after["result"]["answer"], model.repeated(original.model)) == (twelve_answer(), {})


def test_a_finished_task_that_is_gone_is_asked_more_and_the_fork_survives_its_pod(
    start: Start, model: ScriptedModel, bucket: Bucket, api: Api
) -> None:
    original = start("gone", twelve_replies())
    status = original.wait_finished()
    place = {key: value for key, value in status["location"].items() if key != "credentialsSecret"}
    original.delete()
    until(lambda: not original.pods(), what="it is gone", seen=original.pods)

    spec = {"prompt": "Twice that?", "resumeFrom": {"location": place, "key": status["checkpoint"]["key"]}}
    fork = start("heir", [*twelve_replies(), says("Yes.")], hold_after=0, spec=spec)
    until(lambda: model.begun(fork.model) == 1, what="it calls the model", seen=fork.describe)
    api.delete(Kind.POD, fork.pod()["metadata"]["name"], namespace=fork.namespace, grace_seconds=0)
    fork.wait_claimed(2)
    model.release(fork.model)
    after = fork.wait_finished()

    assert (after["phase"], after["result"]["answer"], after["attempt"]) == ("Completed", "Yes.", 2)
    assert (after["forkedFrom"]["task"], after["forkedFrom"]["uid"]) == ("gone", original.uid)
    last = model.journal(fork.model)[-1].messages
    assert [message["content"] for message in last[-2:]] == [twelve_answer(), "Twice that?"]
    assert [claim.attempt for claim in bucket.log(fork).claims if claim.origin is not None] == [1], "copied once"


def test_a_checkpoint_that_is_gone_stalls_its_fork_by_name_with_nothing_written(start: Start, bucket: Bucket) -> None:
    original = start("short", [says("Done.")])
    status = original.wait_finished()
    key = status["checkpoint"]["key"]
    beyond = f"{key[:-12]}{999:012d}"
    fork = start("astray", [says("Never.")], spec={"resumeFrom": {"task": "short", "key": beyond}})

    stalled = fork.wait_stalled("CheckpointGone")

    assert beyond in stalled["message"]
    assert "checkpoint" not in stalled
    assert bucket.log(fork).records == ()
