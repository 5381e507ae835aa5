"""A task's life under an operator whose every call goes through a `Proxy`.

The script of a life (`scenarios`) is the world of the other tests here: user, scheduler, kubelet and runner. The
operator is a `Process`: its session and all it keeps in memory, lost at each death.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agenttask_operator.answers import ClusterError
from agenttask_operator.cluster import Cluster
from agenttask_operator.observed import Pod
from agenttask_operator.reconcile import Key, Reconciler
from kubernetes.aio import client

from tests.api.client import Object
from tests.api.operator.faults.ends import resting
from tests.api.operator.faults.proxy import Proxy
from tests.api.operator.world import SETTINGS, Clock, World, show

MOST_ROUNDS = 80


class DeadError(Exception):
    """The operator died in the midst of a reconcile."""


async def at_once(_: float) -> None:
    """A sleep that takes no time."""


@dataclass(kw_only=True)
class Process:
    """One operator: a session through its proxy, and a memory."""

    proxy: Proxy
    token: str
    clock: Clock
    made: Callable[..., Reconciler] = Reconciler
    calls: type[Cluster] = Cluster
    shown: Callable[[], list[Pod]] | None = None
    """What the watch of pods has shown; None: nothing yet, and no listing has ended."""

    async def __aenter__(self) -> Process:
        self._begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._cluster.close()

    def _begin(self) -> None:
        configuration = client.Configuration(host=self.proxy.address)
        configuration.api_key["BearerToken"] = f"Bearer {self.token}"
        self._cluster = self.calls(client.ApiClient(configuration), sleep=at_once)
        self._reconciler = self.made(cluster=self._cluster, settings=SETTINGS, clock=self.clock, reporter="test")

    async def restart(self) -> None:
        """The next process: what the last one kept in memory is gone."""
        await self._cluster.close()
        self.proxy.revive()
        self._begin()

    async def reconcile(self, key: Key) -> float | None:
        """One reconcile, unless death comes first.

        Raises:
            DeadError: it did.
            ClusterError: as the reconciler says.
        """
        if self.shown is not None:
            show(self._reconciler.roster, pods=await asyncio.to_thread(self.shown))
        work = asyncio.create_task(self._reconciler.reconcile(key))
        death = asyncio.create_task(self.proxy.killed.wait())
        try:
            await asyncio.wait({work, death}, return_when=asyncio.FIRST_COMPLETED)
            if self.proxy.killed.is_set():
                raise DeadError
            return await work
        finally:
            for one in (work, death):
                one.cancel()
            await asyncio.gather(work, death, return_exceptions=True)


@dataclass(kw_only=True)
class Operators:
    """Who carries out decisions now: one, both at once, or one while another is held in the midst of a write."""

    first: Process
    second: Process
    both: bool = False
    looks: int = 1
    """How often in a row nothing must be to be done: whoever was shown the past is told nothing more until a resync."""
    _held: asyncio.Task[Any] | None = None

    async def reconcile(self, key: Key) -> float | None:
        """One reconcile by whoever is to act; a process that died is started again."""
        if self.both:
            return await self._both(key)
        if self._held is not None:
            return await self._restarted(self.second, key)
        work = asyncio.create_task(self._restarted(self.first, key))
        held = asyncio.create_task(self.first.proxy.held.wait())
        await asyncio.wait({work, held}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            self._held = work
            return 0
        held.cancel()
        return await work

    async def wake(self) -> bool:
        """What was held goes on, long after another has taken over. Returns whether anything was."""
        if self._held is None:
            return False
        self.first.proxy.release()
        await asyncio.gather(self._held, return_exceptions=True)
        return True

    async def _both(self, key: Key) -> float | None:
        works = [self._restarted(one, key) for one in (self.first, self.second)]
        results = await asyncio.gather(*works, return_exceptions=True)
        for one in results:
            if isinstance(one, BaseException):
                raise one
        numbers = [one for one in results if isinstance(one, int | float)]
        return min(numbers, default=None)

    async def _restarted(self, process: Process, key: Key) -> float | None:
        try:
            return await process.reconcile(key)
        except DeadError:
            await process.restart()
            return 0


@dataclass(kw_only=True)
class Life(World):
    """One task under these operators."""

    operators: Operators
    rests: list[Object] = field(default_factory=list)
    """What an `Observed` one was each time it had settled."""

    def __post_init__(self) -> None:
        """No operator of its own."""

    async def settle(self) -> float | None:
        """Reconcile until nothing is to be done at once, whatever happens to the operator meanwhile."""
        quiet = 0
        for _ in range(MOST_ROUNDS):
            try:
                after = await self.operators.reconcile(Key(self.copy.namespace, self.name))
            except ClusterError:
                # The queue would wait a moment, and try again.
                after = 0
            quiet = quiet + 1 if after != 0 else 0
            if quiet == self.operators.looks:
                return after
        raise AssertionError(f"never settles: {None if self.is_gone else self.status}")

    async def begin(self, attempt: int, *, step: int = 0, resumed_from: str | None = None) -> None:
        """As there, once there is a pod: what a broken server refused is tried again after a while."""
        for _ in range(8):
            if self.pod(attempt) is not None:
                break
            self.clock.pass_by(await self.settle() or 1)
        await super().begin(attempt, step=step, resumed_from=resumed_from)


class Observed(Life):
    """Notes what it comes to each time it settles, for others to be compared with."""

    async def settle(self) -> float | None:
        """As there."""
        after = await super().settle()
        task = self._admin.send("GET", self._path)
        self.rests.append(resting(task.body if task.accepted else None, name=self.name, pods=self._listed()))
        return after
