"""What follows from suspend and cancel, and which other pods may stay."""

from __future__ import annotations

import pytest
from agenttask import contract
from agenttask_operator.fold import Snapshot
from agenttask_operator.observed import Outcome, Phase, Status
from agenttask_operator.reasons import Reason

from tests.unit.operator.builders import (
    LOCATION,
    RUNNING,
    ahead,
    checkpoint,
    entry,
    exited,
    pod,
    snapshot,
    status,
    task,
    told,
)
from tests.unit.operator.decisions import CLAIMED, CRASHED, FIRST, Want, check

ROWS: dict[str, tuple[Snapshot, Want]] = {
    "suspend stops the runner": (
        snapshot(
            task(
                status=status(entry(1), pod_uid="pod-1", phase=Phase.RUNNING),
                checkpoint=CLAIMED,
                spec={"suspend": True},
            ),
            pod(state=RUNNING),
        ),
        Want(
            rule="suspended",
            phase=Phase.RUNNING,
            reason=Reason.STOPPING,
            uid="pod-1",
            delete=("triage-1",),
            true=("Running", "Checkpointed"),
        ),
    ),
    "suspended once the runner has stopped, and nothing is counted": (
        snapshot(
            task(status=FIRST, checkpoint=CLAIMED, spec={"suspend": True}),
            pod(state=told(contract.Outcome.STOPPED, 75), deleted=ahead(20)),
        ),
        Want(
            rule="suspended",
            phase=Phase.CHECKPOINTED,
            reason=Reason.SUSPENDED,
            uid="pod-1",
            true=("Checkpointed", "Suspended"),
            ends={1: ("Stopped", "Suspended")},
        ),
    ),
    "no longer suspended": (
        snapshot(
            task(
                status=status(entry(1, outcome=Outcome.STOPPED, reason="Suspended"), pod_uid="pod-1"),
                checkpoint=CLAIMED,
                generation=3,
            )
        ),
        Want(
            rule="start",
            phase=Phase.RESUMING,
            reason=Reason.STARTING,
            attempt=2,
            create=True,
            true=("Checkpointed",),
            ends={1: ("Stopped", "Suspended")},
        ),
    ),
    "cancelled once the runner has stopped": (
        snapshot(
            task(status=FIRST, checkpoint=CLAIMED, spec={"cancel": True}), pod(state=exited(143), deleted=ahead(9))
        ),
        Want(
            rule="cancelled",
            phase=Phase.CANCELLED,
            reason=Reason.CANCELLED,
            uid="pod-1",
            true=("Checkpointed", "Finished"),
            ends={1: ("Stopped", "Cancelled")},
        ),
    ),
    "every other live pod of the task is deleted": (
        snapshot(
            task(status=status(entry(2), pod_uid="pod-2"), checkpoint=checkpoint(attempt=2)),
            pod(1, state=RUNNING),
            pod(2, state=RUNNING),
        ),
        Want(
            rule="running",
            phase=Phase.RUNNING,
            reason=Reason.WORKING,
            attempt=2,
            uid="pod-2",
            delete=("triage-1",),
            true=("Running", "Checkpointed"),
        ),
    ),
    "a pod of an attempt raised since is another operator's business": (
        snapshot(
            task(status=status(entry(2), pod_uid="pod-2"), checkpoint=checkpoint(attempt=2)),
            pod(2, state=RUNNING),
            pod(3, state=RUNNING),
        ),
        Want(
            rule="running",
            phase=Phase.RUNNING,
            reason=Reason.WORKING,
            attempt=2,
            uid="pod-2",
            true=("Running", "Checkpointed"),
        ),
    ),
    "of ended pods the newest stays, for its logs": (
        snapshot(
            task(status=status(entry(3), pod_uid="pod-3"), checkpoint=checkpoint(attempt=3)),
            pod(1, state=CRASHED, phase="Failed"),
            pod(2, state=CRASHED, phase="Failed"),
            pod(3, state=RUNNING),
        ),
        Want(
            rule="running",
            phase=Phase.RUNNING,
            reason=Reason.WORKING,
            attempt=3,
            uid="pod-3",
            delete=("triage-1",),
            true=("Running", "Checkpointed"),
        ),
    ),
    "a task that has ended keeps no live pod": (
        snapshot(
            task(status=status(entry(1), phase=Phase.CANCELLED, reason="Cancelled")),
            pod(1, state=RUNNING),
            pod(2, state=RUNNING),
        ),
        Want(
            rule="finished",
            phase=Phase.CANCELLED,
            reason=Reason.CANCELLED,
            delete=("triage-1", "triage-2"),
        ),
    ),
    "an entry someone removed comes back open": (
        snapshot(
            task(status=Status(attempt=4, pod_uid="pod-4", location=LOCATION), checkpoint=checkpoint(attempt=4)),
            pod(4, state=RUNNING),
        ),
        Want(
            rule="running",
            phase=Phase.RUNNING,
            reason=Reason.WORKING,
            attempt=4,
            uid="pod-4",
            true=("Running", "Checkpointed"),
        ),
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_decides(row: str) -> None:
    check(*ROWS[row])
