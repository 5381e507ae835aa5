"""The times a user sets to an end: of a finished task, of all work on a task, of the wait for a runner that works.

Pure. A limit whose field does not read as the API takes it is no limit. Only this operator's own clock is read, and
nothing about the log hangs on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from agenttask_operator.observed import Status
from agenttask_operator.reasons import Kind
from agenttask_operator.status import holding


def expires_at(*, spec: Mapping[str, Any], status: Status) -> datetime | None:
    """When a finished task goes, by `ttlSecondsAfterFinished`; None for never."""
    ttl = _seconds(spec, "ttlSecondsAfterFinished")
    finished = holding(status, Kind.FINISHED)
    return finished.last_transition_time + ttl if ttl is not None and finished is not None else None


def worked(*, status: Status, now: datetime) -> timedelta:
    """For how long runners have held the log of this task, all attempts together."""
    entry = status.current
    spent = timedelta(seconds=status.active_seconds)
    if entry is None or entry.end is not None or entry.claimed is None:
        return spent
    return spent + max(timedelta(), now - entry.claimed)


def used_up(*, spec: Mapping[str, Any], status: Status, now: datetime) -> bool:
    """Whether runners have worked for all of `activeDeadlineSeconds`."""
    limit = _seconds(spec, "activeDeadlineSeconds")
    return limit is not None and worked(status=status, now=now) >= limit


def never_started(*, spec: Mapping[str, Any], status: Status, now: datetime) -> bool:
    """Whether a runner that works has been waited for longer than `retry.startDeadlineSeconds`."""
    due = _start_by(spec=spec, status=status)
    return due is not None and now >= due


def next_at(*, spec: Mapping[str, Any], status: Status, now: datetime) -> datetime | None:
    """When the first of these limits is reached; None where none is ahead."""
    if status.phase is not None and status.phase.terminal:
        return expires_at(spec=spec, status=status)
    entry, limit = status.current, _seconds(spec, "activeDeadlineSeconds")
    works = entry is not None and entry.end is None and entry.claimed is not None
    used = now + (limit - worked(status=status, now=now)) if limit is not None and works else None
    times = (used, _start_by(spec=spec, status=status))
    return min((at for at in times if at is not None and at > now), default=None)


def _start_by(*, spec: Mapping[str, Any], status: Status) -> datetime | None:
    retry = spec.get("retry")
    limit = _seconds(retry, "startDeadlineSeconds") if isinstance(retry, Mapping) else None
    return status.starting_since + limit if limit is not None and status.starting_since is not None else None


def _seconds(spec: Mapping[str, Any], field: str) -> timedelta | None:
    value = spec.get(field)
    return timedelta(seconds=value) if isinstance(value, int) else None
