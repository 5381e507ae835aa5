"""What follows while the attempt has a pod that has not ended."""

from __future__ import annotations

from datetime import datetime

import msgspec
import pytest
from agenttask import contract
from agenttask_operator.decide import decide
from agenttask_operator.fold import Snapshot
from agenttask_operator.observed import Complaint, Counts, Outcome, Phase, Retry
from agenttask_operator.reasons import Reason

from tests.unit.operator.builders import (
    NOW,
    RUNNING,
    ago,
    ahead,
    checkpoint,
    entry,
    pod,
    snapshot,
    status,
    task,
    told,
)
from tests.unit.operator.decisions import CLAIMED, FIRST, LOST, WAITS, Want, check


def held_up(seconds: float) -> dict[str, tuple[str, str, datetime]]:
    """Conditions of a pod that was placed so long ago and whose node is still setting it up."""
    return {"PodScheduled": ("True", "", ago(seconds)), "PodReadyToStartContainers": ("False", "", ago(seconds))}


ROWS: dict[str, tuple[Snapshot, Want]] = {
    "the pod is on its way": (
        snapshot(task(status=FIRST), pod(phase="Pending", state=WAITS)),
        Want(rule="starting", phase=Phase.PENDING, reason=Reason.STARTING, uid="pod-1"),
    ),
    "the runner runs and has not claimed yet": (
        snapshot(task(status=FIRST), pod(state=RUNNING)),
        Want(rule="starting", phase=Phase.PENDING, reason=Reason.STARTING, uid="pod-1"),
    ),
    "the runner holds the log": (
        snapshot(task(status=FIRST, checkpoint=CLAIMED), pod(state=RUNNING)),
        Want(rule="running", phase=Phase.RUNNING, reason=Reason.WORKING, uid="pod-1", true=("Running", "Checkpointed")),
    ),
    "a second attempt is on its way": (
        snapshot(
            task(
                status=status(entry(1, outcome=Outcome.DISRUPTED, reason="Evicted"), entry(2), pod_uid="pod-2"),
                checkpoint=CLAIMED,
            ),
            pod(2, state=RUNNING),
        ),
        Want(
            rule="starting",
            phase=Phase.RESUMING,
            reason=Reason.STARTING,
            attempt=2,
            uid="pod-2",
            true=("Checkpointed", "Disrupted"),
            ends={1: ("Disrupted", "Evicted")},
        ),
    ),
    "a second attempt holds the log: a resume": (
        snapshot(
            task(
                status=status(entry(1, outcome=Outcome.DISRUPTED, reason="Evicted"), entry(2), pod_uid="pod-2"),
                checkpoint=checkpoint(attempt=2, resumed_from="log/000000000009"),
            ),
            pod(2, state=RUNNING),
        ),
        Want(
            rule="running",
            phase=Phase.RUNNING,
            reason=Reason.WORKING,
            attempt=2,
            uid="pod-2",
            true=("Running", "Checkpointed"),
            ends={1: ("Disrupted", "Evicted")},
            counts=(0, 0, 0, 1),
        ),
    ),
    "what stalled the last attempt stands until this one holds the log": (
        snapshot(
            task(status=status(entry(1, outcome=Outcome.STALLED, reason="StoreDenied"), entry(2), pod_uid="pod-2")),
            pod(2, state=RUNNING),
        ),
        Want(
            rule="starting",
            phase=Phase.PENDING,
            reason="StoreDenied",
            attempt=2,
            uid="pod-2",
            true=("Stalled",),
            ends={1: ("Stalled", "StoreDenied")},
        ),
    ),
    "what stalled the last attempt still stands once this one holds the log: no flapping at each retry": (
        snapshot(
            task(
                status=status(
                    entry(1, outcome=Outcome.STALLED, reason="ModelDenied"),
                    entry(2),
                    pod_uid="pod-2",
                    retry=Retry(generation=1, stalls=1, progress_digest="progress-3"),
                ),
                checkpoint=checkpoint(attempt=2, step=3),
            ),
            pod(2, state=RUNNING),
        ),
        Want(
            rule="running",
            phase=Phase.RUNNING,
            reason=Reason.WORKING,
            attempt=2,
            uid="pod-2",
            true=("Running", "Checkpointed", "Stalled"),
            ends={1: ("Stalled", "ModelDenied")},
        ),
    ),
    "a stall is over with the first new step": (
        snapshot(
            task(
                status=status(
                    entry(1, outcome=Outcome.STALLED, reason="ModelDenied"),
                    entry(2),
                    pod_uid="pod-2",
                    retry=Retry(generation=1, stalls=1, progress_digest="progress-3"),
                ),
                checkpoint=checkpoint(attempt=2, step=4),
            ),
            pod(2, state=RUNNING),
        ),
        Want(
            rule="running",
            phase=Phase.RUNNING,
            reason=Reason.WORKING,
            attempt=2,
            uid="pod-2",
            true=("Running", "Checkpointed"),
            ends={1: ("Stalled", "ModelDenied")},
        ),
    ),
    "the image cannot be pulled": (
        snapshot(
            task(status=FIRST),
            pod(phase="Pending", state={"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}),
        ),
        Want(
            rule="waiting_container",
            phase=Phase.PENDING,
            reason=Reason.IMAGE_UNAVAILABLE,
            uid="pod-1",
            true=("Stalled",),
        ),
    ),
    "a Secret is missing": (
        snapshot(
            task(status=FIRST, checkpoint=CLAIMED),
            pod(state={"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}}),
        ),
        Want(
            rule="waiting_container",
            phase=Phase.RESUMING,
            reason=Reason.SECRET_MISSING,
            uid="pod-1",
            true=("Checkpointed", "Stalled"),
        ),
    ),
    "a ConfigMap is missing": (
        snapshot(
            task(status=FIRST),
            pod(state={"waiting": {"reason": "CreateContainerConfigError", "message": 'configmap "x" not found'}}),
        ),
        Want(
            rule="waiting_container",
            phase=Phase.PENDING,
            reason=Reason.CONTAINER_REFUSED,
            uid="pod-1",
            true=("Stalled",),
        ),
    ),
    "a volume's Secret is missing: the pod's Events alone tell": (
        snapshot(
            task(status=FIRST),
            pod(phase="Pending", state=WAITS, conditions=held_up(5)),
            complaint=Complaint(
                reason="FailedMount", note='MountVolume.SetUp failed for volume "v" : secret "x" not found'
            ),
        ),
        Want(
            rule="held_up",
            phase=Phase.PENDING,
            reason=Reason.SECRET_MISSING,
            uid="pod-1",
            after=15.0,
            true=("Stalled",),
        ),
    ),
    "a volume cannot be mounted": (
        snapshot(
            task(status=FIRST),
            pod(phase="Pending", state=WAITS, conditions=held_up(60)),
            complaint=Complaint(reason="FailedMount", note='configmap "secret" not found'),
        ),
        Want(
            rule="held_up",
            phase=Phase.PENDING,
            reason=Reason.VOLUME_UNAVAILABLE,
            uid="pod-1",
            after=60.0,
            true=("Stalled",),
        ),
    ),
    "a pod gets no network": (
        snapshot(
            task(status=FIRST),
            pod(phase="Pending", state=WAITS, conditions=held_up(1000)),
            complaint=Complaint(reason="FailedCreatePodSandBox", note="no runtime for it"),
        ),
        Want(
            rule="held_up",
            phase=Phase.PENDING,
            reason=Reason.CONTAINER_REFUSED,
            uid="pod-1",
            after=300.0,
            true=("Stalled",),
        ),
    ),
    "a pod is being set up, and is asked about only after 5 s": (
        snapshot(
            task(status=FIRST),
            pod(phase="Pending", state=WAITS, conditions=held_up(2)),
            complaint=Complaint(reason="FailedMount", note="of the pod before"),
        ),
        Want(rule="starting", phase=Phase.PENDING, reason=Reason.STARTING, uid="pod-1", after=3.0),
    ),
    "a pod is set up, and its image is being pulled": (
        snapshot(
            task(status=FIRST),
            pod(
                phase="Pending",
                state=WAITS,
                conditions=held_up(60) | {"PodReadyToStartContainers": ("True", "", ago(50))},
            ),
            complaint=Complaint(reason="FailedMount", note="over by now"),
        ),
        Want(rule="starting", phase=Phase.PENDING, reason=Reason.STARTING, uid="pod-1"),
    ),
    "no node fits": (
        snapshot(
            task(status=FIRST),
            pod(phase="Pending", conditions={"PodScheduled": ("False", "Unschedulable", ago(1))}, node=None),
        ),
        Want(rule="unscheduled", phase=Phase.PENDING, reason=Reason.UNSCHEDULABLE, uid="pod-1"),
    ),
    "a scheduling gate holds the pod back: nothing is wrong with the task": (
        snapshot(
            task(status=FIRST),
            pod(phase="Pending", conditions={"PodScheduled": ("False", "SchedulingGated", ago(1))}, node=None),
        ),
        Want(rule="unscheduled", phase=Phase.PENDING, reason=Reason.SCHEDULING_GATED, uid="pod-1"),
    ),
    "a fixed image name replaces a pod that has not started": (
        snapshot(
            task(status=FIRST, spec={"pod": {"image": "fixed:2"}}, generation=2),
            pod(phase="Pending", state={"waiting": {"reason": "ErrImagePull"}}),
        ),
        Want(
            rule="start",
            phase=Phase.PENDING,
            reason=Reason.STARTING,
            attempt=2,
            create=True,
            delete=("triage-1",),
            ends={1: ("Replaced", "SpecChanged")},
        ),
    ),
    "an edit waits for the next attempt once the runner has started": (
        snapshot(
            task(status=FIRST, spec={"pod": {"image": "other:2"}}, generation=2, checkpoint=CLAIMED), pod(state=RUNNING)
        ),
        Want(rule="running", phase=Phase.RUNNING, reason=Reason.WORKING, uid="pod-1", true=("Running", "Checkpointed")),
    ),
    "a terminating pod is waited for, at most until its deletion and 10 s": (
        snapshot(task(status=FIRST, checkpoint=CLAIMED), pod(state=RUNNING, deleted=ahead(20))),
        Want(
            rule="terminating",
            phase=Phase.RESUMING,
            reason=Reason.TERMINATING,
            uid="pod-1",
            after=30.0,
            true=("Checkpointed",),
        ),
    ),
    "a terminating pod whose runner has ended is waited for no longer": (
        snapshot(
            task(status=FIRST, checkpoint=CLAIMED),
            pod(state=told(contract.Outcome.STOPPED, 75), deleted=ahead(20)),
        ),
        Want(
            rule="start",
            phase=Phase.RESUMING,
            reason=Reason.STARTING,
            attempt=2,
            create=True,
            true=("Checkpointed", "Disrupted"),
            ends={1: ("Disrupted", "Deleted")},
            counts=(1, 0, 0, 0),
        ),
    ),
    "a deletion nobody confirms is overdue": (
        snapshot(task(status=FIRST, checkpoint=CLAIMED), pod(state=RUNNING, deleted=ago(10))),
        Want(
            rule="start",
            phase=Phase.RESUMING,
            reason=Reason.STARTING,
            attempt=2,
            create=True,
            true=("Checkpointed", "Disrupted"),
            ends={1: ("Disrupted", "Deleted")},
            counts=(1, 0, 0, 0),
        ),
    ),
    "a node that was lost 29 s ago may come back": (
        snapshot(
            task(status=FIRST, checkpoint=CLAIMED),
            pod(state=RUNNING, conditions=LOST | {"Ready": ("False", "", ago(29))}),
        ),
        Want(
            rule="running",
            phase=Phase.RUNNING,
            reason=Reason.WORKING,
            uid="pod-1",
            after=1.0,
            true=("Running", "Checkpointed"),
        ),
    ),
    "a lost node": (
        snapshot(task(status=FIRST, checkpoint=CLAIMED), pod(state=RUNNING, conditions=LOST)),
        Want(
            rule="start",
            phase=Phase.RESUMING,
            reason=Reason.STARTING,
            attempt=2,
            create=True,
            delete=("triage-1",),
            true=("Checkpointed", "Disrupted"),
            ends={1: ("Disrupted", "NodeLost")},
            counts=(1, 0, 0, 0),
        ),
    ),
    "a lost node, judged before the grace of its terminating pod is over": (
        snapshot(task(status=FIRST, checkpoint=CLAIMED), pod(state=RUNNING, conditions=LOST, deleted=ahead(300))),
        Want(
            rule="start",
            phase=Phase.RESUMING,
            reason=Reason.STARTING,
            attempt=2,
            create=True,
            true=("Checkpointed", "Disrupted"),
            ends={1: ("Disrupted", "NodeLost")},
            counts=(1, 0, 0, 0),
        ),
    ),
    "a readiness gate is no lost node": (
        snapshot(
            task(status=FIRST, checkpoint=CLAIMED),
            pod(state=RUNNING, conditions=LOST | {"Ready": ("False", "ReadinessGatesNotReady", ago(99))}),
        ),
        Want(rule="running", phase=Phase.RUNNING, reason=Reason.WORKING, uid="pod-1", true=("Running", "Checkpointed")),
    ),
    "a pod that is not ready because its container is not is no lost node": (
        snapshot(
            task(status=FIRST, checkpoint=CLAIMED),
            pod(state=RUNNING, conditions=LOST | {"ContainersReady": ("False", "", ago(99))}),
        ),
        Want(rule="running", phase=Phase.RUNNING, reason=Reason.WORKING, uid="pod-1", true=("Running", "Checkpointed")),
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_decides(row: str) -> None:
    check(*ROWS[row])


def hurt(*, resumed_from: str | None, message: str, lost: int) -> contract.CheckpointStatus:
    """What the runner of attempt 2 says once it has claimed a damaged log."""
    damage = contract.DamageStatus(message=message, lost_records=lost)
    return msgspec.structs.replace(checkpoint(attempt=2, resumed_from=resumed_from), damage=damage)


SECOND_CLAIMS: dict[str, tuple[contract.CheckpointStatus, str | None]] = {
    "from further back": (hurt(resumed_from="log/000000000006", message="and file f", lost=5), "log/000000000006"),
    "from nothing": (hurt(resumed_from=None, message="and file f", lost=5), None),
}


@pytest.mark.parametrize("whence", SECOND_CLAIMS)
@pytest.mark.parametrize("first", [None, hurt(resumed_from="log/000000000009", message="record r", lost=3)])
def test_an_attempt_that_meets_more_damage_and_claims_again_is_told_of_as_it_went_on_at_last(
    first: contract.CheckpointStatus | None, whence: str
) -> None:
    second, resumed_from = SECOND_CLAIMS[whence]
    seen = status(entry(1, outcome=Outcome.DISRUPTED, reason="Evicted"), entry(2), pod_uid="pod-2")
    for point in (first or checkpoint(attempt=2, resumed_from="log/000000000009"), second):
        made = decide(snapshot=snapshot(task(status=seen, checkpoint=point), pod(2, state=RUNNING)), now=NOW)
        assert made.status is not None
        seen = made.status
    last = seen.current
    assert last is not None
    assert (last.resumed_from, last.damage, last.lost_records) == (resumed_from, "and file f", 5)
    assert seen.counts == Counts(resumes=1, lost_records=5)
    again = decide(snapshot=snapshot(task(status=seen, checkpoint=second), pod(2, state=RUNNING)), now=NOW)
    assert not again.writes


def test_what_a_runner_found_damaged_is_recorded_once_and_counted() -> None:
    damaged = hurt(resumed_from="log/000000000009", message="record r is missing", lost=3)
    before = status(entry(1, outcome=Outcome.DISRUPTED, reason="Evicted"), entry(2), pod_uid="pod-2")
    first = decide(snapshot=snapshot(task(status=before, checkpoint=damaged), pod(2, state=RUNNING)), now=NOW)
    assert first.status is not None
    assert first.status.current is not None
    assert first.status.current.damage == "record r is missing"
    assert first.status.counts is not None
    assert first.status.counts.lost_records == 3
    again = decide(snapshot=snapshot(task(status=first.status, checkpoint=damaged), pod(2, state=RUNNING)), now=NOW)
    assert not again.writes
