"""How an attempt ended: one row per kind of evidence, and rows where several are true at once."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from agenttask import contract
from agenttask_operator import exits
from agenttask_operator.observed import Outcome, Pod
from agenttask_operator.reasons import Reason

from tests.unit.operator.builders import RUNNING, ago, exited, pod, said, told


@dataclass(frozen=True)
class Want:
    outcome: Outcome
    reason: str
    message: str
    newest_attempt: int | None = None


_TARGET = {"DisruptionTarget": ("True", "EvictionByEvictionAPI", ago(1))}
_WAITS = {"waiting": {"reason": "PodInitializing"}}
_STOPPED = told(contract.Outcome.STOPPED, 75, reason="Stopped")

ROWS: dict[str, tuple[Pod, Want]] = {
    "the runner says it completed": (
        pod(state=told(contract.Outcome.COMPLETED), phase="Succeeded"),
        Want(Outcome.COMPLETED, "Completed", "It is so."),
    ),
    "the runner says it failed for good": (
        pod(state=told(contract.Outcome.FAILED, reason="BudgetExhausted"), phase="Succeeded"),
        Want(Outcome.FAILED, "BudgetExhausted", "It is so."),
    ),
    "the runner completed while its pod was being deleted": (
        pod(state=told(contract.Outcome.COMPLETED), deleted=ago(1), conditions=_TARGET),
        Want(Outcome.COMPLETED, "Completed", "It is so."),
    ),
    "the runner stopped for a drain": (
        pod(state=_STOPPED, deleted=ago(1), conditions=_TARGET),
        Want(Outcome.DISRUPTED, Reason.EVICTED, "EvictionByEvictionAPI"),
    ),
    "the runner stopped because its pod was deleted by hand": (
        pod(state=_STOPPED, deleted=ago(1)),
        Want(Outcome.DISRUPTED, Reason.DELETED, "Pod triage-1 was deleted."),
    ),
    "the runner stopped and nobody says who asked": (
        pod(state=_STOPPED), Want(Outcome.DISRUPTED, "Stopped", "It is so."),
    ),
    "the runner met a newer claim": (
        pod(state=told(contract.Outcome.FENCED, 77, newest_attempt=6)),
        Want(Outcome.FENCED, "Fenced", "It is so.", 6),
    ),
    "the store did not answer": (
        pod(state=told(contract.Outcome.UNAVAILABLE, 69, reason="StoreUnavailable")),
        Want(Outcome.UNAVAILABLE, "StoreUnavailable", "It is so."),
    ),
    "the runner needs someone": (
        pod(state=told(contract.Outcome.STALLED, 78, reason="ModelDenied")),
        Want(Outcome.STALLED, "ModelDenied", "It is so."),
    ),
    "the runner met a defect of its own": (
        pod(state=told(contract.Outcome.INTERNAL, 70, reason="InternalError")),
        Want(Outcome.CRASHED, "InternalError", "It is so."),
    ),
    "a message of another attempt is not believed": (
        pod(state=told(contract.Outcome.COMPLETED, 1, attempt=2)),
        Want(Outcome.CRASHED, Reason.CRASHED, "Exit code 1. " + said(contract.Outcome.COMPLETED, attempt=2)),
    ),
    "preempted": (
        pod(
            state=exited(137),
            phase="Failed",
            deleted=ago(1),
            conditions={"DisruptionTarget": ("True", "PreemptionByScheduler", ago(1))},
        ),
        Want(Outcome.DISRUPTED, Reason.PREEMPTED, "PreemptionByScheduler"),
    ),
    "a taint of the node": (
        pod(state=RUNNING, deleted=ago(1), conditions={"DisruptionTarget": ("True", "DeletionByTaintManager", ago(1))}),
        Want(Outcome.DISRUPTED, Reason.NODE_TAINTED, "DeletionByTaintManager"),
    ),
    "a queue took its quota back": (
        pod(state=exited(143), conditions={"TerminationTarget": ("True", "WorkloadEvictedDueToDeactivated", ago(1))}),
        Want(Outcome.DISRUPTED, Reason.EVICTED, "WorkloadEvictedDueToDeactivated"),
    ),
    "a queue gave its quota to a workload of higher priority": (
        pod(state=exited(143), conditions={"TerminationTarget": ("True", "WorkloadEvictedDueToPreempted", ago(1))}),
        Want(Outcome.DISRUPTED, Reason.PREEMPTED, "WorkloadEvictedDueToPreempted"),
    ),
    "a queue deleted the pod by force, since its node was unreachable": (
        pod(
            state=RUNNING,
            phase="Failed",
            deleted=ago(60),
            conditions={"KueueFailureRecovery": ("True", "KueueForcefullyDeleted", ago(1))},
        ),
        Want(Outcome.DISRUPTED, Reason.NODE_LOST, "KueueForcefullyDeleted"),
    ),
    "a disruption condition that does not hold is none": (
        pod(state=exited(1), conditions={"DisruptionTarget": ("False", "", ago(1))}),
        Want(Outcome.CRASHED, Reason.CRASHED, "Exit code 1."),
    ),
    "evicted by the kubelet for memory": (
        pod(
            phase="Failed",
            reason="Evicted",
            message="The node was low on resource: memory.",
            state=exited(137, reason="OOMKilled"),
            conditions={"DisruptionTarget": ("True", "TerminationByKubelet", ago(1))},
        ),
        Want(Outcome.DISRUPTED, Reason.NODE_PRESSURE, "TerminationByKubelet"),
    ),
    "the node was shut down": (
        pod(
            phase="Failed",
            reason="Terminated",
            message="Pod was terminated in response to imminent node shutdown.",
            conditions={"DisruptionTarget": ("True", "TerminationByKubelet", ago(1))},
        ),
        Want(Outcome.DISRUPTED, Reason.NODE_SHUTDOWN, "TerminationByKubelet"),
    ),
    "refused by the kubelet at admission": (
        pod(phase="Failed", reason="OutOfcpu", message="Node didn't have enough resource: cpu"),
        Want(Outcome.DISRUPTED, Reason.NODE_REFUSED, "OutOfcpu: Node didn't have enough resource: cpu"),
    ),
    "killed while it was being deleted": (
        pod(state=exited(137), deleted=ago(1)), Want(Outcome.DISRUPTED, Reason.DELETED, "Pod triage-1 was deleted."),
    ),
    "ended by SIGTERM before it could say so": (
        pod(state=exited(143), deleted=ago(1)), Want(Outcome.DISRUPTED, Reason.DELETED, "Pod triage-1 was deleted."),
    ),
    "killed without being deleted is its own failure": (
        pod(state=exited(137, message="half")), Want(Outcome.CRASHED, Reason.CRASHED, "Exit code 137. half"),
    ),
    "the kubelet lost track of the container": (
        pod(state=exited(137, reason="ContainerStatusUnknown", message="could not be located"), phase="Failed"),
        Want(Outcome.DISRUPTED, Reason.NODE_LOST, "could not be located"),
    ),
    "still running as last seen before it was deleted": (
        pod(state=RUNNING, deleted=ago(1)), Want(Outcome.DISRUPTED, Reason.DELETED, "Pod triage-1 was deleted."),
    ),
    "over its memory limit": (
        pod(state=exited(137, reason="OOMKilled"), phase="Failed"),
        Want(Outcome.OOM_KILLED, Reason.OOM_KILLED, "The container went over its memory limit (exit code 137)."),
    ),
    "a child over the memory limit, and exit code 0": (
        pod(state=exited(0, reason="OOMKilled"), phase="Succeeded"),
        Want(Outcome.OOM_KILLED, Reason.OOM_KILLED, "The container went over its memory limit (exit code 0)."),
    ),
    "the image has no runner": (
        pod(state=exited(128, reason="StartError", message='exec: "agenttask": not found'), phase="Failed"),
        Want(Outcome.STALLED, Reason.CONTAINER_REFUSED, 'exec: "agenttask": not found'),
    ),
    "a container that somebody put before the runner has failed": (
        pod(state=_WAITS, before=exited(2, message="no route\n"), phase="Failed"),
        Want(
            Outcome.STALLED,
            Reason.CONTAINER_REFUSED,
            "Container net comes before the runner: exit code 2. no route",
        ),
    ),
    "evicted while a container before the runner was at work": (
        pod(state=_WAITS, before=exited(137), phase="Failed", reason="Evicted", message="low on memory"),
        Want(Outcome.DISRUPTED, Reason.NODE_PRESSURE, "low on memory"),
    ),
    "exit code 0 without a word": (
        pod(state=exited(0, message="bye\n"), phase="Succeeded"),
        Want(
            Outcome.SILENT,
            Reason.NO_MESSAGE,
            "The container ended with exit code 0 and no message of a runner. bye",
        ),
    ),
    "a crash leaves its last log lines": (
        pod(state=exited(1, message="Traceback\nValueError: no\n"), phase="Failed"),
        Want(Outcome.CRASHED, Reason.CRASHED, "Exit code 1. Traceback\nValueError: no"),
    ),
    "a crash whose last log line is JSON": (
        pod(state=exited(1, message='{"event": "step", "attempt": 1}'), phase="Failed"),
        Want(Outcome.CRASHED, Reason.CRASHED, 'Exit code 1. {"event": "step", "attempt": 1}'),
    ),
    "a message whose reason is none": (
        pod(state=told(contract.Outcome.COMPLETED, reason="all done, friend"), phase="Succeeded"),
        Want(Outcome.SILENT, Reason.NO_MESSAGE, "The container ended with exit code 0 and no message of a runner. "
             + said(contract.Outcome.COMPLETED, reason="all done, friend")),
    ),
    "a message that knows of an attempt no pod could be named after": (
        pod(state=told(contract.Outcome.FENCED, 77, newest_attempt=2**40), phase="Failed"),
        Want(Outcome.CRASHED, Reason.CRASHED, "Exit code 77. " + said(contract.Outcome.FENCED, newest_attempt=2**40)),
    ),
    "gone while running, and nothing says why": (
        pod(state=RUNNING), Want(Outcome.DISRUPTED, Reason.VANISHED, "Pod triage-1 is gone and nothing says why."),
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_how_it_ended(row: str) -> None:
    ended, want = ROWS[row]
    end = exits.how(ended, attempt=1)
    assert Want(end.outcome, end.reason, end.message, end.newest_attempt) == want


def test_a_long_log_is_cut_from_the_front() -> None:
    end = exits.how(pod(state=exited(1, message="x" * 4000 + "the end")), attempt=1)
    assert end.message.endswith("the end")
    assert len(end.message) < 1100
