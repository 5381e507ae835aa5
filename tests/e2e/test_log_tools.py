"""`agenttask log -n NAMESPACE TASK`: place from the status, keys from the Secret, both by the user's own kubectl."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cluster.environment import Environment
from tests.e2e.conftest import Start
from tests.e2e.harness.kube import Api, Kind
from tests.e2e.harness.model import ScriptedModel
from tests.e2e.harness.tasks import STORE_SECRET, Task, twelve_answer, twelve_replies
from tests.e2e.harness.wait import until

PROGRAM = str(Path(sys.executable).parent / "agenttask")


def look(environment: Environment, task: Task, verb: str, *more: str) -> tuple[int, Any, str]:
    """One command, as a person with a kubeconfig and no keys types it: exit code, answer, and what stands beside it."""
    keyless = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        [PROGRAM, "log", verb, "-n", task.namespace, task.name, "-o", "json", *more],
        env={**keyless, "KUBECONFIG": str(environment.kubeconfig)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def test_agenttask_log_reads_a_task_of_the_cluster_by_its_name_with_the_users_own_kubectl(
    start: Start, api: Api, environment: Environment, model: ScriptedModel
) -> None:
    task = start("looked-at", twelve_replies(), delay_seconds=0.3)
    until(lambda: model.begun(task.model) >= 3, what="model call 3", within_seconds=60, seen=task.describe)
    api.delete(Kind.POD, task.pod()["metadata"]["name"], namespace=task.namespace, grace_seconds=0)
    status = task.wait_finished(within_seconds=90)

    code, listed, _ = look(environment, task, "ls")
    newest = listed["records"][-1]
    assert (code, newest["key"], newest["id"]) == (0, status["checkpoint"]["key"], status["checkpoint"]["id"])
    assert listed["task"] == f"{task.namespace}/{task.name}"
    code, shown, _ = look(environment, task, "show")
    began = [entry["attempt"] for entry in shown["entries"] if entry["type"] == "attemptBegan"]
    assert (code, began) == (0, [1, 2])
    code, verified, _ = look(environment, task, "verify")
    assert (code, verified["problems"]) == (0, [])
    code, result, _ = look(environment, task, "result")
    assert (code, result["answer"]) == (0, twelve_answer())
    code, restored, _ = look(environment, task, "restore", "--at", "2")
    assert (code, restored["state"]["conversation"][0]["role"]) == (0, "user")
    code, pruned, _ = look(environment, task, "prune")
    assert (code, pruned["deleted"], pruned["over"]) == (0, False, True)

    api.delete(Kind.SECRET, STORE_SECRET, namespace=task.namespace)
    code, nothing, said = look(environment, task, "ls")
    assert (code, nothing) == (78, None)
    assert f'secrets "{STORE_SECRET}" not found' in said
