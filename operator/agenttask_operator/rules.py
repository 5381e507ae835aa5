"""The rules by which a task is decided on: small functions in an order, of which the first that knows decides.

Pure. Each looks at a `View`, in which the facts are folded already, and returns a `Verdict` or None.

    settled                           the final record decides: Completed or Failed
    cancelled, timed_out, suspended,
    never_started                     the user wants no runner, or none any more
    refused, creating                 an attempt is open and has no pod
    terminating, waiting_container,
    held_up, unscheduled, starting,
    running                           an attempt is open and has one
    exhausted, invalid, parked,
    waiting, start                    no attempt is open
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import msgspec
from agenttask import contract
from msgspec.structs import replace

from agenttask_operator import account, limits, memory, pulls
from agenttask_operator.exits import End
from agenttask_operator.fold import ASKED, View
from agenttask_operator.observed import Attempt, Outcome, Phase, Status
from agenttask_operator.reasons import Reason
from agenttask_operator.status import Saying


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule says; the rest of the decision follows from it."""

    phase: Phase
    saying: Saying
    status: Status
    live: bool = False
    """Whether the open attempt's pod may live."""
    create: bool = False
    stalled: Saying | None = None
    until: datetime | None = None


def settled(view: View) -> Verdict | None:
    """The final record has been written: the answer, or a failure for good."""
    entry = view.status.current
    if view.open or entry is None or entry.outcome not in {Outcome.COMPLETED, Outcome.FAILED}:
        return None
    if entry.outcome == Outcome.COMPLETED:
        return Verdict(phase=Phase.COMPLETED, saying=_said(entry), status=view.status)
    return _failed(view, saying=_said(entry), status=view.status)


def cancelled(view: View) -> Verdict | None:
    """`spec.cancel`: stop the runner, then end."""
    if view.asked is not Reason.CANCELLED:
        return None
    if view.open:
        return _stopping(view, asked=view.asked)
    saying = Saying(Reason.CANCELLED, "spec.cancel was set.")
    return Verdict(phase=Phase.CANCELLED, saying=saying, status=view.status)


def timed_out(view: View) -> Verdict | None:
    """`spec.activeDeadlineSeconds` is over: stop the runner, then fail."""
    if view.asked is not Reason.DEADLINE_EXCEEDED:
        return None
    if view.open:
        return _stopping(view, asked=view.asked)
    said = f"Runners have worked for {view.status.active_seconds} s, and spec.activeDeadlineSeconds is over"
    saying = Saying(Reason.DEADLINE_EXCEEDED, said)
    return _failed(view, saying=saying, status=view.status)


def suspended(view: View) -> Verdict | None:
    """`spec.suspend`: stop the runner, then wait without one."""
    if view.asked is not Reason.SUSPENDED:
        return None
    if view.open:
        return _stopping(view, asked=view.asked)
    saying = Saying(Reason.SUSPENDED, "spec.suspend is set; unset it to go on.")
    return Verdict(phase=view.idle_phase, saying=saying, status=replace(view.status, starting_since=None))


def never_started(view: View) -> Verdict | None:
    """`spec.retry.startDeadlineSeconds` is over and no runner works: fail, and say what stood in its way."""
    if not limits.never_started(spec=view.task.spec, status=view.status, now=view.now):
        return None
    last, limit = view.task.status, view.policy.start_deadline_seconds
    saying = Saying(Reason.START_TIMED_OUT, f"No runner worked within {limit} s. {last.reason}: {last.message}")
    closed = view.status
    if view.open:
        # Nothing is recorded that could be lost: a runner that claims while its pod goes is too late.
        end = End(outcome=Outcome.STOPPED, reason=saying.reason, message=saying.message)
        node = view.pod.spec.node_name if view.pod is not None else None
        closed = account.close(status=closed, end=end, node=node, task=view.task, policy=view.policy, now=view.second)
    return _failed(view, saying=saying, status=closed)


def refused(view: View) -> Verdict | None:
    """The API server refused the pod a moment ago: say so, and wait."""
    refusal = view.refusal
    if not view.open or view.pod is not None or refusal is None or view.now >= refusal.retry_at:
        return None
    return _starting(view, stalled=Saying(Reason.POD_REFUSED, refusal.message), until=refusal.retry_at)


def creating(view: View) -> Verdict | None:
    """An attempt was raised and has no pod yet: make it (or adopt the one made before a crash)."""
    if not view.open or view.pod is not None:
        return None
    if view.refusal is not None:
        return _starting(view, stalled=Saying(Reason.POD_REFUSED, view.refusal.message), create=True)
    if view.status.reason == Reason.POD_REFUSED:
        # The operator restarted meanwhile: until the server has said otherwise, what it said last stands.
        return _starting(view, stalled=Saying(Reason.POD_REFUSED, view.status.message), create=True)
    return _starting(view, create=True)


def terminating(view: View) -> Verdict | None:
    """The pod is being deleted: its runner may still finish a step, and to wait is bounded."""
    if view.pod is None or view.pod.metadata.deletion_timestamp is None:
        return None
    saying = Saying(
        Reason.TERMINATING, f"Pod {view.pod.metadata.name} is being deleted; attempt {view.status.attempt} ends."
    )
    phase = view.status.phase or view.starting_phase
    return Verdict(phase=phase, saying=saying, status=view.status, live=True)


def waiting_container(view: View) -> Verdict | None:
    """The kubelet cannot make the container, or one before it, and says why. It tries again by itself."""
    stuck = view.pod.stuck if view.pod is not None else None
    if stuck is None or stuck.state.waiting is None:
        return None
    waiting, last = stuck.state.waiting, view.task.status
    whose = "" if stuck.name == contract.CONTAINER else f"Container {stuck.name}: "
    reason = _container_reason(reason=waiting.reason, message=waiting.message)
    message = waiting.message or waiting.reason
    if reason is Reason.IMAGE_UNAVAILABLE:
        message = pulls.told(message, before=last.message.removeprefix(whose) if last.reason == reason else "")
    return _starting(view, stalled=Saying(reason, whose + message))


def held_up(view: View) -> Verdict | None:
    """The kubelet cannot give the pod its volumes or its network, and says so in Events alone. It tries again."""
    complaint = view.complaint
    if complaint is None:
        return None
    if _SECRET.search(complaint.note):
        reason = Reason.SECRET_MISSING
    else:
        reason = Reason.CONTAINER_REFUSED if complaint.reason == _NO_NETWORK else Reason.VOLUME_UNAVAILABLE
    return _starting(view, stalled=Saying(reason, complaint.note))


def unscheduled(view: View) -> Verdict | None:
    """The scheduler has not placed the pod, and says why. Nothing is wrong with the task: not a stall."""
    condition = view.pod.condition("PodScheduled") if view.pod is not None else None
    if view.pod is None or condition is None or condition.status == "True" or condition.reason not in _UNSCHEDULED:
        return None
    message, gates = condition.message or condition.reason, view.pod.spec.scheduling_gates
    if gates:
        # Whose they are, which the scheduler does not say.
        message = f"{message}: {', '.join(gate.name for gate in gates)}"
    saying = Saying(_UNSCHEDULED[condition.reason], message)
    return Verdict(phase=view.starting_phase, saying=saying, status=view.status, live=True)


def starting(view: View) -> Verdict | None:
    """The pod is on its way, or its runner is opening the log."""
    if view.pod is None or view.claimed:
        return None
    return _starting(view)


def running(view: View) -> Verdict | None:
    """The runner of this attempt holds the log. What stalled the one before stands until it has recorded more."""
    # A refused key, for one, shows only after the claim: each retry would look healed for as long as it lasts.
    if view.pod is None:
        return None
    entry = view.status.current
    where = f" on node {entry.node}" if entry and entry.node else ""
    saying = Saying(Reason.WORKING, f"Attempt {view.status.attempt} works in pod {view.pod.metadata.name}{where}.")
    stalls = account.fresh(status=view.status, task=view.task).stalls
    stalled = _blamed_before(view) if stalls else None
    return Verdict(phase=Phase.RUNNING, saying=saying, status=view.status, live=True, stalled=stalled)


def exhausted(view: View) -> Verdict | None:
    """It failed more often than allowed without a new step."""
    retry = account.fresh(status=view.status, task=view.task)
    entry = view.status.current
    if entry is None or retry.failures <= view.policy.max_failures:
        return None
    last = f"the last, attempt {entry.attempt}: {entry.reason}: {entry.message or ''}"
    if view.task.checkpoint is None or view.task.checkpoint.step == 0:
        saying = Saying(Reason.RETRIES_EXHAUSTED, f"{retry.failures} failures and no step recorded; {last}")
        return Verdict(phase=Phase.FAILED, saying=saying, status=view.status)
    stalled = Saying(Reason.POISON_CHECKPOINT, f"{retry.failures} failures since the last new step; {last}")
    return Verdict(phase=view.idle_phase, saying=stalled, status=view.status, stalled=stalled)


def invalid(view: View) -> Verdict | None:
    """Nothing can be started from this spec."""
    if view.problem is None:
        return None
    until = view.second + SOURCE_AGAIN if view.problem.reason in _PASSING else None
    return Verdict(phase=view.idle_phase, saying=view.problem, status=_wanting(view), stalled=view.problem, until=until)


def parked(view: View) -> Verdict | None:
    """The run waits for a time, or for a larger budget: no pod until then. Someone is needed where no time is ahead."""
    wake, entry = view.status.wake, view.status.current
    if wake is None or wake.met or entry is None or view.plan is None:
        return None
    if contract.is_met(wake, budget=view.plan.spec.budget, now=view.now):
        return None
    saying = _said(entry)
    until = wake.not_before if wake.not_before is not None and view.now < wake.not_before else None
    stalled = saying if until is None else None
    return Verdict(phase=view.idle_phase, saying=saying, status=view.status, stalled=stalled, until=until)


def waiting(view: View) -> Verdict | None:
    """The next attempt is due later; an edit of the spec brings it forward."""
    retry = account.fresh(status=view.status, task=view.task)
    entry = view.status.current
    if entry is None or retry.not_before is None or view.now >= retry.not_before:
        return None
    blamed = _blamed(entry)
    saying = blamed or Saying(
        Reason.BACKING_OFF, f"Attempt {entry.attempt} ended: {entry.reason}: {entry.message or ''}"
    )
    return Verdict(phase=view.idle_phase, saying=saying, status=view.status, stalled=blamed, until=retry.not_before)


def start(view: View) -> Verdict | None:
    """Raise the attempt. Its pod is made only after this is recorded."""
    assert view.plan is not None  # noqa: S101 - `invalid` comes first
    raised = raised_attempt(view)
    if raised.location is None:
        raised = replace(raised, location=view.plan.location)
    raised = replace(raised, forked_from=view.origin, starting_since=_wanting(view).starting_since)
    return _starting(replace(view, status=raised), create=True)


def raised_attempt(view: View, *, purge: bool = False) -> Status:
    """The status with the next attempt, whose number is above all that were met."""
    before = view.status.current
    met = before.newest_attempt if before is not None else None
    number = max(view.status.attempt, met or 0) + 1
    pod = contract.pod_name(task=view.task.metadata.name, attempt=number)
    limit = None if purge else memory.limit(spec=view.task.spec, status=view.status)
    return account.opened(status=view.status, attempt=number, pod=pod, now=view.second, memory_limit=limit, purge=purge)


Rule = Callable[[View], Verdict | None]

RULES: Final[tuple[Rule, ...]] = (
    settled,
    cancelled,
    timed_out,
    suspended,
    never_started,
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
    parked,
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
) -> Verdict:
    """An open attempt that holds no log yet. What stalled the one before stands until this one has come further."""
    stalled = stalled or _blamed_before(view)
    entry = view.status.current
    pod = entry.pod if entry else ""
    point = view.task.checkpoint or view.status.forked_from
    source = f" and goes on from {point.key}" if point else ""
    saying = Saying(Reason.STARTING, f"Attempt {view.status.attempt} starts in pod {pod}{source}.")
    return Verdict(
        phase=view.starting_phase,
        saying=stalled or saying,
        status=view.status,
        live=True,
        create=create,
        stalled=stalled,
        until=until,
    )


def _failed(view: View, *, saying: Saying, status: Status) -> Verdict:
    """Failed, and how a new task goes on from what is recorded."""
    point = view.task.checkpoint
    if point is not None:
        stanza = f"resumeFrom: {{task: {view.task.metadata.name}, key: {point.key}}}"
        saying = Saying(saying.reason, f"{saying.message}; a new task goes on from here with {stanza}")
    return Verdict(phase=Phase.FAILED, saying=saying, status=status)


def _stopping(view: View, *, asked: Reason) -> Verdict:
    saying = Saying(Reason.STOPPING, f"{ASKED[asked]}; attempt {view.status.attempt} records what it has and stops.")
    return Verdict(phase=view.status.phase or view.starting_phase, saying=saying, status=view.status)


def _wanting(view: View) -> Status:
    """The status with the time since which a runner is waited for."""
    return replace(view.status, starting_since=view.status.starting_since or view.second)


def _blamed(entry: Attempt) -> Saying | None:
    """What the attempt stalled over, where it did."""
    return _said(entry) if entry.outcome in {Outcome.STALLED, Outcome.UNAVAILABLE} else None


def _blamed_before(view: View) -> Saying | None:
    """What the attempt before this one stalled over, where it did."""
    before = [one for one in view.status.attempts if one.attempt < view.status.attempt]
    return _blamed(before[-1]) if before else None


def _said(entry: Attempt) -> Saying:
    return Saying(entry.reason or entry.outcome or "", entry.message or "")


def _container_reason(*, reason: str, message: str) -> Reason:
    if reason in _IMAGE:
        return Reason.IMAGE_UNAVAILABLE
    if reason == "CreateContainerConfigError" and "secret" in message.lower():
        return Reason.SECRET_MISSING
    return Reason.CONTAINER_REFUSED
