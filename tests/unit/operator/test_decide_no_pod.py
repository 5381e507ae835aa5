"""What follows where there is no pod: a new task, the crash windows around a create, a pod that is gone."""

from __future__ import annotations

import pytest
from agenttask import contract
from agenttask_operator.fold import Snapshot
from agenttask_operator.observed import Phase
from agenttask_operator.reasons import Reason

from tests.unit.operator.builders import (
    BARE,
    RUNNING,
    ago,
    entry,
    pod,
    refusal,
    snapshot,
    status,
    task,
    told,
)
from tests.unit.operator.decisions import CLAIMED, FIRST, WAITS, Want, check

ROWS: dict[str, tuple[Snapshot, Want]] = {
    "a new task gets its first attempt": (
        snapshot(task()),
        Want(rule="start", phase=Phase.PENDING, reason=Reason.STARTING, create=True),
    ),
    "a new task that is suspended gets none": (
        snapshot(task(spec={"suspend": True})),
        Want(rule="suspended", phase=Phase.PENDING, reason=Reason.SUSPENDED, attempt=0, true=("Suspended",)),
    ),
    "a new task that is cancelled ends": (
        snapshot(task(spec={"cancel": True})),
        Want(rule="cancelled", phase=Phase.CANCELLED, reason=Reason.CANCELLED, attempt=0, true=("Finished",)),
    ),
    "no model anywhere": (
        snapshot(task(), settings=BARE),
        Want(rule="invalid", phase=Phase.PENDING, reason=Reason.SPEC_INVALID, attempt=0, true=("Stalled",)),
    ),
    "a deleted task is left to the garbage collector": (
        snapshot(task(status=FIRST, deleted=ago(1)), pod(state=RUNNING)),
        Want(rule="deleted", phase=None, reason="", uid="pod-1"),
    ),
    "killed between the raise and the create: the pod is made": (
        snapshot(task(status=status(entry(1)))),
        Want(rule="creating", phase=Phase.PENDING, reason=Reason.STARTING, create=True),
    ),
    "killed between the create and its record: the pod is adopted": (
        snapshot(task(status=status(entry(1))), pod(state=WAITS, phase="Pending")),
        Want(rule="starting", phase=Phase.PENDING, reason=Reason.STARTING, uid="pod-1"),
    ),
    "killed between the create and its record, and the runner has ended since": (
        snapshot(task(status=status(entry(1))), pod(state=told(contract.Outcome.COMPLETED))),
        Want(
            rule="settled",
            phase=Phase.COMPLETED,
            reason="Completed",
            uid="pod-1",
            true=("Complete", "Finished"),
            ends={1: ("Completed", "Completed")},
        ),
    ),
    "the server refused the pod": (
        snapshot(task(status=status(entry(1))), refused=refusal()),
        Want(rule="refused", phase=Phase.PENDING, reason=Reason.POD_REFUSED, after=2.0, true=("Stalled",)),
    ),
    "a refused pod is tried again under the same attempt": (
        snapshot(task(status=status(entry(1))), refused=refusal(retry_at=ago(0))),
        Want(rule="creating", phase=Phase.PENDING, reason=Reason.POD_REFUSED, create=True, true=("Stalled",)),
    ),
    "a refusal is no matter once the spec was edited": (
        snapshot(task(status=status(entry(1)), generation=2), refused=refusal()),
        Want(rule="creating", phase=Phase.PENDING, reason=Reason.STARTING, create=True),
    ),
    "a refusal outlives the operator in the status": (
        snapshot(task(status=status(entry(1), reason=Reason.POD_REFUSED, message="exceeded quota"))),
        Want(rule="creating", phase=Phase.PENDING, reason=Reason.POD_REFUSED, create=True, true=("Stalled",)),
    ),
    "a foreign pod has the name: the number is burnt": (
        snapshot(task(status=status(entry(1))), refused=refusal(name_taken=True)),
        Want(
            rule="start",
            phase=Phase.PENDING,
            reason=Reason.STARTING,
            attempt=2,
            create=True,
            ends={1: ("Replaced", "NameTaken")},
        ),
    ),
    "suspended before the pod was made": (
        snapshot(task(status=status(entry(1)), spec={"suspend": True})),
        Want(
            rule="suspended",
            phase=Phase.PENDING,
            reason=Reason.SUSPENDED,
            true=("Suspended",),
            ends={1: ("Stopped", "Suspended")},
        ),
    ),
    "vanished while the operator was away": (
        snapshot(task(status=FIRST, checkpoint=CLAIMED)),
        Want(
            rule="start",
            phase=Phase.RESUMING,
            reason=Reason.STARTING,
            attempt=2,
            create=True,
            true=("Checkpointed", "Disrupted"),
            ends={1: ("Disrupted", "Vanished")},
            counts=(1, 0, 0, 0),
        ),
    ),
    "vanished, and its last sight tells why": (
        snapshot(
            task(status=FIRST, checkpoint=CLAIMED),
            departed=pod(state=RUNNING, conditions={"DisruptionTarget": ("True", "EvictionByEvictionAPI", ago(1))}),
        ),
        Want(
            rule="start",
            phase=Phase.RESUMING,
            reason=Reason.STARTING,
            attempt=2,
            create=True,
            true=("Checkpointed", "Disrupted"),
            ends={1: ("Disrupted", "Evicted")},
            counts=(1, 0, 0, 0),
        ),
    ),
    "deleted with no grace at all": (
        snapshot(task(status=FIRST, checkpoint=CLAIMED), departed=pod(state=RUNNING)),
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
    "gone after it had said that it completed": (
        snapshot(
            task(status=FIRST, checkpoint=CLAIMED),
            departed=pod(state=told(contract.Outcome.COMPLETED), deleted=ago(1)),
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
    "another pod of the recorded attempt is not the recorded pod": (
        snapshot(task(status=FIRST, checkpoint=CLAIMED), pod(state=RUNNING, uid="a-late-create")),
        Want(
            rule="start",
            phase=Phase.RESUMING,
            reason=Reason.STARTING,
            attempt=2,
            create=True,
            delete=("triage-1",),
            true=("Checkpointed", "Disrupted"),
            ends={1: ("Disrupted", "Vanished")},
            counts=(1, 0, 0, 0),
        ),
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_decides(row: str) -> None:
    check(*ROWS[row])
