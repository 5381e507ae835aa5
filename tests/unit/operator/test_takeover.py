"""The first resync of a new leader comes at once: what it finds unseen says nothing about the watches yet."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import pytest
from agenttask_operator import handlers, main
from agenttask_operator.answers import NotFoundError
from agenttask_operator.cluster import Cluster
from agenttask_operator.handlers import Inbox
from agenttask_operator.health import Health
from agenttask_operator.observed import Pod, Task
from agenttask_operator.reconcile import Key
from agenttask_operator.settings import LeaderElection, Runner, Settings

from tests.unit.operator.builders import raw_task, task


class Unwatched:
    """A cluster with one task, of which no watch ever tells."""

    api = None

    async def tasks(self) -> AsyncIterator[Task]:
        yield task()

    async def pods(self) -> AsyncIterator[Pod]:
        nothing: tuple[Pod, ...] = ()
        for pod in nothing:
            yield pod

    async def check_served(self) -> None:
        """It is."""

    async def check_fence(self) -> None:
        """It stands."""

    async def get_task(self, *, namespace: str, name: str) -> Task:
        raise NotFoundError(f"{namespace}/{name}")


class Turns(Health):
    """What was found of the watches at each turn of the resync loop."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: 0.0)
        self.found: asyncio.Queue[bool] = asyncio.Queue()

    def turned(self) -> None:
        self.found.put_nowait(self.silent is None)


@asynccontextmanager
async def resyncing(
    cluster: Unwatched, *, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[main.Operator, Turns]]:
    """An operator of which only the resync loop runs."""
    config = Settings(runner=Runner(image="r:1"))
    operator = main.Operator(cluster=cast(Cluster, cluster), config=config, identity="me", namespace="here")
    turns = Turns()
    monkeypatch.setattr(operator, "_health", turns)
    loop = asyncio.create_task(operator._resync())
    try:
        async with asyncio.timeout(60):
            yield operator, turns
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
        await operator._stand_down()


async def test_a_silent_watch_is_found_a_full_pause_after_taking_over_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with resyncing(Unwatched(), monkeypatch=monkeypatch) as (operator, turns):
        assert await turns.found.get(), "the first listing expects nothing"
        monkeypatch.setattr(operator, "_resync_seconds", 0.0)
        operator._take_over()
        assert await turns.found.get(), "at once, the watches had no time"
        assert not await turns.found.get(), "a pause later, they had"


async def test_what_the_watches_list_first_waits_until_a_leader_has_judged_all_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Handover(Unwatched):
        """Leadership comes while it is listed for the first time."""

        async def tasks(self) -> AsyncIterator[Task]:
            operator._inbox.leading = True
            async for one in super().tasks():
                yield one

    async with resyncing(Handover(), monkeypatch=monkeypatch) as (operator, turns):
        await turns.found.get()
        operator._inbox.task(kind=None, raw=raw_task("unlisted"))
        assert len(operator._queue) == 0, "a standby's listing has judged nothing"
        operator._due.set()
        await turns.found.get()
        assert {await operator._queue.get() for _ in range(2)} == {
            Key("agents", "triage"),
            Key("agents", "unlisted"),
        }


async def test_on_sigterm_it_finishes_the_key_in_hand_and_takes_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = main.Operator(
        cluster=cast(Cluster, Unwatched()),
        config=Settings(runner=Runner(image="r:1"), workers=1, leader_election=LeaderElection(enabled=False)),
        identity="me",
        namespace="here",
        port=0,
    )
    begun, go_on, finished = asyncio.Event(), asyncio.Event(), list[Key]()

    async def reconcile(key: Key) -> None:
        begun.set()
        await go_on.wait()
        finished.append(key)

    async def served() -> None:
        pass

    async def watch(*, stop: asyncio.Event) -> asyncio.Task[bool]:
        return asyncio.create_task(stop.wait())

    monkeypatch.setattr(operator._reconciler, "reconcile", reconcile)
    monkeypatch.setattr(operator, "_served", served)
    monkeypatch.setattr(operator, "_watch", watch)
    first, second = Key("agents", "first"), Key("agents", "second")
    operator._queue.add(first)
    operator._queue.add(second)
    running = asyncio.create_task(operator.run())
    async with asyncio.timeout(60):
        await begun.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        while not operator.standing_by:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        assert not running.done()
        go_on.set()
        assert await running == 0
    assert finished == [first]


async def test_a_watch_that_fails_is_named_though_all_else_is_cancelled_before(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def watch(*, inbox: Inbox, ready: asyncio.Event, stop: asyncio.Event, namespaces: Sequence[str]) -> None:
        """Ends as kopf does."""
        older = asyncio.all_tasks()
        ready.set()
        while not (younger := asyncio.all_tasks() - older):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        for one in younger:
            one.cancel()
        await asyncio.wait(younger)
        for _ in range(20):
            # Whoever does not wait for it cancels it here.
            await asyncio.sleep(0)
        raise RuntimeError("410 Gone")

    monkeypatch.setattr(handlers, "watch", watch)
    operator = main.Operator(
        cluster=cast(Cluster, Unwatched()),
        config=Settings(runner=Runner(image="r:1"), leader_election=LeaderElection(enabled=False)),
        identity="me",
        namespace="here",
        port=0,
    )
    assert await operator.run() == 1
    assert "410 Gone" in caplog.text
