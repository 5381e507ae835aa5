"""Setting the finalizer again and again, where something else takes it away as often, or puts it back: not at once.

Pure. A mutating webhook, or another controller that writes the whole object, would otherwise be answered without a
pause. Each write of the finalizer is remembered, in memory alone: the next one waits, twice as long each time.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec
from agenttask import contract

from agenttask_operator.observed import Task
from agenttask_operator.reasons import Reason
from agenttask_operator.status import Saying

MOST: Final = timedelta(minutes=5)
"""How long the next write waits at most; after twice that without one, waiting begins anew."""


class Guarding(msgspec.Struct, frozen=True, kw_only=True):
    """The writes of a task's finalizer, set or taken away, since its spec was edited last."""

    uid: str
    generation: int
    times: int
    last: datetime

    @property
    def again_at(self) -> datetime:
        """When the next write may come."""
        return self.last + min(timedelta(seconds=2 ** min(self.times, 16)), MOST)


def written(before: Guarding | None, *, task: Task, now: datetime) -> Guarding:
    """What to remember of a write, after those before it."""
    meta = task.metadata
    again = before is not None and _speaks_of(before, task) and now - before.last <= 2 * MOST
    times = before.times + 1 if before is not None and again else 1
    return Guarding(uid=meta.uid, generation=meta.generation, times=times, last=now)


def held_until(guarding: Guarding | None, *, task: Task, now: datetime) -> datetime | None:
    """Until when the finalizer is left as it is, though it is not as it should be; None where it may be written now."""
    if guarding is None or not _speaks_of(guarding, task) or now >= guarding.again_at:
        return None
    return guarding.again_at


def missing(task: Task) -> Saying | None:
    """Why it does not begin: nothing would have its deletion wait for the purge. One that has begun goes on."""
    if task.guarded or not task.to_be_purged or task.status.attempt:
        return None
    return Saying(
        Reason.FINALIZER_LOST,
        f"The finalizer {contract.FINALIZER} was set and is gone again: a webhook or another controller takes it away.",
    )


def _speaks_of(guarding: Guarding, task: Task) -> bool:
    return (guarding.uid, guarding.generation) == (task.metadata.uid, task.metadata.generation)
