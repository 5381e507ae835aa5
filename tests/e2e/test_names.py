"""Pods that bear an attempt's name without being it are never adopted and never waited for."""

from __future__ import annotations

from tests.e2e.conftest import Start
from tests.e2e.harness.kube import Api, Kind, Object
from tests.e2e.harness.model import ScriptedModel, says
from tests.e2e.harness.tasks import twelve_answer, twelve_replies
from tests.e2e.harness.wait import until
from tests.e2e.harness.witness import Bucket

GRACE: Object = {"pod": {"terminationGracePeriodSeconds": 600}}
"""A terminating runner waits so long for its call, and so for whatever the test does."""


def test_a_task_deleted_and_applied_again_adopts_nothing_of_its_terminating_predecessor(
    start: Start, api: Api, model: ScriptedModel, bucket: Bucket
) -> None:
    first = start("again", [says("from the first life")], hold_after=0, spec=GRACE)
    until(lambda: model.begun(first.model) == 1, what="its call", seen=first.describe)
    old = first.pod()["metadata"]
    first.delete()
    until(lambda: terminating(api, old), what="its pod is terminating")

    second = start("again", twelve_replies())
    status = second.wait_finished()

    assert terminating(api, old), "the second life did not wait for the end of the first"
    assert (status["phase"], status["result"]["answer"]) == ("Completed", twelve_answer())
    assert status["podUID"] != old["uid"]
    assert status["attempt"] == 2, "the number whose name was taken is burnt"
    model.release(first.model)
    until(lambda: not terminating(api, old), what="the first life ends as well")
    log = bucket.log(second)
    assert (log.records[0].attempt, log.records[0].parent) == (2, None), "a fresh log"


def test_a_foreign_pod_that_has_the_next_attempts_name_burns_the_number_and_the_task_runs(
    start: Start, api: Api, home: str, model: ScriptedModel
) -> None:
    task = start("shadowed", twelve_replies(), hold_after=3)
    until(lambda: model.begun(task.model) >= 3, what="its third call", seen=task.describe)
    mine = task.pod()
    foreign = api.create(Kind.POD, sleeper("shadowed-2", image=mine["spec"]["containers"][0]["image"]), namespace=home)
    api.delete(Kind.POD, mine["metadata"]["name"], namespace=home, grace_seconds=0)
    task.wait_claimed(3)
    model.release(task.model)

    status = task.wait_finished()

    assert (status["phase"], status["result"]["answer"]) == ("Completed", twelve_answer())
    assert status["attempt"] == 3
    assert status["counts"]["failures"] == 0
    left = api.get(Kind.POD, "shadowed-2", namespace=home)
    assert left is not None
    assert left["metadata"]["uid"] == foreign["metadata"]["uid"]
    assert "deletionTimestamp" not in left["metadata"], "a foreign pod is left alone"


def terminating(api: Api, meta: Object) -> bool:
    """Whether the pod is on its way out, but there."""
    found = api.get(Kind.POD, meta["name"], namespace=meta["namespace"])
    return found is not None and found["metadata"]["uid"] == meta["uid"] and "deletionTimestamp" in found["metadata"]


def sleeper(name: str, *, image: str) -> Object:
    """A pod that does nothing, as Pod Security `restricted` lets it."""
    return {
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "sleeper",
                    "image": image,
                    "command": ["sleep", "3600"],
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }
