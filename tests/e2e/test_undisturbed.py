"""A task that nothing disturbs: what it costs, what it answers, and how a person sees it."""

from __future__ import annotations

import re
import subprocess

from tests.cluster.environment import Environment
from tests.e2e.conftest import Start
from tests.e2e.harness.kube import Api, Kind
from tests.e2e.harness.model import ScriptedModel
from tests.e2e.harness.tasks import TWELVE_STEPS, is_true, tool_uses, twelve_answer, twelve_replies
from tests.e2e.harness.tools import ToolServer
from tests.e2e.harness.wait import until
from tests.e2e.harness.witness import Bucket


def test_a_twelve_step_task_with_tools_completes_with_the_right_answer_and_exactly_twelve_model_calls(
    start: Start, model: ScriptedModel, tools: ToolServer, bucket: Bucket
) -> None:
    task = start("twelve", twelve_replies())

    status = task.wait_finished()

    assert (status["phase"], status["result"]["answer"]) == ("Completed", twelve_answer())
    assert [call.turn for call in model.journal(task.model)] == list(range(TWELVE_STEPS))
    uses = tools.uses(task=task.name)
    assert len(uses) == tool_uses()
    assert len({use.idempotency_key for use in uses}) == tool_uses(), "every call has an idempotency key of its own"
    assert status["usage"]["modelCalls"] == TWELVE_STEPS
    assert status["usage"].get("repeatedModelCalls", 0) == 0
    assert status["attempt"] == 1
    log = bucket.log(task)
    assert (len(log.claims), log.replies()) == (1, TWELVE_STEPS)
    assert log.records[-1].key == status["result"]["key"] == status["checkpoint"]["key"]
    assert is_true(task.read(), "Complete")


def test_kubectl_waits_for_finished_and_shows_the_columns_and_delete_leaves_no_pod(
    start: Start, api: Api, environment: Environment
) -> None:
    task = start("seen", twelve_replies())

    def kubectl(*arguments: str) -> str:
        command = ["kubectl", f"--kubeconfig={environment.kubeconfig}", f"--namespace={task.namespace}", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=200).stdout

    kubectl("wait", "--for=condition=Finished", "agenttask/seen", "--timeout=180s")
    titles, row = kubectl("get", "agt").splitlines()
    # Columns stand below each other; one without a value is blank, as the cost of a model without a price is.
    columns = [(found.start(), found.group()) for found in re.finditer(r"\S+", titles)]
    ends = [at for at, _ in columns[1:]] + [None]
    shown = {title: row[at:end].strip() for (at, title), end in zip(columns, ends, strict=True)}
    assert shown["NAME"] == "seen"
    assert shown["PHASE"] == "Completed"
    assert shown["STEP"] == f"{TWELVE_STEPS}/50"
    assert shown["RESUMES"] == "0"
    assert shown["COST-USD"] == ""
    assert shown["REASON"] == "Completed"
    assert "Completed" in kubectl("logs", task.pods()[0]["metadata"]["name"], "--tail=3")

    kubectl("delete", "agenttask", "seen", "--timeout=180s")
    until(lambda: not task.pods(), what="the pod goes with its task", seen=task.pods)
    assert api.get(Kind.TASK, "seen", namespace=task.namespace) is None
