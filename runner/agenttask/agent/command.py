"""Runs one command tool: arguments on stdin, result on stdout, a process group of its own, bounded in time and size.

The boundary is a process: the command sees an allow-listed environment and none of the runner's keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

PASSED_ON: Final = ("PATH", "HOME", "TMPDIR", "LANG")
"""What every command inherits of the runner's environment."""
STDERR_BYTES: Final = 4096
DRAIN_SECONDS: Final = 1.0
"""How long output is read after the process and its group are gone: a process that left the group may hold the pipe."""

REAP_TRIES: Final = 100


@dataclass(frozen=True, kw_only=True)
class Finished:
    """How a command ended: `code` is -n for signal n; `stdout` is cut at the limit, `stdout_bytes` is all of it."""

    code: int
    stdout: bytes
    stdout_bytes: int
    stderr: bytes


def environment(*, inherited: Mapping[str, str], passed: Sequence[str], own: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command: the allow-list, what its tool adds to that, and `own` beside it."""
    return {**{name: inherited[name] for name in (*PASSED_ON, *passed) if name in inherited}, **own}


async def run_command(*, argv: Sequence[str], stdin: bytes, env: Mapping[str, str], stdout_limit: int) -> Finished:
    """Run to the end. However this call ends, by cancellation too, the whole process group is killed before.

    Raises OSError if the command cannot be started.
    """
    loop = asyncio.get_running_loop()
    spawning = asyncio.ensure_future(
        loop.subprocess_exec(lambda: _Process(stdout_limit=stdout_limit), *argv, env=dict(env), start_new_session=True)
    )
    try:
        # Shielded: asyncio loses a process, and its pipes, whose start is cancelled half-way.
        transport, process = await asyncio.shield(spawning)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            await _end(*await spawning)
        raise
    try:
        _feed(transport, stdin)
        await process.exited
        _kill_group(transport)
        await process.wait_drained()
    finally:
        await _end(transport, process)
    return Finished(
        code=transport.get_returncode() or 0,
        stdout=bytes(process.stdout),
        stdout_bytes=process.stdout_bytes,
        stderr=bytes(process.stderr),
    )


class _Process(asyncio.SubprocessProtocol):
    """Collects output up to a bound, and tells exit from the end of output.

    asyncio's own Process.wait() waits for both in some versions, and so for ever if a grandchild holds the pipe.
    """

    def __init__(self, *, stdout_limit: int) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[None] = loop.create_future()
        self._drained: asyncio.Future[None] = loop.create_future()
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.stdout_bytes = 0
        self._limit = stdout_limit

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            self.stdout += data[: self._limit - len(self.stdout)]
            self.stdout_bytes += len(data)
        else:
            self.stderr = (self.stderr + data)[-STDERR_BYTES:]

    def process_exited(self) -> None:
        if not self.exited.done():
            self.exited.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._drained.done():
            self._drained.set_result(None)

    async def wait_drained(self) -> None:
        """Wait until all pipes are at their end or closed, but not long."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._drained), DRAIN_SECONDS)


def _feed(transport: asyncio.SubprocessTransport, stdin: bytes) -> None:
    pipe = transport.get_pipe_transport(0)
    if isinstance(pipe, asyncio.WriteTransport):
        pipe.write(stdin)
        pipe.close()  # after what is buffered has been written


async def _end(transport: asyncio.SubprocessTransport, process: _Process) -> None:
    _kill_group(transport)
    transport.close()
    await process.wait_drained()
    if process.exited.done():
        await _reap_group(transport.get_pid())


async def _reap_group(leader: int) -> None:
    """Process 1 of a container inherits what a command leaves behind, and has to reap it or run out of process ids."""
    with contextlib.suppress(ChildProcessError):
        for _ in range(REAP_TRIES):
            if os.waitpid(-leader, os.WNOHANG) == (0, 0):  # noqa: ASYNC222 - it does not wait
                await asyncio.sleep(0.01)  # killed, but not dead yet


def _kill_group(transport: asyncio.SubprocessTransport) -> None:
    """The command leads its session, so its process id is the group's, as long as anybody is left in it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(transport.get_pid(), signal.SIGKILL)
