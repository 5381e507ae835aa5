"""What to do about one task, now.

Pure: one frozen `Snapshot` and the time in, one `Decision` out. First the facts are folded into the status (which pod
is the current attempt's, whether and how that attempt has ended), then the ordered list of `rules` is asked what
follows; the first that knows decides. Of a task that is being deleted or has finished nothing is decided any more, but
when a finished one goes.

Whatever rule matched, at most one attempt's pod may live: every other live pod of this task is deleted.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec.structs import replace

from agenttask_operator import fold, limits, rules, status
from agenttask_operator.fold import Snapshot
from agenttask_operator.observed import Pod, Status


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


def decide(*, snapshot: Snapshot, now: datetime) -> Decision:
    """Decide about one task.

    Args:
        snapshot: all that was gathered about it.
        now: the operator's clock, aware, in UTC.
    """
    task = snapshot.task
    if task.metadata.deletion_timestamp is not None:
        return Decision(rule="deleted")
    if task.status.phase is not None and task.status.phase.terminal:
        return _finished(snapshot, now=now)
    view = fold.view(snapshot=snapshot, now=now)
    rule, verdict = next((rule, verdict) for rule in rules.RULES if (verdict := rule(view)) is not None)
    made = replace(
        verdict.status,
        observed_generation=task.metadata.generation,
        phase=verdict.phase,
        reason=verdict.saying.reason,
        message=verdict.saying.message[: status.CONDITION_CHARACTERS],
    )
    facts = status.Facts(
        generation=task.metadata.generation,
        recorded=task.checkpoint is not None,
        refused=view.problem,
        change_pending=verdict.live and view.changed,
        suspended=rule is rules.suspended and not verdict.live and not view.open,
        stalled=verdict.stalled,
    )
    made = replace(made, conditions=status.conditions(status=made, facts=facts, now=view.second))
    times = (verdict.until, view.deadline, limits.next_at(spec=task.spec, status=made, now=now))
    until = min((time for time in times if time is not None), default=None)
    return Decision(
        rule=rule.__name__,
        status=made if made != task.status else None,
        create=verdict.create,
        delete=_doomed(snapshot, keep=made.attempt if verdict.live else None),
        after_seconds=_after(until, now=now),
    )


def _finished(snapshot: Snapshot, *, now: datetime) -> Decision:
    """A finished task is left alone, and deleted when its time is over."""
    task = snapshot.task
    expiry = limits.expires_at(spec=task.spec, status=task.status)
    if expiry is not None and now >= expiry:
        return Decision(rule="expired", remove=True)
    return Decision(rule="finished", delete=_doomed(snapshot, keep=None), after_seconds=_after(expiry, now=now))


def _after(time: datetime | None, *, now: datetime) -> float | None:
    return max(0.0, (time - now).total_seconds()) if time is not None else None


def _doomed(snapshot: Snapshot, *, keep: int | None) -> tuple[Doomed, ...]:
    """Every live pod but the one that may live, and every ended one but the newest, which has the logs."""
    recorded = snapshot.task.status
    newest = max((pod.attempt or 0 for pod in snapshot.pods if pod.over), default=0)
    over = recorded.phase is not None and recorded.phase.terminal

    def stays(pod: Pod) -> bool:
        if pod.metadata.deletion_timestamp is not None:
            return True
        if not over and (pod.attempt or 0) > recorded.attempt:
            # Whoever raised that attempt has seen more than this snapshot.
            return True
        if pod.over:
            return pod.attempt == newest
        if pod.runner.terminated is not None and not pod.held:
            return True
        return keep is not None and pod.attempt == keep

    return tuple(Doomed(pod.metadata.name, pod.metadata.uid) for pod in snapshot.pods if not stays(pod))
