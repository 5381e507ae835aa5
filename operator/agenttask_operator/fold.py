"""The facts of one task, folded into its status: what the rules of `decide` look at.

Pure. Here it is found out which pod is the current attempt's, and whether that attempt has ended:

    no pod, UID recorded          vanished: ended; what it said last tells why
    no pod, no UID                not created yet, unless another pod has its name: number given up
    runner terminated, pod over   ended, as `exits` reads it
    node lost for 30 s            ended, whether or not the pod is being deleted
    deleted, and 10 s overdue     ended: an unreachable node never confirms a deletion
    not started, made from an     number given up: a fixed image name heals at once
    older spec
    else                          open

Ending an attempt under an unreachable runner is safe: only the log decides who may write, and the next claim fences it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from agenttask import contract
from msgspec.structs import replace

from agenttask_operator import account, exits, forks, guarding, limits, pods, unreported
from agenttask_operator.exits import End
from agenttask_operator.forks import ForkRefusedError
from agenttask_operator.guarding import Guarding
from agenttask_operator.observed import Attempt, Complaint, Counts, Outcome, Phase, Pod, Status, Task
from agenttask_operator.pods import Plan, SpecInvalidError
from agenttask_operator.reasons import Reason
from agenttask_operator.settings import Settings
from agenttask_operator.status import Saying

NODE_LOST: Final = timedelta(seconds=30)
OVERDUE: Final = timedelta(seconds=10)
SLOW: Final = timedelta(seconds=5)
"""After which a pod that its node is still setting up is asked about."""
ASKED_AGAIN: Final = (timedelta(seconds=15), timedelta(minutes=5))
"""The least and the most until it is asked about again: the server goes through all Events of the namespace for it."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why the pod of an attempt could not be created, as the server said it."""

    attempt: int
    generation: int
    message: str
    times: int
    retry_at: datetime
    namespace_ends: bool = False
    """No pod is made in this namespace any more: it is being deleted."""
    name_taken: bool = False
    """A pod of that name exists and is not this attempt's."""
    may_have_run: bool = False
    """It was, though, before it lost its labels."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All that is gathered about one task. `pods` are those this very task (by UID) controls."""

    task: Task
    pods: tuple[Pod, ...]
    settings: Settings
    departed: Pod | None = None
    """The current attempt's pod as last seen, if it was seen to be deleted: evidence of why, never of whether."""
    gone: tuple[Pod, ...] = ()
    """Pods of `status.unreported` as last seen before they were deleted."""
    refusal: Refusal | None = None
    complaint: Complaint | None = None
    """What the kubelet says of the current pod, if that is `slow`."""
    guarding: Guarding | None = None
    """The last writes of its finalizer."""
    source: Task | None = None
    """The task that a fork not yet resolved is to go on from, if it exists."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot after folding. `pod` is the open attempt's, None where no attempt is open or it has none."""

    task: Task
    now: datetime
    status: Status
    policy: contract.Retry
    pod: Pod | None
    open: bool
    plan: Plan | None
    origin: contract.ForkedFrom | None
    """Of a fork: what it goes on from."""
    problem: Saying | None
    """Why nothing can be started now."""
    changed: bool
    """The pod was made from another spec than the present one."""
    refusal: Refusal | None
    complaint: Complaint | None
    asked: Reason | None
    """Why the user wants no runner, where that is so: one of `ASKED`."""
    deadline: datetime | None
    """When time alone may change the facts."""

    @property
    def second(self) -> datetime:
        """Now, to the second: what goes into the status."""
        return self.now.replace(microsecond=0)

    @property
    def claimed(self) -> bool:
        """Whether the runner of the newest attempt has reported from the log."""
        return self.task.checkpoint is not None and self.task.checkpoint.attempt == self.status.attempt

    @property
    def idle_phase(self) -> Phase:
        """The phase without a runner."""
        return Phase.CHECKPOINTED if self.task.checkpoint is not None else Phase.PENDING

    @property
    def starting_phase(self) -> Phase:
        """The phase while a runner is on its way."""
        return Phase.RESUMING if self.task.checkpoint is not None else Phase.PENDING


def view(*, snapshot: Snapshot, now: datetime) -> View:
    """Fold the facts into the status."""
    task = snapshot.task
    plan, problem = _plan(snapshot)
    origin = task.status.forked_from
    if plan is not None and plan.spec.resume_from is not None and origin is None:
        origin, problem = _origin(snapshot, plan=plan, resume=plan.spec.resume_from)
    problem = problem or guarding.missing(task)
    wanted = pods.digest(task=task, plan=plan, settings=snapshot.settings) if plan is not None else None
    status = _with_entry(task, now=now)
    if task.went_on:
        status = replace(status, wake=None)
    pod = _pod_of(status=status, found=snapshot.pods) if is_open(status) else None
    second = now.replace(microsecond=0)
    status = _noticed(status=status, pod=pod, task=task, now=second)
    asked = _asked(task, status=status, now=now)
    policy = _policy(task.spec)
    refusal = _standing(snapshot.refusal, status=status, task=task)
    end: End | None = None
    lost: Iterable[int] = ()
    if is_open(status):
        end = _end(snapshot=snapshot, status=status, pod=pod, wanted=wanted, refusal=refusal, asked=asked, now=now)
    if end is not None:
        end = _asked_for(end=end, asked=asked)
        node = pod.spec.node_name if pod is not None else None
        status = account.close(status=status, end=end, node=node, task=task, policy=policy, now=second)
        if end.outcome is Outcome.FENCED:
            lost = unreported.unknown(attempt=status.attempt, newest=end.newest_attempt)
        elif _is_lost(snapshot=snapshot, status=status, pod=pod, refusal=refusal):
            lost = (status.attempt,)
        pod = None
    status = _reported(status, snapshot=snapshot, lost=lost)
    return View(
        task=task,
        now=now,
        status=status,
        policy=policy,
        pod=pod,
        open=is_open(status),
        plan=plan,
        origin=origin,
        problem=problem,
        changed=pod is not None and pod.made_from_other(wanted),
        refusal=refusal,
        complaint=snapshot.complaint if pod is not None and slow(pod, now=now) else None,
        asked=asked,
        deadline=_deadline(pod, now=now),
    )


def slow(pod: Pod, *, now: datetime) -> bool:
    """Whether its node has been setting it up for so long that the reason is worth asking for."""
    return pod.held_up_since is not None and now >= pod.held_up_since + SLOW


def current_pod(*, task: Task, found: tuple[Pod, ...]) -> Pod | None:
    """The pod of the attempt that is open, if it has one."""
    return _pod_of(status=task.status, found=found) if is_open(task.status) else None


def is_open(status: Status) -> bool:
    """Whether its newest attempt has not ended."""
    entry = status.current
    over = status.phase is not None and status.phase.terminal
    return entry is not None and entry.end is None and (entry.purge or not over)


def _plan(snapshot: Snapshot) -> tuple[Plan | None, Saying | None]:
    try:
        return pods.plan(task=snapshot.task, settings=snapshot.settings), None
    except SpecInvalidError as error:
        return None, Saying(Reason.SPEC_INVALID, str(error))


def _origin(
    snapshot: Snapshot, *, plan: Plan, resume: contract.ResumeFrom
) -> tuple[contract.ForkedFrom | None, Saying | None]:
    namespace = snapshot.task.metadata.namespace
    try:
        return forks.resolve(resume=resume, location=plan.location, namespace=namespace, source=snapshot.source), None
    except ForkRefusedError as error:
        return None, Saying(error.reason, str(error))


def _policy(spec: dict[str, Any]) -> contract.Retry:
    """`spec.retry`; its defaults where the spec cannot be read, which is reported elsewhere."""
    try:
        return msgspec.convert(spec.get("retry", {}), contract.Retry)
    except msgspec.ValidationError:
        return contract.Retry()


def _with_entry(task: Task, *, now: datetime) -> Status:
    """The recorded status; an attempt whose entry someone removed gets it back, open."""
    status = task.status
    if status.attempt == 0 or status.current is not None:
        return status
    pod = contract.pod_name(task=task.metadata.name, attempt=status.attempt)
    entry = Attempt(attempt=status.attempt, pod=pod, start=now.replace(microsecond=0))
    return replace(status, attempts=(*status.attempts, entry)[-account.KEPT_ATTEMPTS :])


def _pod_of(*, status: Status, found: tuple[Pod, ...]) -> Pod | None:
    """The recorded pod; before one is recorded, the one that carries the attempt's number (a create before a crash)."""
    if status.pod_uid is not None:
        return next((pod for pod in found if pod.metadata.uid == status.pod_uid), None)
    return next((pod for pod in found if pod.attempt == status.attempt), None)


def _noticed(*, status: Status, pod: Pod | None, task: Task, now: datetime) -> Status:
    """Record the pod, its node, that its runner holds the log and what it went on from."""
    entry = status.current
    if entry is None or entry.end is not None:
        return status
    if pod is not None:
        status = replace(status, pod_uid=pod.metadata.uid)
    point = task.checkpoint
    if point is not None and point.attempt == status.attempt:
        if pod is not None:
            # Known since scheduling, and recorded only now: an undisturbed start costs no write for it.
            entry = replace(entry, node=pod.spec.node_name or entry.node)
        entry = replace(entry, claimed=entry.claimed or now)
        status = replace(status, starting_since=None)
        counts = status.counts or Counts()
        # A runner that meets more damage behind its claim claims once more, from further back: the newest word counts.
        if point.damage is not None and point.damage.message != entry.damage:
            more = max(0, point.damage.lost_records - entry.lost_records)
            counts = replace(counts, lost_records=counts.lost_records + more)
            entry = replace(entry, damage=point.damage.message, lost_records=entry.lost_records + more)
        if point.resumed_from and entry.resumed_from is None:
            counts = replace(counts, resumes=counts.resumes + 1)
        entry = replace(entry, resumed_from=point.resumed_from)
        if counts != Counts():
            status = replace(status, counts=counts)
    attempts = tuple(entry if one.attempt == entry.attempt else one for one in status.attempts)
    return replace(status, attempts=attempts)


def _is_lost(*, snapshot: Snapshot, status: Status, pod: Pod | None, refusal: Refusal | None) -> bool:
    """Whether the attempt that has just ended had a pod of which nothing can be seen any more."""
    if pod is not None or snapshot.departed is not None:
        return False
    return status.pod_uid is not None or (refusal is not None and refusal.may_have_run)


def _reported(status: Status, *, snapshot: Snapshot, lost: Iterable[int]) -> Status:
    over = status.attempt - 1 if is_open(status) else status.attempt
    seen = (*snapshot.gone, *((snapshot.departed,) if snapshot.departed else ()), *snapshot.pods)
    listed = unreported.noted(status, pods=seen, over=over, lost=lost)
    return replace(status, unreported=listed)


def _standing(refusal: Refusal | None, *, status: Status, task: Task) -> Refusal | None:
    """The refusal, as long as it speaks of this attempt and this spec."""
    if refusal is None or refusal.attempt != status.attempt or refusal.generation != task.metadata.generation:
        return None
    return refusal


def _end(
    *,
    snapshot: Snapshot,
    status: Status,
    pod: Pod | None,
    wanted: str | None,
    refusal: Refusal | None,
    asked: Reason | None,
    now: datetime,
) -> End | None:
    """How the open attempt has ended, or None while it has not."""
    if pod is None:
        return _end_without_pod(snapshot=snapshot, status=status, wanted=wanted, refusal=refusal, asked=asked)
    if pod.ended:
        return exits.how(pod, attempt=status.attempt)
    lost = _node_lost_at(pod)
    if lost is not None and now >= lost:
        node = pod.spec.node_name or "unknown"
        message = f"The control plane lost node {node}, which ran pod {pod.metadata.name}."
        return End(outcome=Outcome.DISRUPTED, reason=Reason.NODE_LOST, message=message)
    overdue = _overdue_at(pod)
    if overdue is not None:
        return exits.how(pod, attempt=status.attempt) if now >= overdue else None
    if not pod.started and pod.made_from_other(wanted):
        message = "The spec was edited before the runner started."
        return End(outcome=Outcome.REPLACED, reason=Reason.SPEC_CHANGED, message=message)
    return None


def _end_without_pod(
    *, snapshot: Snapshot, status: Status, wanted: str | None, refusal: Refusal | None, asked: Reason | None
) -> End | None:
    if status.pod_uid is not None:
        return _vanished(status=status, departed=snapshot.departed)
    name = contract.pod_name(task=snapshot.task.metadata.name, attempt=status.attempt)
    if refusal is not None and refusal.name_taken:
        message = f"Another pod is named {name}; the next number is used."
        return End(outcome=Outcome.REPLACED, reason=Reason.NAME_TAKEN, message=message)
    if asked is not None:
        return End(outcome=Outcome.STOPPED, reason=asked, message=f"Pod {name} was not created.")
    if wanted is None:
        message = "The spec was edited before the pod was created."
        return End(outcome=Outcome.REPLACED, reason=Reason.SPEC_CHANGED, message=message)
    return None


def _vanished(*, status: Status, departed: Pod | None) -> End:
    if departed is None:
        entry = status.current
        message = f"Pod {entry.pod if entry else ''} is gone and nothing says why."
        return End(outcome=Outcome.DISRUPTED, reason=Reason.VANISHED, message=message)
    end = exits.how(departed, attempt=status.attempt)
    if end.reason == Reason.VANISHED:
        return replace(end, reason=Reason.DELETED, message=f"Pod {departed.metadata.name} was deleted.")
    return end


ASKED: Final = {
    Reason.CANCELLED: "spec.cancel is set",
    Reason.SUSPENDED: "spec.suspend is set",
    Reason.DEADLINE_EXCEEDED: "spec.activeDeadlineSeconds is over",
    Reason.PURGING: "the task is being deleted",
}
"""Why a user wants no runner, in words."""


def _asked(task: Task, *, status: Status, now: datetime) -> Reason | None:
    """Whether the user wants no runner, even if the rest of the spec cannot be read."""
    if task.metadata.deletion_timestamp is not None:
        return Reason.PURGING if status.current is None or not status.current.purge else None
    if task.spec.get("cancel") is True:
        return Reason.CANCELLED
    if limits.used_up(spec=task.spec, status=status, now=now):
        return Reason.DEADLINE_EXCEEDED
    return Reason.SUSPENDED if task.spec.get("suspend") is True else None


def _asked_for(*, end: End, asked: Reason | None) -> End:
    """A pod this operator deleted because the user asked was not disrupted."""
    if asked is None or end.outcome is not Outcome.DISRUPTED:
        return end
    return End(outcome=Outcome.STOPPED, reason=asked, message=f"Stopped because {ASKED[asked]}.")


def _node_lost_at(pod: Pod) -> datetime | None:
    """When the node counts as lost: its kubelet said nothing of the containers, the control plane took Ready away."""
    ready, containers = pod.condition("Ready"), pod.condition("ContainersReady")
    if ready is None or ready.status != "False" or ready.reason == "ReadinessGatesNotReady":
        return None
    if containers is None or containers.status != "True" or ready.last_transition_time is None:
        return None
    return ready.last_transition_time + NODE_LOST


def _overdue_at(pod: Pod) -> datetime | None:
    """When a deleted pod is waited for no longer. Its deletionTimestamp includes the grace."""
    deleted = pod.metadata.deletion_timestamp
    return deleted + OVERDUE if deleted is not None else None


def _deadline(pod: Pod | None, *, now: datetime) -> datetime | None:
    if pod is None:
        return None
    times = (_node_lost_at(pod), _overdue_at(pod), _asked_at(pod, now=now))
    return min((at for at in times if at is not None), default=None)


def _asked_at(pod: Pod, *, now: datetime) -> datetime | None:
    """When to ask about a pod that its node is setting up, and ask again: no event of the pod tells."""
    if pod.held_up_since is None:
        return None
    if not slow(pod, now=now):
        return pod.held_up_since + SLOW
    least, most = ASKED_AGAIN
    return now + min(max(now - pod.held_up_since, least), most)
