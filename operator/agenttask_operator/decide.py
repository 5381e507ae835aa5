"""What to do about one task, now.

Pure: one frozen `Snapshot` and the time in, one `Decision` out. First the facts are folded into the status (which pod
is the current attempt's, whether and how that attempt has ended), then the ordered list of `rules` is asked what
follows; the first that knows decides. Of a task that has finished nothing is decided any more but when it goes, and of
one that is being deleted only how its log goes with it, if it is to (`purging`).

Whatever rule matched, at most one attempt's pod may live: every other live pod of this task is deleted.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec
from msgspec.structs import replace

from agenttask_operator import fold, guarding, limits, purging, rules, status
from agenttask_operator.fold import Snapshot, View
from agenttask_operator.observed import Phase, Pod, Status
from agenttask_operator.rules import Rule, Verdict
from agenttask_operator.status import Event, Saying


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
    guard: bool | None = None
    """Whether its deletion is to wait for a purge from now on; None where that is as it should be."""
    told: tuple[Event, ...] = ()
    """What is told beside the difference between the two statuses."""
    after_seconds: float | None = None
    """When to look again, even if nothing happens until then."""

    @property
    def writes(self) -> bool:
        """Whether carrying it out changes anything in the cluster."""
        return self.status is not None or self.create or bool(self.delete) or self.remove or self.guard is not None


def decide(*, snapshot: Snapshot, now: datetime) -> Decision:
    """Decide about one task.

    Args:
        snapshot: all that was gathered about it.
        now: the operator's clock, aware, in UTC.
    """
    task = snapshot.task
    if task.metadata.deletion_timestamp is not None:
        return _deleted(snapshot, now=now)
    held: datetime | None = None
    if task.to_be_purged is not task.guarded:
        held = guarding.held_until(snapshot.guarding, task=task, now=now)
        if held is None:
            return Decision(rule="guarded" if task.to_be_purged else "unguarded", guard=task.to_be_purged)
    if task.status.phase is not None and task.status.phase.terminal:
        return _finished(snapshot, held=held, now=now)
    view = fold.view(snapshot=snapshot, now=now)
    rule, verdict = next((rule, verdict) for rule in rules.RULES if (verdict := rule(view)) is not None)
    made = _status(verdict, view=view, phase=verdict.phase, saying=verdict.saying)
    made = _with_conditions(made, verdict=verdict, view=view, suspended=rule is rules.suspended)
    limit = limits.next_at(spec=task.spec, status=made, now=now)
    return _decision(
        snapshot, rule=rule, verdict=verdict, made=made, times=(verdict.until, view.deadline, limit, held), now=now
    )


def _deleted(snapshot: Snapshot, *, now: datetime) -> Decision:
    """A task that is being deleted is brought to where nothing holds it any more."""
    task = snapshot.task
    if not task.guarded:
        return Decision(rule="deleted")
    held = guarding.held_until(snapshot.guarding, task=task, now=now)
    if held is not None:
        return Decision(rule="held", after_seconds=_after(held, now=now))
    if purging.is_needless(task):
        return Decision(rule="released", guard=False)
    view = fold.view(snapshot=snapshot, now=now)
    if purging.is_purged(view):
        return Decision(rule="purged", guard=False)
    why = purging.given_up(view)
    if why is not None:
        told = status.purge_abandoned(prefix=purging.prefix(task), why=why)
        return Decision(rule="abandoned", guard=False, told=(told,))
    rule, verdict = next((rule, verdict) for rule in purging.RULES if (verdict := rule(view)) is not None)
    phase, saying = purging.said(view, verdict)
    made = _status(verdict, view=view, phase=phase, saying=saying)
    made = _with_conditions(made, verdict=verdict, view=view, suspended=False)
    times = (verdict.until, view.deadline, purging.gives_up_at(task=task, status=made))
    return _decision(snapshot, rule=rule, verdict=verdict, made=made, times=times, now=now)


def _status(verdict: Verdict, *, view: View, phase: Phase, saying: Saying) -> Status:
    return replace(
        verdict.status,
        observed_generation=view.task.metadata.generation,
        phase=phase,
        reason=saying.reason,
        message=saying.message[: status.CONDITION_CHARACTERS],
    )


def _with_conditions(made: Status, *, verdict: Verdict, view: View, suspended: bool) -> Status:
    facts = status.Facts(
        generation=view.task.metadata.generation,
        recorded=view.task.checkpoint is not None,
        refused=view.problem,
        change_pending=verdict.live and view.changed,
        suspended=suspended and not verdict.live and not view.open,
        stalled=verdict.stalled,
    )
    return replace(made, conditions=status.conditions(status=made, facts=facts, now=view.second))


def _decision(
    snapshot: Snapshot, *, rule: Rule, verdict: Verdict, made: Status, times: Iterable[datetime | None], now: datetime
) -> Decision:
    until = min((time for time in times if time is not None), default=None)
    return Decision(
        rule=rule.__name__,
        status=made if made != snapshot.task.status else None,
        create=verdict.create,
        delete=_doomed(snapshot, keep=made.attempt if verdict.live else None),
        after_seconds=_after(until, now=now),
    )


def _finished(snapshot: Snapshot, *, held: datetime | None, now: datetime) -> Decision:
    """A finished task is left alone, and deleted when its time is over."""
    task = snapshot.task
    expiry = limits.expires_at(spec=task.spec, status=task.status)
    if expiry is not None and now >= expiry:
        return Decision(rule="expired", remove=True)
    due = min((time for time in (expiry, held) if time is not None), default=None)
    # Who waits for an edit to be seen would wait for ever.
    seen = replace(task.status, observed_generation=task.metadata.generation)
    return Decision(
        rule="finished",
        status=seen if seen != task.status else None,
        delete=_doomed(snapshot, keep=None),
        after_seconds=_after(due, now=now),
    )


def _after(time: datetime | None, *, now: datetime) -> float | None:
    return max(0.0, (time - now).total_seconds()) if time is not None else None


def _doomed(snapshot: Snapshot, *, keep: int | None) -> tuple[Doomed, ...]:
    """Every live pod but the one that may live, and every ended one but the newest, which has the logs."""
    recorded = snapshot.task.status
    newest = max((pod.attempt or 0 for pod in snapshot.pods if pod.over), default=0)
    deleted = snapshot.task.metadata.deletion_timestamp is not None
    over = recorded.phase is not None and recorded.phase.terminal and not deleted

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
