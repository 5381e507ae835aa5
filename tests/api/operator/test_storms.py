"""The cluster takes pods away again and again, or a whole part of it is cut off: no hot loop, and tasks still move."""

from __future__ import annotations

import dataclasses

import pytest
from agenttask import contract

from tests.api.operator.world import RUNNING, World

DISRUPTIONS = 5
PREEMPTED = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "for another"}


def refused_by_the_kubelet(world: World, attempt: int) -> None:
    """The kubelet refuses the pod the moment it is placed."""
    world.bind(attempt)
    world.patch_pod_status(attempt, {"phase": "Failed", "reason": "OutOfcpu", "message": "Node has no cpu left."})


def preempted(world: World, attempt: int) -> None:
    """The scheduler takes the pod's place for another one before its runner has started."""
    world.bind(attempt)
    world.patch_pod_status(attempt, {"conditions": [PREEMPTED]})
    world.delete_pod(attempt, grace=0)


STORMS = {"refused by the kubelet": refused_by_the_kubelet, "preempted": preempted}


@pytest.mark.parametrize("storm", STORMS)
async def test_a_pod_that_is_taken_away_within_milliseconds_each_time_makes_no_hot_loop(
    world: World, storm: str
) -> None:
    world.apply()
    await world.settle()
    waits = []
    for attempt in range(1, DISRUPTIONS + 1):
        assert world.status["attempt"] == attempt
        STORMS[storm](world, attempt)
        after = await world.settle()
        if world.status["attempt"] > attempt:
            waits.append(0.0)
            continue
        assert after is not None
        assert world.status["reason"] == "BackingOff"
        waits.append(after)
        world.clock.pass_by(after + 1)
        await world.settle()
    assert waits[0] == 0, "the first is replaced at once"
    for number, wait in enumerate(waits[1:], start=2):
        assert min(2**number, 60) * 0.75 - 1 <= wait <= min(2**number, 60)
    assert world.status["counts"]["failures"] == 0
    assert world.status["counts"]["disruptions"] == DISRUPTIONS


async def test_a_new_step_ends_the_row_of_disruptions(world: World) -> None:
    world.apply()
    await world.settle()
    refused_by_the_kubelet(world, 1)
    await world.settle()
    await world.begin(2, step=1)
    world.end(2, contract.Outcome.STOPPED, code=75)
    await world.settle()
    assert world.status["attempt"] == 3


async def test_in_a_wide_outage_in_which_nothing_is_tainted_tasks_on_lost_nodes_still_move(world: World) -> None:
    tasks = [dataclasses.replace(world, name=f"{world.name}-{number}") for number in range(2)]
    for one in tasks:
        one.apply()
        await one.settle()
        await one.begin(1, step=1)
        one.report(1, state=RUNNING, Ready=("False", "", 31), ContainersReady=("True", "", 300))
    for one in tasks:
        await one.settle()
        pod = one.pod(1)
        assert pod is not None
        assert "deletionTimestamp" in pod["metadata"], "the operator itself gives it up"
        assert not [each for each in pod["status"]["conditions"] if each["type"] == "DisruptionTarget"]
        assert one.status["attempt"] == 2
        assert [one.status["attempts"][0][key] for key in ("outcome", "reason")] == ["Disrupted", "NodeLost"]
        assert one.status["unreported"] == [1], "its runner may still run"
        assert one.pod(2) is not None
        one.delete()
