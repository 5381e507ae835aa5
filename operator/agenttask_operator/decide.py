"""What to do about one task, now.

Pure: one frozen `Snapshot` and the time in, one `Decision` out. First the facts are folded into the status (which pod
is the current attempt's, whether and how that attempt has ended), then an ordered list of rules is asked what follows;
the first that knows decides.

    deleted, finished, expired        nothing is decided any more, but when a finished task goes
    settled                           the final record decides: Completed or Failed
    cancelled, suspended              the user wants no runner
    refused, creating                 an attempt is open and has no pod
    terminating, waiting_container,
    held_up, unscheduled, starting,
    running                           an attempt is open and has one
    exhausted, invalid, waiting,
    start                             no attempt is open

Whatever rule matched, at most one attempt's pod may live: every other live pod of this task is deleted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import msgspec
from agenttask import contract
from msgspec.structs import replace

from agenttask_operator import account, fold, limits, status
from agenttask_operator.fold import Snapshot, View
from agenttask_operator.observed import Attempt, Outcome, Phase, Pod, Status
from agenttask_operator.reasons import Reason
from agenttask_operator.status import Saying


class Doomed(msgspec.Struct, frozen=True):
    """A pod to delete; the UID is the precondition."""

    name: str
    uid: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What follows. `status` is None where nothing changes, `create` where the open attempt's pod is to be made."""

    rule: str
    status: Status | None = None
    create: bool = False
    delete: tuple[Doomed, ...] = ()
    remove: bool = False
    """Whether the task itself goes."""
    after_seconds: float | None = None
    """When to look again, even if nothing happens until then."""

    @property
    def writes(self) -> bool:
        """Whether carrying it out changes anything in the cluster."""
        return self.status is not None or self.create or bool(self.delete) or self.remove


class _Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule says; the rest of the decision follows from it."""

    phase: Phase
    saying: Saying
    status: Status
    live: bool = False
    """Whether the open attempt's pod may live."""
    create: bool = False
    stalled: Saying | None = None
    until: datetime | None = None


def decide(*, snapshot: Snapshot, now: datetime) -> Decision:
    """Decide about one task.

    Args:
        snapshot: all that was gathered about it.
        now: the operator's clock, aware, in UTC.
    """
    if snapshot.task.metadata.deletion_timestamp is not None:
        return Decision(rule="deleted")
    view = fold.view(snapshot=snapshot, now=now)
    if view.status.phase is not None and view.status.phase.terminal:
        return _finished(view)
    rule, verdict = next((rule, verdict) for rule in RULES if (verdict := rule(view)) is not None)
    made = replace(
        verdict.status,
        observed_generation=view.task.metadata.generation,
        phase=verdict.phase,
        reason=verdict.saying.reason,
        message=verdict.saying.message[: status.CONDITION_CHARACTERS],
    )
    facts = status.Facts(
        generation=view.task.metadata.generation,
        recorded=view.task.checkpoint is not None,
        refused=view.problem,
        change_pending=verdict.live and view.changed,
        suspended=rule is suspended and not verdict.live and not view.open,
        stalled=verdict.stalled,
    )
    made = replace(made, conditions=status.conditions(status=made, facts=facts, now=view.second))
    times = (verdict.until, view.deadline, limits.expires_at(spec=view.task.spec, status=made))
    until = min((time for time in times if time is not None), default=None)
    return Decision(
        rule=rule.__name__,
        status=made if made != view.task.status else None,
        create=verdict.create,
        delete=_doomed(view, keep=made.attempt if verdict.live else None),
        after_seconds=_after(until, now=now),
    )


def _finished(view: View) -> Decision:
    """A finished task is left alone, and deleted when its time is over."""
    expiry = limits.expires_at(spec=view.task.spec, status=view.status)
    if expiry is not None and view.now >= expiry:
        return Decision(rule="expired", remove=True)
    return Decision(rule="finished", delete=_doomed(view, keep=None), after_seconds=_after(expiry, now=view.now))


def _after(time: datetime | None, *, now: datetime) -> float | None:
    return max(0.0, (time - now).total_seconds()) if time is not None else None


def settled(view: View) -> _Verdict | None:
    """The final record has been written: the answer, or a failure for good."""
    entry = view.status.current
    if view.open or entry is None or entry.outcome not in {Outcome.COMPLETED, Outcome.FAILED}:
        return None
    if entry.outcome == Outcome.COMPLETED:
        return _Verdict(phase=Phase.COMPLETED, saying=_said(entry), status=view.status)
    saying, point = _said(entry), view.task.checkpoint
    if point is not None:
        stanza = f"resumeFrom: {{task: {view.task.metadata.name}, key: {point.key}}}"
        saying = Saying(saying.reason, f"{saying.message}; a new task goes on from here with {stanza}")
    return _Verdict(phase=Phase.FAILED, saying=saying, status=view.status)


def cancelled(view: View) -> _Verdict | None:
    """`spec.cancel`: stop the runner, then end."""
    if not view.cancel:
        return None
    if view.open:
        return _stopping(view, why="spec.cancel")
    saying = Saying(Reason.CANCELLED, "spec.cancel was set.")
    return _Verdict(phase=Phase.CANCELLED, saying=saying, status=view.status)


def suspended(view: View) -> _Verdict | None:
    """`spec.suspend`: stop the runner, then wait without one."""
    if not view.suspend:
        return None
    if view.open:
        return _stopping(view, why="spec.suspend")
    saying = Saying(Reason.SUSPENDED, "spec.suspend is set; unset it to go on.")
    return _Verdict(phase=view.idle_phase, saying=saying, status=view.status)


def refused(view: View) -> _Verdict | None:
    """The API server refused the pod a moment ago: say so, and wait."""
    refusal = view.refusal
    if not view.open or view.pod is not None or refusal is None or view.now >= refusal.retry_at:
        return None
    return _starting(view, stalled=Saying(Reason.POD_REFUSED, refusal.message), until=refusal.retry_at)


def creating(view: View) -> _Verdict | None:
    """An attempt was raised and has no pod yet: make it (or adopt the one made before a crash)."""
    if not view.open or view.pod is not None:
        return None
    if view.refusal is not None:
        return _starting(view, stalled=Saying(Reason.POD_REFUSED, view.refusal.message), create=True)
    if view.status.reason == Reason.POD_REFUSED:
        # The operator restarted meanwhile: until the server has said otherwise, what it said last stands.
        return _starting(view, stalled=Saying(Reason.POD_REFUSED, view.status.message), create=True)
    return _starting(view, create=True)


def terminating(view: View) -> _Verdict | None:
    """The pod is being deleted: its runner may still finish a step, and to wait is bounded."""
    if view.pod is None or view.pod.metadata.deletion_timestamp is None:
        return None
    saying = Saying(
        Reason.TERMINATING, f"Pod {view.pod.metadata.name} is being deleted; attempt {view.status.attempt} ends."
    )
    phase = view.status.phase or view.starting_phase
    return _Verdict(phase=phase, saying=saying, status=view.status, live=True)


def waiting_container(view: View) -> _Verdict | None:
    """The kubelet cannot make the container, and says why. It tries again by itself."""
    waiting = view.pod.runner.waiting if view.pod is not None else None
    if waiting is None or waiting.reason in {"", "ContainerCreating", "PodInitializing"}:
        return None
    stalled = Saying(
        _container_reason(reason=waiting.reason, message=waiting.message), waiting.message or waiting.reason
    )
    return _starting(view, stalled=stalled)


def held_up(view: View) -> _Verdict | None:
    """The kubelet cannot give the pod its volumes or its network, and says so in Events alone. It tries again."""
    complaint = view.complaint
    if complaint is None:
        return None
    if _SECRET.search(complaint.note):
        reason = Reason.SECRET_MISSING
    else:
        reason = Reason.CONTAINER_REFUSED if complaint.reason == _NO_NETWORK else Reason.VOLUME_UNAVAILABLE
    return _starting(view, stalled=Saying(reason, complaint.note))


def unscheduled(view: View) -> _Verdict | None:
    """The scheduler has not placed the pod, and says why. Nothing is wrong with the task: not a stall."""
    condition = view.pod.condition("PodScheduled") if view.pod is not None else None
    if condition is None or condition.status == "True" or condition.reason not in _UNSCHEDULED:
        return None
    saying = Saying(_UNSCHEDULED[condition.reason], condition.message or condition.reason)
    return _Verdict(phase=view.starting_phase, saying=saying, status=view.status, live=True)


def starting(view: View) -> _Verdict | None:
    """The pod is on its way, or its runner is opening the log."""
    if view.pod is None or view.claimed:
        return None
    return _starting(view)


def running(view: View) -> _Verdict | None:
    """The runner of this attempt holds the log. What stalled the one before stands until it has recorded anything new.

    A refused key, for one, shows only after the claim: each retry would look healed for as long as it lasts.
    """
    if view.pod is None:
        return None
    entry = view.status.current
    where = f" on node {entry.node}" if entry and entry.node else ""
    saying = Saying(Reason.WORKING, f"Attempt {view.status.attempt} works in pod {view.pod.metadata.name}{where}.")
    stalls = account.fresh(status=view.status, task=view.task).stalls
    stalled = _blamed_before(view) if stalls else None
    return _Verdict(phase=Phase.RUNNING, saying=saying, status=view.status, live=True, stalled=stalled)


def exhausted(view: View) -> _Verdict | None:
    """It failed more often than allowed without a new step."""
    retry = account.fresh(status=view.status, task=view.task)
    entry = view.status.current
    if entry is None or retry.failures <= view.policy.max_failures:
        return None
    last = f"the last, attempt {entry.attempt}: {entry.reason}: {entry.message or ''}"
    if view.task.checkpoint is None or view.task.checkpoint.step == 0:
        saying = Saying(Reason.RETRIES_EXHAUSTED, f"{retry.failures} failures and no step recorded; {last}")
        return _Verdict(phase=Phase.FAILED, saying=saying, status=view.status)
    stalled = Saying(Reason.POISON_CHECKPOINT, f"{retry.failures} failures since the last new step; {last}")
    return _Verdict(phase=view.idle_phase, saying=stalled, status=view.status, stalled=stalled)


def invalid(view: View) -> _Verdict | None:
    """Nothing can be started from this spec."""
    if view.problem is None:
        return None
    until = view.second + SOURCE_AGAIN if view.problem.reason in _PASSING else None
    return _Verdict(phase=view.idle_phase, saying=view.problem, status=view.status, stalled=view.problem, until=until)


def waiting(view: View) -> _Verdict | None:
    """The next attempt is due later; an edit of the spec brings it forward."""
    retry = account.fresh(status=view.status, task=view.task)
    entry = view.status.current
    if entry is None or retry.not_before is None or view.now >= retry.not_before:
        return None
    blamed = _blamed(entry)
    saying = blamed or Saying(
        Reason.BACKING_OFF, f"Attempt {entry.attempt} ended: {entry.reason}: {entry.message or ''}"
    )
    return _Verdict(phase=view.idle_phase, saying=saying, status=view.status, stalled=blamed, until=retry.not_before)


def start(view: View) -> _Verdict | None:
    """Raise the attempt. Its pod is made only after this is recorded."""
    assert view.plan is not None  # noqa: S101 - `invalid` comes first
    before = view.status.current
    met = before.newest_attempt if before is not None else None
    number = max(view.status.attempt, met or 0) + 1
    pod = contract.pod_name(task=view.task.metadata.name, attempt=number)
    raised = account.opened(status=view.status, attempt=number, pod=pod, now=view.second)
    if raised.location is None:
        raised = replace(raised, location=view.plan.location)
    raised = replace(raised, forked_from=view.origin)
    return _starting(replace(view, status=raised), create=True)


Rule = Callable[[View], _Verdict | None]

RULES: Final[tuple[Rule, ...]] = (
    settled,
    cancelled,
    suspended,
    refused,
    creating,
    terminating,
    waiting_container,
    held_up,
    unscheduled,
    starting,
    running,
    exhausted,
    invalid,
    waiting,
    start,
)
"""In order; the order is part of the behaviour and tested."""

SOURCE_AGAIN: Final = timedelta(seconds=15)
"""When to look again for what a fork is to go on from: nothing tells that it has come."""
_PASSING: Final = {Reason.SOURCE_NOT_FOUND, Reason.NO_CHECKPOINT}
_UNSCHEDULED: Final = {"Unschedulable": Reason.UNSCHEDULABLE, "SchedulingGated": Reason.SCHEDULING_GATED}
_NO_NETWORK: Final = "FailedCreatePodSandBox"
_SECRET: Final = re.compile('secret "[^"]+" not found|non-existent secret key')
_IMAGE: Final = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}


def _starting(
    view: View, *, stalled: Saying | None = None, create: bool = False, until: datetime | None = None
) -> _Verdict:
    """An open attempt that holds no log yet. What stalled the one before stands until this one has come further."""
    stalled = stalled or _blamed_before(view)
    entry = view.status.current
    pod = entry.pod if entry else ""
    point = view.task.checkpoint or view.status.forked_from
    source = f" and goes on from {point.key}" if point else ""
    saying = Saying(Reason.STARTING, f"Attempt {view.status.attempt} starts in pod {pod}{source}.")
    return _Verdict(
        phase=view.starting_phase,
        saying=stalled or saying,
        status=view.status,
        live=True,
        create=create,
        stalled=stalled,
        until=until,
    )


def _stopping(view: View, *, why: str) -> _Verdict:
    saying = Saying(Reason.STOPPING, f"{why} is set; attempt {view.status.attempt} records what it has and stops.")
    return _Verdict(phase=view.status.phase or view.starting_phase, saying=saying, status=view.status)


def _blamed(entry: Attempt) -> Saying | None:
    """What the attempt stalled over, where it did."""
    return _said(entry) if entry.outcome in {Outcome.STALLED, Outcome.UNAVAILABLE} else None


def _blamed_before(view: View) -> Saying | None:
    """What the attempt before this one stalled over, where it did."""
    before = [one for one in view.status.attempts if one.attempt < view.status.attempt]
    return _blamed(before[-1]) if before else None


def _said(entry: Attempt) -> Saying:
    return Saying(entry.reason or "", entry.message or "")


def _container_reason(*, reason: str, message: str) -> Reason:
    if reason in _IMAGE:
        return Reason.IMAGE_UNAVAILABLE
    if reason == "CreateContainerConfigError" and "secret" in message.lower():
        return Reason.SECRET_MISSING
    return Reason.CONTAINER_REFUSED


def _doomed(view: View, *, keep: int | None) -> tuple[Doomed, ...]:
    """Every live pod but the one that may live, and every ended one but the newest, which has the logs."""
    newest = max((pod.attempt or 0 for pod in view.pods if pod.over), default=0)
    over = view.status.phase is not None and view.status.phase.terminal

    def stays(pod: Pod) -> bool:
        if pod.metadata.deletion_timestamp is not None:
            return True
        if not over and (pod.attempt or 0) > view.status.attempt:
            # Whoever raised that attempt has seen more than this snapshot.
            return True
        if pod.over:
            return pod.attempt == newest
        if pod.runner.terminated is not None and not pod.held:
            return True
        return keep is not None and pod.attempt == keep

    return tuple(Doomed(pod.metadata.name, pod.metadata.uid) for pod in view.pods if not stays(pod))
