"""A task whose log goes with it: guarded before it begins, purged when it is deleted, never held for ever."""

from __future__ import annotations

from typing import Any

import pytest
from agenttask import contract
from agenttask_operator import pods
from agenttask_operator.decide import decide
from agenttask_operator.fold import Snapshot
from agenttask_operator.guarding import Guarding
from agenttask_operator.observed import Attempt, Outcome, Phase, Status, Task
from agenttask_operator.purging import RULES
from agenttask_operator.reasons import Reason
from msgspec.structs import replace

from tests.unit.operator.builders import (
    BARE,
    LOCATION,
    NOW,
    RUNNING,
    SETTINGS,
    UID,
    ago,
    ahead,
    entry,
    exited,
    pod,
    refusal,
    snapshot,
    status,
    task,
    told,
)
from tests.unit.operator.decisions import CLAIMED, FIRST, Want, check

DELETE: dict[str, Any] = {"checkpoint": {"onDelete": "Delete"}}
UNREADABLE: dict[str, Any] = {"checkpoint": {"onDelete": "Delete", "keepLast": "many"}}
HELD = Guarding(uid=UID, generation=1, times=3, last=ago(1))
DONE = entry(1, outcome=Outcome.COMPLETED)
DIED = entry(1, outcome=Outcome.STOPPED, reason=Reason.PURGING)


def doomed(
    given: Status, *, since: float = 60, spec: dict[str, Any] = DELETE, point: Any = CLAIMED, guarded: bool = True
) -> Task:
    """A task that was deleted a minute ago and is to be purged."""
    return task(status=given, checkpoint=point, spec=spec, deleted=ago(since), guarded=guarded, generation=2)


def purge(attempt: int = 2, *, since: float = 60, **more: Any) -> Attempt:
    """Raised a minute ago, when the task was deleted."""
    return replace(entry(attempt, purge=True, **more), start=ago(since))


def finished(*entries: Attempt, **more: Any) -> Status:
    return status(*entries, phase=Phase.COMPLETED, reason="Completed", message="It is so.", **more)


PURGING = status(DIED, purge(), phase=Phase.CHECKPOINTED, reason=Reason.PURGING, pod_uid="pod-2")
OPEN_TASK = doomed(PURGING)
ENDS = {1: ("Stopped", "Purging")}

ROWS: dict[str, tuple[Snapshot, Want]] = {
    "a task that is to be purged is guarded before its first attempt": (
        snapshot(task(spec=DELETE)),
        Want(rule="guarded", phase=None, reason="", attempt=0, guard=True),
    ),
    "a guarded task begins as any other": (
        snapshot(task(spec=DELETE, guarded=True)),
        Want(rule="start", phase=Phase.PENDING, reason=Reason.STARTING, create=True),
    ),
    "a task whose guard does not last does not begin, and says so": (
        snapshot(task(spec=DELETE), guarding=HELD),
        Want(
            rule="invalid", phase=Phase.PENDING, reason=Reason.FINALIZER_LOST, attempt=0, after=7.0, true=("Stalled",)
        ),
    ),
    "a guard that did not last is set again later": (
        snapshot(task(spec=DELETE), guarding=replace(HELD, last=ago(8))),
        Want(rule="guarded", phase=None, reason="", attempt=0, guard=True),
    ),
    "a guard that did not last is set again at once after an edit": (
        snapshot(task(spec=DELETE, generation=2), guarding=HELD),
        Want(rule="guarded", phase=None, reason="", attempt=0, guard=True),
    ),
    "a task that has begun goes on while its guard does not last": (
        snapshot(task(spec=DELETE, status=FIRST, checkpoint=CLAIMED), pod(state=RUNNING), guarding=HELD),
        Want(
            rule="running",
            phase=Phase.RUNNING,
            reason=Reason.WORKING,
            uid="pod-1",
            after=7.0,
            true=("Running", "Checkpointed"),
        ),
    ),
    "a finished task whose guard does not last is looked at again": (
        snapshot(task(spec=DELETE, status=finished(DONE)), guarding=HELD),
        Want(rule="finished", phase=Phase.COMPLETED, reason="Completed", after=7.0, ends={1: ("Completed",) * 2}),
    ),
    "a deleted task whose guard is put back is let go again later": (
        snapshot(doomed(FIRST, spec={}), pod(state=RUNNING), guarding=replace(HELD, generation=2)),
        Want(rule="held", phase=None, reason="", uid="pod-1", after=7.0),
    ),
    "a finished task is guarded when it is edited": (
        snapshot(task(spec=DELETE, status=finished(DONE))),
        Want(rule="guarded", phase=Phase.COMPLETED, reason="Completed", guard=True, ends={1: ("Completed",) * 2}),
    ),
    "a task whose log is to stay after all is guarded no longer": (
        snapshot(task(status=FIRST, guarded=True), pod(state=RUNNING)),
        Want(rule="unguarded", phase=None, reason="", uid="pod-1", guard=False),
    ),
    "a deleted task without a guard is left alone": (
        snapshot(task(status=FIRST, deleted=ago(1)), pod(state=RUNNING)),
        Want(rule="deleted", phase=None, reason="", uid="pod-1"),
    ),
    "a deleted task that never began goes at once": (
        snapshot(task(spec=DELETE, deleted=ago(1), guarded=True)),
        Want(rule="released", phase=None, reason="", attempt=0, guard=False),
    ),
    "a deleted task whose log is to stay after all goes at once": (
        snapshot(doomed(FIRST, spec={}), pod(state=RUNNING)),
        Want(rule="released", phase=None, reason="", uid="pod-1", guard=False),
    ),
    "the runner of a deleted task is stopped first": (
        snapshot(doomed(status(entry(1), pod_uid="pod-1", phase=Phase.RUNNING)), pod(state=RUNNING)),
        Want(
            rule="stopping",
            phase=Phase.RUNNING,
            reason=Reason.PURGING,
            uid="pod-1",
            delete=("triage-1",),
            true=("Running", "Checkpointed"),
        ),
    ),
    "a purge is raised once the runner has stopped": (
        snapshot(doomed(FIRST), pod(state=told(contract.Outcome.STOPPED, 75), deleted=ahead(9), phase="Failed")),
        Want(
            rule="purge",
            phase=Phase.CHECKPOINTED,
            reason=Reason.PURGING,
            attempt=2,
            create=True,
            after=600.0,
            true=("Checkpointed",),
            ends=ENDS,
        ),
    ),
    "a purge is raised behind a final record, and how the task ended stays told": (
        snapshot(
            doomed(finished(DONE, pod_uid="pod-1")), pod(state=told(contract.Outcome.COMPLETED), phase="Succeeded")
        ),
        Want(
            rule="purge",
            phase=Phase.COMPLETED,
            reason="Completed",
            attempt=2,
            create=True,
            after=600.0,
            true=("Checkpointed", "Complete", "Finished"),
            ends={1: ("Completed", "Completed")},
        ),
    ),
    "a stalled task's purge waits for nothing": (
        snapshot(doomed(status(entry(1, outcome=Outcome.STALLED, reason="StoreDenied"), pod_uid="pod-1"))),
        Want(
            rule="purge",
            phase=Phase.CHECKPOINTED,
            reason=Reason.PURGING,
            attempt=2,
            create=True,
            after=600.0,
            true=("Checkpointed",),
            ends={1: ("Stalled", "StoreDenied")},
        ),
    ),
    "a spec that names no model is no hindrance": (
        snapshot(doomed(status(entry(1, outcome=Outcome.STOPPED), pod_uid="pod-1")), settings=BARE),
        Want(
            rule="purge",
            phase=Phase.CHECKPOINTED,
            reason=Reason.PURGING,
            attempt=2,
            create=True,
            after=600.0,
            true=("Checkpointed",),
            ends={1: ("Stopped", "Stopped")},
        ),
    ),
    "the purge's pod works": (
        snapshot(OPEN_TASK, pod(2, owner=OPEN_TASK, state=RUNNING)),
        Want(
            rule="starting",
            phase=Phase.CHECKPOINTED,
            reason=Reason.PURGING,
            attempt=2,
            uid="pod-2",
            after=540.0,
            true=("Checkpointed",),
            ends=ENDS,
        ),
    ),
    "a purge whose pod cannot start says why": (
        snapshot(
            OPEN_TASK,
            pod(
                2,
                owner=OPEN_TASK,
                phase="Pending",
                state={"waiting": {"reason": "ErrImagePull", "message": "no image"}},
            ),
        ),
        Want(
            rule="waiting_container",
            phase=Phase.CHECKPOINTED,
            reason=Reason.IMAGE_UNAVAILABLE,
            attempt=2,
            uid="pod-2",
            after=540.0,
            true=("Checkpointed", "Stalled"),
            ends=ENDS,
        ),
    ),
    "once the log is purged, the task goes": (
        snapshot(OPEN_TASK, pod(2, owner=OPEN_TASK, state=told(contract.Outcome.PURGED, attempt=2), phase="Succeeded")),
        Want(
            rule="purged",
            phase=Phase.CHECKPOINTED,
            reason=Reason.PURGING,
            attempt=2,
            uid="pod-2",
            guard=False,
            ends=ENDS,
        ),
    ),
    "only a purge can say that the log is purged": (
        snapshot(doomed(FIRST), pod(state=told(contract.Outcome.PURGED), phase="Succeeded")),
        Want(
            rule="purge",
            phase=Phase.CHECKPOINTED,
            reason=Reason.PURGING,
            attempt=2,
            create=True,
            after=600.0,
            true=("Checkpointed",),
            ends={1: ("Crashed", "Purged")},
            counts=(0, 1, 0, 0),
        ),
    ),
    "the pod of a purge that another operator has raised since is left alone": (
        snapshot(doomed(finished(DONE, pod_uid="pod-1")), pod(2, state=RUNNING)),
        Want(
            rule="purge",
            phase=Phase.COMPLETED,
            reason="Completed",
            attempt=2,
            create=True,
            after=600.0,
            true=("Checkpointed", "Complete", "Finished"),
            ends={1: ("Completed", "Completed")},
        ),
    ),
    "a purge whose pod was lost is done by the next": (
        snapshot(OPEN_TASK),
        Want(
            rule="purge",
            phase=Phase.CHECKPOINTED,
            reason=Reason.PURGING,
            attempt=3,
            create=True,
            after=540.0,
            true=("Checkpointed", "Disrupted"),
            ends={**ENDS, 2: ("Disrupted", "Vanished")},
            counts=(1, 0, 0, 0),
        ),
    ),
    "a purge that the store does not answer waits and is tried again": (
        snapshot(
            OPEN_TASK,
            pod(2, owner=OPEN_TASK, phase="Failed", state=told(contract.Outcome.UNAVAILABLE, 69, attempt=2)),
        ),
        Want(
            rule="waiting",
            phase=Phase.CHECKPOINTED,
            reason="Unavailable",
            attempt=2,
            uid="pod-2",
            after=4.0,
            true=("Checkpointed", "Stalled"),
            ends={**ENDS, 2: ("Unavailable", "Unavailable")},
        ),
    ),
    "a fenced purge goes above what the log holds": (
        snapshot(
            OPEN_TASK,
            pod(
                2, owner=OPEN_TASK, phase="Failed", state=told(contract.Outcome.FENCED, 77, attempt=2, newest_attempt=8)
            ),
        ),
        Want(
            rule="purge",
            phase=Phase.CHECKPOINTED,
            reason=Reason.PURGING,
            attempt=9,
            create=True,
            after=540.0,
            true=("Checkpointed",),
            ends={**ENDS, 2: ("Fenced", "Fenced")},
        ),
    ),
    "however often its program failed, a purge is tried until its time is over": (
        snapshot(
            OPEN_TASK,
            pod(2, owner=OPEN_TASK, phase="Failed", state=exited(1)),
        ),
        Want(
            rule="waiting",
            phase=Phase.CHECKPOINTED,
            reason=Reason.BACKING_OFF,
            attempt=2,
            uid="pod-2",
            after=2.0,
            true=("Checkpointed",),
            ends={**ENDS, 2: ("Crashed", "Crashed")},
            counts=(0, 1, 0, 0),
        ),
    ),
    "after ten minutes the task goes and leaves its log": (
        snapshot(
            doomed(replace(PURGING, attempts=(DIED, purge(since=600))), since=700),
            pod(2, owner=OPEN_TASK, phase="Pending"),
        ),
        Want(
            rule="abandoned",
            phase=Phase.CHECKPOINTED,
            reason=Reason.PURGING,
            attempt=2,
            uid="pod-2",
            guard=False,
            ends=ENDS,
        ),
    ),
    "an operator that was down for longer tries once all the same": (
        snapshot(doomed(status(DIED), since=3600)),
        Want(
            rule="purge",
            phase=Phase.CHECKPOINTED,
            reason=Reason.PURGING,
            attempt=2,
            create=True,
            after=600.0,
            true=("Checkpointed",),
            ends=ENDS,
        ),
    ),
    "a runner is stopped even if the operator was down for long": (
        snapshot(doomed(status(entry(1), pod_uid="pod-1", phase=Phase.RUNNING), since=3600), pod(state=RUNNING)),
        Want(
            rule="stopping",
            phase=Phase.RUNNING,
            reason=Reason.PURGING,
            uid="pod-1",
            delete=("triage-1",),
            true=("Running", "Checkpointed"),
        ),
    ),
    "a runner whose grace is long is waited for as long": (
        snapshot(
            doomed(status(entry(1), pod_uid="pod-1", phase=Phase.RUNNING), since=1800),
            pod(state=RUNNING, deleted=ahead(1800)),
        ),
        Want(
            rule="stopping",
            phase=Phase.RUNNING,
            reason=Reason.PURGING,
            uid="pod-1",
            after=1810.0,
            true=("Running", "Checkpointed"),
        ),
    ),
    "a runner that outlasts its grace is purged behind": (
        snapshot(
            doomed(status(entry(1), pod_uid="pod-1", phase=Phase.RUNNING), since=3610),
            pod(state=RUNNING, deleted=ago(10)),
        ),
        Want(
            rule="purge",
            phase=Phase.CHECKPOINTED,
            reason=Reason.PURGING,
            attempt=2,
            create=True,
            after=600.0,
            true=("Checkpointed",),
            ends=ENDS,
        ),
    ),
    "ten minutes for a purge that cannot be raised begin when the runner has gone": (
        snapshot(doomed(status(DIED, pod_uid="pod-1"), since=3600, spec=UNREADABLE)),
        Want(
            rule="unreadable",
            phase=Phase.CHECKPOINTED,
            reason=Reason.SPEC_INVALID,
            uid="pod-1",
            after=540.0,
            true=("Checkpointed", "Stalled"),
            ends=ENDS,
        ),
    ),
    "in a namespace that is being deleted the task goes at once": (
        snapshot(
            doomed(status(DIED, purge(), phase=Phase.CHECKPOINTED, reason=Reason.PURGING)),
            refused=refusal(attempt=2, generation=2, namespace_ends=True),
        ),
        Want(rule="abandoned", phase=Phase.CHECKPOINTED, reason=Reason.PURGING, attempt=2, guard=False, ends=ENDS),
    ),
    "the pod of an attempt that was never created is not created any more": (
        snapshot(doomed(status(entry(1)))),
        Want(
            rule="purge",
            phase=Phase.CHECKPOINTED,
            reason=Reason.PURGING,
            attempt=2,
            create=True,
            after=600.0,
            true=("Checkpointed",),
            ends=ENDS,
        ),
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_decides(row: str) -> None:
    check(*ROWS[row])


def test_the_order_of_the_rules_of_a_purge() -> None:
    assert [rule.__name__ for rule in RULES] == [
        "stopping",
        "refused",
        "creating",
        "terminating",
        "waiting_container",
        "held_up",
        "unscheduled",
        "starting",
        "unreadable",
        "waiting",
        "purge",
    ]


def test_an_abandoned_purge_names_the_place_it_left_and_why() -> None:
    stalled = purge(since=601, outcome=Outcome.STALLED, reason="StoreDenied", message="403")
    made = decide(snapshot=snapshot(doomed(status(DIED, stalled), since=601)), now=NOW)
    (event,) = made.told
    log = f"agents/triage/{task().metadata.uid} in s3 default-bucket"
    why = "its purge took longer than 10 minutes. StoreDenied: 403"
    assert (event.weight, event.reason) == ("Warning", Reason.PURGE_ABANDONED)
    assert event.note == f"The checkpoint log below {log} is left: {why}."


def test_a_purge_pod_has_the_tasks_image_and_store_and_nothing_of_its_agent() -> None:
    own = {"pod": {"image": "own:1", "serviceAccountName": "irsa"}, "promptFrom": {"configMapKeyRef": {"name": "p"}}}
    of = doomed(PURGING, spec={**DELETE, **own, "code": {"configMapRef": {"name": "code"}}})
    made = pods.plan(task=of, settings=SETTINGS)
    manifest = pods.render(task=of, plan=made, settings=SETTINGS, attempt=2)
    (container,) = manifest["spec"]["containers"]
    assert made.location == LOCATION
    assert container["command"] == ["agenttask", "purge"]
    assert (container["image"], manifest["spec"]["serviceAccountName"]) == ("own:1", "irsa")
    secrets = [one["valueFrom"]["secretKeyRef"]["name"] for one in container["env"] if "secretKeyRef" in str(one)]
    assert set(secrets) == {"store-key"}
    assert {one["name"] for one in manifest["spec"]["volumes"]} == {
        "agenttask-assignment",
        "agenttask-token",
        "agenttask-tmp",
    }
    assert manifest["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] is False


def test_how_its_log_goes_is_not_the_runners_business() -> None:
    plain, purged = task(), task(spec=DELETE)
    digests = [
        pods.digest(task=one, plan=pods.plan(task=one, settings=SETTINGS), settings=SETTINGS) for one in (plain, purged)
    ]
    assert digests[0] == digests[1]
