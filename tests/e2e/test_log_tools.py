"""`agenttask log -n NAMESPACE TASK`: place from the status, keys from the Secret, both by the user's own kubectl."""

from __future__ import annotations

from tests.cluster.environment import Environment
from tests.e2e.conftest import Start
from tests.e2e.harness.kube import Api, Kind
from tests.e2e.harness.looking import look
from tests.e2e.harness.model import ScriptedModel
from tests.e2e.harness.tasks import STORE_SECRET, twelve_answer, twelve_replies
from tests.e2e.harness.wait import until


def test_agenttask_log_reads_a_task_of_the_cluster_by_its_name_with_the_users_own_kubectl(
    start: Start, api: Api, environment: Environment, model: ScriptedModel
) -> None:
    task = start("looked-at", twelve_replies(), hold_after=3)
    until(lambda: model.begun(task.model) >= 3, what="model call 3", seen=task.describe)
    api.delete(Kind.POD, task.pod()["metadata"]["name"], namespace=task.namespace, grace_seconds=0)
    task.wait_claimed(2)
    model.release(task.model)
    status = task.wait_finished()

    listed = look(environment, task, "ls").answer
    newest = listed["records"][-1]
    assert (newest["key"], newest["id"]) == (status["checkpoint"]["key"], status["checkpoint"]["id"])
    assert listed["task"] == f"{task.namespace}/{task.name}"
    entries = look(environment, task, "show").answer["entries"]
    assert [entry["attempt"] for entry in entries if entry["type"] == "attemptBegan"] == [1, 2]
    verified = look(environment, task, "verify")
    assert (verified.code, verified.answer["problems"]) == (0, [])
    result = look(environment, task, "result")
    assert (result.code, result.answer["answer"]) == (0, twelve_answer())
    restored = look(environment, task, "restore", "--at", "2")
    assert restored.answer["state"]["conversation"][0]["role"] == "user"
    pruned = look(environment, task, "prune").answer
    assert (pruned["deleted"], pruned["over"]) == (False, True)

    api.delete(Kind.SECRET, STORE_SECRET, namespace=task.namespace)
    refused = look(environment, task, "ls")
    assert (refused.code, refused.answer) == (78, None)
    assert f'secrets "{STORE_SECRET}" not found' in refused.beside
