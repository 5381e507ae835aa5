"""What follows from the times a user sets: when a finished task goes, when a task fails for time."""

from __future__ import annotations

from typing import Any

import pytest
from agenttask import contract
from agenttask_operator.decide import decide
from agenttask_operator.fold import Snapshot
from agenttask_operator.observed import Condition, Outcome, Phase, Status
from agenttask_operator.reasons import Reason

from tests.unit.operator.builders import (
    BARE,
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
from tests.unit.operator.decisions import CLAIMED, FIRST, WAITS, Want, check


def finished(seconds: float, **more: Any) -> Status:
    """The status of a task that completed so long ago."""
    condition = Condition(
        type="Finished", status="True", last_transition_time=ago(seconds), reason="Completed", message="Done."
    )
    more = {"phase": Phase.COMPLETED, "reason": "Completed", "conditions": (condition,), **more}
    return status(entry(1, outcome=Outcome.COMPLETED), pod_uid="pod-1", **more)


KEPT: dict[str, tuple[Snapshot, float | None]] = {
    "a finished task with no time set is kept": (snapshot(task(status=finished(10**7))), None),
    "a finished task is looked at again when its time is over": (
        snapshot(task(spec={"ttlSecondsAfterFinished": 100}, status=finished(40))),
        60.0,
    ),
    "a task that has just finished, too": (
        snapshot(
            task(spec={"ttlSecondsAfterFinished": 100}, status=FIRST, checkpoint=CLAIMED),
            pod(state=told(contract.Outcome.COMPLETED)),
        ),
        100.0,
    ),
    "a task that has not finished is not aged": (
        snapshot(task(spec={"ttlSecondsAfterFinished": 0}, status=FIRST, checkpoint=CLAIMED), pod(state=RUNNING)),
        None,
    ),
    "a time that is no number is none": (
        snapshot(task(spec={"ttlSecondsAfterFinished": "soon"}, status=finished(10**7))),
        None,
    ),
}


@pytest.mark.parametrize("row", KEPT)
def test_keeps(row: str) -> None:
    given, after = KEPT[row]
    made = decide(snapshot=given, now=NOW)
    assert (made.remove, made.after_seconds) == (False, after)


@pytest.mark.parametrize("ttl", [0, 40])
def test_a_finished_task_goes_when_its_time_is_over(ttl: int) -> None:
    made = decide(
        snapshot=snapshot(
            task(spec={"ttlSecondsAfterFinished": ttl}, status=finished(40)),
            pod(state=told(contract.Outcome.COMPLETED), phase="Succeeded"),
        ),
        now=NOW,
    )
    assert (made.rule, made.remove, made.status, made.delete) == ("expired", True, None, ())
    assert made.writes


def active(seconds: int, **more: Any) -> dict[str, Any]:
    return {"activeDeadlineSeconds": seconds, **more}


def working(seconds: float, *, before: int = 0, **more: Any) -> Status:
    """The status of a task whose runner has held the log for so long, and others before it for `before` seconds."""
    return status(entry(1, claimed=ago(seconds)), pod_uid="pod-1", phase=Phase.RUNNING, active_seconds=before, **more)


def start_within(seconds: int) -> dict[str, Any]:
    return {"retry": {"startDeadlineSeconds": seconds}}


def unstarted(seconds: float, **more: Any) -> Status:
    """The status of a task that has waited for a runner for so long, for the want of an image."""
    more = {"reason": "ImageUnavailable", "message": "no such image", **more}
    return status(entry(1), pod_uid="pod-1", phase=Phase.PENDING, starting_since=ago(seconds), **more)


ROWS: dict[str, tuple[Snapshot, Want]] = {
    "a runner may work until the time allowed is over": (
        snapshot(task(spec=active(100), status=working(30, before=60), checkpoint=CLAIMED), pod(state=RUNNING)),
        Want(
            rule="running",
            phase=Phase.RUNNING,
            reason=Reason.WORKING,
            uid="pod-1",
            true=("Running", "Checkpointed"),
            after=10.0,
        ),
    ),
    "then it is stopped, as gently as for suspend": (
        snapshot(task(spec=active(100), status=working(40, before=60), checkpoint=CLAIMED), pod(state=RUNNING)),
        Want(
            rule="timed_out",
            phase=Phase.RUNNING,
            reason=Reason.STOPPING,
            uid="pod-1",
            true=("Running", "Checkpointed"),
            delete=("triage-1",),
        ),
    ),
    "it is given its grace": (
        snapshot(
            task(spec=active(100), status=working(45, before=60), checkpoint=CLAIMED),
            pod(state=RUNNING, deleted=ahead(20)),
        ),
        Want(
            rule="timed_out",
            phase=Phase.RUNNING,
            reason=Reason.STOPPING,
            uid="pod-1",
            true=("Running", "Checkpointed"),
            after=30.0,
        ),
    ),
    "and the task has failed once it is stopped": (
        snapshot(
            task(spec=active(100), status=working(45, before=60), checkpoint=CLAIMED),
            pod(state=told(contract.Outcome.STOPPED, 75), deleted=ahead(20)),
        ),
        Want(
            rule="timed_out",
            phase=Phase.FAILED,
            reason=Reason.DEADLINE_EXCEEDED,
            uid="pod-1",
            true=("Checkpointed", "Failed", "Finished"),
            ends={1: ("Stopped", Reason.DEADLINE_EXCEEDED)},
        ),
    ),
    "an answer that came in the grace counts": (
        snapshot(
            task(spec=active(100), status=working(45, before=60), checkpoint=CLAIMED),
            pod(state=told(contract.Outcome.COMPLETED), deleted=ahead(20)),
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
    "time without a working runner is free": (
        snapshot(
            task(
                spec=active(100),
                status=status(entry(1, outcome=Outcome.DISRUPTED), entry(2), pod_uid="pod-2", active_seconds=99),
                checkpoint=CLAIMED,
            ),
            pod(2, phase="Pending", state=WAITS),
        ),
        Want(
            rule="starting",
            phase=Phase.RESUMING,
            reason=Reason.STARTING,
            attempt=2,
            uid="pod-2",
            true=("Checkpointed", "Disrupted"),
            ends={1: ("Disrupted", "Disrupted")},
        ),
    ),
    "trouble before a runner works never ends a task by itself": (
        snapshot(task(status=unstarted(10**7)), pod(phase="Pending", state=WAITS)),
        Want(rule="starting", phase=Phase.PENDING, reason=Reason.STARTING, uid="pod-1"),
    ),
    "a runner that works is waited for as long as allowed": (
        snapshot(task(spec=start_within(600), status=unstarted(590)), pod(phase="Pending", state=WAITS)),
        Want(rule="starting", phase=Phase.PENDING, reason=Reason.STARTING, uid="pod-1", after=10.0),
    ),
    "and no longer": (
        snapshot(task(spec=start_within(600), status=unstarted(600)), pod(phase="Pending", state=WAITS)),
        Want(
            rule="never_started",
            phase=Phase.FAILED,
            reason=Reason.START_TIMED_OUT,
            uid="pod-1",
            delete=("triage-1",),
            true=("Failed", "Finished"),
            ends={1: ("Stopped", Reason.START_TIMED_OUT)},
        ),
    ),
    "a spec that nothing can be started from has the same time": (
        snapshot(
            task(
                spec=start_within(600), status=status(starting_since=ago(600), reason="SpecInvalid", message="no model")
            ),
            settings=BARE,
        ),
        Want(
            rule="never_started",
            phase=Phase.FAILED,
            reason=Reason.START_TIMED_OUT,
            attempt=0,
            true=("Failed", "Finished"),
        ),
    ),
    "a runner that works ends the wait": (
        snapshot(task(spec=start_within(600), status=unstarted(700), checkpoint=CLAIMED), pod(state=RUNNING)),
        Want(rule="running", phase=Phase.RUNNING, reason=Reason.WORKING, uid="pod-1", true=("Running", "Checkpointed")),
    ),
    "suspended time is free": (
        snapshot(
            task(
                spec={"suspend": True, **start_within(600)},
                status=status(entry(1, outcome=Outcome.STOPPED), starting_since=ago(700)),
            )
        ),
        Want(
            rule="suspended",
            phase=Phase.PENDING,
            reason=Reason.SUSPENDED,
            true=("Suspended",),
            ends={1: ("Stopped", "Stopped")},
        ),
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_decides(row: str) -> None:
    check(*ROWS[row])


def test_the_time_a_runner_held_the_log_is_added_up_over_attempts() -> None:
    before = working(40, before=60)
    made = decide(
        snapshot=snapshot(
            task(status=before, checkpoint=CLAIMED), pod(state=told(contract.Outcome.STOPPED, 75), deleted=ahead(20))
        ),
        now=NOW,
    ).status
    assert made is not None
    assert (made.attempt, made.active_seconds, made.starting_since) == (2, 100, NOW)


def test_a_claim_is_dated_once_and_ends_the_wait() -> None:
    waiting = status(entry(1), pod_uid="pod-1", starting_since=ago(5))
    made = decide(snapshot=snapshot(task(status=waiting, checkpoint=CLAIMED), pod(state=RUNNING)), now=NOW).status
    assert made is not None
    assert made.starting_since is None
    assert made.current is not None
    assert made.current.claimed == NOW
    later = decide(
        snapshot=snapshot(task(status=made, checkpoint=checkpoint(step=9)), pod(state=RUNNING)), now=ahead(60)
    )
    assert not later.writes


def test_a_task_that_failed_for_time_says_what_stood_in_its_way_or_how_to_go_on() -> None:
    waited = decide(
        snapshot=snapshot(task(spec=start_within(600), status=unstarted(600)), pod(phase="Pending", state=WAITS)),
        now=NOW,
    ).status
    assert waited is not None
    assert waited.message == "No runner worked within 600 s. ImageUnavailable: no such image"
    worked = decide(
        snapshot=snapshot(
            task(spec=active(100), status=working(45, before=60), checkpoint=CLAIMED),
            pod(state=told(contract.Outcome.STOPPED, 75), deleted=ahead(20)),
        ),
        now=NOW,
    ).status
    assert worked is not None
    assert worked.message.startswith(
        "Runners have worked for 105 s, and spec.activeDeadlineSeconds is over; a new task"
    )
    assert "resumeFrom: {task: triage, key: " in worked.message
