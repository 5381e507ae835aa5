"""A node that falls silent and comes back: the task has gone on elsewhere, and the zombie can change nothing."""

from __future__ import annotations

import random

import pytest
from agenttask.contract import RUNNER_MANAGER, Exit

from tests.cluster.provider import Provider
from tests.e2e.conftest import Start, Witnesses
from tests.e2e.harness.kube import Api, Kind, Object
from tests.e2e.harness.tasks import TWELVE_STEPS, Task, twelve_answer, twelve_replies
from tests.e2e.harness.wait import until
from tests.e2e.harness.zombie import asleep


@pytest.mark.needs_nodes
def test_a_task_outlives_a_stopped_node_and_the_old_runner_ends_fenced_when_the_node_continues(
    start: Start, api: Api, cluster: Provider, witness: Witnesses, chance: random.Random
) -> None:
    point = chance.randrange(2, TWELVE_STEPS - 3)
    task = start("zombie", twelve_replies(), delay_seconds=0.4, hold_after=point)
    until(
        lambda: witness.model.begun(task.model) >= point,
        what=f"model call {point}",
        seen=task.describe,
    )
    pod = task.pod()
    token = token_like(pod, api=api)

    with asleep(pod, api=api, cluster=cluster) as zombie:
        task.wait_claimed(2)
        witness.model.release(task.model)
        assert refusal_of_a_status_write(api, task, token=token) in (401, 422)
        status = task.wait_finished()

    assert zombie.code == Exit.FENCED, "it ended before its kubelet ran again, so nobody else had told it to"
    assert (status["phase"], status["result"]["answer"]) == ("Completed", twelve_answer())
    assert (status["attempt"], status["counts"]["failures"]) == (2, 0)
    assert [other["spec"]["nodeName"] for other in task.pods(attempt=2)] != [pod["spec"]["nodeName"]]
    log = witness.bucket.log(task)
    second = log.claim(2)
    assert second is not None
    assert {record.attempt for record in log.records if record.seq >= second.seq} == {2}, "the zombie wrote nothing"
    after = task.status()
    assert after["checkpoint"] == status["checkpoint"]
    assert after["podUID"] == status["podUID"]


def token_like(pod: Object, *, api: Api) -> str:
    """A token such as the pod's runner holds: of its service account, bound to this very pod."""
    meta, account = pod["metadata"], pod["spec"].get("serviceAccountName", "default")
    bound = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
    path = f"/api/v1/namespaces/{meta['namespace']}/serviceaccounts/{account}/token"
    made = api.request("POST", path, body={"spec": {"boundObjectRef": bound}})
    return str(made["status"]["token"])


def refusal_of_a_status_write(api: Api, task: Task, *, token: str) -> int:
    """Write the task's progress with a token bound to the old runner's pod, and return the server's answer."""
    body = {
        "apiVersion": "agenttask.dev/v1alpha1",
        "kind": "AgentTask",
        "metadata": {"name": task.name, "uid": task.uid},
        "status": {"progress": {"step": 99, "maxSteps": 99, "display": "99/99", "message": "from beyond"}},
    }
    path = Kind.TASK.path(namespace=task.namespace, name=task.name) + "/status"
    return api.patch_as(token, path, body, manager=RUNNER_MANAGER)
