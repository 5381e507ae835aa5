"""What the end of an attempt costs: its entry, the totals, and how long the next one waits.

Pure. A disruption is never a failure, a stall is never a failure, and the numbers that decide about waiting and giving
up start anew with every new step and every edit of the spec: what went wrong before either says nothing about now.
Fenced attempts alone are counted through new steps: of two clusters that work on one log, each makes some.
"""

from __future__ import annotations

import hashlib
import math
from datetime import datetime, timedelta
from typing import Final

from agenttask import contract
from msgspec.structs import replace

from agenttask_operator import limits, memory
from agenttask_operator.exits import End
from agenttask_operator.observed import Attempt, Counts, Outcome, Retry, Status, Task, Waking

MAX_DISRUPTION_SECONDS: Final = 60
MAX_STALL_SECONDS: Final = 300
FIRST_STALL_SECONDS: Final = 5
MAX_SILENT_EXITS: Final = 3
KEPT_ATTEMPTS: Final = 10
MESSAGE_CHARACTERS: Final = 2048


def close(*, status: Status, end: End, node: str | None, task: Task, policy: contract.Retry, now: datetime) -> Status:
    """The status once its open attempt has ended that way, with `retry.notBefore` set where the next has to wait."""
    retry = fresh(status=status, task=task)
    end = _believe(end=end, retry=retry, purges=status.current is not None and status.current.purge)
    more = memory.more(spec=task.spec, status=status, end=end)
    if more is not None:
        end = replace(end, message=f"{end.message} The next attempt gets {more}.")
        counts = status.counts or Counts()
        counts, wait = replace(counts, ooms=counts.ooms + 1), 0.0
    else:
        counts, retry = _count(end=end, counts=status.counts or Counts(), retry=retry)
        wait = _wait_seconds(end=end, retry=retry, policy=policy)
    if wait:
        wait *= 1 - 0.25 * _jitter(uid=task.metadata.uid, attempt=status.attempt)
    not_before = now + timedelta(seconds=math.ceil(wait)) if wait else None
    entries = (
        _closed(one, end=end, node=node, now=now) if one.attempt == status.attempt else one for one in status.attempts
    )
    made = replace(
        status,
        active_seconds=int(limits.worked(status=status, now=now).total_seconds()),
        attempts=tuple(entries),
        counts=counts,
        retry=replace(retry, not_before=not_before),
    )
    if end.outcome is not Outcome.PARKED or end.parked is None:
        return made
    wake = end.parked.wake
    waking = Waking(park=end.parked.park, not_before=wake.not_before, budget_above=wake.budget_above)
    # It has held the log, whether or not it was heard of: no runner is waited for now.
    return replace(made, wake=waking, starting_since=None)


def fresh(*, status: Status, task: Task) -> Retry:
    """The numbers as they count now: zero after a new step or an edit."""
    digest = task.checkpoint.progress_digest if task.checkpoint else None
    retry = status.retry
    if retry is None or retry.generation != task.metadata.generation:
        return Retry(generation=task.metadata.generation, progress_digest=digest)
    if retry.progress_digest != digest:
        return Retry(generation=task.metadata.generation, progress_digest=digest, fences=retry.fences)
    return retry


def opened(
    *, status: Status, attempt: int, pod: str, now: datetime, memory_limit: str | None = None, purge: bool = False
) -> Status:
    """The status with a new attempt, whose pod is not known yet. What a run was parked for has come about by then."""
    entry = Attempt(attempt=attempt, pod=pod, start=now, memory_limit=memory_limit, purge=purge)
    wake = replace(status.wake, met=True) if status.wake is not None else None
    return replace(
        status,
        attempt=attempt,
        pod_uid=None,
        attempts=_kept((*status.attempts, entry)),
        counts=status.counts or Counts(),
        wake=wake,
    )


def _kept(entries: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """The newest, and the first purge, however many followed it: it tells for how long the log has been tried."""
    first = next((entry for entry in entries if entry.purge), None)
    newest = entries[-KEPT_ATTEMPTS:]
    return newest if first is None or first in newest else (first, *newest[1:])


def _believe(*, end: End, retry: Retry, purges: bool) -> End:
    """What counts as a crash: exit code 0 without a word, after three such accidents; a purge nobody asked for."""
    silent = end.outcome is Outcome.SILENT and retry.silent_exits >= MAX_SILENT_EXITS
    if silent or (end.outcome is Outcome.PURGED and not purges):
        return End(outcome=Outcome.CRASHED, reason=end.reason, message=end.message)
    return end


def _count(*, end: End, counts: Counts, retry: Retry) -> tuple[Counts, Retry]:  # noqa: PLR0911 - one per outcome
    if end.outcome is not Outcome.REPLACED:
        retry = replace(retry, fences=retry.fences + 1 if end.outcome is Outcome.FENCED else 0)
    match end.outcome:
        case Outcome.DISRUPTED:
            return (
                replace(counts, disruptions=counts.disruptions + 1),
                replace(retry, disruptions=retry.disruptions + 1),
            )
        case Outcome.CRASHED:
            return replace(counts, failures=counts.failures + 1), replace(retry, failures=retry.failures + 1)
        case Outcome.OOM_KILLED:
            more = replace(counts, failures=counts.failures + 1, ooms=counts.ooms + 1)
            return more, replace(retry, failures=retry.failures + 1)
        case Outcome.STALLED | Outcome.UNAVAILABLE:
            return counts, replace(retry, stalls=retry.stalls + 1)
        case Outcome.PARKED:
            return counts, replace(retry, parks=retry.parks + 1)
        case Outcome.SILENT:
            return counts, replace(retry, silent_exits=retry.silent_exits + 1)
        case _:
            return counts, retry


def _wait_seconds(*, end: End, retry: Retry, policy: contract.Retry) -> float:  # noqa: PLR0911 - one per outcome
    match end.outcome:
        case Outcome.DISRUPTED:
            # One loss is bad luck and costs nothing; a row of them means the cluster is in trouble.
            return 0 if retry.disruptions == 1 else _exponential(retry.disruptions, most=MAX_DISRUPTION_SECONDS)
        case Outcome.CRASHED | Outcome.OOM_KILLED:
            return _exponential(retry.failures, most=policy.max_backoff_seconds)
        case Outcome.SILENT:
            return _exponential(retry.silent_exits, most=policy.max_backoff_seconds)
        case Outcome.FENCED:
            # Once is a late predecessor. Again and again is somebody else's operator on the same log.
            return 0 if retry.fences == 1 else _exponential(retry.fences, most=MAX_STALL_SECONDS)
        case Outcome.PARKED:
            # Woken and parked again without a step between, a runner sees something that its operator does not.
            return 0 if retry.parks == 1 else _exponential(retry.parks, most=MAX_STALL_SECONDS)
        case Outcome.STALLED | Outcome.UNAVAILABLE:
            return min(FIRST_STALL_SECONDS * 2.0 ** min(retry.stalls - 1, 16), MAX_STALL_SECONDS)
        case _:
            return 0


def _exponential(count: int, *, most: float) -> float:
    return min(2.0 ** min(count, 16), most)


def _jitter(*, uid: str, attempt: int) -> float:
    """In [0, 1), the same for the same attempt: a decision taken twice is the same decision."""
    return hashlib.sha256(f"{uid}/{attempt}".encode()).digest()[0] / 256


def _closed(entry: Attempt, *, end: End, node: str | None, now: datetime) -> Attempt:
    message = end.message[:MESSAGE_CHARACTERS] or None
    node = node or entry.node
    return replace(
        entry,
        node=node,
        end=now,
        outcome=end.outcome,
        reason=end.reason,
        message=message,
        newest_attempt=end.newest_attempt,
    )
