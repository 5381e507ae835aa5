"""A call that must not run twice, lost with its pod: named, and never run again, whatever becomes of the task."""

from __future__ import annotations

from typing import Any

from agenttask.agent.doubt import NOT_KNOWN

from tests.e2e.conftest import Start, Witnesses
from tests.e2e.harness.kube import Api, Kind
from tests.e2e.harness.model import calls, says_sum
from tests.e2e.harness.tools import number_of
from tests.e2e.harness.wait import until


def pay(url: str, **more: str) -> dict[str, Any]:
    """A tool with effects, of which nothing can be asked afterwards."""
    parameters = {"type": "object", "properties": {"n": {"type": "integer"}}}
    return {"name": "pay", "recovery": "Once", "parameters": parameters, "http": {"url": url}, **more}


def test_a_once_call_lost_with_its_pod_stalls_the_task_is_named_and_heals_by_an_edit_and_runs_never_twice(
    start: Start, witness: Witnesses, api: Api
) -> None:
    url = witness.tools.url(task="payer")
    witness.tools.hold(task="payer", n=2)
    replies = [calls(("pay", {"n": 1})), calls(("pay", {"n": 2})), says_sum()]
    task = start("payer", replies, agent={"tools": [pay(url)]})
    until(
        lambda: len(witness.tools.uses(task="payer")) == 2,
        what="the second call has taken effect",
        seen=task.describe,
    )

    api.delete(Kind.POD, task.pod()["metadata"]["name"], namespace=task.namespace, grace_seconds=0)

    stalled = task.wait_stalled("InDoubt")
    assert stalled["phase"] == "Checkpointed"
    assert "of pay was begun by attempt 1, which was lost before its result was" in stalled["message"]
    assert stalled["counts"]["failures"] == 0
    task.patch_spec(agent={"tools": [pay(url, onDoubt="TellModel")]})
    status = task.wait_finished()
    assert (status["phase"], status["result"]["answer"]) == ("Completed", f"The sum is {number_of(1)}.")
    told = witness.model.journal(task.model)[-1].messages[-1]
    assert (told["role"], told["content"]) == ("tool", NOT_KNOWN)
    uses = witness.tools.uses(task="payer")
    assert [use.n for use in uses] == [1, 2]
    assert len({use.idempotency_key for use in uses}) == 2
    assert witness.model.repeated(task.model) == {}
