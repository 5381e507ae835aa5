"""A status that somebody took apart, or that came out of a backup: the log decides, and no number is used twice."""

from __future__ import annotations

from agenttask import contract

from tests.api.client import MERGE, Object
from tests.api.operator.world import World


def write_status(world: World, status: Object | None) -> int:
    """Write into the status as an admin may; the server's answer."""
    path = world.copy.path(task=world.name, subresource="status")
    return world.copy.admin.send("PATCH", path, body={"status": status}, content_type=MERGE).status


async def test_the_status_of_a_running_task_cannot_be_wiped(world: World) -> None:
    world.apply()
    await world.settle()
    await world.begin(1, step=1)
    assert write_status(world, None) == 422


async def test_what_can_be_wiped_under_a_running_task_comes_back_and_its_pod_runs_on(world: World) -> None:
    world.apply()
    await world.settle()
    await world.begin(1, step=1)
    pod, point = world.pod(1), world.status["checkpoint"]
    assert pod is not None
    gone = dict.fromkeys(("reason", "message", "podUID", "attempts", "conditions", "counts", "retry"))
    assert write_status(world, gone) == 200
    world.restart()
    await world.settle()
    status = world.status
    assert (status["attempt"], status["phase"], status["podUID"]) == (1, "Running", pod["metadata"]["uid"])
    assert status["checkpoint"] == point
    assert [one["attempt"] for one in status["attempts"]] == [1]
    assert world.pods == [f"{world.name}-1"]


async def test_a_task_restored_with_an_older_status_catches_up_with_its_log(world: World) -> None:
    """The cluster's memory was set back: the log knows of attempts that the status does not."""
    world.apply()
    await world.settle()
    world.bind(1)
    world.end(1, contract.Outcome.FENCED, code=77, newest_attempt=6)
    await world.settle()
    status = world.status
    assert status["attempt"] == 7, "above all that the log holds, at once"
    assert status["counts"]["failures"] == 0
    assert status["unreported"] == [2, 3, 4, 5, 6], "what became of their runners nobody knows"
    pod = world.pod(7)
    assert pod is not None
    assert '"unreported":[2,3,4,5,6]' in pod["metadata"]["annotations"][contract.ANNOTATION_ASSIGNMENT]
    world.bind(7)
    world.end(7, contract.Outcome.FENCED, code=77, newest_attempt=9)
    after = await world.settle()
    assert after is not None
    world.clock.pass_by(after + 1)
    await world.settle()
    assert (world.status["attempt"], world.status["unreported"]) == (10, [2, 3, 4, 5, 6, 8, 9])


async def test_a_task_restored_under_a_new_uid_with_the_status_of_the_old_one_starts_no_run_from_zero(
    world: World,
) -> None:
    """The runner is told of the checkpoint that the status names, does not find it, and the task waits for a person."""
    world.apply()
    old: Object = {
        "phase": "Running",
        "attempt": 4,
        "podUID": "00000000-0000-4000-8000-000000000000",
        "location": {"type": "s3", "bucket": "bucket"},
        "checkpoint": {"key": "agents/old/uid/log/000000000042", "seq": 42},
    }
    assert write_status(world, old) == 200
    await world.settle()
    pod = world.pod(5)
    assert pod is not None
    assert (
        '"recordedKey":"agents/old/uid/log/000000000042"'
        in pod["metadata"]["annotations"][contract.ANNOTATION_ASSIGNMENT]
    )
    world.bind(5)
    world.end(5, contract.Outcome.STALLED, code=78, reason="CheckpointLost", message="not in the log")
    await world.settle()
    assert world.condition("Stalled") == ("True", "CheckpointLost", "not in the log")
