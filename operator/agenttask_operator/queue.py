"""A work queue of keys: each key once, one worker per key at a time, now or after a delay, earliest deadline first.

Knows nothing of tasks or of Kubernetes. A key added while it is being worked on is handed out again afterwards, so the
last event is never lost; a key added many times is handed out once. A key that can wait has a later deadline: more
urgent ones go before it, but none that comes after that deadline, so that it never starves. All methods but `get` are
synchronous and belong to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, Protocol, TypeVar

FIRST_RETRY_SECONDS = 0.25
MAX_RETRY_SECONDS = 60.0

KeyT = TypeVar("KeyT", bound=Hashable)


class Timer(Protocol):
    """What `call_later` returns."""

    def cancel(self) -> None:
        """Never call back."""

    def when(self) -> float:
        """When it is due, on the clock of `call_later`."""


Later = Callable[[float, Callable[[], None]], Timer]


class _Place(NamedTuple):
    """A key's place among those that wait; no two have the same number."""

    deadline: float
    number: int
    since: float
    """When it was first wanted."""


class QueueClosed(Exception):  # noqa: N818 - not an error
    """Nothing more is handed out."""


class Queue(Generic[KeyT]):
    """The queue.

    Args:
        later: calls back after that many seconds; an event loop's `call_later`.
        clock: monotonic seconds.
        waited: told for how many seconds a key waited for a worker.
    """

    def __init__(
        self,
        *,
        later: Later,
        clock: Callable[[], float] = time.monotonic,
        waited: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._later = later
        self._clock = clock
        self._waited = waited
        # None wakes one who waits when the queue is closed.
        self._ready: asyncio.PriorityQueue[tuple[_Place, KeyT | None]] = asyncio.PriorityQueue()
        self._numbers = itertools.count()
        self._closed = False
        self._wanted: dict[KeyT, _Place] = {}
        self._active: set[KeyT] = set()
        self._timers: dict[KeyT, Timer] = {}
        self._failures: dict[KeyT, int] = {}

    def __len__(self) -> int:
        """Keys that wait for a worker now."""
        return len(self._wanted)

    def add(self, key: KeyT, *, within: float = 0.0) -> None:
        """Hand the key out as soon as a worker is free and no other one has it.

        Args:
            key: what to work on.
            within: for how many seconds more urgent keys may go before it.
        """
        now, old = self._clock(), self._wanted.get(key)
        if old is not None and old.deadline <= now + within:
            return
        place = self._place(deadline=now + within, since=now if old is None else old.since)
        self._wanted[key] = place
        if key not in self._active:
            self._ready.put_nowait((place, key))

    def add_after(self, key: KeyT, *, seconds: float, within: float = 0.0) -> None:
        """Add the key after a delay, or earlier if something earlier is already due."""
        if seconds <= 0:
            self.add(key, within=within)
            return
        timer = self._later(seconds, lambda: self._due(key, within=within))
        old = self._timers.get(key)
        if old is not None and old.when() <= timer.when():
            timer.cancel()
            return
        if old is not None:
            old.cancel()
        self._timers[key] = timer

    async def get(self) -> KeyT:
        """The next key, and with it the duty to call `done`. Its pending delay is dropped: work makes a new one.

        Raises:
            QueueClosed: there will be none.
        """
        key = await self._next()
        self._waited(self._clock() - self._wanted.pop(key).since)
        self._active.add(key)
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        return key

    def close(self) -> None:
        """Hand out no more keys; those in hand are finished by who has them."""
        self._closed = True
        # Whoever takes this puts one for the next: nobody counts who waits.
        self._ready.put_nowait((self._place(deadline=-math.inf, since=self._clock()), None))

    def done(self, key: KeyT) -> None:
        """The work on a key is over, well or not."""
        self._active.discard(key)
        place = self._wanted.get(key)
        if place is not None:
            self._ready.put_nowait((place, key))

    def retry(self, key: KeyT, *, first: float = FIRST_RETRY_SECONDS) -> float:
        """The work failed: again, after a delay that doubles with each failure in a row. Returns it, in seconds."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        seconds = min(first * 2.0 ** min(count, 16), MAX_RETRY_SECONDS)
        self.add_after(key, seconds=seconds)
        return seconds

    def succeeded(self, key: KeyT) -> None:
        """The work went well: the next failure is the first again."""
        self._failures.pop(key, None)

    def _place(self, *, deadline: float, since: float) -> _Place:
        return _Place(deadline, next(self._numbers), since)

    async def _next(self) -> KeyT:
        while True:
            place, key = await self._ready.get()
            if key is None or self._closed:
                self.close()
                raise QueueClosed
            # Else it was given a better place since, or has been handed out.
            if self._wanted.get(key) == place:
                return key

    def _due(self, key: KeyT, *, within: float) -> None:
        self._timers.pop(key, None)
        self.add(key, within=within)
