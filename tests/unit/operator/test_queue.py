"""The work queue: each key once, one worker per key, delays on a clock the test owns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from agenttask_operator.queue import MAX_RETRY_SECONDS, Queue, QueueClosed


class Timer:
    """A callback that is due at a time."""

    def __init__(self, due: float, call: Callable[[], None]) -> None:
        self._due, self.call, self.cancelled = due, call, False

    def cancel(self) -> None:
        self.cancelled = True

    def when(self) -> float:
        return self._due


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.now + seconds, call))
        return self.timers[-1]

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self.timers if timer.when() <= self.now and not timer.cancelled]
        self.timers = [timer for timer in self.timers if timer not in due]
        for timer in due:
            timer.call()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> Queue[str]:
    return Queue(later=clock.later, clock=lambda: clock.now)


async def ready(queue: Queue[str]) -> list[str]:
    """All that is handed out now."""
    keys: list[str] = []
    while True:
        getting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        if not getting.done():
            getting.cancel()
            return keys
        keys.append(await getting)


async def test_a_key_added_twice_is_handed_out_once(queue: Queue[str]) -> None:
    queue.add("a")
    queue.add("b")
    queue.add("a")
    assert await ready(queue) == ["a", "b"]


async def test_a_key_added_while_it_is_worked_on_comes_again_afterwards(queue: Queue[str]) -> None:
    queue.add("a")
    assert await ready(queue) == ["a"]
    queue.add("a")
    assert await ready(queue) == []
    queue.done("a")
    assert await ready(queue) == ["a"]


async def test_what_can_wait_comes_after_what_is_urgent_and_in_its_own_order(queue: Queue[str]) -> None:
    for key in ("a", "b"):
        queue.add(key, within=10)
    for key in ("c", "d"):
        queue.add(key)
    assert await ready(queue) == ["c", "d", "a", "b"]


async def test_no_urgent_key_that_comes_after_the_deadline_of_another_goes_before_it(
    queue: Queue[str], clock: Clock
) -> None:
    queue.add("a", within=10)
    clock.pass_by(9)
    queue.add("in time")
    clock.pass_by(2)
    queue.add("too late")
    assert await ready(queue) == ["in time", "a", "too late"]


@pytest.mark.parametrize("working", [False, True], ids=["while it waits", "while it is worked on"])
async def test_a_key_that_could_wait_and_becomes_urgent_is_handed_out_once(queue: Queue[str], working: bool) -> None:
    if working:
        queue.add("a")
        assert await queue.get() == "a"
    queue.add("b", within=5)
    queue.add("a", within=10)
    queue.add("a")
    if working:
        queue.done("a")
    assert len(queue) == 2
    assert await ready(queue) == ["a", "b"]


async def test_an_urgent_key_is_not_put_off(queue: Queue[str]) -> None:
    queue.add("a")
    queue.add("b")
    queue.add("a", within=10)
    assert await ready(queue) == ["a", "b"]


async def test_a_delayed_key_that_can_wait_does_so_from_when_it_is_due(queue: Queue[str], clock: Clock) -> None:
    queue.add_after("a", seconds=1, within=10)
    queue.add_after("b", seconds=0, within=20)
    clock.pass_by(5)
    queue.add("c")
    assert await ready(queue) == ["c", "a", "b"]


async def test_how_long_a_key_waited_counts_from_when_it_was_first_wanted(clock: Clock) -> None:
    waits: list[float] = []
    queue: Queue[str] = Queue(later=clock.later, clock=lambda: clock.now, waited=waits.append)
    queue.add("a", within=10)
    clock.pass_by(3)
    queue.add("a")
    clock.pass_by(1)
    assert await ready(queue) == ["a"]
    assert waits == [4]


async def test_a_delayed_key_comes_when_it_is_due(queue: Queue[str], clock: Clock) -> None:
    queue.add_after("a", seconds=5)
    clock.pass_by(4.9)
    assert await ready(queue) == []
    clock.pass_by(0.1)
    assert await ready(queue) == ["a"]


async def test_the_earlier_of_two_delays_counts(queue: Queue[str], clock: Clock) -> None:
    queue.add_after("a", seconds=5)
    queue.add_after("a", seconds=1)
    queue.add_after("a", seconds=9)
    clock.pass_by(1)
    assert await ready(queue) == ["a"]
    queue.done("a")
    clock.pass_by(100)
    assert await ready(queue) == []


async def test_work_drops_the_delay_that_was_set_before_it(queue: Queue[str], clock: Clock) -> None:
    queue.add_after("a", seconds=5)
    queue.add("a")
    assert await ready(queue) == ["a"]
    queue.done("a")
    clock.pass_by(100)
    assert await ready(queue) == []


async def test_no_delay_is_now(queue: Queue[str]) -> None:
    queue.add_after("a", seconds=0)
    assert await ready(queue) == ["a"]


async def test_failures_in_a_row_wait_longer_and_success_forgets_them(queue: Queue[str]) -> None:
    waits = [queue.retry("a") for _ in range(12)]
    assert waits[:4] == [0.25, 0.5, 1.0, 2.0]
    assert waits[-1] == MAX_RETRY_SECONDS
    queue.succeeded("a")
    assert queue.retry("a") == 0.25


async def test_a_worker_waits_for_the_next_key(queue: Queue[str]) -> None:
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.add("a")
    assert await waiting == "a"


async def test_a_closed_queue_hands_out_nothing_and_wakes_all_who_wait(queue: Queue[str]) -> None:
    queue.add("in hand")
    assert await queue.get() == "in hand"
    waiting = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.close()
    queue.add("too late")
    queue.done("in hand")
    ended = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), timeout=60)
    assert [type(one) for one in ended] == [QueueClosed] * 3
    with pytest.raises(QueueClosed):
        await queue.get()
