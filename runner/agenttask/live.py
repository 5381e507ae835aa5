"""The progress of a local run on a terminal: its lines scroll by, and below them one says where the run is.

    step 3/50  running lookup for 14 s  12,340 tokens  $0.0312

What that line says is what the task's status would say in a cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final, TextIO

from agenttask.agent.events import Event
from agenttask.agent.state import State
from agenttask.clock import Clock
from agenttask.lines import PlainLines
from agenttask.log import RecordRef
from agenttask.report import render
from agenttask.terminal import safe

TICK_SECONDS: Final = 1.0
_CLEAR: Final = "\r\x1b[K"
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"
"""The terminal itself cuts the line where it ends: it alone knows how wide it and each character are."""


class Live:
    """Lines, and a witness of the journal. Draws while it is `shown`."""

    def __init__(self, *, out: TextIO, clock: Clock, max_steps: int) -> None:
        self._out = out
        self._lines = PlainLines(out=out)
        self._clock = clock
        self._max_steps = max_steps
        self._step = f"0/{max_steps}"
        self._doing = "opening the log"
        self._since = clock.monotonic()
        self._used = ""
        self._shown = False

    @contextlib.asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Keep the line up to date, and take it away at the end."""
        self._shown = True
        ticking = asyncio.create_task(self._tick())
        try:
            yield
        finally:
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)
            self._shown = False
            self._out.write(_CLEAR)
            self._out.flush()

    def say(self, event: str, **facts: Any) -> None:
        self._out.write(_CLEAR)
        self._lines.say(event, **facts)
        self._draw()

    def recorded(self, *, events: tuple[Event, ...], state: State, head: RecordRef) -> None:
        status = render(state=state, head=head, max_steps=self._max_steps, resumed_from=None)
        self._step, self._doing, self._since = status.progress.display, status.progress.message, self._clock.monotonic()
        cost = status.usage.cost_usd
        self._used = f"{status.usage.total_tokens:,} tokens" + ("" if cost is None else f"  ${cost}")
        self._draw()

    async def _tick(self) -> None:
        while True:
            self._draw()
            await self._clock.sleep(TICK_SECONDS)

    def _draw(self) -> None:
        if not self._shown:
            return
        seconds = int(self._clock.monotonic() - self._since)
        lasting = f" for {seconds} s" if seconds else ""
        text = safe(" ".join(f"step {self._step}  {self._doing}{lasting}  {self._used}".splitlines()))
        self._out.write(f"{_CLEAR}{_NO_WRAP}{text}{_WRAP}")
        self._out.flush()
