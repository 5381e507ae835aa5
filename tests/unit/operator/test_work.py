"""When a worker hands a key back to the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from agenttask_operator.answers import ClusterError, ConflictError, NotFoundError
from agenttask_operator.handlers import SHOWN_SECONDS
from agenttask_operator.main import CONFLICT_SECONDS, work
from agenttask_operator.queue import Queue
from agenttask_operator.reconcile import Key, Reconciler

KEY = Key("agents", "triage")


class Timers:
    """What was to be called later, and when."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def later(self, seconds: float, _: Callable[[], None]) -> asyncio.TimerHandle:
        self.seconds.append(seconds)
        return asyncio.get_running_loop().call_later(3600, lambda: None)


class Told:
    """Reconciles nothing; says when to look again, and lets the worker end after the first key."""

    def __init__(self, queue: Queue[Key], *, after: float | None) -> None:
        self._queue = queue
        self._after = after

    async def reconcile(self, _: Key) -> float | None:
        self._queue.close()
        return self._after


@pytest.mark.parametrize(
    ("after", "want"),
    [(None, []), (0, [SHOWN_SECONDS]), (0.2, [SHOWN_SECONDS]), (30, [30])],
    ids=["not at all", "at once", "in a moment", "later"],
)
async def test_a_key_that_is_to_come_again_at_once_leaves_the_watches_a_moment_to_bring_it(
    after: float | None, want: list[float]
) -> None:
    timers = Timers()
    queue: Queue[Key] = Queue(later=timers.later)
    queue.add(KEY)
    await work(queue=queue, reconciler=cast(Reconciler, cast(Any, Told(queue, after=after))))
    assert timers.seconds == want
    assert len(queue) == 0


class Contested:
    """Finds the task changed under it, so many times, then as it should be."""

    def __init__(self, queue: Queue[Key], *, errors: list[ClusterError]) -> None:
        self._queue = queue
        self._errors = errors

    async def reconcile(self, key: Key) -> float | None:
        if not self._errors:
            self._queue.close()
            return None
        # Not to wait for the delay.
        self._queue.add(key)
        raise self._errors.pop()


async def test_a_conflict_is_looked_at_again_at_once_and_one_that_does_not_end_ever_later() -> None:
    timers = Timers()
    queue: Queue[Key] = Queue(later=timers.later)
    queue.add(KEY)
    errors = [ConflictError("changed"), NotFoundError("gone"), ConflictError("changed"), ConflictError("changed")]
    await work(queue=queue, reconciler=cast(Reconciler, cast(Any, Contested(queue, errors=errors))))
    assert timers.seconds == [CONFLICT_SECONDS * times for times in (1, 2, 4, 8)]
