"""Events on a real API server: a task that fails again and again does not bury everything else."""

from __future__ import annotations

from typing import Any

from tests.api.client import Object
from tests.api.operator.world import RUNNING, World

CRASHES = 6


def events(world: World) -> list[Object]:
    path = f"/apis/events.k8s.io/v1/namespaces/{world.copy.namespace}/events"
    found: list[Object] = world.copy.admin.must("GET", path, fieldSelector=f"regarding.name={world.name}")["items"]
    return found


def counts(told: list[Object], reason: str) -> list[Any]:
    """How often each Event of that reason has come about; None: once."""
    return [one.get("series", {}).get("count") for one in told if one["reason"] == reason]


async def test_events_come_on_transitions_alone_and_a_crash_loop_is_told_thrice_and_then_counted(world: World) -> None:
    world.apply(retry={"maxFailures": 20, "maxBackoffSeconds": 1})
    await world.settle()
    for attempt in range(1, CRASHES + 1):
        world.bind(attempt)
        world.report(attempt, state=RUNNING)
        world.exit(attempt, code=1, message="It crashed.")
        await world.settle()
        world.clock.pass_by(5)
        await world.settle()
    told = events(world)
    assert sorted(counts(told, "Crashed"), key=str) == [CRASHES - 2, None, None]
    assert sorted(counts(told, "AttemptStarted"), key=str) == [CRASHES - 1, None, None]
    notes = [one["note"] for one in told if one["reason"] == "Crashed"]
    assert all("It crashed." in note for note in notes)
    # A look that finds nothing new tells nothing.
    await world.settle()
    world.restart()
    await world.settle()
    assert events(world) == told
