"""Events on tasks: the first few of a kind one by one, and what goes on and on as one series that counts.

A task that fails again and again would otherwise bury, in `kubectl describe` and in etcd, what else there is to say.
The notes of what is only counted are not lost: `status.attempts` has them. What is remembered here is a convenience;
an operator that is restarted begins new series.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import msgspec

from agenttask_operator.answers import ClusterError, NotFoundError
from agenttask_operator.cluster import Cluster
from agenttask_operator.observed import Task
from agenttask_operator.status import Event

SINGLY: Final = 3
"""How many of a kind are told one by one."""
SERIES: Final = timedelta(minutes=10)
"""After how long without another one a series is over. Backoffs end at five minutes."""
KEPT: Final = 4096

logger = logging.getLogger(__name__)


class _Series(msgspec.Struct, frozen=True, kw_only=True):
    """Events of one kind on one task: what the newest is called, and how many there were."""

    name: str
    times: int
    last: datetime


class Announcer:
    """Writes Events; one that cannot be written is no reason to do anything again.

    Args:
        cluster: the API.
        clock: aware UTC time.
        reporter: this operator's name in Events.
    """

    def __init__(self, *, cluster: Cluster, clock: Callable[[], datetime], reporter: str) -> None:
        self._cluster = cluster
        self._clock = clock
        self._reporter = reporter
        self._series: dict[tuple[str, str, str, str], _Series] = {}

    async def tell(self, *, task: Task, event: Event) -> None:
        """Write an Event on the task, or count it in one that is there."""
        key = (task.metadata.uid, event.weight, event.reason, event.action)
        now = self._clock()
        # The newest goes to the end: what is dropped first has been quiet for longest.
        old = self._series.pop(key, None)
        if old is not None and now - old.last > SERIES:
            old = None
        try:
            made = await self._write(task=task, event=event, old=old, now=now)
        except ClusterError as error:
            logger.warning("Event %s not written: %s", event.reason, error)
            return
        self._series[key] = made
        if len(self._series) > KEPT:
            del self._series[next(iter(self._series))]

    async def _write(self, *, task: Task, event: Event, old: _Series | None, now: datetime) -> _Series:
        if old is not None and old.times >= SINGLY:
            # The Event that the series began with stands for one, and is the last that was told by itself.
            count = old.times - SINGLY + 2
            try:
                await self._cluster.repeat_event(task=task, name=old.name, count=count, now=now)
            except NotFoundError:
                old = None
            else:
                return _Series(name=old.name, times=old.times + 1, last=now)
        name = await self._cluster.create_event(task=task, event=event, reporter=self._reporter, now=now)
        return _Series(name=name, times=1 if old is None else old.times + 1, last=now)
