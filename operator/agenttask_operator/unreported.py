"""Which attempts may have a runner still: those whose kubelet never said that it has ended.

Pure. A runner that lost its node, or whose pod was deleted by force, can write nothing any more; but a tool call it
began may still be running, and whether such a call may be made again is decided by this list. So an attempt is on it
as soon as there is doubt, and leaves it only by the word of its kubelet.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from agenttask import contract

from agenttask_operator import exits
from agenttask_operator.observed import Outcome, Pod, Status

_WORD_OF_OTHERS: Final = {"DisruptionTarget": "DeletionByPodGC", "KueueFailureRecovery": "KueueForcefullyDeleted"}
"""Condition and reason with which others than its kubelet call a pod Failed, because its node is gone."""


def may_run(pod: Pod) -> bool:
    """Whether this pod's runner may be running, as far as its kubelet has said."""
    if pod.runner.terminated is not None or pod.spec.node_name is None:
        return False
    return not pod.over or any(_holds(pod, kind=kind, reason=reason) for kind, reason in _WORD_OF_OTHERS.items())


def unknown(*, attempt: int, newest: int | None) -> Iterable[int]:
    """Attempts that hold the log, though their status was lost, or their pod before it was recorded.

    Args:
        attempt: was fenced.
        newest: by this one, as it met it in the log.
    """
    if newest is None or newest < attempt:
        return ()
    # Fenced by its own number: another pod has had that.
    return range(max(attempt + 1, newest - contract.MAX_UNREPORTED + 1), newest + 1) if newest > attempt else (attempt,)


def noted(status: Status, *, pods: Iterable[Pod], over: int, lost: Iterable[int]) -> tuple[int, ...]:
    """The list after a look at these pods, gone ones included.

    Args:
        status: with the list before.
        pods: the newest object of a pod comes last.
        over: the newest attempt that has ended.
        lost: attempts whose pod has gone, or is not to be had, without a word.
    """
    listed = {*status.unreported, *lost}
    # A full one stands for all below it too: nobody knows any more whether there were some.
    full = len(status.unreported) == contract.MAX_UNREPORTED
    for pod in pods:
        if pod.attempt is None or pod.attempt > over or _had_a_namesake(pod):
            continue
        if pod.spec.node_name is None:
            # No kubelet has it. An attempt in doubt had another pod: this one was made late, by an operator that slept.
            continue
        if may_run(pod):
            listed.add(pod.attempt)
        elif not full:
            listed.discard(pod.attempt)
    return tuple(sorted(listed)[-contract.MAX_UNREPORTED :])


def _had_a_namesake(pod: Pod) -> bool:
    """Whether another pod of its number had claimed the log before it, of which its kubelet's word says nothing."""
    if pod.attempt is None or pod.runner.terminated is None:
        return False
    end = exits.how(pod, attempt=pod.attempt)
    return end.outcome is Outcome.FENCED and end.newest_attempt == pod.attempt


def _holds(pod: Pod, *, kind: str, reason: str) -> bool:
    condition = pod.condition(kind)
    return condition is not None and (condition.status, condition.reason) == ("True", reason)
