"""Pods that are not as the operator made them: a mesh adds a container, a label and an annotation, a mirror its image.

A webhook of the tests' own does so on the real API server. The sidecar never ends by itself, whatever its runner does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from agenttask import contract

from tests.api.operator import mesh
from tests.api.operator.mesh import Webhook, webhook
from tests.api.operator.world import World
from tests.cluster.environment import Environment

pytestmark = pytest.mark.needs_nodes


@pytest.fixture
def hook(world: World, tmp_path: Path) -> Iterator[Webhook]:
    """The webhook, which changes this task's pods."""
    environment = Environment.read()
    assert environment is not None
    world.sidecar = mesh.SIDECAR["name"]
    with webhook(
        admin=world.copy.admin,
        address=environment.host_address,
        namespace=world.copy.namespace,
        folder=tmp_path,
    ) as made:
        yield made


@pytest.mark.usefixtures("hook")
async def test_a_pod_that_a_mesh_has_changed_is_the_task_s_own_and_left_as_it_is(world: World) -> None:
    world.apply()
    await world.reconcile()
    pod = world.pod(1)
    assert pod is not None
    assert [one["name"] for one in pod["spec"]["containers"]] == ["mesh", contract.CONTAINER]
    assert pod["spec"]["containers"][1]["image"] == "mirror.invalid/none"
    assert mesh.LABEL in pod["metadata"]["labels"].items()
    assert mesh.ANNOTATION in pod["metadata"]["annotations"].items()
    # By the next operator too, which has not made it.
    world.restart()
    await world.settle()
    assert (world.status["attempt"], world.status["podUID"]) == (1, pod["metadata"]["uid"])
    for begun in (False, True):
        if begun:
            await world.begin(1)
            assert world.status["phase"] == "Running"
            assert world.condition("Accepted") == ("True", "Accepted", "The spec can be carried out.")
        world.clock.pass_by(600)
        world.restart()
        writes = list(world.writes.done)
        await world.settle()
        assert world.writes.done == writes
    assert world.pods == [f"{world.name}-1"]


@pytest.mark.usefixtures("hook")
async def test_an_edit_replaces_a_changed_pod_that_has_not_started_and_waits_for_the_end_of_one_that_has(
    world: World,
) -> None:
    world.apply(pod={"image": "none.invalid/wrong"})
    await world.settle()
    world.edit(pod={"image": "none.invalid/right"})
    await world.settle()
    await world.settle()
    assert (world.status["attempt"], world.status["attempts"][0]["reason"]) == (2, "SpecChanged")
    assert world.pods == [f"{world.name}-2"]
    await world.begin(2)
    world.edit(pod={"image": "none.invalid/newer"})
    await world.settle()
    changed = world.condition("Accepted")
    assert changed is not None
    assert changed[1] == "ChangePending"
    assert world.pods == [f"{world.name}-2"]


@pytest.mark.usefixtures("hook")
@pytest.mark.parametrize(
    ("outcome", "code", "phase"),
    [
        (contract.Outcome.COMPLETED, 0, "Completed"),
        (contract.Outcome.FAILED, 1, "Failed"),
        (contract.Outcome.STALLED, 78, "Checkpointed"),
    ],
)
async def test_a_sidecar_that_never_ends_does_not_keep_its_runner_s_end_from_being_seen(
    world: World, outcome: contract.Outcome, code: int, phase: str
) -> None:
    world.apply()
    await world.settle()
    await world.begin(1, step=1)
    world.end(1, outcome, code=code)
    pod = world.pod(1)
    assert pod is not None
    assert pod["status"]["phase"] == "Running"
    await world.settle()
    assert world.status["phase"] == phase
    assert world.status["attempts"][0]["end"]
    assert world.pods == []


@pytest.mark.usefixtures("hook")
async def test_the_next_attempt_begins_beside_a_sidecar_that_is_still_being_stopped(world: World) -> None:
    world.apply()
    await world.settle()
    await world.begin(1, step=1)
    world.end(1, contract.Outcome.STOPPED, code=75)
    await world.settle()
    await world.begin(2, step=2, resumed_from="log/000000000101")
    before, after = world.pod(1), world.pod(2)
    assert before is not None
    assert after is not None
    assert "deletionTimestamp" in before["metadata"]
    assert (world.status["phase"], world.status["podUID"]) == ("Running", after["metadata"]["uid"])


async def test_a_webhook_that_is_out_of_order_is_named_and_waited_for(world: World, hook: Webhook) -> None:
    hook.stop()
    try:
        world.apply()
        await world.settle()
        stalled = world.condition("Stalled")
        assert stalled is not None
        assert stalled[:2] == ("True", "PodRefused")
        assert "pods.mesh.example.com" in stalled[2]
    finally:
        hook.serve()
    world.clock.pass_by(60)
    await world.settle()
    pod = world.pod(1)
    assert pod is not None
    assert len(pod["spec"]["containers"]) == 2
    await world.begin(1)
    assert world.status["phase"] == "Running"
