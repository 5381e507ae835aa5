"""When a worker hands a key back to the queue."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from agenttask_operator.answers import ClusterError, ConflictError, NotFoundError
from agenttask_operator.handlers import NEWS_SECONDS, SHOWN_SECONDS
from agenttask_operator.main import CONFLICT_SECONDS, work
from agenttask_operator.queue import Queue
from agenttask_operator.reconcile import Key, Reconciler

KEY = Key("agents", "triage")


class Recorder(Queue[Key]):
    """Remembers what was to come again, after how many seconds, and within how many more."""

    def __init__(self) -> None:
        super().__init__(later=asyncio.get_running_loop().call_later)
        self.again: list[tuple[float, float]] = []

    def add_after(self, key: Key, *, seconds: float, within: float = 0.0) -> None:
        assert key == KEY
        self.again.append((seconds, within))


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
    [(None, []), (0, [(SHOWN_SECONDS, NEWS_SECONDS)]), (0.2, [(SHOWN_SECONDS, 0)]), (30, [(30, 0)])],
    ids=["not at all", "at once", "in a moment", "later"],
)
async def test_a_key_that_is_to_come_again_at_once_leaves_the_watches_a_moment_to_bring_it(
    after: float | None, want: list[tuple[float, float]]
) -> None:
    queue = Recorder()
    queue.add(KEY)
    await work(queue=queue, reconciler=cast(Reconciler, cast(Any, Told(queue, after=after))))
    assert queue.again == want
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
    queue = Recorder()
    queue.add(KEY)
    errors = [ConflictError("changed"), NotFoundError("gone"), ConflictError("changed"), ConflictError("changed")]
    await work(queue=queue, reconciler=cast(Reconciler, cast(Any, Contested(queue, errors=errors))))
    assert queue.again == [(CONFLICT_SECONDS * times, 0) for times in (1, 2, 4, 8)]
