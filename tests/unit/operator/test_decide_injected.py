"""Containers that a webhook puts beside the runner, or before it, and annotations that it takes away."""

from __future__ import annotations

import pytest
from agenttask import contract
from agenttask_operator.fold import Snapshot
from agenttask_operator.observed import Phase, read_pod
from agenttask_operator.reasons import Reason

from tests.unit.operator.builders import RUNNING, pod, raw_pod, snapshot, task, told
from tests.unit.operator.decisions import CLAIMED, FIRST, Want, check

ROWS: dict[str, tuple[Snapshot, Want]] = {
    "the image of a container that somebody put before the runner cannot be pulled": (
        snapshot(
            task(status=FIRST),
            pod(
                phase="Pending",
                state={"waiting": {"reason": "PodInitializing"}},
                before={"waiting": {"reason": "ErrImagePull", "message": "no such image"}},
            ),
        ),
        Want(
            rule="waiting_container",
            phase=Phase.PENDING,
            reason=Reason.IMAGE_UNAVAILABLE,
            uid="pod-1",
            true=("Stalled",),
        ),
    ),
    "a native sidecar that crashes stalls no runner that has started": (
        snapshot(
            task(status=FIRST, checkpoint=CLAIMED),
            pod(state=RUNNING, before={"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}),
        ),
        Want(
            rule="running",
            phase=Phase.RUNNING,
            reason=Reason.WORKING,
            uid="pod-1",
            true=("Running", "Checkpointed"),
        ),
    ),
    "a pod without the digest of its spec is not replaced for that, as every pod after it would be": (
        snapshot(task(status=FIRST), read_pod(raw_pod(uid="pod-1", status={"phase": "Pending"}))),
        Want(rule="starting", phase=Phase.PENDING, reason=Reason.STARTING, uid="pod-1"),
    ),
    "a runner that ended under a sidecar has its pod deleted": (
        snapshot(
            task(status=FIRST),
            pod(state=told(contract.Outcome.COMPLETED), sidecar={"running": {}}),
        ),
        Want(
            rule="settled",
            phase=Phase.COMPLETED,
            reason="Completed",
            uid="pod-1",
            delete=("triage-1",),
            true=("Complete", "Finished"),
            ends={1: ("Completed", "Completed")},
        ),
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_decides(row: str) -> None:
    check(*ROWS[row])
