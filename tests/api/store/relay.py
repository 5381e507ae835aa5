"""A wire to a server that can be cut, and on which answers can be lost."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum, auto
from urllib.parse import urlsplit

from tests.e2e.harness.wait import PATIENCE_SECONDS


class Wire(Enum):
    """What becomes of a connection."""

    WHOLE = auto()
    CUT = auto()
    """Closed before anything reaches the server."""
    ANSWERS_LOST = auto()
    """The server hears everything; its first answer closes the connection instead of arriving."""


class Relay:
    """Stands between a client and a server; `wire` may be changed at any time."""

    def __init__(self, target: str) -> None:
        address = urlsplit(target)
        assert address.hostname is not None
        self.wire = Wire.WHOLE
        self.endpoint = ""
        self.lost = asyncio.Event()
        self._target = (address.hostname, address.port or 80)
        self._connections: set[asyncio.StreamWriter] = set()
        self.idle = asyncio.Event()
        """Set while no connection is served."""
        self.idle.set()

    def cut(self) -> None:
        """Close what is open and let nothing through."""
        self.wire = Wire.CUT
        self.drop()

    def drop(self) -> None:
        """Close what is open, so that the next request is made under the wire as it is now."""
        for connection in self._connections:
            connection.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self._connections.add(writer)
        self.idle.clear()
        try:
            if self.wire is Wire.CUT:
                return
            to_reader, to_writer = await asyncio.open_connection(*self._target)
            try:
                await self._both(
                    asyncio.create_task(self._forth(reader, to_writer)),
                    asyncio.create_task(self._back(to_reader, writer)),
                )
            finally:
                to_writer.close()
                with suppress(OSError):
                    await to_writer.wait_closed()
        finally:
            writer.close()
            self._connections.discard(writer)
            if not self._connections:
                self.idle.set()

    async def _both(self, *ways: asyncio.Task[None]) -> None:
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()

    async def _forth(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if self.wire is not Wire.WHOLE:
                    self.lost.set()
                    return
                writer.write(data)


@asynccontextmanager
async def relay(target: str, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Relay]:
    """A relay to the server at the URL `target`; with `tls` it is what speaks TLS for a server that does not."""
    wire = Relay(target)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0, ssl=tls)
    address = urlsplit(target)
    scheme, port = address.scheme + ("s" if tls else ""), server.sockets[0].getsockname()[1]
    wire.endpoint = f"{scheme}://127.0.0.1:{port}{address.path}"
    try:
        yield wire
    finally:
        server.close()
        wire.drop()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await wire.idle.wait()
