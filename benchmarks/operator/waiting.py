"""Waiting for what nobody tells of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def until(what: str, condition: Callable[[], Awaitable[bool]], *, seconds: float, every: float = 0.1) -> None:
    """Ask until the condition holds.

    Raises:
        TimeoutError: it did not; the message says what was waited for.
    """
    try:
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(every)
    except TimeoutError:
        raise TimeoutError(f"not within {seconds:.0f} s: {what}") from None
