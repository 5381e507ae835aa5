"""A fork on a real API server: it waits for its original, records what it goes on from, and tells the original."""

from __future__ import annotations

from agenttask import contract

from tests.api.client import MERGE, Object
from tests.api.operator.world import World

STORE: Object = {"type": "s3", "bucket": "bucket"}


def original(world: World, name: str, *, location: Object = STORE) -> str:
    """A task with a newest record; its key. Reconciled by nobody."""
    made = world.copy.create(name=name)
    key = f"{world.copy.namespace}/{name}/{made['metadata']['uid']}/log/000000000042"
    status = {"attempt": 1, "location": location, "checkpoint": {"key": key, "seq": 42}}
    world.copy.admin.must(
        "PATCH", world.copy.path(task=name, subresource="status"), body={"status": status}, content_type=MERGE
    )
    return key


def told(world: World, name: str) -> list[tuple[str, str]]:
    """Reason and note of the Events on a task."""
    path = f"/apis/events.k8s.io/v1/namespaces/{world.copy.namespace}/events"
    items = world.copy.admin.must("GET", path)["items"]
    return [(one["reason"], one["note"]) for one in items if one.get("regarding", {}).get("name") == name]


async def test_a_fork_starts_once_its_original_has_a_checkpoint_and_an_event_on_the_original_tells_it(
    world: World,
) -> None:
    name = f"{world.name}-source"
    world.apply(resumeFrom={"task": name})
    after = await world.settle()
    assert after is not None
    assert 14 <= after <= 15
    assert world.condition("Stalled") == (
        "True", "SourceNotFound", f"There is no AgentTask {name} in this namespace."
    )  # fmt: skip
    key = original(world, name)
    await world.settle()
    found = world.status["forkedFrom"]
    assert (found["task"], found["key"], found["seq"]) == (name, key, 42)
    assert (world.status["attempt"], world.condition("Stalled")) == (
        1,
        ("False", "Recovered", "What was wrong is over."),
    )
    assert told(world, name) == [("Forked", f"AgentTask {world.name} goes on from {key}.")]
    await world.settle()
    assert len(told(world, name)) == 1
    pod = world.pod(1)
    assert pod is not None
    assert key in pod["metadata"]["annotations"][contract.ANNOTATION_ASSIGNMENT]


async def test_a_fork_goes_on_when_its_original_is_gone(world: World) -> None:
    name = f"{world.name}-source"
    key = original(world, name)
    world.copy.admin.must("DELETE", world.copy.path(task=name))
    original(world, name)
    world.apply(resumeFrom={"location": STORE, "key": key})
    await world.settle()
    assert told(world, name) == [], "another task has the name now"
    assert (world.status["attempt"], world.status["forkedFrom"]["key"]) == (1, key)
    world.delete_pod(1, grace=0)
    await world.settle()
    assert (world.status["attempt"], world.status["forkedFrom"]["key"]) == (2, key)


async def test_a_location_tells_the_original_too_as_long_as_that_very_task_is_there(world: World) -> None:
    name = f"{world.name}-source"
    key = original(world, name)
    world.apply(resumeFrom={"location": STORE, "key": key})
    await world.settle()
    assert told(world, name) == [("Forked", f"AgentTask {world.name} goes on from {key}.")]


async def test_a_fork_of_another_store_is_refused_until_it_is_edited(world: World) -> None:
    name = f"{world.name}-source"
    original(world, name, location={**STORE, "bucket": "others"})
    world.apply(resumeFrom={"task": name})
    assert await world.settle() is None
    assert (world.status["phase"], world.status["reason"]) == ("Pending", "OtherStore")
    assert "attempt" not in world.status or world.status["attempt"] == 0
    world.edit(checkpoint={"s3": {"bucket": "others"}})
    await world.settle()
    assert (world.status["attempt"], world.status["reason"]) == (1, "Starting")
