"""Tasks whose log goes with them, on a real API server: guarded, stopped, purged by a last pod, held by nothing."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from agenttask import contract
from agenttask_operator.observed import Task

from tests.api.client import MERGE
from tests.api.crd.installed import Copy
from tests.api.operator.world import WatchedCluster, World
from tests.api.waiting import until

DELETE: dict[str, Any] = {"onDelete": "Delete"}


async def begun(world: World) -> None:
    """A runner works on a task that is to be purged."""
    world.apply(checkpoint=DELETE)
    await world.settle()
    await world.begin(1, step=1)


async def purging(world: World) -> None:
    """The task is deleted, and its last pod is there."""
    world.delete()
    await world.settle()
    world.end(1, contract.Outcome.STOPPED, code=75)
    await world.settle()


async def test_the_finalizer_is_set_before_the_first_attempt_is_raised(world: World) -> None:
    world.apply(checkpoint=DELETE)
    await world.settle()
    assert world.finalizers == [contract.FINALIZER]
    assert world.writes.done[:3] == ["finalizer", "status", "create"]


async def test_a_task_goes_once_its_log_is_purged_and_no_sooner(world: World) -> None:
    await begun(world)
    await purging(world)
    status, pod = world.status, world.pod(2)
    assert pod is not None
    assert pod["spec"]["containers"][0]["command"] == ["agenttask", "purge"]
    assert (status["attempt"], status["reason"], status["attempts"][1]["purge"]) == (2, "Purging", True)
    assert status["podUID"] == pod["metadata"]["uid"]
    world.bind(2)
    world.end(2, contract.Outcome.PURGED)
    await world.settle()
    assert world.is_gone


async def test_a_finished_task_is_purged_behind_its_final_record(world: World) -> None:
    await begun(world)
    world.end(1, contract.Outcome.COMPLETED)
    await world.settle()
    world.delete()
    await world.settle()
    assert (world.status["phase"], world.status["reason"], world.status["attempt"]) == ("Completed", "Completed", 2)
    world.bind(2)
    world.end(2, contract.Outcome.PURGED)
    await world.settle()
    assert world.is_gone


async def test_a_task_deleted_in_the_foreground_is_purged_all_the_same(world: World) -> None:
    await begun(world)
    world.delete(propagation="Foreground")
    await world.settle()
    world.end(1, contract.Outcome.STOPPED, code=75)
    world.delete_pod(1, grace=0)
    until("the foreground deletion is over", lambda: world.finalizers == [contract.FINALIZER])
    await world.settle()
    attempt = world.status["attempt"]
    world.bind(attempt)
    world.end(attempt, contract.Outcome.PURGED)
    await world.settle()
    assert world.is_gone


async def test_a_task_whose_purge_does_not_succeed_goes_after_ten_minutes_and_names_what_it_leaves(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await begun(world)
    await purging(world)
    world.bind(2)
    world.end(2, contract.Outcome.STALLED, code=78, reason="StoreDenied", message="403")
    assert await world.settle() is not None
    assert world.condition("Stalled") == ("True", "StoreDenied", "403")
    uid = world.uid
    world.clock.pass_by(601)
    with caplog.at_level(logging.WARNING):
        await world.settle()
    assert world.is_gone
    place = f"{world.copy.namespace}/{world.name}/{uid} in s3 bucket"
    why = "its purge took longer than 10 minutes. StoreDenied: 403"
    assert f"PurgeAbandoned: The checkpoint log below {place} is left: {why}." in caplog.text
    assert ("PurgeAbandoned", f"The checkpoint log below {place} is left: {why}.") in world.events()


@pytest.mark.parametrize("lands", [False, True], ids=["before it lands", "after it landed"])
async def test_what_a_task_leaves_is_told_though_the_operator_is_killed_as_it_lets_it_go(
    world: World, *, lands: bool
) -> None:
    await begun(world)
    await purging(world)
    world.bind(2)
    world.end(2, contract.Outcome.STALLED, code=78, reason="StoreDenied", message="403")
    await world.settle()
    world.clock.pass_by(601)
    world.writes.kill_at, world.writes.lands = len(world.writes.done) + 1, lands
    await world.settle()
    assert world.writes.done[-1] == "finalizer"
    assert world.is_gone
    assert "PurgeAbandoned" in [reason for reason, _ in world.events()]


async def test_a_runner_with_an_hour_of_grace_has_it_and_its_log_is_purged_all_the_same(world: World) -> None:
    world.apply(checkpoint=DELETE, pod={"terminationGracePeriodSeconds": 3600})
    await world.settle()
    await world.begin(1, step=1)
    world.delete()
    await world.settle()
    world.clock.pass_by(3500)
    await world.settle()
    assert (world.finalizers, world.status["attempt"]) == ([contract.FINALIZER], 1)
    world.end(1, contract.Outcome.STOPPED, code=75)
    await world.settle()
    world.bind(2)
    world.end(2, contract.Outcome.PURGED)
    await world.settle()
    assert world.is_gone


async def test_a_purge_whose_pod_cannot_start_says_why(world: World) -> None:
    await begun(world)
    await purging(world)
    world.bind(2)
    world.report(2, state={"waiting": {"reason": "ErrImagePull", "message": "no such image"}}, phase="Pending")
    await world.settle()
    assert world.condition("Stalled") == ("True", "ImageUnavailable", "no such image")
    assert world.finalizers == [contract.FINALIZER]


async def test_to_retain_the_log_after_all_lets_a_deleted_task_go(world: World) -> None:
    await begun(world)
    await purging(world)
    world.edit(checkpoint={"onDelete": "Retain"})
    await world.settle()
    assert world.is_gone


async def test_to_retain_the_log_of_a_task_that_goes_on_takes_the_finalizer_away(world: World) -> None:
    await begun(world)
    world.edit(checkpoint={"onDelete": "Retain"})
    await world.settle()
    assert world.finalizers == []
    assert (world.status["phase"], world.condition("Accepted")) == (
        "Running",
        ("True", "Accepted", "The spec can be carried out."),
    )


async def test_a_finalizer_that_something_takes_away_is_set_again_later_each_time_and_the_task_waits_for_it(
    world: World, api: WatchedCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = world.copy.path(task=world.name)

    async def undone(*, task: Task, present: bool) -> None:
        await WatchedCluster.set_finalizer(api, task=task, present=present)
        world.copy.admin.must("PATCH", path, body={"metadata": {"finalizers": []}}, content_type=MERGE)

    with monkeypatch.context() as stripped:
        stripped.setattr(api, "set_finalizer", undone)
        world.apply(checkpoint=DELETE)
        for times, most in enumerate((2, 4, 8), start=1):
            after = await world.settle()
            assert after is not None
            assert most / 2 < after <= most
            assert world.writes.done.count("finalizer") == times
            world.clock.pass_by(after)
    why = (
        f"The finalizer {contract.FINALIZER} was set and is gone again: a webhook or another controller takes it away."
    )
    assert world.condition("Stalled") == ("True", "FinalizerLost", why)
    assert "its finalizer is set for the 3. time, and was taken away" in caplog.text
    assert world.pods == []
    await world.settle()
    assert world.finalizers == [contract.FINALIZER]
    assert (world.status["attempt"], world.status["reason"]) == (1, "Starting")


@pytest.fixture
def elsewhere(copy: Copy, api: WatchedCluster) -> Iterator[World]:
    """A task in a namespace that may be deleted."""
    name = f"{copy.namespace}-ends"
    copy.admin.must("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})
    yield World(copy=dataclasses.replace(copy, namespace=name), cluster=api, name="doomed")
    copy.admin.send("DELETE", f"/api/v1/namespaces/{name}")


async def test_the_deletion_of_a_namespace_is_not_held_up(elsewhere: World) -> None:
    world = elsewhere
    world.apply(checkpoint=DELETE)
    await world.settle()
    path = f"/api/v1/namespaces/{world.copy.namespace}"
    world.copy.admin.must("DELETE", path)
    until("the pod goes with the namespace", lambda: world.pod(1) is None)
    until("the task is to go too", lambda: world.is_deleted)
    await world.settle()
    assert world.is_gone
    until("the namespace is gone", lambda: world.copy.admin.send("GET", path).status == 404)


@pytest.mark.parametrize("lands", [False, True], ids=["before it lands", "after it landed"])
async def test_an_operator_killed_at_any_write_of_a_purge_lets_the_task_go_all_the_same(
    world: World, *, lands: bool
) -> None:
    number, killed = 0, True
    while killed:
        number += 1
        one = dataclasses.replace(world, name=f"{world.name}-{number}", writes=type(world.writes)())
        one.writes.kill_at, one.writes.lands = number, lands
        await begun(one)
        await purging(one)
        attempt = one.status["attempt"]
        assert one.pods == [f"{one.name}-{attempt}"] if attempt > 1 else []
        one.bind(attempt)
        one.end(attempt, contract.Outcome.PURGED)
        await one.settle()
        assert one.is_gone
        killed = len(one.writes.done) >= number
    assert number > 6, "it was killed at each of its writes"
