"""Pure: when a run waits without a pod, and for what.

    budget used up ───────────────────────────────▶ until the budget is larger
    account's quota used up ──────────────────────▶ 5 min, doubled each time up to 1 h, or as long as the endpoint says
    told to wait longer than a pod would ─────────▶ as long as it says
    the model calls a sleep tool ─────────────────▶ as long as it asks

The wait is an event of the log, so that whoever goes on too early knows, and goes on waiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from agenttask.agent.events import Parked, Try
from agenttask.agent.state import Call, State
from agenttask.contract import Above, RunnerReason, Wake
from agenttask.errors import AgentTaskError
from agenttask.model.failures import ModelError

QUOTA_SECONDS: Final = (300.0, 3600.0)
"""The first wait for a quota of which nobody says when there is more, and the longest one."""
LONGEST_SECONDS: Final = 86400.0
"""However long an endpoint asks to wait: it is asked again after a day."""
NAP_SECONDS: Final = 30
"""A sleep no longer than this takes less than another pod would, and is slept in this one."""


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Why a run has to wait, and for what: so many seconds, or a larger budget."""

    reason: RunnerReason
    message: str
    seconds: float | None = None
    above: Above | None = None
    calls: tuple[str, ...] = ()
    """Calls of a sleep tool that it waits out."""
    failed: tuple[Try, ...] = ()
    """What was tried of the models before."""


class Pausing(AgentTaskError):  # noqa: N818 - it is no failure
    """The run has to wait; nothing is in flight."""

    def __init__(self, pause: Pause) -> None:
        super().__init__(pause.message)
        self.pause = pause


def pause_of(error: Exception, *, state: State, jitter: float) -> Pause | None:
    """The pause that an error asks for, if it asks for one. `jitter` (0 to 1) spreads those that share an account."""
    if isinstance(error, Pausing):
        return error.pause
    if not isinstance(error, ModelError):
        return None
    seconds = error.after_seconds
    if seconds is None and error.reason is RunnerReason.MODEL_QUOTA_EXHAUSTED:
        first, most = QUOTA_SECONDS
        seconds = min(first * 2.0 ** min(state.quota_parks, 16) * (1 + jitter / 5), most)
    if seconds is None:
        return None
    return Pause(reason=error.reason, message=str(error), seconds=min(seconds, LONGEST_SECONDS), failed=error.failed)


def parked(pause: Pause, *, now: datetime) -> Parked:
    """The event that parks the run; its time is told to the second."""
    until = None
    message = pause.message
    if pause.seconds is not None:
        until = (now + timedelta(seconds=pause.seconds)).replace(microsecond=0)
        message = f"{message}; goes on at {spoken(until)}"
    wake = Wake(not_before=until, budget_above=pause.above)
    return Parked(reason=pause.reason, message=message, wake=wake, calls=pause.calls, failed=pause.failed)


def spoken(time: datetime) -> str:
    """The time of day in RFC 3339, to the second."""
    return time.replace(microsecond=0).isoformat().replace("+00:00", "Z")


def sleep_seconds(call: Call, *, sleeps: Mapping[str, int]) -> int | None:
    """For how long a call asks to sleep, None unless it is one that can. `sleeps` is the most per tool."""
    most = sleeps.get(call.tool)
    if most is None or call.problem is not None:
        return None
    seconds = msgspec.json.decode(call.arguments).get("seconds")
    valid = isinstance(seconds, int) and not isinstance(seconds, bool) and 0 < seconds <= most
    return seconds if valid else None
