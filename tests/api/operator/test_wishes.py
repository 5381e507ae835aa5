"""What a user asks for and gets wrong, on a real API server: suspend, cancel, refused pods, edits."""

from __future__ import annotations

import pytest
from agenttask import contract

from tests.api.client import Object
from tests.api.operator.world import RUNNING, World


async def test_suspend_stops_the_runner_and_unsuspend_resumes(world: World) -> None:
    world.apply()
    await world.settle()
    await world.begin(1, step=2)
    world.edit(suspend=True)
    await world.settle()
    assert world.status["reason"] == "Stopping"
    assert world.pods == []
    world.end(1, contract.Outcome.STOPPED, code=75)
    await world.settle()
    assert (world.status["phase"], world.status["reason"]) == ("Checkpointed", "Suspended")
    assert world.status["counts"]["disruptions"] == 0
    world.edit(suspend=False)
    await world.settle()
    assert (world.status["phase"], world.status["attempt"]) == ("Resuming", 2)
    assert world.condition("Suspended") == ("False", "NotSuspended", "spec.suspend is not set.")
    await world.begin(2, step=2, resumed_from="log/000000000102")
    assert world.status["counts"]["resumes"] == 1
    assert world.status["attempts"][1]["resumedFrom"] == "log/000000000102"


async def test_cancel_stops_the_runner_and_ends_the_task(world: World) -> None:
    world.apply()
    await world.settle()
    await world.begin(1)
    world.edit(cancel=True)
    await world.settle()
    assert world.pods == []
    assert world.status["phase"] == "Running"
    world.exit(1, code=143)
    await world.settle()
    assert (world.status["phase"], world.status["reason"]) == ("Cancelled", "Cancelled")
    assert world.status["attempts"][0]["outcome"] == "Stopped"
    assert await world.settle() is None


async def test_a_pod_the_server_refuses_stalls_with_its_message_and_heals(world: World) -> None:
    world.apply(pod={"securityContext": {"runAsNonRoot": False, "runAsUser": 0}})
    after = await world.settle()
    assert after is not None
    assert 0 < after <= 2
    stalled = world.condition("Stalled")
    assert stalled is not None
    assert stalled[:2] == ("True", "PodRefused")
    assert "violates PodSecurity" in stalled[2]
    assert world.status["attempt"] == 1
    world.clock.pass_by(2)
    after = await world.settle()
    assert after is not None
    assert 3 < after <= 4
    world.restart()
    await world.settle()
    assert world.status["reason"] == "PodRefused"
    world.edit(pod=None)
    await world.settle()
    assert (world.status["attempt"], world.status["reason"]) == (1, "Starting")
    assert world.condition("Stalled") == ("False", "Recovered", "What was wrong is over.")


MISSPELT: dict[str, tuple[Object, str]] = {
    "an affinity": ({"affinity": {"nodeAffinityy": {}}}, 'unknown field "spec.affinity.nodeAffinityy"'),
    "a volume": ({"volumes": [{"name": "a", "emptyDirr": {}}]}, 'unknown field "spec.volumes[0].emptyDirr"'),
    "a variable's source": (
        {"env": [{"name": "A", "valueFrom": {"fieldReff": {"fieldPath": "metadata.name"}}}]},
        "fieldReff",
    ),
}


@pytest.mark.parametrize(("pod", "says"), MISSPELT.values(), ids=MISSPELT.keys())
async def test_a_misspelt_field_of_the_pod_is_named_and_not_left_out(world: World, pod: Object, says: str) -> None:
    world.apply(pod=pod)
    await world.settle()
    stalled = world.condition("Stalled")
    assert stalled is not None
    assert stalled[:2] == ("True", "PodRefused")
    assert says in stalled[2]


async def test_an_image_that_cannot_be_pulled_stalls_and_a_fixed_one_starts_at_once(world: World) -> None:
    world.apply(pod={"image": "none.invalid/wrong"})
    await world.settle()
    world.bind(1)
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such host"}}
    world.report(1, state=waiting, phase="Pending")
    await world.settle()
    assert world.condition("Stalled") == ("True", "ImageUnavailable", "no such host")
    world.edit(pod={"image": "none.invalid/right"})
    await world.settle()
    assert (world.status["attempt"], world.status["reason"]) == (2, "Starting")
    assert world.pods == [f"{world.name}-2"]
    assert world.status["attempts"][0]["reason"] == "SpecChanged"


async def test_a_stalled_runner_is_tried_again_and_an_edit_tries_at_once(world: World) -> None:
    world.apply()
    await world.settle()
    await world.begin(1, step=1)
    world.end(1, contract.Outcome.STALLED, code=78, reason="ModelDenied", message="401: no such key")
    after = await world.settle()
    assert after is not None
    assert 0 < after <= 5
    assert (world.status["phase"], world.status["reason"]) == ("Checkpointed", "ModelDenied")
    assert world.condition("Stalled") == ("True", "ModelDenied", "401: no such key")
    world.edit(budget={"steps": 9})
    await world.settle()
    assert world.status["attempt"] == 2
    assert world.condition("Stalled") == ("True", "ModelDenied", "401: no such key")
    await world.begin(2, step=1, resumed_from="log/000000000101")
    assert world.condition("Stalled") == ("False", "Recovered", "What was wrong is over.")


async def test_a_stall_that_each_retry_meets_again_stands_throughout_and_is_over_with_the_first_new_step(
    world: World,
) -> None:
    def stalled() -> Object:
        found: Object = next(one for one in world.status["conditions"] if one["type"] == "Stalled")
        return found

    def refused(attempt: int) -> None:
        world.end(attempt, contract.Outcome.STALLED, code=78, reason="ModelDenied", message="401: no such key")

    world.apply()
    await world.settle()
    await world.begin(1, step=1)
    refused(1)
    await world.settle()
    first = stalled()
    assert (first["status"], first["reason"]) == ("True", "ModelDenied")
    for attempt in (2, 3):
        world.clock.pass_by(60)
        await world.settle()
        await world.begin(attempt, step=1, resumed_from="log/000000000101")
        assert (world.status["phase"], stalled()) == ("Running", first)
        refused(attempt)
        await world.settle()
        assert stalled() == first
    world.clock.pass_by(60)
    await world.settle()
    await world.begin(4, step=1, resumed_from="log/000000000101")
    world.claim(4, step=2, resumed_from="log/000000000101")
    await world.settle()
    assert (stalled()["status"], stalled()["reason"]) == ("False", "Recovered")


async def test_an_edit_of_a_running_task_shows_as_pending(world: World) -> None:
    world.apply()
    await world.settle()
    await world.begin(1)
    world.edit(budget={"steps": 9})
    await world.settle()
    accepted = world.condition("Accepted")
    assert accepted is not None
    assert accepted[:2] == ("True", "ChangePending")
    assert world.status["attempt"] == 1
    assert world.pods == [f"{world.name}-1"]


async def test_a_task_fails_when_its_runners_have_worked_for_as_long_as_allowed(world: World) -> None:
    world.apply(activeDeadlineSeconds=60)
    await world.settle()
    await world.begin(1, step=1)
    assert await world.settle() == pytest.approx(60, abs=5)
    world.clock.pass_by(30)
    world.delete_pod(1)
    world.end(1, contract.Outcome.STOPPED, code=75)
    await world.settle()
    world.clock.pass_by(100)
    await world.settle()
    assert (world.status["phase"], world.status["attempt"]) == ("Resuming", 2), "what is waited for a runner is free"
    await world.begin(2, step=1, resumed_from="log/000000000101")
    world.clock.pass_by(35)
    await world.settle()
    assert (world.status["phase"], world.status["reason"]) == ("Running", "Stopping")
    world.end(2, contract.Outcome.STOPPED, code=75)
    await world.settle()
    assert (world.status["phase"], world.status["reason"]) == ("Failed", "DeadlineExceeded")
    assert world.status["attempts"][1]["outcome"] == "Stopped"
    assert world.condition("Finished") == ("True", "DeadlineExceeded", world.status["message"])


async def test_a_task_fails_when_no_runner_works_within_the_time_for_it(world: World) -> None:
    world.apply(pod={"image": "none.invalid/wrong"}, retry={"startDeadlineSeconds": 600})
    await world.settle()
    world.bind(1)
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such host"}}
    world.report(1, state=waiting, phase="Pending")
    assert await world.settle() == pytest.approx(600, abs=5)
    world.clock.pass_by(600)
    await world.settle()
    status = world.status
    assert (status["phase"], status["reason"]) == ("Failed", "StartTimedOut")
    assert status["message"] == "No runner worked within 600 s. ImageUnavailable: no such host"
    assert world.pods == []


async def test_a_finished_task_is_deleted_when_its_time_is_over(world: World) -> None:
    world.apply(ttlSecondsAfterFinished=60)
    await world.settle()
    await world.begin(1)
    world.end(1, contract.Outcome.COMPLETED)
    assert await world.settle() == pytest.approx(60, abs=5)
    world.clock.pass_by(50)
    assert await world.settle() == pytest.approx(10, abs=5)
    assert world.status["phase"] == "Completed"
    world.clock.pass_by(15)
    await world.settle()
    assert world.is_gone
    await world.settle()


async def test_a_deleted_task_is_left_alone(world: World) -> None:
    world.apply()
    await world.settle()
    world.bind(1)
    world.report(1, state=RUNNING)
    world.delete()
    done = len(world.writes.done)
    assert await world.settle() is None
    assert len(world.writes.done) == done
