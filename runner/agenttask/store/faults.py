"""A store that fails on purpose, for tests: wraps any other and does to each call what a plan says."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from enum import Enum, auto
from typing import Literal, NamedTuple, TypeVar

from agenttask.errors import StoreError, Unavailable
from agenttask.store.base import Entry, Source, Store

T = TypeVar("T")
Operation = Literal["get", "stream", "put", "put_stream", "delete", "list", "folders"]


class Fault(Enum):
    """What happens to a call."""

    NONE = auto()
    LOST_REQUEST = auto()
    """It never reaches the store; the caller gets `Unavailable`."""
    LOST_ANSWER = auto()
    """The store does it; the caller gets `Unavailable` (a stream: after half of its pieces)."""
    LATE = auto()
    """As a lost request, but a put or a delete stays in the network and may still land (`FaultyStore.deliver`)."""


class Call(NamedTuple):
    """One call as a plan sees it; `number` counts the calls of this store from 1."""

    number: int
    operation: Operation
    key: str


Before = Callable[[Call], Awaitable[Fault]]
After = Callable[[Call], Awaitable[None]]


async def _nothing(_: Call) -> None:
    return None


class FaultyStore:
    """`before` decides about a call, and may take its time or end the process; `after` may do so once it is done."""

    def __init__(self, store: Store, *, before: Before, after: After = _nothing) -> None:
        self.calls = 0
        self._store = store
        self._before = before
        self._after = after
        self._late: list[Callable[[], Awaitable[None]]] = []

    async def get(self, key: str, *, max_bytes: int) -> bytes:
        return await self._do("get", key, lambda: self._store.get(key, max_bytes=max_bytes))

    async def stream(self, key: str, *, offset: int = 0) -> AsyncGenerator[bytes, None]:
        call = self._count("stream", key)
        fault = await self._before(call)
        if fault in (Fault.LOST_REQUEST, Fault.LATE):
            raise Unavailable(f"call {call.number} was lost")
        try:
            async with aclosing(self._store.stream(key, offset=offset)) as body:
                async for piece in body:
                    if fault is Fault.LOST_ANSWER:
                        yield piece[: len(piece) // 2]
                        break
                    yield piece
        finally:
            await self._after(call)
        if fault is Fault.LOST_ANSWER:
            raise Unavailable(f"the answer to call {call.number} was cut")

    async def put_if_absent(self, key: str, body: bytes, *, first: bool, last: bool = False) -> None:
        await self._do("put", key, lambda: self._store.put_if_absent(key, body, first=first, last=last))

    async def put_stream_if_absent(self, key: str, source: Source, *, first: bool) -> None:
        await self._do("put_stream", key, lambda: self._store.put_stream_if_absent(key, source, first=first))

    async def delete(self, key: str) -> None:
        await self._do("delete", key, lambda: self._store.delete(key))

    async def list(self, prefix: str, *, after: str | None) -> Sequence[Entry]:
        return await self._do("list", prefix, lambda: self._store.list(prefix, after=after))

    async def folders(self, prefix: str) -> Sequence[str]:
        return await self._do("folders", prefix, lambda: self._store.folders(prefix))

    async def close(self) -> None:
        await self._store.close()

    async def deliver(self) -> None:
        """Let every late put and delete arrive; nobody hears how it went."""
        while self._late:
            work = self._late.pop(0)
            try:
                await work()
            except StoreError:
                continue

    def _count(self, operation: Operation, key: str) -> Call:
        self.calls += 1
        return Call(self.calls, operation, key)

    async def _do(self, operation: Operation, key: str, work: Callable[[], Awaitable[T]]) -> T:
        call = self._count(operation, key)
        fault = await self._before(call)
        if fault is Fault.LATE and operation in ("put", "put_stream", "delete"):

            async def arrive() -> None:
                await work()

            self._late.append(arrive)
        if fault in (Fault.LOST_REQUEST, Fault.LATE):
            raise Unavailable(f"call {call.number} was lost")
        try:
            return await work()
        finally:
            await self._after(call)
            if fault is Fault.LOST_ANSWER:  # a refusal is an answer too
                raise Unavailable(f"the answer to call {call.number} was lost")
