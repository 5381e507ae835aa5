"""What two watches have shown of one system: when its pods first ran, when its objects were done, who works there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from benchmarks.operator import waiting
from benchmarks.operator.api import Api, Event
from benchmarks.operator.systems import System, namespace_path

LOOK_SECONDS: Final = 0.02


class Board:
    """The times are those of this process, on the clock of `time.monotonic`, when an event arrived."""

    def __init__(self, *, system: System) -> None:
        self._system = system
        self.ran: dict[str, float] = {}
        """When each object's first pod was seen to run."""
        self.done: dict[str, float] = {}
        """When each object was seen to be done."""
        self.running: dict[str, tuple[str, str]] = {}
        """The pod (name, UID) that runs last of each object, deleted or not."""
        self.starts: dict[str, float] = {}
        """When each pod was seen to run, by UID."""
        self.judged: dict[str, float] = {}
        """When each object was first seen with a status of the controller's."""

    def see_pod(self, event: Event) -> None:
        """What a watch of the pods shows."""
        pod, now = event.object, time.monotonic()
        meta = pod.metadata
        if pod.status.phase != "Running" or meta.uid in self.starts or event.type == "DELETED":
            return
        self.starts[meta.uid] = now
        self.ran.setdefault(pod.owner, now)
        self.running[pod.owner] = (meta.name, meta.uid)

    def see_object(self, event: Event) -> None:
        """What a watch of the objects shows."""
        seen, now = event.object, time.monotonic()
        if seen.status.observed_generation:
            self.judged.setdefault(seen.metadata.name, now)
        if self._system.is_done(seen):
            self.done.setdefault(seen.metadata.name, now)

    async def until(self, what: str, condition: Callable[[], bool], *, seconds: float) -> None:
        """Wait for what the watches show.

        Raises:
            TimeoutError: it did not come; the message says where things stand.
        """

        async def holds() -> bool:
            return condition()

        try:
            await waiting.until(what, holds, seconds=seconds, every=LOOK_SECONDS)
        except TimeoutError as error:
            stand = f"{len(self.judged)} judged, {len(self.ran)} ran, {len(self.done)} done"
            raise TimeoutError(f"{error} ({stand})") from None


@asynccontextmanager
async def watching(*, api: Api, system: System, also: Callable[[Event], None] | None = None) -> AsyncIterator[Board]:
    """A board kept up to date while the block runs; `also` is told of pods too."""
    board = Board(system=system)

    async def pods() -> None:
        async for event in api.watch(f"{namespace_path(system.namespace)}/pods"):
            board.see_pod(event)
            if also is not None:
                also(event)

    async def objects() -> None:
        async for event in api.watch(system.collection):
            board.see_object(event)

    async with asyncio.TaskGroup() as group:
        watches = [group.create_task(pods()), group.create_task(objects())]
        try:
            yield board
        finally:
            for watch in watches:
                watch.cancel()
