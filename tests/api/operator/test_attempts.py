"""Attempts on a real API server: started, adopted, replaced; pods that vanish, linger, or are somebody else's."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
from agenttask import contract
from agenttask_operator.answers import ConflictError
from agenttask_operator.observed import read_pod
from agenttask_operator.reconcile import Key

from tests.api.operator.world import RUNNING, World


async def test_an_undisturbed_life_takes_at_most_six_writes(world: World) -> None:
    world.apply()
    await world.settle()
    assert world.status["attempt"] == 1
    assert world.status["phase"] == "Pending"
    pod = world.pod(1)
    assert pod is not None
    assert world.status["podUID"] == pod["metadata"]["uid"]
    assert pod["spec"]["automountServiceAccountToken"] is False
    await world.begin(1)
    assert (world.status["phase"], world.status["reason"]) == ("Running", "Working")
    world.end(1, contract.Outcome.COMPLETED)
    await world.settle()
    status = world.status
    assert (status["phase"], status["reason"], status["message"]) == ("Completed", "Completed", "It is so.")
    assert world.condition("Finished") == ("True", "Completed", "It is so.")
    assert status["attempts"][0]["node"] == world.node
    assert world.pods == [f"{world.name}-1"]
    assert len(world.writes.done) <= 6
    done = len(world.writes.done)
    assert await world.settle() is None
    assert len(world.writes.done) == done


async def test_last_words_of_any_characters_are_recorded(world: World) -> None:
    world.apply()
    await world.settle()
    await world.begin(1)
    words = "it broke 💥 at \x93here\x94, \x7f\x1b[0m"
    world.exit(1, code=1, message=words)
    await world.settle()
    ended = world.status["attempts"][0]
    assert (ended["outcome"], ended["message"]) == ("Crashed", f"Exit code 1. {words}")
    assert world.status["phase"] == "Checkpointed"


async def test_a_pod_created_before_a_crash_is_adopted(world: World) -> None:
    world.apply()
    await world.reconcile()
    assert "podUID" not in world.status
    pod = world.pod(1)
    assert pod is not None
    world.restart()
    await world.settle()
    assert (world.status["attempt"], world.status["podUID"]) == (1, pod["metadata"]["uid"])


async def test_a_create_that_meets_its_own_pod_adopts_it(world: World) -> None:
    world.apply()
    task = await world.cluster.get_task(namespace=world.copy.namespace, name=world.name)
    await world.reconcile()
    pod = world.pod(1)
    # The other operator has read the pods before this one made it.
    task = await world.cluster.get_task(namespace=world.copy.namespace, name=world.name)
    await world.another_operator()._create(key=Key(world.copy.namespace, world.name), task=task)
    await world.settle()
    assert pod is not None
    assert (world.status["attempt"], world.status["podUID"]) == (1, pod["metadata"]["uid"])


async def test_what_a_kubelet_says_in_events_alone_is_found_when_a_pod_is_slow_to_be_set_up(world: World) -> None:
    world.apply()
    await world.settle()
    world.bind(1)
    world.report(
        1,
        state={"waiting": {"reason": "ContainerCreating"}},
        phase="Pending",
        PodScheduled=("True", "", 0),
        PodReadyToStartContainers=("False", "", 0),
    )
    world.complain(1, reason="FailedMount", note='MountVolume.SetUp failed for volume "v" : secret "x" not found')
    world.complain(1, reason="Unhealthy", note="of no matter here")
    after = await world.settle()
    assert world.status["reason"] == "Starting"
    assert after is not None
    assert 0 < after <= 5
    world.clock.pass_by(after + 1)
    assert await world.settle() == pytest.approx(15, abs=1)
    told = 'MountVolume.SetUp failed for volume "v" : secret "x" not found'
    assert world.condition("Stalled") == ("True", "SecretMissing", told)
    world.report(1, state=RUNNING)
    await world.settle()
    stalled = world.condition("Stalled")
    assert stalled is not None
    assert stalled[0] == "False"


@pytest.mark.parametrize("label", [contract.LABEL_TASK, contract.LABEL_ATTEMPT])
async def test_a_pod_that_lost_a_label_before_it_was_recorded_is_deleted_and_its_number_burnt(
    world: World, label: str
) -> None:
    world.apply()
    await world.reconcile()
    world.unlabel(1, label)
    world.restart()
    await world.settle()
    assert world.pod(1) is None
    pod = world.pod(2)
    assert pod is not None
    assert (world.status["attempt"], world.status["podUID"]) == (2, pod["metadata"]["uid"])


async def test_a_pod_that_ran_before_it_lost_a_label_counts_as_unreported(world: World) -> None:
    world.apply()
    await world.reconcile()
    world.bind(1)
    world.report(1, state=RUNNING)
    world.unlabel(1, contract.LABEL_TASK)
    world.restart()
    await world.settle()
    assert (world.status["attempt"], world.status["unreported"]) == (2, [1])


async def test_a_foreign_pod_of_the_next_name_burns_the_number(world: World) -> None:
    world.foreign_pod(f"{world.name}-1")
    world.apply()
    await world.settle()
    status = world.status
    assert status["attempt"] == 2
    assert [(one["attempt"], one.get("outcome"), one.get("reason")) for one in status["attempts"]] == [
        (1, "Replaced", "NameTaken"),
        (2, None, None),
    ]
    assert status["counts"] == {"disruptions": 0, "failures": 0, "lostRecords": 0, "ooms": 0, "resumes": 0}
    other = world.pod(1)
    assert other is not None
    assert "deletionTimestamp" not in other["metadata"]


async def test_a_task_applied_again_adopts_nothing_of_its_predecessor(world: World) -> None:
    world.apply()
    await world.settle()
    await world.begin(1)
    old = world.pod(1)
    assert old is not None
    world.delete_pod(1, grace=30)
    world.delete()
    world.apply()
    await world.settle()
    status = world.status
    new = world.pod(2)
    assert new is not None
    assert (status["attempt"], status["podUID"]) == (2, new["metadata"]["uid"])
    assert status["attempts"][0]["reason"] == "NameTaken"
    assert status["phase"] == "Pending"


async def test_two_operators_at_once_make_one_pod(world: World) -> None:
    world.apply()
    key = Key(world.copy.namespace, world.name)
    both = [world.operator, world.another_operator()]
    for _ in range(4):
        results = await asyncio.gather(*(one.reconcile(key) for one in both), return_exceptions=True)
        assert all(one is None or isinstance(one, int | float | ConflictError) for one in results), results
    await world.settle()
    assert world.status["attempt"] == 1
    assert world.pods == [f"{world.name}-1"]


async def test_a_write_on_what_was_read_before_an_edit_is_refused(world: World) -> None:
    world.apply()
    task = await world.cluster.get_task(namespace=world.copy.namespace, name=world.name)
    world.edit(suspend=True)
    with pytest.raises(ConflictError):
        await world.cluster.apply_status(task=task, status=task.status)


async def test_a_vanished_pod_is_replaced(world: World) -> None:
    world.apply()
    await world.settle()
    await world.begin(1)
    first = world.status["podUID"]
    world.delete_pod(1, grace=0)
    await world.settle()
    status = world.status
    assert status["attempt"] == 2
    assert status["podUID"] != first
    assert (status["attempts"][0]["outcome"], status["attempts"][0]["reason"]) == ("Disrupted", "Vanished")
    assert status["counts"]["disruptions"] == 1
    assert world.condition("Disrupted") == (
        "True",
        "Vanished",
        f"Attempt 1: Pod {world.name}-1 is gone and nothing says why.",
    )


async def test_the_last_sight_of_a_deleted_pod_tells_why_it_went(world: World) -> None:
    world.apply()
    await world.settle()
    await world.begin(1)
    world.report(1, state=RUNNING, DisruptionTarget=("True", "EvictionByEvictionAPI", 1))
    pod = world.pod(1)
    assert pod is not None
    world.operator.departed.keep(read_pod(pod))
    world.delete_pod(1, grace=0)
    await world.settle()
    assert world.status["attempts"][0]["reason"] == "Evicted"


def patience(world: World, attempt: int) -> float:
    """For how many seconds more a pod is waited for: until 10 s after its grace, by the server's clock."""
    pod = world.pod(attempt)
    assert pod is not None
    overdue = datetime.fromisoformat(pod["metadata"]["deletionTimestamp"]) + timedelta(seconds=10)
    return (overdue - world.clock()).total_seconds()


async def test_a_terminating_pod_is_replaced_once_its_runner_has_ended(world: World) -> None:
    world.apply()
    await world.settle()
    await world.begin(1)
    world.delete_pod(1, grace=30)
    assert await world.settle() == patience(world, 1)
    assert (world.status["attempt"], world.status["reason"]) == (1, "Terminating")
    world.end(1, contract.Outcome.STOPPED, code=75)
    await world.settle()
    assert world.status["attempt"] == 2
    assert world.status["attempts"][0]["reason"] == "Deleted"
    # The object is still there: nothing waits for it.
    assert world.pod(1) is not None
    assert world.pods == [f"{world.name}-2"]


async def test_a_terminating_pod_nobody_confirms_is_waited_for_ten_seconds_after_its_grace(world: World) -> None:
    world.apply()
    await world.settle()
    await world.begin(1)
    world.delete_pod(1, grace=30)
    await world.settle()
    world.clock.pass_by(patience(world, 1) - 1)
    await world.settle()
    assert world.status["attempt"] == 1
    world.clock.pass_by(1)
    await world.settle()
    assert world.status["attempt"] == 2
    assert world.status["attempts"][0]["reason"] == "Deleted"


async def test_a_lost_node_is_given_up_after_thirty_seconds(world: World) -> None:
    world.apply()
    await world.settle()
    await world.begin(1)
    world.report(1, state=RUNNING, Ready=("False", "", 5), ContainersReady=("True", "", 60))
    after = await world.settle()
    assert after is not None
    assert 20 < after <= 25
    assert world.status["phase"] == "Running"
    world.clock.pass_by(26)
    await world.settle()
    status = world.status
    assert (status["attempt"], status["phase"]) == (2, "Resuming")
    assert status["attempts"][0]["reason"] == "NodeLost"
    lost = world.pod(1)
    assert lost is not None
    assert "deletionTimestamp" in lost["metadata"]


async def test_a_raise_clears_the_pod_and_leaves_what_the_runner_wrote(world: World) -> None:
    world.apply()
    await world.settle()
    await world.begin(1, step=3)
    before = world.status
    world.end(1, contract.Outcome.FENCED, code=77, newest_attempt=4)
    await world.reconcile()
    status = world.status
    assert (status["attempt"], "podUID" in status) == (5, False)
    assert {key: status[key] for key in contract.RUNNER_FIELDS if key in status} == {
        key: before[key] for key in contract.RUNNER_FIELDS if key in before
    }
    assert status["counts"]["failures"] == status["counts"]["disruptions"] == 0


async def test_ended_pods_go_but_for_the_newest(world: World) -> None:
    world.apply()
    await world.settle()
    for attempt in (1, 2, 3):
        world.exit(attempt, code=1, message="boom")
        await world.settle()
        world.clock.pass_by(30)
        await world.settle()
    assert world.status["attempt"] == 4
    assert world.pods == [f"{world.name}-3", f"{world.name}-4"]


async def test_a_runner_that_always_crashes_fails_the_task_after_its_retries(world: World) -> None:
    world.apply(retry={"maxFailures": 1})
    await world.settle()
    world.exit(1, code=1, message="boom")
    after = await world.settle()
    assert after is not None
    assert 0 < after <= 2
    assert (world.status["reason"], world.status["retry"]["failures"]) == ("BackingOff", 1)
    world.clock.pass_by(3)
    await world.settle()
    world.exit(2, code=1, message="boom again")
    await world.settle()
    status = world.status
    assert (status["phase"], status["reason"]) == ("Failed", "RetriesExhausted")
    assert "boom again" in status["message"]
    assert status["counts"]["failures"] == 2
