"""How long a silent store is waited for once nobody wants to wait."""

from __future__ import annotations

import asyncio

import pytest
from agenttask.clock import ManualClock
from agenttask.errors import Unavailable
from agenttask.log import Patience
from agenttask.log.patience import GIVING_UP_SECONDS, PatientStore
from agenttask.store.faults import Call, Fault, FaultyStore
from agenttask.store.memory import MemoryStore


class Nobody:
    """Wants to wait no more, once it is set; the call under way is known from when it has begun."""

    def __init__(self) -> None:
        self.now, self.called = asyncio.Event(), asyncio.Event()
        self.clock = ManualClock()

    async def gone(self) -> None:
        await self.now.wait()

    async def silence(self, _: Call) -> Fault:
        self.called.set()
        await asyncio.Event().wait()
        return Fault.NONE

    def store(self, *, silent: bool) -> PatientStore:
        memory = MemoryStore({"a": b"1"})
        patience = Patience(given_up=self.gone)
        return patience.over(FaultyStore(memory, before=self.silence) if silent else memory, clock=self.clock)


async def test_a_silent_store_is_waited_for_until_nobody_wants_to_and_a_moment_longer() -> None:
    nobody = Nobody()
    call = asyncio.create_task(nobody.store(silent=True).get("a", max_bytes=9))
    await nobody.called.wait()
    before = nobody.clock.monotonic()
    nobody.now.set()
    with pytest.raises(Unavailable, match="is not waited for"):
        await call
    assert nobody.clock.monotonic() - before == GIVING_UP_SECONDS


async def test_a_store_that_answers_is_heard_even_if_nobody_wants_to_wait() -> None:
    nobody = Nobody()
    nobody.now.set()
    store = nobody.store(silent=False)
    await store.put_if_absent("b", b"2", first=True)
    assert [piece async for piece in store.stream("b")] == [b"2"]


async def test_who_is_cancelled_meanwhile_is_not_told_that_the_store_was_silent() -> None:
    nobody = Nobody()
    call = asyncio.create_task(nobody.store(silent=True).get("a", max_bytes=9))
    await nobody.called.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
