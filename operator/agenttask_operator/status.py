"""Conditions and Events: how a status tells its story.

Pure. Conditions are computed whole from the facts of one decision and the conditions before it, which only lend their
transition times. Events are the difference between two statuses, so that a decision taken again says nothing again.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec
from agenttask import contract

from agenttask_operator.observed import Attempt, Condition, Outcome, Phase, Status
from agenttask_operator.reasons import Kind, Reason

CONDITION_CHARACTERS: Final = 4096
EVENT_BYTES: Final = 1024
"""What the server takes of a note, counted in UTF-8."""


class Saying(msgspec.Struct, frozen=True):
    """A reason and a sentence."""

    reason: str
    message: str


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What one decision knows beside the status; None where there is nothing to say."""

    generation: int
    recorded: bool
    refused: Saying | None = None
    """Why the spec is not accepted."""
    change_pending: bool = False
    suspended: bool = False
    stalled: Saying | None = None


def conditions(*, status: Status, facts: Facts, now: datetime) -> tuple[Condition, ...]:
    """All conditions. Accepted, Running and Checkpointed are always there, the others from the first time they hold."""
    before = {one.type: one for one in status.conditions}
    told = {
        Kind.ACCEPTED: _accepted(facts),
        Kind.RUNNING: (status.phase is Phase.RUNNING, Saying(status.reason, status.message)),
        Kind.CHECKPOINTED: _checkpointed(facts),
        Kind.DISRUPTED: _disrupted(status),
        Kind.DAMAGED: _damaged(status, old=before.get(Kind.DAMAGED)),
        Kind.SUSPENDED: _suspended(facts),
        Kind.STALLED: (facts.stalled is not None, facts.stalled or _OVER),
        **_ends(status),
    }
    made = []
    for kind, (holds, saying) in told.items():
        old = before.get(kind)
        if holds or old is not None or kind in _ALWAYS:
            made.append(_condition(kind=kind, holds=holds, saying=saying, old=old, facts=facts, now=now))
    return tuple(made)


class Weight(StrEnum):
    """Type of an Event."""

    NORMAL = "Normal"
    WARNING = "Warning"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One Event on the task. `action` is what the operator did or will do."""

    weight: Weight
    reason: str
    action: str
    note: str


def events(*, before: Status, after: Status) -> tuple[Event, ...]:
    """What happened between two statuses, oldest first."""
    known = {one.attempt: one for one in before.attempts}
    ended = [one for one in after.attempts if one.end and not known.get(one.attempt, _NEVER).end]
    told = [
        # Of the attempt that completed the task, the verdict says all there is to say.
        *(_ended(one) for one in ended if one.outcome != Outcome.COMPLETED or after.phase is not Phase.COMPLETED),
        *(_opened(one) for one in after.attempts if one.attempt not in known and one.end is None),
    ]
    told += [
        _hurt(one, lost=_lost(after) > _lost(before)) for one in after.attempts if _newly_damaged(one, known=known)
    ]
    stalled, was_stalled = holding(after, Kind.STALLED), holding(before, Kind.STALLED)
    told_so = {one.reason for one in ended if one.outcome == Outcome.STALLED}
    if stalled and stalled.reason not in told_so and (was_stalled is None or was_stalled.reason != stalled.reason):
        told.append(_event(Weight.WARNING, stalled.reason, "Stall", stalled.message))
    if after.phase is not before.phase and after.phase in _VERDICTS:
        weight = Weight.WARNING if after.phase is Phase.FAILED else Weight.NORMAL
        told.append(_event(weight, after.phase, "Finish", after.message))
    suspended = holding(after, Kind.SUSPENDED)
    if suspended and holding(before, Kind.SUSPENDED) is None:
        told.append(_event(Weight.NORMAL, suspended.reason, "Suspend", suspended.message))
    return tuple(told)


def holding(status: Status, kind: Kind) -> Condition | None:
    """The condition of that type, if it is true."""
    return next((one for one in status.conditions if one.type == kind and one.status == "True"), None)


def purge_abandoned(*, prefix: str, why: str) -> Event:
    """What is told when a task goes and leaves its log."""
    note = f"The checkpoint log below {prefix} is left: {why}."
    return _event(Weight.WARNING, Reason.PURGE_ABANDONED, "Purge", note)


def forked(*, name: str, origin: contract.ForkedFrom) -> Event:
    """What is told on the original of a fork called `name`."""
    return _event(Weight.NORMAL, "Forked", "Fork", f"AgentTask {name} goes on from {origin.key}.")


_ALWAYS: Final = {Kind.ACCEPTED, Kind.RUNNING, Kind.CHECKPOINTED}
_OVER: Final = Saying(Reason.RECOVERED, "What was wrong is over.")
_VERDICTS: Final = {Phase.COMPLETED: Kind.COMPLETE, Phase.FAILED: Kind.FAILED, Phase.CANCELLED: None}
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_NEVER: Final = Attempt(attempt=0, pod="", start=_EPOCH)


def _condition(
    *, kind: Kind, holds: bool, saying: Saying, old: Condition | None, facts: Facts, now: datetime
) -> Condition:
    state = "True" if holds else "False"
    return Condition(
        type=kind,
        status=state,
        observed_generation=facts.generation,
        last_transition_time=old.last_transition_time if old is not None and old.status == state else now,
        reason=saying.reason,
        message=saying.message[:CONDITION_CHARACTERS],
    )


def _accepted(facts: Facts) -> tuple[bool, Saying]:
    if facts.refused is not None:
        return False, facts.refused
    if facts.change_pending:
        return True, Saying(Reason.CHANGE_PENDING, "An edit of the spec applies at the next attempt.")
    return True, Saying(Reason.ACCEPTED, "The spec can be carried out.")


def _checkpointed(facts: Facts) -> tuple[bool, Saying]:
    if facts.recorded:
        return True, Saying(Reason.RECORDED, "status.checkpoint names the newest record.")
    return False, Saying(Reason.NOTHING_RECORDED, "No checkpoint has been recorded yet.")


def _disrupted(status: Status) -> tuple[bool, Saying]:
    """True from the loss of a pod until a new runner works."""
    closed = [one for one in status.attempts if one.end is not None]
    last = closed[-1] if closed else None
    if last is None or last.outcome != Outcome.DISRUPTED:
        return False, _OVER
    cause = Saying(last.reason or Reason.VANISHED, f"Attempt {last.attempt}: {last.message or last.reason}")
    if status.phase is Phase.RUNNING or (status.phase is not None and status.phase.terminal):
        return False, Saying(Reason.RECOVERED, f"Attempt {status.attempt} took over. {cause.message}")
    return True, cause


def _damaged(status: Status, *, old: Condition | None) -> tuple[bool, Saying]:
    """True from the first damage on: what a task has lost stays lost."""
    hurt = [one for one in status.attempts if one.damage is not None]
    if hurt:
        reason = Reason.RECORDS_LOST if _lost(status) else Reason.DAMAGE_FOUND
        return True, Saying(reason, f"Attempt {hurt[-1].attempt}: {hurt[-1].damage}")
    if old is not None:
        return True, Saying(old.reason, old.message)
    return False, _OVER


def _lost(status: Status) -> int:
    return status.counts.lost_records if status.counts is not None else 0


def _newly_damaged(entry: Attempt, *, known: dict[int, Attempt]) -> bool:
    return entry.damage is not None and known.get(entry.attempt, _NEVER).damage != entry.damage


def _suspended(facts: Facts) -> tuple[bool, Saying]:
    if facts.suspended:
        return True, Saying(Reason.SUSPENDED, "spec.suspend is set and no runner works.")
    return False, Saying(Reason.NOT_SUSPENDED, "spec.suspend is not set.")


def _ends(status: Status) -> dict[Kind, tuple[bool, Saying]]:
    if status.phase is None or not status.phase.terminal:
        return {}
    saying = Saying(status.reason, status.message)
    own = _VERDICTS[status.phase]
    return ({own: (True, saying)} if own else {}) | {Kind.FINISHED: (True, saying)}


def _opened(entry: Attempt) -> Event:
    return _event(Weight.NORMAL, "AttemptStarted", "Start", f"Attempt {entry.attempt} starts in pod {entry.pod}.")


def _hurt(entry: Attempt, *, lost: bool) -> Event:
    reason = Reason.RECORDS_LOST if lost else Reason.DAMAGE_FOUND
    return _event(Weight.WARNING, reason, "Resume", f"Attempt {entry.attempt}: {entry.damage}")


def _ended(entry: Attempt) -> Event:
    calm = {Outcome.COMPLETED, Outcome.STOPPED, Outcome.REPLACED, Outcome.PARKED, Outcome.PURGED}
    weight = Weight.NORMAL if entry.outcome in calm else Weight.WARNING
    note = f"Attempt {entry.attempt} ended ({entry.outcome}): {entry.message or entry.reason}"
    return _event(weight, entry.reason or "Ended", "End", note)


def _event(weight: Weight, reason: str, action: str, note: str) -> Event:
    return Event(weight=weight, reason=reason, action=action, note=note.encode()[:EVENT_BYTES].decode(errors="ignore"))
