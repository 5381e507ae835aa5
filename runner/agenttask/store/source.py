"""Bodies to put: read with a check that they are what they said, or made of bytes."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO, Final

from agenttask.errors import Full
from agenttask.store.base import Source

IN_MEMORY_BYTES: Final = 4 << 20
"""Up to here a spooled source stays in memory."""


async def pieces(source: Source) -> AsyncIterator[bytes]:
    """The source's bytes. `ValueError` at the end, or beyond it, if they are not what it said they would be."""
    digest, size = hashlib.sha256(), 0
    async for piece in source.open():
        size += len(piece)
        if size > source.size:
            break
        digest.update(piece)
        yield piece
    if size != source.size or digest.hexdigest() != source.sha256:
        raise ValueError(f"the source is not the {source.size} bytes with SHA-256 {source.sha256} it said it was")


def of_bytes(body: bytes) -> Source:
    """A source that is in memory already."""

    async def once() -> AsyncIterator[bytes]:
        yield body

    return Source(size=len(body), sha256=hashlib.sha256(body).hexdigest(), open=once)


@asynccontextmanager
async def spooled(source: Source) -> AsyncIterator[IO[bytes]]:
    """The whole source as a file to be read from its start, in the machine's temporary folder if it is large.

    `ValueError` if it is not what it said it was, before anything is sent.
    """
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as file:
        try:
            async for piece in pieces(source):
                await asyncio.to_thread(file.write, piece)
            await asyncio.to_thread(file.seek, 0)
        except OSError as error:
            raise Full(f"no room in {tempfile.gettempdir()} for a body of {source.size} bytes: {error}") from error
        yield file
