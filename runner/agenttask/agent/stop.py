"""Being told to stop: no new work from then on, and a deadline for what is in flight.

A courtesy, never needed for correctness: whoever is killed instead loses the call in flight and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from agenttask.clock import Clock
from agenttask.errors import AgentTaskError

RESERVE_SECONDS: Final = 5.0
"""What is kept of the grace for the last append and the way out."""

T = TypeVar("T")


class StopRequested(AgentTaskError):  # noqa: N818 - it is no failure
    """The attempt ends here. `calling`: a model call was given up, and its reply will never be seen."""

    def __init__(self, *, calling: bool = False) -> None:
        super().__init__("stopped by a signal")
        self.calling = calling


class Stop:
    """Set once, by a signal; asked everywhere."""

    def __init__(self, *, grace_seconds: float, clock: Clock) -> None:
        self._left = max(0.0, grace_seconds - RESERVE_SECONDS)
        self._clock = clock
        self._requested = asyncio.Event()
        self._deadline = 0.0

    @property
    def requested(self) -> bool:
        """Whether nothing new may begin."""
        return self._requested.is_set()

    @property
    def overdue(self) -> bool:
        """Whether nothing in flight is waited for any more."""
        return self.requested and self._clock.monotonic() >= self._deadline

    def request(self) -> None:
        """Stop when what is in flight has ended, or at the deadline; asked again: at once."""
        now = self._clock.monotonic()
        self._deadline = now if self.requested else now + self._left
        self._requested.set()

    def refuse_new_work(self) -> None:
        """Raises `StopRequested` once a stop was requested."""
        if self.requested:
            raise StopRequested

    async def wait(self) -> None:
        """Wait for a stop."""
        await self._requested.wait()

    async def sleep(self, seconds: float) -> None:
        """Wait, unless a stop comes first: then `StopRequested`."""
        waiting = asyncio.ensure_future(self._requested.wait())
        await _first_of(asyncio.ensure_future(self._clock.sleep(seconds)), waiting)
        self.refuse_new_work()

    async def bound(self, work: Coroutine[Any, Any, T], *, calling: bool) -> T:
        """Let `work` finish, but not beyond the deadline of a stop: then it is cancelled and `StopRequested` raised."""
        task = asyncio.ensure_future(work)
        if await _first_of(task, asyncio.ensure_future(self.past_deadline())):
            return task.result()
        raise StopRequested(calling=calling)

    async def past_deadline(self) -> None:
        """Wait until nothing in flight is waited for any more."""
        await self._requested.wait()
        while (left := self._deadline - self._clock.monotonic()) > 0:
            # In short steps, since a second request moves the deadline.
            await self._clock.sleep(min(left, 0.2))


async def _first_of(task: asyncio.Future[Any], other: asyncio.Future[Any]) -> bool:
    """Wait for either; whether `task` is done. Whatever is not done is cancelled and has ended on return."""
    try:
        await asyncio.wait({task, other}, return_when=asyncio.FIRST_COMPLETED)
        return task.done()
    finally:
        left = [future for future in (task, other) if not future.done()]
        for future in left:
            future.cancel()
        await asyncio.gather(*left, return_exceptions=True)
