"""Being told to stop: the deadline, the second signal, and what is cancelled."""

from __future__ import annotations

import asyncio

import pytest
from agenttask.agent.stop import Stop, StopRequested
from agenttask.clock import ManualClock


async def hang() -> None:
    await asyncio.Event().wait()


async def test_work_that_ends_in_time_gives_its_result() -> None:
    stop = Stop(grace_seconds=30, clock=ManualClock())

    async def work() -> int:
        stop.request()
        return 7

    assert await stop.bound(work(), calling=True) == 7


async def test_work_is_cancelled_five_seconds_before_the_grace_ends() -> None:
    clock = ManualClock()
    stop = Stop(grace_seconds=30, clock=clock)
    stop.request()
    with pytest.raises(StopRequested) as stopped:
        await stop.bound(hang(), calling=True)
    assert stopped.value.calling
    assert clock.monotonic() == pytest.approx(25)


async def test_a_second_signal_ends_the_grace() -> None:
    clock = ManualClock()
    stop = Stop(grace_seconds=3600, clock=clock)
    stop.request()

    async def work() -> None:
        stop.request()
        await hang()

    with pytest.raises(StopRequested):
        await stop.bound(work(), calling=False)
    assert clock.monotonic() < 1


async def test_what_is_cancelled_has_ended_on_return() -> None:
    stop = Stop(grace_seconds=0, clock=ManualClock())
    stop.request()
    ended = False

    async def work() -> None:
        nonlocal ended
        try:
            await hang()
        finally:
            await asyncio.sleep(0)
            ended = True

    with pytest.raises(StopRequested):
        await stop.bound(work(), calling=False)
    assert ended


async def test_an_error_of_the_work_is_passed_on() -> None:
    async def work() -> None:
        raise ValueError("oops")

    with pytest.raises(ValueError, match="oops"):
        await Stop(grace_seconds=30, clock=ManualClock()).bound(work(), calling=True)


async def test_a_wait_ends_with_a_stop() -> None:
    stop = Stop(grace_seconds=30, clock=ManualClock())
    await stop.sleep(1)
    stop.request()
    with pytest.raises(StopRequested) as stopped:
        await stop.sleep(1)
    assert not stopped.value.calling
