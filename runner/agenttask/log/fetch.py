"""Many reads at once, their answers in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import aclosing
from typing import Any, Final, TypeVar

FETCHES_AT_ONCE: Final = 16

T = TypeVar("T")


async def in_order(calls: Iterable[Callable[[], Coroutine[Any, Any, T]]]) -> AsyncGenerator[T, None]:
    """What each call returns, the next ones under way while one is looked at. Close it if it is left early."""
    under_way: deque[asyncio.Task[T]] = deque()
    try:
        for call in calls:
            under_way.append(asyncio.create_task(call()))
            if len(under_way) == FETCHES_AT_ONCE:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def all_of(calls: Iterable[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
    """As `in_order`, all of them."""
    async with aclosing(in_order(calls)) as answers:
        return [answer async for answer in answers]
