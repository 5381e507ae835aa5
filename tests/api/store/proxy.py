"""A proxy of ours that fails on purpose, one request at a time: between any client and a server of HTTP or Redis.

It takes whole requests and whole answers apart from the stream, so that a request can be lost, answered wrongly, held
back while others overtake it, or delivered long after its sender gave up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from enum import Enum
from typing import Final
from urllib.parse import urlsplit

from tests.api.store.canned import Answer

HELD_SECONDS: Final = 0.05
LATE_SECONDS: Final = 0.15
_STREAM_LIMIT: Final = 64 << 20


class Misfortune(Enum):
    """What befalls a request."""

    NONE = "none"
    DROP_BEFORE = "dropped before the server heard it"
    DROP_AFTER = "heard, and its answer dropped"
    DELAY = "answered late"
    REORDER = "held back, so that later requests overtake it"
    LATE = "dropped for its sender, and delivered afterwards"
    TRUNCATE = "answered with half of the answer"
    ERROR_500 = "500"
    ERROR_503 = "503"
    ERROR_409 = "409"


HTTP_ONLY: Final = (Misfortune.ERROR_500, Misfortune.ERROR_503, Misfortune.ERROR_409)
_CODES: Final = {
    Misfortune.ERROR_500: (500, "InternalError"),
    Misfortune.ERROR_503: (503, "SlowDown"),
    Misfortune.ERROR_409: (409, "ConditionalRequestConflict"),
}

Plan = Callable[[bytes], Misfortune]
"""What befalls a request, given its bytes."""


async def read_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None = None) -> bytes:
    """One HTTP message, whole; empty at the end of the connection. `writer` is who waits for "100 Continue"."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head[:-4].split(b"\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
    if headers.pop(b"expect", None) is not None and writer is not None:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        head = b"\r\n".join(line for line in lines if not line.lower().startswith(b"expect:")) + b"\r\n\r\n"
    if headers.get(b"transfer-encoding") == b"chunked":
        return head + await _chunks(reader)
    return head + await reader.readexactly(int(headers.get(b"content-length", b"0")))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        body += line + await reader.readexactly(size + 2)
        if size == 0:
            return body


async def read_redis(reader: asyncio.StreamReader) -> bytes:
    """One value of the Redis protocol, whole, and what it contains."""
    line = await reader.readuntil(b"\r\n")
    kind, count = line[:1], line[1:-2]
    if kind in b"$=!" and count != b"-1":
        return line + await reader.readexactly(int(count) + 2)
    if kind in b"*~>%" and count != b"-1":
        elements = int(count) * (2 if kind == b"%" else 1)
        return line + b"".join([await read_redis(reader) for _ in range(elements)])
    return line


class Proxy:
    """Stands between clients and a server; `plan` may be changed at any time."""

    def __init__(self, target: str, *, plan: Plan) -> None:
        address = urlsplit(target)
        assert address.hostname is not None
        self.plan = plan
        self.held_seconds = HELD_SECONDS
        """How long a request waits to be overtaken."""
        self.endpoint = ""
        self.befallen: list[Misfortune] = []
        self._http = address.scheme == "http"
        self._scheme, self._path = address.scheme, address.path
        self._target = (address.hostname, address.port or 80)
        self.holding = asyncio.Event()
        """Set once a request has been held back."""
        self._overtaken = asyncio.Event()
        self._late: set[asyncio.Task[None]] = set()
        self._serving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Proxy]:
        """Take connections until the block ends; what is still under way late is delivered before."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_STREAM_LIMIT)
        port = server.sockets[0].getsockname()[1]
        self.endpoint = f"{self._scheme}://127.0.0.1:{port}{self._path}"
        try:
            yield self
        finally:
            server.close()
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)
            await self.settled()
            await server.wait_closed()

    async def settled(self) -> None:
        """Until nothing is under way late any more."""
        while self._late:
            await asyncio.gather(*self._late)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            server = await asyncio.open_connection(*self._target, limit=_STREAM_LIMIT)
            while await self._one(reader, writer, *server):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # either side hung up, or the test is over: hang up too
        finally:
            self._serving.discard(task)
            for each in (writer, *(server[1:] if server else ())):
                await _closed(each)

    async def _one(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        from_server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> bool:
        """One request and its answer; whether the connection lives on."""
        request = await (read_http(reader, writer) if self._http else read_redis(reader))
        misfortune = self.plan(request)
        self.befallen.append(misfortune)
        if misfortune in _CODES:
            writer.write(Answer.error(*_CODES[misfortune]).whole())
            return True
        if misfortune is Misfortune.DROP_BEFORE:
            return False
        if misfortune is Misfortune.LATE:
            late = asyncio.create_task(self._deliver(request))
            self._late.add(late)
            late.add_done_callback(self._late.discard)
            return False
        if misfortune is Misfortune.REORDER:
            self._overtaken.clear()
            self.holding.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._overtaken.wait(), self.held_seconds)
        answer = await self._exchange(request, from_server, to_server)
        if misfortune is not Misfortune.REORDER:
            self._overtaken.set()
        if misfortune is Misfortune.DROP_AFTER:
            return False
        if misfortune is Misfortune.DELAY:
            await asyncio.sleep(HELD_SECONDS)
        if misfortune is Misfortune.TRUNCATE:
            writer.write(answer[: len(answer) // 2])
            await writer.drain()
            return False
        writer.write(answer)
        await writer.drain()
        return True

    async def _exchange(
        self, request: bytes, from_server: asyncio.StreamReader, to_server: asyncio.StreamWriter
    ) -> bytes:
        to_server.write(request)
        await to_server.drain()
        if not self._http:
            return await read_redis(from_server)
        answer = await read_http(from_server)
        while answer.startswith(b"HTTP/1.1 1"):  # "100 Continue"
            answer = await read_http(from_server)
        return answer

    async def _deliver(self, request: bytes) -> None:
        await asyncio.sleep(LATE_SECONDS)
        with suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection(*self._target, limit=_STREAM_LIMIT)
            try:
                await self._exchange(request, reader, writer)
            finally:
                await _closed(writer)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
