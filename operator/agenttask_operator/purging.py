"""The deletion of a task whose log goes with it: `checkpoint.onDelete: Delete`.

Pure. A finalizer, set before the first attempt, keeps the task until a last attempt has removed the log:

    nothing was ever written, or       the task goes
    Retain is wanted by now
    purged                             the task goes
    10 min of it are over, or the      the task goes and leaves its log: an Event and a line say where
    namespace makes no pods any more
    stopping                           an attempt is open that works on the task: its pod is deleted and waited for
    refused … starting                 the purge is open, as any attempt is
    waiting                            the last purge failed
    purge                              none is open: raise one

The purge is fenced and fences as any attempt does, so a runner that was cut off can write nothing that counts.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from agenttask import contract

from agenttask_operator import fold, places, rules
from agenttask_operator.fold import ASKED, View
from agenttask_operator.observed import Outcome, Phase, Status, Task
from agenttask_operator.reasons import Reason
from agenttask_operator.rules import Rule, Verdict
from agenttask_operator.status import Saying

PATIENCE: Final = timedelta(minutes=10)
"""How long a deletion waits for its purge: a store that is gone for good must not keep its tasks for ever.

Counted from the first purge, or from when the last runner had gone as long as none is raised: an operator that was
down for longer tries once all the same. A runner has its pod's whole grace to go, as it has where the log stays.
"""


def is_needless(task: Task) -> bool:
    """Whether nothing is to be removed from a store."""
    return not task.to_be_purged or task.status.location is None


def gives_up_at(*, task: Task, status: Status) -> datetime | None:
    """Until when its log may keep the task with this status; None while nobody deletes it, or its runner is there."""
    deleted, entry = task.metadata.deletion_timestamp, status.current
    if deleted is None or (fold.is_open(status) and entry is not None and not entry.purge):
        return None
    first = next((entry.start for entry in status.attempts if entry.purge), None)
    ends = [entry.end for entry in status.attempts if entry.end is not None]
    return (first or max([deleted, *ends])) + PATIENCE


def given_up(view: View) -> str | None:
    """Why the log is left behind, where it is."""
    if view.refusal is not None and view.refusal.namespace_ends:
        return "its namespace is being deleted"
    due = gives_up_at(task=view.task, status=view.status)
    if due is None or view.now < due or _is_to_begin(view):
        return None
    entry = view.status.current
    last = f" {entry.reason}: {entry.message}" if entry is not None and entry.purge and entry.end is not None else ""
    return f"its purge took longer than {PATIENCE.seconds // 60} minutes.{last or f' {view.task.status.message}'}"


def prefix(task: Task) -> str:
    """Where its log lies, in words."""
    place, meta = task.status.location, task.metadata
    if place is None:
        return ""
    log = contract.log_prefix(prefix=place.prefix, namespace=meta.namespace, name=meta.name, uid=meta.uid)
    return f"{log} in {places.words(place)}"


def is_purged(view: View) -> bool:
    """Whether the log is gone."""
    entry = view.status.current
    return entry is not None and entry.purge and entry.outcome == Outcome.PURGED


def stopping(view: View) -> Verdict | None:
    """A runner still works on the task: stop it, so that it writes nothing beside the purge."""
    if not view.open or view.asked is not Reason.PURGING:
        return None
    saying = Saying(Reason.PURGING, f"{ASKED[Reason.PURGING]}; attempt {view.status.attempt} stops first.".capitalize())
    return Verdict(phase=_phase(view), saying=saying, status=view.status)


def unreadable(view: View) -> Verdict | None:
    """Nothing can be started from this spec."""
    if view.open or view.problem is None:
        return None
    return Verdict(phase=_phase(view), saying=view.problem, status=view.status, stalled=view.problem)


def purge(view: View) -> Verdict | None:
    """Raise the attempt that removes the log."""
    raised = rules.raised_attempt(view, purge=True)
    return Verdict(phase=_phase(view), saying=_PURGING, status=raised, live=True, create=True)


def waiting(view: View) -> Verdict | None:
    """The last purge did not succeed; the next one is due later."""
    entry = view.status.current
    return rules.waiting(view) if entry is not None and entry.purge else None


def _is_to_begin(view: View) -> bool:
    """Whether a purge can be raised now, and none ever was."""
    return not view.open and view.problem is None and not any(entry.purge for entry in view.status.attempts)


def _phase(view: View) -> Phase:
    """One that is final stays, and so does that of a runner which is still there."""
    phase = view.status.phase
    stays = phase is not None and (phase.terminal or (view.open and view.asked is not None))
    return phase if phase is not None and stays else view.idle_phase


def said(view: View, verdict: Verdict) -> tuple[Phase, Saying]:
    """The phase and what is told, whichever rule of an attempt has spoken. How a task ended stays told."""
    status: Status = view.status
    if status.phase is not None and status.phase.terminal:
        return status.phase, Saying(status.reason, status.message)
    return _phase(view), verdict.stalled or (verdict.saying if not verdict.live else _PURGING)


RULES: Final[tuple[Rule, ...]] = (
    stopping,
    rules.refused,
    rules.creating,
    rules.terminating,
    rules.waiting_container,
    rules.held_up,
    rules.unscheduled,
    rules.starting,
    unreadable,
    waiting,
    purge,
)
"""In order, as `rules.RULES`."""

_PURGING: Final = Saying(Reason.PURGING, "The task is being deleted; its last pod removes its checkpoint log.")
