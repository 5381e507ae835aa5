"""What follows from the end of an attempt."""

from __future__ import annotations

import pytest
from agenttask import contract
from agenttask_operator.fold import Snapshot
from agenttask_operator.observed import Outcome, Phase, Retry
from agenttask_operator.reasons import Reason

from tests.unit.operator.builders import (
    ago,
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
from tests.unit.operator.decisions import CLAIMED, CRASHED, FIRST, Want, check, failed_before

ROWS: dict[str, tuple[Snapshot, Want]] = {
    "completed": (
        snapshot(task(status=FIRST, checkpoint=CLAIMED), pod(state=told(contract.Outcome.COMPLETED))),
        Want(
            rule="settled",
            phase=Phase.COMPLETED,
            reason="Completed",
            uid="pod-1",
            true=("Checkpointed", "Complete", "Finished"),
            ends={1: ("Completed", "Completed")},
        ),
    ),
    "failed for good": (
        snapshot(
            task(status=FIRST, checkpoint=CLAIMED),
            pod(state=told(contract.Outcome.FAILED, reason="BudgetExhausted")),
        ),
        Want(
            rule="settled",
            phase=Phase.FAILED,
            reason="BudgetExhausted",
            uid="pod-1",
            true=("Checkpointed", "Failed", "Finished"),
            ends={1: ("Failed", "BudgetExhausted")},
        ),
    ),
    "completed although it was cancelled meanwhile": (
        snapshot(
            task(status=FIRST, checkpoint=CLAIMED, spec={"cancel": True}),
            pod(state=told(contract.Outcome.COMPLETED), deleted=ahead(9)),
        ),
        Want(
            rule="settled",
            phase=Phase.COMPLETED,
            reason="Completed",
            uid="pod-1",
            true=("Checkpointed", "Complete", "Finished"),
            ends={1: ("Completed", "Completed")},
        ),
    ),
    "the first crash backs off": (
        snapshot(task(status=FIRST), pod(state=CRASHED, phase="Failed")),
        Want(
            rule="waiting",
            phase=Phase.PENDING,
            reason=Reason.BACKING_OFF,
            uid="pod-1",
            after=2.0,
            ends={1: ("Crashed", "Crashed")},
            counts=(0, 1, 0, 0),
        ),
    ),
    "the backoff is over": (
        snapshot(task(status=failed_before(1, not_before=ago(1)))),
        Want(
            rule="start",
            phase=Phase.PENDING,
            reason=Reason.STARTING,
            attempt=2,
            create=True,
            ends={1: ("Crashed", "Crashed")},
            counts=(0, 1, 0, 0),
        ),
    ),
    "the backoff is not over": (
        snapshot(task(status=failed_before(1, not_before=ahead(7)))),
        Want(
            rule="waiting",
            phase=Phase.PENDING,
            reason=Reason.BACKING_OFF,
            uid="pod-1",
            after=7.0,
            ends={1: ("Crashed", "Crashed")},
            counts=(0, 1, 0, 0),
        ),
    ),
    "an edit of the spec ends the backoff": (
        snapshot(task(status=failed_before(1, not_before=ahead(7)), generation=2)),
        Want(
            rule="start",
            phase=Phase.PENDING,
            reason=Reason.STARTING,
            attempt=2,
            create=True,
            ends={1: ("Crashed", "Crashed")},
            counts=(0, 1, 0, 0),
        ),
    ),
    "as many failures as are allowed": (
        snapshot(task(status=failed_before(3))),
        Want(
            rule="start",
            phase=Phase.PENDING,
            reason=Reason.STARTING,
            attempt=2,
            create=True,
            ends={1: ("Crashed", "Crashed")},
            counts=(0, 3, 0, 0),
        ),
    ),
    "one failure too many, and only a claim was recorded": (
        snapshot(task(status=failed_before(4, step=0), checkpoint=checkpoint(step=0))),
        Want(
            rule="exhausted",
            phase=Phase.FAILED,
            reason=Reason.RETRIES_EXHAUSTED,
            uid="pod-1",
            true=("Checkpointed", "Failed", "Finished"),
            ends={1: ("Crashed", "Crashed")},
            counts=(0, 4, 0, 0),
        ),
    ),
    "one failure too many without a step is the end": (
        snapshot(task(status=failed_before(4))),
        Want(
            rule="exhausted",
            phase=Phase.FAILED,
            reason=Reason.RETRIES_EXHAUSTED,
            uid="pod-1",
            true=("Failed", "Finished"),
            ends={1: ("Crashed", "Crashed")},
            counts=(0, 4, 0, 0),
        ),
    ),
    "one failure too many since the last step waits for someone": (
        snapshot(task(status=failed_before(4, step=3), checkpoint=CLAIMED)),
        Want(
            rule="exhausted",
            phase=Phase.CHECKPOINTED,
            reason=Reason.POISON_CHECKPOINT,
            uid="pod-1",
            true=("Checkpointed", "Stalled"),
            ends={1: ("Crashed", "Crashed")},
            counts=(0, 4, 0, 0),
        ),
    ),
    "failures before the last step do not count": (
        snapshot(task(status=failed_before(4, step=2), checkpoint=CLAIMED)),
        Want(
            rule="start",
            phase=Phase.RESUMING,
            reason=Reason.STARTING,
            attempt=2,
            create=True,
            true=("Checkpointed",),
            ends={1: ("Crashed", "Crashed")},
            counts=(0, 4, 0, 0),
        ),
    ),
    "an edit of the spec gives a poisoned checkpoint a new chance": (
        snapshot(task(status=failed_before(4, step=3), checkpoint=CLAIMED, generation=2)),
        Want(
            rule="start",
            phase=Phase.RESUMING,
            reason=Reason.STARTING,
            attempt=2,
            create=True,
            true=("Checkpointed",),
            ends={1: ("Crashed", "Crashed")},
            counts=(0, 4, 0, 0),
        ),
    ),
    "the store does not answer": (
        snapshot(
            task(status=FIRST, checkpoint=CLAIMED),
            pod(state=told(contract.Outcome.UNAVAILABLE, 69, reason="StoreUnavailable"), phase="Failed"),
        ),
        Want(
            rule="waiting",
            phase=Phase.CHECKPOINTED,
            reason="StoreUnavailable",
            uid="pod-1",
            after=5.0,
            true=("Checkpointed", "Stalled"),
            ends={1: ("Unavailable", "StoreUnavailable")},
        ),
    ),
    "fenced: the next attempt goes above what the log holds, uncounted": (
        snapshot(
            task(status=FIRST, checkpoint=CLAIMED),
            pod(state=told(contract.Outcome.FENCED, 77, newest_attempt=6), phase="Failed"),
        ),
        Want(
            rule="start",
            phase=Phase.RESUMING,
            reason=Reason.STARTING,
            attempt=7,
            create=True,
            true=("Checkpointed",),
            ends={1: ("Fenced", "Fenced")},
        ),
    ),
    "fenced again: the next attempt waits": (
        snapshot(
            task(
                status=status(entry(1), pod_uid="pod-1", retry=Retry(generation=1, fences=1)),
            ),
            pod(state=told(contract.Outcome.FENCED, 77, newest_attempt=6), phase="Failed"),
        ),
        Want(
            rule="waiting",
            phase=Phase.PENDING,
            reason=Reason.BACKING_OFF,
            uid="pod-1",
            after=4.0,
            ends={1: ("Fenced", "Fenced")},
        ),
    ),
    "having waited, it goes above what the fenced attempt met": (
        snapshot(
            task(status=status(entry(1, outcome=Outcome.FENCED, newest_attempt=6), pod_uid="pod-1")),
            pod(state=told(contract.Outcome.FENCED, 77, newest_attempt=6), phase="Failed"),
        ),
        Want(
            rule="start",
            phase=Phase.PENDING,
            reason=Reason.STARTING,
            attempt=7,
            create=True,
            ends={1: ("Fenced", "Fenced")},
        ),
    ),
    "over the memory limit counts as a failure and as an OOM": (
        snapshot(task(status=FIRST), pod(state=exited(137, reason="OOMKilled"), phase="Failed")),
        Want(
            rule="waiting",
            phase=Phase.PENDING,
            reason=Reason.BACKING_OFF,
            uid="pod-1",
            after=2.0,
            ends={1: ("OOMKilled", "OOMKilled")},
            counts=(0, 1, 1, 0),
        ),
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_decides(row: str) -> None:
    check(*ROWS[row])
