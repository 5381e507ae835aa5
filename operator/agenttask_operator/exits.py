"""How an attempt ended, told from its pod alone.

Pure. One explicit order of evidence, because several are true at once: a drained pod's runner exits by itself, the
kernel may end a container with code 0, and a kubelet that evicts also kills. First the runner's own word, then who took
the pod away, then what the container's end looks like.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec
from agenttask import contract

from agenttask_operator.observed import Outcome, Pod, Terminated
from agenttask_operator.reasons import Reason


class End(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended. `newest_attempt` is what a fenced runner found in the log, `parked` what one waits for."""

    outcome: Outcome
    reason: str
    message: str
    newest_attempt: int | None = None
    parked: contract.Parked | None = None


_SAID: Final = {
    contract.Outcome.COMPLETED: Outcome.COMPLETED,
    contract.Outcome.FAILED: Outcome.FAILED,
    contract.Outcome.UNAVAILABLE: Outcome.UNAVAILABLE,
    contract.Outcome.INTERNAL: Outcome.CRASHED,
    contract.Outcome.STOPPED: Outcome.DISRUPTED,
    contract.Outcome.FENCED: Outcome.FENCED,
    contract.Outcome.STALLED: Outcome.STALLED,
    contract.Outcome.PARKED: Outcome.PARKED,
    contract.Outcome.PURGED: Outcome.PURGED,
}

_TARGETED: Final = {
    "EvictionByEvictionAPI": Reason.EVICTED,
    "PreemptionByScheduler": Reason.PREEMPTED,
    "DeletionByTaintManager": Reason.NODE_TAINTED,
    "DeletionByPodGC": Reason.NODE_LOST,
    "TerminationByKubelet": Reason.NODE_PRESSURE,
    "WorkloadEvictedDueToPreempted": Reason.PREEMPTED,
    "KueueForcefullyDeleted": Reason.NODE_LOST,
}
"""Reasons of the pod condition DisruptionTarget and, the last two, of those that Kueue sets."""

_POD_REASONS: Final = {
    "Evicted": Reason.NODE_PRESSURE,
    "NodeShutdown": Reason.NODE_SHUTDOWN,
    "Shutdown": Reason.NODE_SHUTDOWN,
    "Terminated": Reason.NODE_SHUTDOWN,
    "NodeLost": Reason.NODE_LOST,
    "Preempting": Reason.PREEMPTED,
}
"""Reasons a kubelet (or the pod garbage collector) writes into `status.reason`."""

_KILLED: Final = {137, 143}
_REASON: Final = re.compile(r"[A-Za-z]([A-Za-z0-9_]{0,62}[A-Za-z0-9])?")
"""What `status.reason` and a condition take; an image of somebody's own may say anything."""
_MAX_ATTEMPT: Final = 2**31 - 1
"""A pod's name has room for no larger one."""
_NOT_STARTED: Final = {"StartError", "ContainerCannotRun"}


def how(pod: Pod, *, attempt: int) -> End:
    """How the attempt of a pod that has ended, or is treated as ended, came to its end.

    Args:
        pod: the pod, live or as last seen.
        attempt: its number; a message that speaks of another one is not believed.
    """
    return next(end for rule in RULES if (end := rule(pod, attempt)) is not None)


def taken_away(pod: Pod) -> End | None:
    """Who took the pod away, if anyone did: the cause of a disruption, whether or not the runner has ended yet."""
    for kind in ("DisruptionTarget", "TerminationTarget", "KueueFailureRecovery"):
        condition = pod.condition(kind)
        if condition is not None and condition.status == "True":
            reason = _TARGETED.get(condition.reason, Reason.EVICTED)
            # The kubelet sets the same condition for pressure and for shutdown; its status.reason tells them apart.
            return _disrupted(_POD_REASONS.get(pod.status.reason, reason), condition.message or condition.reason)
    if pod.status.reason in _POD_REASONS:
        return _disrupted(_POD_REASONS[pod.status.reason], pod.status.message)
    if pod.status.phase == "Failed" and pod.runner.terminated is None and pod.failed_before is None:
        return _disrupted(Reason.NODE_REFUSED, f"{pod.status.reason}: {pod.status.message}")
    return None


def _runner_message(pod: Pod, attempt: int) -> End | None:
    """The runner's own message for this very attempt."""
    said = _termination(pod.runner.terminated)
    if said is None or said.attempt != attempt or not _REASON.fullmatch(said.reason):
        return None
    if said.newest_attempt is not None and not 0 < said.newest_attempt < _MAX_ATTEMPT:
        return None
    outcome, parked = _SAID[said.outcome], said.parked
    if outcome is Outcome.PARKED and (parked is None or parked.wake == contract.Wake()):
        return None  # it would wait for ever
    if outcome is Outcome.DISRUPTED:
        # It only knows that SIGTERM came; the pod knows from whom.
        return taken_away(pod) or _deleted(pod) or _disrupted(said.reason, said.message)
    return End(
        outcome=outcome, reason=said.reason, message=said.message, newest_attempt=said.newest_attempt, parked=parked
    )


def _disruption(pod: Pod, _: int) -> End | None:
    """The pod says who took it, or was killed while it was being deleted."""
    ended = pod.runner.terminated
    if ended is not None and ended.reason == "ContainerStatusUnknown":
        return _disrupted(Reason.NODE_LOST, ended.message)
    found = taken_away(pod)
    if found is not None:
        return found
    return _deleted(pod) if ended is None or ended.exit_code in _KILLED else None


def _oom(pod: Pod, _: int) -> End | None:
    """The kernel ended it for memory; the exit code may still be 0 when it was a child that was killed."""
    ended = pod.runner.terminated
    if ended is None or ended.reason != "OOMKilled":
        return None
    message = f"The container went over its memory limit (exit code {ended.exit_code})."
    return End(outcome=Outcome.OOM_KILLED, reason=Reason.OOM_KILLED, message=message)


def _never_started(pod: Pod, _: int) -> End | None:
    """The node could not start the program (the image holds none, for one), or one before it failed: see to it."""
    before = pod.failed_before
    if before is not None and before.state.terminated is not None:
        failed = before.state.terminated
        message = (
            f"Container {before.name} comes before the runner: exit code {failed.exit_code}. {_tail(failed)}".strip()
        )
        return End(outcome=Outcome.STALLED, reason=Reason.CONTAINER_REFUSED, message=message)
    ended = pod.runner.terminated
    if ended is None or ended.reason not in _NOT_STARTED:
        return None
    return End(outcome=Outcome.STALLED, reason=Reason.CONTAINER_REFUSED, message=ended.message)


def _silent(pod: Pod, _: int) -> End | None:
    """Code 0, and no message of a runner."""
    ended = pod.runner.terminated
    if ended is None or ended.exit_code != 0:
        return None
    message = f"The container ended with exit code 0 and no message of a runner. {_tail(ended)}".strip()
    return End(outcome=Outcome.SILENT, reason=Reason.NO_MESSAGE, message=message)


def _crash(pod: Pod, _: int) -> End | None:
    """What is left is a failure of the program."""
    ended = pod.runner.terminated
    if ended is None:
        return None
    message = f"Exit code {ended.exit_code}. {_tail(ended)}".strip()
    return End(outcome=Outcome.CRASHED, reason=Reason.CRASHED, message=message)


def _vanished(pod: Pod, _: int) -> End | None:
    """No runner has ended here and nobody says anything."""
    return _disrupted(Reason.VANISHED, f"Pod {pod.metadata.name} is gone and nothing says why.")


RULES: Final[tuple[Callable[[Pod, int], End | None], ...]] = (
    _runner_message,
    _disruption,
    _oom,
    _never_started,
    _silent,
    _crash,
    _vanished,
)
"""In order of belief; the first that knows decides."""


def _termination(ended: Terminated | None) -> contract.Termination | None:
    """The message, where it is one: a crash leaves log lines in its place."""
    try:
        return msgspec.json.decode(ended.message, type=contract.Termination) if ended is not None else None
    except msgspec.MsgspecError:
        return None


def _deleted(pod: Pod) -> End | None:
    if pod.metadata.deletion_timestamp is None:
        return None
    return _disrupted(Reason.DELETED, f"Pod {pod.metadata.name} was deleted.")


def _disrupted(reason: str, message: str) -> End:
    return End(outcome=Outcome.DISRUPTED, reason=reason, message=message)


def _tail(ended: Terminated) -> str:
    """The last log lines the kubelet kept, cut from the front."""
    return ended.message.strip()[-1024:]
