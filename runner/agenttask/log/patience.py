"""How long a store may keep its caller waiting: repeats what is worth repeating, but not for ever."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from agenttask.clock import Clock
from agenttask.errors import StoreError, Unavailable
from agenttask.store.base import Entry, Source, Store

FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 5.0
GIVING_UP_SECONDS: Final = 3.0
"""What a call may still take once nobody wants to wait: a store that answers at all has answered by then."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a log goes without any answer of its store before it gives up, in seconds since the last one."""

    claim_seconds: float = 10.0
    """Until the claim is confirmed: nothing is at stake yet, and somebody may be waiting for the reason."""
    append_seconds: float = 60.0
    """From then on: work is at stake."""
    jitter: Callable[[], float] = random.random
    """Numbers in [0, 1): pauses between tries are shortened by up to half."""
    given_up: Callable[[], Awaitable[None]] | None = None
    """Returns when nobody wants to wait any more; no call lasts longer than `GIVING_UP_SECONDS` from then on."""

    def over(self, store: Store, *, clock: Clock) -> PatientStore:
        """The store with the patience of who only reads, or has not claimed yet."""
        return PatientStore(store, clock=clock, seconds=self.claim_seconds, jitter=self.jitter, given_up=self.given_up)


class PatientStore:
    """A store that repeats a call as long as that can help: `Unavailable` here means that the patience is used up.

    A put that is repeated may be refused by its own earlier try; whoever is refused must read what is there.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        seconds: float,
        jitter: Callable[[], float],
        given_up: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.seconds = seconds
        self._given_up = given_up
        self._store = store
        self._clock = clock
        self._jitter = jitter
        self._answered = clock.monotonic()

    async def get(self, key: str, *, max_bytes: int) -> bytes:
        return await self._persist(lambda: self._store.get(key, max_bytes=max_bytes))

    async def stream(self, key: str, *, offset: int = 0) -> AsyncGenerator[bytes, None]:
        body = self._store.stream(key, offset=offset)

        async def piece() -> bytes:
            nonlocal body
            try:
                return await anext(body, b"")
            except Unavailable:
                await body.aclose()
                body = self._store.stream(key, offset=offset)  # goes on where it broke off
                raise

        try:
            while got := await self._persist(piece):
                offset += len(got)
                yield got
        finally:
            await body.aclose()

    async def put_if_absent(self, key: str, body: bytes, *, first: bool, last: bool = False) -> None:
        await self._persist(lambda: self._store.put_if_absent(key, body, first=first, last=last))

    async def put_stream_if_absent(self, key: str, source: Source, *, first: bool) -> None:
        await self._persist(lambda: self._store.put_stream_if_absent(key, source, first=first))

    async def delete(self, key: str) -> None:
        await self._persist(lambda: self._store.delete(key))

    async def list(self, prefix: str, *, after: str | None) -> Sequence[Entry]:
        return await self._persist(lambda: self._store.list(prefix, after=after))

    async def folders(self, prefix: str) -> Sequence[str]:
        return await self._persist(lambda: self._store.folders(prefix))

    async def close(self) -> None:
        await self._store.close()

    async def _persist(self, call: Callable[[], Awaitable[T]]) -> T:
        """The answer, if it comes while somebody waits for it."""
        if self._given_up is None:
            return await self._insist(call)
        began = self._clock.monotonic()
        limit = asyncio.timeout(None)
        try:
            async with limit:
                giving_up = asyncio.create_task(self._give_up(limit, given_up=self._given_up))
                try:
                    return await self._insist(call)
                finally:
                    giving_up.cancel()
        except TimeoutError as error:
            if not limit.expired():
                raise
            silent = self._clock.monotonic() - began
            raise Unavailable(f"the store gave no answer for {silent:.0f} s, and is not waited for") from error

    async def _give_up(self, limit: asyncio.Timeout, *, given_up: Callable[[], Awaitable[None]]) -> None:
        await given_up()
        await self._clock.sleep(GIVING_UP_SECONDS)
        limit.reschedule(asyncio.get_running_loop().time())

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T:
        began = self._clock.monotonic()
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                answer = await call()
            except Unavailable as error:
                silent = self._clock.monotonic() - max(began, self._answered)
                if silent + pause > self.seconds:
                    raise type(error)(f"the store gave no answer for {silent:.0f} s: {error}") from error
            except StoreError:
                self._answered = self._clock.monotonic()
                raise
            else:
                self._answered = self._clock.monotonic()
                return answer
            await self._clock.sleep(pause * (1 - self._jitter() / 2))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
