"""A node that falls silent and comes back: the task has gone on elsewhere, and the zombie can change nothing."""

from __future__ import annotations

import random

import pytest
from agenttask.contract import ENV_POD_UID, RUNNER_MANAGER, Exit

from tests.cluster.provider import Provider
from tests.e2e.conftest import Start, Witnesses
from tests.e2e.harness.kube import Api, Kind, Object
from tests.e2e.harness.processes import with_environment
from tests.e2e.harness.tasks import TWELVE_STEPS, Task, twelve_answer, twelve_replies
from tests.e2e.harness.wait import until
from tests.e2e.harness.watch import PodWatch


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
    uid, node = pod["metadata"]["uid"], pod["spec"]["nodeName"]
    token = token_like(pod, api=api)

    with PodWatch(api=api, namespace=task.namespace) as watch:
        cluster.stop_node(node=node)
        try:
            task.wait_claimed(2)
            witness.model.release(task.model)
            assert refusal_of_a_status_write(api, task, token=token) in (401, 422)
            status = task.wait_finished()
            # The runner first: it is to find the log taken, not to be told by its kubelet.
            cluster.resume_node(node=node, pods_only=True)
            until(lambda: not with_environment(ENV_POD_UID, uid), what="the old runner ends")
        finally:
            cluster.resume_node(node=node)
        code = until(lambda: watch.exit_code(uid=uid), what="its kubelet reports its end")
    cluster.wait_ready(node=node, seconds=60)

    assert code == Exit.FENCED, "it ended before its kubelet ran again, so nobody else had told it to"
    assert (status["phase"], status["result"]["answer"]) == ("Completed", twelve_answer())
    assert (status["attempt"], status["counts"]["failures"]) == (2, 0)
    assert [pod["spec"]["nodeName"] for pod in task.pods(attempt=2)] != [node]
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
