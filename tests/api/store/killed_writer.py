"""A writer of a checkpoint log in a process of its own, and the places where it can be told to die of SIGKILL."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import NamedTuple

from agenttask.clock import SystemClock
from agenttask.log import Holder, Kind, Log, Patience, Record
from agenttask.store.base import Store
from agenttask.store.faults import Call, Fault, FaultyStore
from agenttask.store.filesystem import FilesystemStore

PREFIX = "ns/task/uid"
STEPS = 3
_FILE_OPERATIONS = frozenset({"open", "os.link", "os.mkdir", "os.remove", "os.scandir"})


class Place(NamedTuple):
    """Where to die: before or after the n-th call of the store, or before the n-th file operation below its root."""

    when: str
    number: int


class Writer:
    """Restores, does the steps that are left, finishes; notes each acknowledged step in `acknowledged`."""

    def __init__(self, *, root: Path, attempt: int, acknowledged: Path, dies: Place | None) -> None:
        self._root = root
        self._attempt = attempt
        self._acknowledged = acknowledged
        self._dies = dies
        self._operations = 0

    def run(self) -> None:
        """The process's whole life."""
        if self._dies is not None and self._dies.when == "file operation":
            sys.addaudithook(self._audit)
        asyncio.run(self._write())

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in _FILE_OPERATIONS and str(arguments[0]).startswith(str(self._root)):
            self._operations += 1
            self._die_at("file operation", self._operations)

    def _die_at(self, when: str, number: int) -> None:
        if self._dies == (when, number):
            os.kill(os.getpid(), signal.SIGKILL)

    def _store(self) -> Store:
        async def before(call: Call) -> Fault:
            self._die_at("before", call.number)
            return Fault.NONE

        async def after(call: Call) -> None:
            self._die_at("after", call.number)

        return FaultyStore(FilesystemStore(root=self._root), before=before, after=after)

    async def _write(self) -> None:
        opened = await Log.open(
            store=self._store(),
            prefix=PREFIX,
            task="ns/task",
            attempt=self._attempt,
            holder=Holder(pod_uid=f"pod-{self._attempt}", process="p"),
            recorded=None,
            clock=SystemClock(),
            patience=Patience(),
        )
        if opened.log is None:
            return
        for step in range(len(steps_of(opened.records)) + 1, STEPS + 1):
            kind = Kind.FINAL if step == STEPS else Kind.EVENTS
            await opened.log.append(kind=kind, events=[{"step": step}], step=step, max_steps=STEPS)
            with self._acknowledged.open("a") as file:
                file.write(f"{step}\n")


def steps_of(records: tuple[Record, ...]) -> list[int]:
    """The steps a log holds, in order."""
    return [event["step"] for record in records for event in record.events]
