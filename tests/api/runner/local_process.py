"""`agenttask run` in a process of its own, and the store calls at which it can be told to die of SIGKILL."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agenttask.local import run_file
from agenttask.store import open_store
from agenttask.store.faults import Call, Fault, FaultyStore

if TYPE_CHECKING:
    from agenttask.contract import Location
    from agenttask.store import Store


class Place(NamedTuple):
    """Where to die: before or after the n-th call of the store."""

    when: str
    number: int


@dataclass(frozen=True, kw_only=True)
class LocalProcess:
    """One run of one file; its answer goes to `answer`, its lines to `lines`, its exit code is the process's."""

    file: Path
    store: Path
    answer: Path
    lines: Path
    environment: dict[str, str]
    dies: Place | None = None

    def run(self) -> None:
        """The process's whole life."""
        os.environ.update(self.environment)
        with (
            self.answer.open("w") as answer,
            self.lines.open("a") as lines,
            contextlib.redirect_stdout(answer),
            contextlib.redirect_stderr(lines),
        ):
            code = run_file(path=self.file, store=str(self.store), fresh=False, open_store=self._open)
        raise SystemExit(code)

    def _open(self, location: Location) -> Store:
        async def before(call: Call) -> Fault:
            self._die_at("before", call.number)
            return Fault.NONE

        async def after(call: Call) -> None:
            self._die_at("after", call.number)

        return FaultyStore(open_store(location), before=before, after=after)

    def _die_at(self, when: str, number: int) -> None:
        if self.dies == (when, number):
            os.kill(os.getpid(), signal.SIGKILL)
