"""Runs to look at, in memory, and a desk that looks at them."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import Any

from agenttask.clock import ManualClock
from agenttask.contract import Location
from agenttask.log import Patience
from agenttask.logtool.commands import COMMANDS
from agenttask.logtool.desk import Desk
from agenttask.logtool.place import Known, Place
from agenttask.logtool.screen import Screen
from agenttask.store import Store
from agenttask.store.faults import Before, Call, Fault, FaultyStore
from agenttask.store.memory import MemoryStore

from tests.unit.agent.conftest import PREFIX, Attempts, Killed, at_call, kill


async def without_fault(_: Call) -> Fault:
    return Fault.NONE


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


@dataclass(kw_only=True)
class Looker:
    """Runs commands on a store and keeps what they said."""

    objects: dict[str, bytes]
    path: str = PREFIX
    task: Known | None = None
    out: io.StringIO = field(default_factory=io.StringIO)
    err: io.StringIO = field(default_factory=io.StringIO)
    before: Before = without_fault
    """Hears of each call of the store."""

    async def run(self, verb: str, *, output: str = "text", **options: Any) -> int:
        """One command; its exit code. What it said before is forgotten."""
        for stream in (self.out, self.err):
            stream.seek(0)
            stream.truncate()
        store = FaultyStore(MemoryStore(self.objects), before=self.before)
        desk = Desk(
            place=Place(location=Location(type="s3", bucket="bucket"), path=self.path, environment={}, task=self.task),
            store=store,
            patient=store,
            screen=Screen(out=self.out, err=self.err),
            clock=ManualClock(),
            patience=Patience(),
            output=output,
            **options,
        )
        return await COMMANDS[verb](desk)

    async def json(self, verb: str, **options: Any) -> Any:
        """What a command says as JSON."""
        await self.run(verb, output="json", **options)
        return json.loads(self.out.getvalue())

    @property
    def said(self) -> str:
        return self.out.getvalue()

    @property
    def warned(self) -> str:
        return self.err.getvalue()


async def killed_at_model_call(number: int, *, attempts: Attempts, attempt: int, store: Store | None = None) -> None:
    """Run an attempt that dies at its n-th model call."""
    attempts.world.before_model = at_call(number, kill)
    try:
        await attempts.run(attempt, store=store)
    except Killed:
        pass
    finally:
        attempts.world.before_model = None


async def two_attempts() -> Attempts:
    """A run of four steps, whose first attempt died at its second model call."""
    attempts = Attempts(system_prompt="Be exact.")
    await killed_at_model_call(2, attempts=attempts, attempt=1)
    await attempts.run(2)
    return attempts
