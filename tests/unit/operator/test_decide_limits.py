"""What follows from the times a user sets: when a finished task goes."""

from __future__ import annotations

from typing import Any

import pytest
from agenttask import contract
from agenttask_operator.decide import decide
from agenttask_operator.fold import Snapshot
from agenttask_operator.observed import Condition, Outcome, Phase, Status

from tests.unit.operator.builders import NOW, RUNNING, ago, entry, pod, snapshot, status, task, told
from tests.unit.operator.decisions import CLAIMED, FIRST


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
