"""A TCP forwarder that can be shut and opened: a server that is unreachable for a while, and then is not."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Coroutine
from typing import Any
from urllib.parse import urlsplit


class Forwarder:
    """Forwards a port of this machine to `target` while open; refuses connections while shut. Starts shut.

    With `tls` it is what speaks TLS for a server that does not.
    `refused` counts the connections that came while it was cut.
    """

    def __init__(self, *, address: str, target: str, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="forwarder", daemon=True)
        self._thread.start()
        self._server: asyncio.Server | None = None
        self._port = 0
        self._ends: set[asyncio.StreamWriter] = set()
        self._is_cut = False
        self.refused = 0
        self.open()
        self.url = f"{parts.scheme}{'s' if tls else ''}://{address}:{self._port}{parts.path}"
        self.shut()

    def open(self) -> None:
        """Accept connections."""
        self._run(self._open())

    def shut(self) -> None:
        """Refuse connections; those that stand go on."""
        self._run(self._shut())

    def cut(self) -> None:
        """End the connections that stand, whatever is under way on them, and each new one as it comes."""
        self._run(self._cut())

    def close(self) -> None:
        """Shut for good."""
        self.shut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        done = asyncio.run_coroutine_threadsafe(work, self._loop)
        done.result(timeout=60)

    async def _open(self) -> None:
        self._is_cut = False
        if self._server is not None:
            return
        self._server = await asyncio.start_server(self._serve, "0.0.0.0", self._port, ssl=self._tls)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _cut(self) -> None:
        self._is_cut = True
        for end in self._ends:
            end.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            self.refused += 1
            writer.transport.abort()
            return
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        ends = {writer, there_writer}
        self._ends |= ends
        await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer), return_exceptions=True)
        self._ends -= ends


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
