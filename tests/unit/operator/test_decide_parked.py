"""Parked tasks: no pod while they wait, woken by what is and not by what changed, and the park that is behind."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
import pytest
from agenttask import contract
from agenttask.contract import Above, Parked, Wake
from agenttask_operator.decide import decide
from agenttask_operator.fold import Snapshot
from agenttask_operator.handlers import _inputs
from agenttask_operator.observed import Outcome, Phase, Retry, Status, Waking
from agenttask_operator.reasons import Reason

from tests.unit.operator.builders import (
    NOW,
    RUNNING,
    ago,
    ahead,
    checkpoint,
    entry,
    pod,
    refusal,
    snapshot,
    status,
    task,
    told,
)
from tests.unit.operator.decisions import CLAIMED, FIRST, LOST, Want, check

QUOTA = "ModelQuotaExhausted"
POINT = checkpoint(attempt=1, seq=12)


def parks(*, wake: Wake, reason: str = QUOTA, park: int = 12, attempt: int = 1) -> Any:
    """A runner that has just ended so."""
    return told(contract.Outcome.PARKED, 76, reason=reason, parked=Parked(park=park, wake=wake), attempt=attempt)


def waits(*, not_before: datetime | None = None, above: Above | None = None, met: bool = False, **more: Any) -> Status:
    """A task whose first attempt has parked."""
    wake = Waking(park=12, not_before=not_before, budget_above=above, met=met)
    reason = QUOTA if not_before is not None else "BudgetExhausted"
    return status(entry(1, outcome=Outcome.PARKED, reason=reason, message="It is so."), wake=wake, **more)


PARKED = Want(
    rule="parked",
    phase=Phase.CHECKPOINTED,
    reason=QUOTA,
    uid="pod-1",
    true=("Checkpointed",),
    after=600.0,
    ends={1: ("Parked", QUOTA)},
)
STARTS = Want(
    rule="start",
    phase=Phase.RESUMING,
    reason=Reason.STARTING,
    attempt=2,
    create=True,
    true=("Checkpointed",),
    ends={1: ("Parked", QUOTA)},
)
STEPS = Above(steps=50)

ROWS: dict[str, tuple[Snapshot, Want]] = {
    "parked until a time": (
        snapshot(
            task(status=FIRST, checkpoint=POINT), pod(state=parks(wake=Wake(not_before=ahead(600))), phase="Failed")
        ),
        PARKED,
    ),
    "the time has not come": (
        snapshot(task(status=waits(not_before=ahead(7)), checkpoint=POINT)),
        replace(PARKED, uid=None, after=7.0),
    ),
    "the time has come": (
        snapshot(task(status=waits(not_before=NOW), checkpoint=POINT)),
        STARTS,
    ),
    "the time has come, and the budget is still too small: that takes someone, and no look at the time": (
        snapshot(task(status=waits(not_before=ago(1), above=STEPS), checkpoint=POINT)),
        replace(PARKED, uid=None, after=None, true=("Checkpointed", "Stalled")),
    ),
    "an edit that has nothing to do with it wakes nobody": (
        snapshot(task(status=waits(not_before=ahead(7)), checkpoint=POINT, generation=2)),
        replace(PARKED, uid=None, after=7.0),
    ),
    "parked until the budget is larger, which takes someone": (
        snapshot(
            task(status=FIRST, checkpoint=POINT),
            pod(state=parks(wake=Wake(budget_above=STEPS), reason="BudgetExhausted"), phase="Failed"),
        ),
        replace(
            PARKED,
            reason="BudgetExhausted",
            after=None,
            true=("Checkpointed", "Stalled"),
            ends={1: ("Parked", "BudgetExhausted")},
        ),
    ),
    "the budget was raised": (
        snapshot(task(status=waits(above=STEPS), checkpoint=POINT, spec={"budget": {"steps": 51}}, generation=2)),
        replace(STARTS, ends={1: ("Parked", "BudgetExhausted")}),
    ),
    "it was raised in part": (
        snapshot(
            task(
                status=waits(above=Above(steps=50, tokens=900)),
                checkpoint=POINT,
                spec={"budget": {"steps": 51, "tokens": 900}},
                generation=2,
            )
        ),
        replace(
            PARKED,
            uid=None,
            reason="BudgetExhausted",
            after=None,
            true=("Checkpointed", "Stalled"),
            ends={1: ("Parked", "BudgetExhausted")},
        ),
    ),
    "what was met once stays so, though the budget was lowered again": (
        snapshot(task(status=waits(above=STEPS, met=True), checkpoint=POINT)),
        replace(STARTS, ends={1: ("Parked", "BudgetExhausted")}),
    ),
    "suspended while it waits": (
        snapshot(task(status=waits(not_before=ago(7)), checkpoint=POINT, spec={"suspend": True})),
        replace(
            PARKED,
            rule="suspended",
            uid=None,
            reason=Reason.SUSPENDED,
            after=None,
            true=("Checkpointed", "Suspended"),
        ),
    ),
    "cancelled while it waits": (
        snapshot(task(status=waits(not_before=ahead(7)), checkpoint=POINT, spec={"cancel": True})),
        replace(
            PARKED,
            rule="cancelled",
            uid=None,
            phase=Phase.CANCELLED,
            reason=Reason.CANCELLED,
            after=None,
            true=("Checkpointed", "Finished"),
        ),
    ),
    "a message that says of nothing to wait for is not believed": (
        snapshot(task(status=FIRST, checkpoint=POINT), pod(state=parks(wake=Wake()), phase="Failed")),
        Want(
            rule="waiting",
            phase=Phase.CHECKPOINTED,
            reason=Reason.BACKING_OFF,
            uid="pod-1",
            true=("Checkpointed",),
            after=2.0,
            ends={1: ("Crashed", "Crashed")},
            counts=(0, 1, 0, 0),
        ),
    ),
    "woken, and parked again without a step: it waits, whatever it says": (
        snapshot(
            task(
                status=status(
                    entry(1), pod_uid="pod-1", retry=Retry(generation=1, progress_digest="progress-3", parks=1)
                ),
                checkpoint=POINT,
            ),
            pod(state=parks(wake=Wake(not_before=ago(1))), phase="Failed"),
        ),
        replace(PARKED, rule="waiting", reason=Reason.BACKING_OFF, after=4.0),
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_decides(row: str) -> None:
    check(*ROWS[row])


def after(given: Snapshot) -> Status:
    made = decide(snapshot=given, now=NOW).status
    assert made is not None
    return made


def test_an_attempt_is_raised_under_a_wait_that_is_met() -> None:
    wake = after(snapshot(task(status=waits(not_before=NOW), checkpoint=POINT))).wake
    assert wake == Waking(park=12, not_before=NOW, met=True)


def test_the_park_that_is_met_is_handed_to_each_attempt_until_a_newer_record_is_reported() -> None:
    woken = status(entry(1, outcome=Outcome.PARKED), entry(2), wake=Waking(park=12, not_before=ago(9), met=True))
    vanished = after(snapshot(task(status=msgspec.structs.replace(woken, pod_uid="pod-2"), checkpoint=POINT)))
    assert vanished.attempt == 3
    assert vanished.wake == woken.wake
    newer = checkpoint(attempt=2, seq=14)
    assert after(snapshot(task(status=woken, checkpoint=newer), pod(2, state=RUNNING))).wake is None


def test_a_report_that_leaves_the_park_behind_is_looked_at() -> None:
    woken = waits(not_before=ago(9), met=True)
    inputs = {_inputs(task(status=woken, checkpoint=checkpoint(attempt=1, seq=seq))) for seq in (11, 12, 13, 14)}
    assert len(inputs) == 2


def test_while_it_waits_no_runner_is_waited_for() -> None:
    waiting = msgspec.structs.replace(FIRST, starting_since=ago(61))
    given = snapshot(
        task(status=waiting, checkpoint=POINT, spec={"retry": {"startDeadlineSeconds": 60}}),
        pod(state=parks(wake=Wake(not_before=ahead(600))), phase="Failed"),
    )
    made = decide(snapshot=given, now=NOW)
    assert (made.rule, after(given).starting_since) == ("parked", None)


def test_the_next_park_takes_the_place_of_the_last() -> None:
    again = parks(wake=Wake(not_before=ahead(60)), park=20, attempt=2)
    given = snapshot(
        task(
            status=status(entry(1, outcome=Outcome.PARKED), entry(2), pod_uid="pod-2", wake=Waking(park=12, met=True)),
            checkpoint=checkpoint(attempt=2, seq=19),
        ),
        pod(2, state=again, phase="Failed"),
    )
    assert after(given).wake == Waking(park=20, not_before=ahead(60))


# Attempts of which no kubelet has said that they are over.


def listed(given: Snapshot) -> tuple[int, ...]:
    return (decide(snapshot=given, now=NOW).status or given.task.status).unreported


SECOND = status(entry(1, outcome=Outcome.DISRUPTED), entry(2), pod_uid="pod-2", unreported=(1,))
GONE = {"DisruptionTarget": ("True", "DeletionByPodGC", ago(1))}
TAKEN = {"KueueFailureRecovery": ("True", "KueueForcefullyDeleted", ago(1))}

LISTED: dict[str, tuple[Snapshot, tuple[int, ...]]] = {
    "its node was lost": (
        snapshot(task(status=FIRST, checkpoint=CLAIMED), pod(state=RUNNING, conditions=LOST)),
        (1,),
    ),
    "its pod was deleted, and its node has not confirmed that in time": (
        snapshot(task(status=FIRST), pod(state=RUNNING, deleted=ago(11))),
        (1,),
    ),
    "its pod is gone and nobody saw it go": (snapshot(task(status=FIRST)), (1,)),
    "its pod was deleted by force, as its last object shows": (
        snapshot(task(status=FIRST), departed=pod(state=RUNNING)),
        (1,),
    ),
    "its pod was seen to end before it went": (
        snapshot(task(status=FIRST), departed=pod(state=told(contract.Outcome.STOPPED, 75), deleted=ago(1))),
        (),
    ),
    "it ended": (snapshot(task(status=FIRST), pod(state=told(contract.Outcome.STOPPED, 75), phase="Failed")), ()),
    "the control plane called its pod Failed, and its kubelet said nothing": (
        snapshot(task(status=FIRST), pod(state=RUNNING, phase="Failed", conditions=GONE)),
        (1,),
    ),
    "its queue called its pod Failed, and its kubelet said nothing": (
        snapshot(task(status=FIRST), pod(state=RUNNING, phase="Failed", conditions=TAKEN)),
        (1,),
    ),
    "its kubelet refused the pod": (
        snapshot(task(status=FIRST), pod(phase="Failed", reason="OutOfcpu")),
        (),
    ),
    "its pod never got a node": (
        snapshot(task(status=FIRST), pod(phase="Pending", node=None, deleted=ago(11))),
        (),
    ),
    "its pod went before it had a node": (
        snapshot(task(status=FIRST), departed=pod(phase="Pending", node=None)),
        (),
    ),
    "its pod had a node that had not started it yet, as far as is known": (
        snapshot(task(status=FIRST), pod(phase="Pending", deleted=ago(11))),
        (1,),
    ),
    "its name was taken by another pod": (
        snapshot(task(status=status(entry(1))), refused=refusal(name_taken=True, may_have_run=False)),
        (),
    ),
    "its own pod had lost its labels": (
        snapshot(task(status=status(entry(1))), refused=refusal(name_taken=True, may_have_run=True)),
        (1,),
    ),
    "of an older attempt nothing new is known": (
        snapshot(task(status=SECOND), pod(2, state=RUNNING)),
        (1,),
    ),
    "an older attempt's kubelet is back and says that it has ended": (
        snapshot(task(status=SECOND), pod(1, state=told(contract.Outcome.FENCED, 77)), pod(2, state=RUNNING)),
        (),
    ),
    "it says so, and the pod is gone before anybody looks": (
        snapshot(task(status=SECOND), pod(2, state=RUNNING), gone=(pod(1, state=told(contract.Outcome.FENCED, 77)),)),
        (),
    ),
    "an older attempt's pod is taken from the API by force": (
        snapshot(task(status=SECOND), pod(2, state=RUNNING), gone=(pod(1, state=RUNNING),)),
        (1,),
    ),
    "a pod of an older attempt was made too late": (
        snapshot(
            task(status=status(entry(1, outcome=Outcome.REPLACED), entry(2), pod_uid="pod-2", unreported=())),
            pod(1, state=RUNNING),
            pod(2, state=RUNNING),
        ),
        (1,),
    ),
    "a pod of an older attempt in doubt was made late, and no kubelet has it": (
        snapshot(
            task(status=SECOND),
            pod(1, uid="late", phase="Pending", node=None),
            pod(2, state=RUNNING),
        ),
        (1,),
    ),
    "it was fenced by attempts that a status brought back from a backup knows nothing of": (
        snapshot(task(status=FIRST), pod(state=told(contract.Outcome.FENCED, 77, newest_attempt=4))),
        (2, 3, 4),
    ),
    "it was fenced by more of them than can be named": (
        snapshot(task(status=FIRST), pod(state=told(contract.Outcome.FENCED, 77, newest_attempt=400))),
        tuple(range(351, 401)),
    ),
    "it was fenced by a pod of its own number, which was gone before anybody recorded it": (
        snapshot(task(status=FIRST), pod(state=told(contract.Outcome.FENCED, 77, newest_attempt=1))),
        (1,),
    ),
    "and later its own kubelet's word says nothing of that other pod": (
        snapshot(
            task(status=SECOND),
            pod(1, state=told(contract.Outcome.FENCED, 77, newest_attempt=1)),
            pod(2, state=RUNNING),
        ),
        (1,),
    ),
    "of as many as can be named one's kubelet is back: there may have been more": (
        snapshot(
            task(status=status(entry(60), pod_uid="pod-60", unreported=tuple(range(5, 55)))),
            pod(7, state=told(contract.Outcome.FENCED, 77, attempt=7, newest_attempt=8)),
            pod(60, state=RUNNING),
        ),
        tuple(range(5, 55)),
    ),
    "of more than can be named the newest are": (
        snapshot(
            task(
                status=status(entry(60), pod_uid="pod-60", unreported=tuple(range(5, 55))),
            ),
        ),
        (*range(6, 55), 60),
    ),
}


@pytest.mark.parametrize("row", LISTED)
def test_who_may_have_a_runner_still(row: str) -> None:
    given, want = LISTED[row]
    assert listed(given) == want


def test_a_call_in_doubt_stalls_the_task_and_says_what_a_person_does() -> None:
    words = "call 7.0 of pay was begun by attempt 1; find out whether it took effect, then set the tool's onDoubt"
    given = snapshot(
        task(status=FIRST, checkpoint=CLAIMED),
        pod(state=told(contract.Outcome.STALLED, 78, reason="InDoubt", message=words), phase="Failed"),
    )
    made = after(given)
    stalled = next(one for one in made.conditions if one.type == "Stalled")
    assert (made.phase, made.reason, made.message) == (Phase.CHECKPOINTED, "InDoubt", words)
    assert (stalled.status, stalled.reason, stalled.message) == ("True", "InDoubt", words)
