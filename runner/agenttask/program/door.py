"""The socket at which a program speaks to its runner. `say` is the other side."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Annotated, Final

import msgspec

from agenttask.errors import FolderUnusable

MAX_REQUEST_BYTES: Final = 64 * 1024
MAX_STEP: Final = 10**12
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_STEP)]


class Checkpoint(msgspec.Struct, frozen=True, tag="checkpoint", tag_field="do"):
    """Store the folder; answered once it is durable."""


class Progress(msgspec.Struct, frozen=True, tag="progress", tag_field="do"):
    """How far the program is; stored with the folder."""

    step: Count = 0
    total: Count = 0
    text: str = ""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """`why` not."""

    ok: bool
    why: str = ""


Handle = Callable[[Checkpoint | Progress], Awaitable[bool]]
"""Does what is asked. Raises `FolderUnusable` to refuse; False: the run is at its end, and nobody answers any more."""


@contextlib.asynccontextmanager
async def opened(path: Path, *, handle: Handle) -> AsyncIterator[None]:
    """The socket at `path`, as long as the context lasts. Raises OSError."""
    talks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            talks.add(task)
        try:
            await _answer(reader, writer, handle=handle)
        finally:
            writer.close()
            if task is not None:
                talks.discard(task)

    server = await asyncio.start_unix_server(talk, path=path, limit=MAX_REQUEST_BYTES)
    try:
        yield
    finally:
        server.close()
        ending = list(talks)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, handle: Handle) -> None:
    try:
        answer = await _do(await reader.readline(), handle=handle)
    except ValueError as error:  # longer than the limit
        answer = Answer(ok=False, why=str(error))
    if answer is None:
        return
    with contextlib.suppress(OSError):  # who asked is gone
        writer.write(msgspec.json.encode(answer) + b"\n")
        await writer.drain()


async def _do(line: bytes, *, handle: Handle) -> Answer | None:
    try:
        request: Checkpoint | Progress = msgspec.json.decode(line, type=Checkpoint | Progress)
    except (msgspec.MsgspecError, UnicodeError) as error:
        return Answer(ok=False, why=f"this is neither a checkpoint nor progress: {error}")
    try:
        done = await handle(request)
    except FolderUnusable as error:
        return Answer(ok=False, why=str(error))
    return Answer(ok=True) if done else None
