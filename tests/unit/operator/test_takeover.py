"""The first resync of a new leader comes at once: what it finds unseen says nothing about the watches yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest
from agenttask_operator import main
from agenttask_operator.cluster import Cluster, NotFoundError
from agenttask_operator.health import Health
from agenttask_operator.observed import Pod, Task
from agenttask_operator.reconcile import Key
from agenttask_operator.settings import Runner, Settings

from tests.unit.operator.builders import task


class Unwatched:
    """A cluster with one task, of which no watch ever tells."""

    api = None

    async def tasks(self) -> AsyncIterator[Task]:
        yield task()

    async def pods(self) -> AsyncIterator[Pod]:
        nothing: tuple[Pod, ...] = ()
        for pod in nothing:
            yield pod

    async def get_task(self, *, namespace: str, name: str) -> Task:
        raise NotFoundError(f"{namespace}/{name}")


class Turns(Health):
    """What was found of the watches at each turn of the resync loop."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: 0.0)
        self.found: asyncio.Queue[bool] = asyncio.Queue()

    def turned(self) -> None:
        self.found.put_nowait(self.silent is None)


async def test_a_silent_watch_is_found_a_full_pause_after_taking_over_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = Settings(runner=Runner(image="r:1"))
    operator = main.Operator(cluster=cast(Cluster, Unwatched()), config=config, identity="me", namespace="here")
    turns = Turns()
    monkeypatch.setattr(operator, "_health", turns)
    loop = asyncio.create_task(operator._resync())
    try:
        async with asyncio.timeout(5):
            assert await turns.found.get(), "the first listing expects nothing"
            monkeypatch.setattr(operator, "_resync_seconds", 0.0)
            operator._take_over()
            assert await turns.found.get(), "at once, the watches had no time"
            assert not await turns.found.get(), "a pause later, they had"
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
        await operator._stand_down()


async def test_told_to_stop_it_finishes_the_key_in_hand_and_takes_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = main.Operator(
        cluster=cast(Cluster, Unwatched()),
        config=Settings(runner=Runner(image="r:1"), workers=1),
        identity="me",
        namespace="here",
    )
    begun, go_on, finished = asyncio.Event(), asyncio.Event(), list[Key]()

    async def reconcile(key: Key) -> None:
        begun.set()
        await go_on.wait()
        finished.append(key)

    monkeypatch.setattr(operator._reconciler, "reconcile", reconcile)
    operator._take_over()
    first, second = Key("agents", "first"), Key("agents", "second")
    operator._queue.add(first)
    operator._queue.add(second)
    async with asyncio.timeout(5):
        await begun.wait()
        leaving = asyncio.create_task(operator._drain())
        await asyncio.sleep(0)
        assert not leaving.done()
        go_on.set()
        await leaving
    assert finished == [first]
    await operator._stand_down()
