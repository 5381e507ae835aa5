"""A writer of fifty records, snapshots, files attached and retention among them, in a process that may be told to die
of SIGKILL.

A place is a call of the store: before it, after the store has done it but with the answer lost, or after its answer; or
it is a file operation below the store's root.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from agenttask.clock import SystemClock
from agenttask.log import Content, Frozen, Holder, Kind, Log, Patience, Policy, Restored
from agenttask.log.blob import LARGE_BYTES
from agenttask.store.faults import Call, Fault, FaultyStore
from agenttask.store.filesystem import FilesystemStore

PREFIX: Final = "ns/task/uid"
STEPS: Final = 48
"""With two claims, fifty records."""
POLICY: Final = Policy(snapshot_every=8, keep_last=1)
"""Retention as sharp as it can be: nothing stands behind the newest snapshot."""

_FILE_OPERATIONS: Final = frozenset({"open", "os.link", "os.mkdir", "os.remove", "os.scandir"})


class When(StrEnum):
    """Where around a call a process dies."""

    BEFORE = "before"
    ANSWER_LOST = "done, its answer lost"
    AFTER = "after"
    FILE_OPERATION = "before a file operation"


class Place(NamedTuple):
    """The n-th call of the store, or operation, counted from 1."""

    when: When
    number: int


def value_of(step: int) -> str:
    """Every third step brings a large value; two of them share each, and each replaces the one before."""
    return f"value {step // 6}".ljust(LARGE_BYTES + 1 if step % 3 == 0 else 10)


def file_of(step: int) -> bytes:
    """Every fifth step brings another file, and each third of those is one there was before."""
    return f"file {step // 5 % 3}".encode() * 100


def content_of(step: int) -> Content:
    """How the log names that file."""
    return Content(hashlib.sha256(file_of(step)).hexdigest(), len(file_of(step)))


def _pieces(step: int) -> Iterator[bytes]:
    yield file_of(step)


async def holds_file(pieces: AsyncGenerator[bytes, None], step: int) -> bool:
    """Whether these are the file of this step."""
    async with aclosing(pieces) as body:
        return b"".join([piece async for piece in body]) == file_of(step)


def frozen(step: int) -> Frozen:
    """The state after so many steps."""
    attached = [content_of(step)] if step else []
    return Frozen(small={"value": value_of(step)}, fixed={}, items=list(range(1, step + 1)), attached=attached)


def steps_of(restored: Restored) -> list[int]:
    """The steps a state holds, whose values are looked at too."""
    base = restored.base
    steps: list[int] = [] if base is None else list(base.items)
    assert base is None or base.small["value"] == value_of(steps[-1] if steps else 0)
    for record in restored.records:
        for event in record.events:
            assert event["value"] == value_of(event["step"])
            steps.append(event["step"])
    return steps


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Writer:
    """Restores, does the steps that are left, at most `steps`, and finishes. Each acknowledged step goes into
    `acknowledged`."""

    def __init__(
        self, *, root: Path, attempt: int, acknowledged: Path, dies: Place | None = None, steps: int = STEPS
    ) -> None:
        self._root = root
        self._attempt = attempt
        self._acknowledged = acknowledged
        self._dies = dies
        self._steps = steps
        self._operations = 0

    def run(self) -> None:
        """The process's whole life."""
        if self._dies is not None and self._dies.when is When.FILE_OPERATION:
            sys.addaudithook(self._audit)
        asyncio.run(self._write())

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in _FILE_OPERATIONS and str(arguments[0]).startswith(str(self._root)):
            self._operations += 1
            if self._dies == (When.FILE_OPERATION, self._operations):
                die()

    def _store(self) -> FaultyStore:
        dies = self._dies

        async def before(call: Call) -> Fault:
            if dies == (When.BEFORE, call.number):
                die()
            return Fault.NONE

        async def after(call: Call) -> None:
            if dies == (When.ANSWER_LOST, call.number):
                die()
            if dies == (When.AFTER, call.number):  # once the caller has had its answer and waits for something new
                asyncio.get_running_loop().call_soon(die)

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
            policy=POLICY,
        )
        if opened.log is not None:
            done = len(steps_of(opened.restored))
            assert done == 0 or await holds_file(opened.log.read(content_of(done)), done)
            await self._go_on(opened.log, done)

    async def _go_on(self, log: Log, done: int) -> None:
        last = min(done + self._steps, STEPS)
        with self._acknowledged.open("a") as file:
            for step in range(done + 1, last + 1):
                if log.snapshot_due:
                    await log.snapshot(frozen(step - 1))
                kind = Kind.FINAL if step == last else Kind.EVENTS
                events = [{"step": step, "value": value_of(step)}]
                attached = [await log.attach(partial(_pieces, step))]
                await log.append(kind=kind, events=events, step=step, max_steps=STEPS, attached=attached)
                file.write(f"{step}\n")
                file.flush()
