"""A store that fails on purpose, for tests: wraps any other and does to each call what a plan says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum, auto
from typing import Literal, NamedTuple, TypeVar

from agenttask.errors import Exists, Unavailable
from agenttask.store.base import Entry, Store

T = TypeVar("T")


class Fault(Enum):
    """What happens to a call."""

    NONE = auto()
    LOST_REQUEST = auto()
    """It never reaches the store; the caller gets `Unavailable`."""
    LOST_ANSWER = auto()
    """The store does it; the caller gets `Unavailable`."""
    LATE = auto()
    """As a lost request, but a put stays in the network and may still land (`FaultyStore.deliver`)."""


class Call(NamedTuple):
    """One call as a plan sees it; `number` counts the calls of this store from 1."""

    number: int
    operation: Literal["get", "put", "list"]
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
        self._late: list[tuple[str, bytes]] = []

    async def get(self, key: str, *, max_bytes: int) -> bytes:
        return await self._do("get", key, lambda: self._store.get(key, max_bytes=max_bytes))

    async def put_if_absent(self, key: str, body: bytes, *, first: bool) -> None:
        await self._do("put", key, lambda: self._store.put_if_absent(key, body, first=first), late=(key, body))

    async def list(self, prefix: str, *, after: str | None) -> Sequence[Entry]:
        return await self._do("list", prefix, lambda: self._store.list(prefix, after=after))

    async def close(self) -> None:
        await self._store.close()

    async def deliver(self) -> None:
        """Let every late put arrive; nobody hears how it went."""
        while self._late:
            key, body = self._late.pop(0)
            try:
                await self._store.put_if_absent(key, body, first=True)
            except Exists:
                continue

    async def _do(
        self,
        operation: Literal["get", "put", "list"],
        key: str,
        work: Callable[[], Awaitable[T]],
        *,
        late: tuple[str, bytes] | None = None,
    ) -> T:
        self.calls += 1
        call = Call(self.calls, operation, key)
        fault = await self._before(call)
        if fault is Fault.LATE and late is not None:
            self._late.append(late)
        if fault in (Fault.LOST_REQUEST, Fault.LATE):
            raise Unavailable(f"call {call.number} was lost")
        try:
            return await work()
        finally:
            await self._after(call)
            if fault is Fault.LOST_ANSWER:  # a refusal is an answer too
                raise Unavailable(f"the answer to call {call.number} was lost")
