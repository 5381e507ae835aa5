"""The operator killed at every write of a task's life: before it, and after it with the answer lost. Same end."""

from __future__ import annotations

from typing import Any

import pytest
from agenttask import contract

from tests.api.operator.world import World

MOST_WRITES = 17


async def live(world: World) -> dict[str, Any]:
    """A life with a drained first pod and a suspension, told by its end."""
    world.apply()
    await world.settle()
    await world.begin(1, step=1)
    world.delete_pod(1, grace=30)
    await world.settle()
    world.end(1, contract.Outcome.STOPPED, code=75)
    await world.settle()
    await world.begin(2, step=2, resumed_from="log/000000000101")
    world.edit(suspend=True)
    await world.settle()
    world.end(2, contract.Outcome.STOPPED, code=75)
    await world.settle()
    world.edit(suspend=False)
    await world.settle()
    await world.begin(3, step=3, resumed_from="log/000000000202")
    world.end(3, contract.Outcome.COMPLETED)
    await world.settle()
    status = world.status
    return {
        "phase": status["phase"],
        "attempt": status["attempt"],
        "attempts": [
            (one["attempt"], one["outcome"], one["reason"], one.get("resumedFrom")) for one in status["attempts"]
        ],
        "counts": status["counts"],
        "conditions": {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]},
        "pods": len(world.pods),
    }


UNDISTURBED = {
    "phase": "Completed",
    "attempt": 3,
    "attempts": [
        (1, "Disrupted", "Deleted", None),
        (2, "Stopped", "Suspended", "log/000000000101"),
        (3, "Completed", "Completed", "log/000000000202"),
    ],
    "counts": {"disruptions": 1, "failures": 0, "lostRecords": 0, "ooms": 0, "resumes": 2},
    "conditions": {
        "Accepted": ("True", "Accepted"),
        "Running": ("False", "Completed"),
        "Checkpointed": ("True", "Recorded"),
        "Disrupted": ("False", "Recovered"),
        "Suspended": ("False", "NotSuspended"),
        "Complete": ("True", "Completed"),
        "Finished": ("True", "Completed"),
    },
    "pods": 1,
}


async def test_the_undisturbed_life_has_no_more_writes_than_are_tried_below(world: World) -> None:
    assert await live(world) == UNDISTURBED
    assert len(world.writes.done) == MOST_WRITES


@pytest.mark.parametrize("lands", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", range(1, MOST_WRITES + 1))
async def test_operator_killed_at_any_write(world: World, write: int, lands: bool) -> None:
    world.writes.kill_at, world.writes.lands = write, lands
    end = await live(world)
    assert world.writes.kill_at is None
    assert end == UNDISTURBED
