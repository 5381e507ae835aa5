"""A queue of pods, such as Kueue: the label passes through, the gate stands until it is taken off, and is shown.

The test is in the place of the queue: of its webhook, which gates the pod as it is made, and of its controller.
"""

from __future__ import annotations

from typing import Final

import pytest

from tests.api.client import MERGE, Object
from tests.api.operator.world import World

QUEUE: Final = {"kueue.x-k8s.io/queue-name": "team-blue"}
GATE: Final = "kueue.x-k8s.io/admission"


@pytest.fixture
def queued(world: World) -> World:
    """A task whose pods are gated as they are made."""
    world.cluster.gates = (GATE,)
    world.apply(pod={"labels": QUEUE}, retry={"startDeadlineSeconds": 3600})
    return world


def gates(world: World, attempt: int) -> list[str]:
    pod = world.pod(attempt)
    assert pod is not None
    return [one["name"] for one in pod["spec"].get("schedulingGates", [])]


def admit(world: World, attempt: int) -> None:
    """Take the gate off and choose the nodes, as Kueue does for a flavor."""
    body: Object = {"spec": {"schedulingGates": None, "nodeSelector": {"flavor": "spot"}}}
    world.copy.admin.must("PATCH", world.pod_path(attempt), body=body, content_type=MERGE)


async def test_the_queue_s_label_reaches_the_pod_and_its_gate_stands_and_is_shown(queued: World) -> None:
    await queued.settle()
    for _ in range(2):
        pod = queued.pod(1)
        assert pod is not None
        assert pod["metadata"]["labels"].items() >= QUEUE.items()
        assert gates(queued, 1) == [GATE]
        assert (queued.status["phase"], queued.status["reason"]) == ("Pending", "SchedulingGated")
        assert GATE in queued.status["message"]
        # A look later, by an operator that remembers nothing, it is as it was: nothing is made again or taken off.
        queued.clock.pass_by(600)
        queued.restart()
        writes = list(queued.writes.done)
        await queued.settle()
        assert queued.writes.done == writes
    assert queued.pods == [f"{queued.name}-1"]


async def test_a_pod_that_is_admitted_goes_on_under_the_same_attempt(queued: World) -> None:
    await queued.settle()
    admit(queued, 1)
    await queued.begin(1)
    assert (queued.status["phase"], queued.status["attempt"]) == ("Running", 1)


async def test_a_task_whose_quota_is_taken_back_waits_gated_with_its_progress_and_no_failure(queued: World) -> None:
    await queued.settle()
    admit(queued, 1)
    await queued.begin(1, step=3)
    condition = {"TerminationTarget": ("True", "WorkloadEvictedDueToPreempted", 0)}
    queued.report(1, state={"terminated": {"exitCode": 143, "reason": "Error"}}, phase="Failed", **condition)
    await queued.settle()
    status = queued.status
    assert (status["phase"], status["reason"], status["attempt"]) == ("Resuming", "SchedulingGated", 2)
    assert (status["attempts"][0]["outcome"], status["attempts"][0]["reason"]) == ("Disrupted", "Preempted")
    assert status["counts"]["failures"] == 0
    assert gates(queued, 2) == [GATE]


async def test_a_task_that_is_suspended_gives_its_place_in_the_queue_back(queued: World) -> None:
    await queued.settle()
    queued.edit(suspend=True)
    await queued.settle()
    assert queued.pods == []
    await queued.settle()
    assert queued.status["reason"] == "Suspended"
