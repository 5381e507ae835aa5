"""`agenttask run` in a process of its own, and the calls of store and model at which it can be told to die."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import httpx
from agenttask.local import run_file
from agenttask.store import open_store
from agenttask.store.faults import Call, Fault, FaultyStore

if TYPE_CHECKING:
    from agenttask.contract import Location
    from agenttask.store import Store


THINKING_SECONDS = 0.1
"""How long the model must take for a process to be able to die during a call of it."""
DYING_SECONDS = 0.03


class Place(NamedTuple):
    """Where to die: `before` or `after` the n-th call of the store, before its n-th `record`, `during` the n-th call
    of the model, or before the call that follows the n-th `summary` of it."""

    when: str
    number: int


@dataclass(frozen=True, kw_only=True)
class LocalProcess:
    """One run of one file; its answer goes to `answer`, its lines to `lines`, its exit code is the process's."""

    file: Path
    store: Path | str
    """A folder, or a store's address."""
    answer: Path
    lines: Path
    environment: dict[str, str]
    dies: Place | None = None

    def run(self) -> None:
        """The process's whole life."""
        os.environ.update(self.environment)
        if self.dies is not None and self.dies.when == "during":
            _die_during_model_call(self.dies.number)
        if self.dies is not None and self.dies.when == "summary":
            _die_after_summary(self.dies.number)
        with (
            self.answer.open("w") as answer,
            self.lines.open("a") as lines,
            contextlib.redirect_stdout(answer),
            contextlib.redirect_stderr(lines),
        ):
            code = run_file(path=self.file, store=str(self.store), fresh=False, open_store=self._open)
        raise SystemExit(code)

    def _open(self, location: Location, *, verify: Literal["Checksum", "ReadBack"]) -> Store:
        records = itertools.count(1)

        async def before(call: Call) -> Fault:
            self._die_at("before", call.number)
            if call.operation == "put" and "/log/" in call.key:
                self._die_at("record", next(records))
            return Fault.NONE

        async def after(call: Call) -> None:
            self._die_at("after", call.number)

        return FaultyStore(open_store(location, verify=verify), before=before, after=after)

    def _die_at(self, when: str, number: int) -> None:
        if self.dies == (when, number):
            os.kill(os.getpid(), signal.SIGKILL)


def _die_during_model_call(number: int) -> None:
    """Let this process send its n-th model call and be dead before the reply can be there."""
    send = httpx.AsyncHTTPTransport.handle_async_request
    calls = 0

    async def sending(transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += request.url.path.endswith("/chat/completions")
        if calls == number:
            asyncio.get_running_loop().call_later(DYING_SECONDS, os.kill, os.getpid(), signal.SIGKILL)
        return await send(transport, request)

    httpx.AsyncHTTPTransport.handle_async_request = sending  # type: ignore[method-assign, assignment]


def _die_after_summary(number: int) -> None:
    """Let this process get its n-th summary and not live to send the call that goes on from there."""
    send = httpx.AsyncHTTPTransport.handle_async_request
    summaries = 0

    async def sending(transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        nonlocal summaries
        if request.url.path.endswith("/chat/completions"):
            sums_up = "tools" not in json.loads(request.content)
            if summaries == number and not sums_up:
                os.kill(os.getpid(), signal.SIGKILL)
            summaries += sums_up
        return await send(transport, request)

    httpx.AsyncHTTPTransport.handle_async_request = sending  # type: ignore[method-assign, assignment]
