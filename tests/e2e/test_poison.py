"""A checkpoint from which every runner dies: tried no more often than allowed, gone on from once it is mended."""

from __future__ import annotations

from tests.e2e.harness.kube import Api
from tests.e2e.harness.tasks import Task

POISONED = """
if [ ! -e poison ]; then
  touch poison
  agenttask progress 1 2 half
  agenttask checkpoint
fi
if [ -z "$ANTIDOTE" ]; then echo poisoned >&2; exit 3; fi
echo "attempt $AGENTTASK_ATTEMPT" > "$AGENTTASK_RESULT"
"""


def test_a_task_whose_checkpoint_kills_every_runner_waits_for_someone_and_goes_on_from_it_once_mended(
    home: str, api: Api
) -> None:
    body = {
        "apiVersion": "agenttask.dev/v1alpha1",
        "kind": "AgentTask",
        "metadata": {"name": "poisoned"},
        "spec": {
            "command": ["sh", "-euc", POISONED],
            "retry": {"maxFailures": 2, "maxBackoffSeconds": 1},
            "pod": {"env": [{"name": "ANTIDOTE", "value": ""}]},
        },
    }
    task = Task.create(api=api, namespace=home, body=body)
    status = task.wait_stalled("PoisonCheckpoint")

    assert (status["phase"], status["attempt"], status["checkpoint"]["step"]) == ("Checkpointed", 3, 1)
    assert "3 failures since the last new step" in status["message"]
    assert "poisoned" in status["message"]
    assert [one["outcome"] for one in status["attempts"]] == ["Crashed"] * 3
    resumed = [one.get("resumedFrom") for one in status["attempts"]]
    assert resumed[0] is None
    assert all(resumed[1:]), "each went on from what was recorded"
    assert status["counts"]["failures"] == 3

    task.patch_spec(pod={"env": [{"name": "ANTIDOTE", "value": "given"}]})
    status = task.wait_finished()

    assert (status["phase"], status["result"]["answer"].strip()) == ("Completed", "attempt 4")
    assert status["attempts"][-1]["resumedFrom"], "the step before was not done again"
