"""A connection to one MCP server, in a task of its own, made anew when it is lost. The only module that needs `mcp`.

The SDK's transports are bound to the task that opens them and cancel it when the server dies. So each has a task that
does nothing else, and whoever asks hears of the loss as an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import Any, Final, NoReturn, TypeVar, cast

import httpx2
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED, CallToolResult, Implementation, RequestParamsMeta, Tool

CONNECT_SECONDS: Final = 30.0
CLOSE_SECONDS: Final = 5.0
"""A server on pipes has 2 s to end by itself, then 2 s more after SIGTERM."""
MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
"""Of one message over HTTP: results may have pictures that nobody looks at."""
MAX_PAGES: Final = 100
"""Of a server's list of tools."""
_LOSSES: Final = ("Connection closed", "SSE stream ")
"""How what the SDK says of a lost connection begins; what else has its number is the server's."""
KEY: Final = "agenttask.dev/idempotency-key"
"""In a call's `_meta`."""

T = TypeVar("T")
Open = Callable[[], AbstractAsyncContextManager[Any]]

logging.getLogger("mcp").setLevel(logging.CRITICAL)  # what it has to say comes as an exception too

_REFUSED: ContextVar[list[int]] = ContextVar("refused")
"""Statuses with which a server refused the request of this context because of its session."""


class NoAnswer(Exception):  # noqa: N818 - what happened, to be told or repeated
    """The server cannot be reached, or was lost; `sent` if it may have got the request."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class Refused(Exception):  # noqa: N818 - as above
    """The server's own error."""


def over_http(*, url: str, headers: Mapping[str, str]) -> Open:
    """Streamable HTTP. Redirects are followed on the same origin only, so the headers go nowhere else."""

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        timeout = httpx2.Timeout(CONNECT_SECONDS, read=None)
        async with (
            httpx2.AsyncClient(headers=dict(headers), timeout=timeout, event_hooks={"response": [_hear]}) as client,
            streamable_http_client(url, http_client=client, max_sse_event_size=MAX_EVENT_BYTES) as streams,
        ):
            yield streams

    return opened


async def _hear(response: httpx2.Response) -> None:
    """A server that was started anew says 404 to a session that it does not know, or 400: it has done nothing.

    What a server says of the request itself, which is no better in a new session, it says in a JSON-RPC error.
    """
    if response.status_code not in {400, 404} or "mcp-session-id" not in response.request.headers:
        return
    body = await response.aread()
    if not any(code in body for code in (b"-32601", b"-32602", b"-32700")):
        _REFUSED.get([]).append(response.status_code)


def over_pipes(*, argv: Sequence[str], environment: Mapping[str, str]) -> Open:
    """A process of the server's own, on its standard input and output."""
    return lambda: stdio_client(StdioServerParameters(command=argv[0], args=list(argv[1:]), env=dict(environment)))


class Connection:
    """Connects when it is asked for the first time, and again after a loss."""

    def __init__(self, opened: Open) -> None:
        self._open = opened
        self._owner: asyncio.Task[None] | None = None
        self._client: Client | None = None
        self._closing = asyncio.Event()
        self._left: set[asyncio.Task[None]] = set()
        self._connecting = asyncio.Lock()
        self._asking = 0

    async def tools(self) -> list[Tool]:
        """All tools the server has. Raises `NoAnswer` and `Refused`."""

        async def listed(client: Client) -> list[Tool]:
            tools: list[Tool] = []
            cursor: str | None = None
            for _ in range(MAX_PAGES):
                page = await client.list_tools(cursor=cursor)
                tools += page.tools
                if (cursor := page.next_cursor) is None:
                    break
            return tools

        return await self._ask(listed)

    async def call(self, tool: str, arguments: dict[str, Any], *, key: str) -> CallToolResult:
        """One call. Raises `NoAnswer` and `Refused`; being cancelled tells the server so."""
        meta = cast(RequestParamsMeta, {KEY: key})  # any key may be there
        return await self._ask(lambda client: client.call_tool(tool, arguments, meta=meta))

    async def close(self) -> None:
        """Leave the server; never fails, and leaves no process behind."""
        self._drop()
        if self._left:
            _, late = await asyncio.wait(self._left, timeout=CLOSE_SECONDS)
            for owner in late:
                owner.cancel()
            await asyncio.gather(*self._left, return_exceptions=True)

    async def _ask(self, work: Callable[[Client], Awaitable[T]]) -> T:
        client, owner = await self._connected()
        refused: list[int] = []
        _REFUSED.set(refused)
        self._asking += 1
        asked = asyncio.ensure_future(work(client))
        try:
            await _either(asked, owner)
            return await asked if asked.done() else _lost(owner)
        except MCPError as error:
            if not refused and not _is_loss(error):
                raise Refused(error.message) from error
            alone = self._asking == 1
            self._drop()
            if refused:
                raise NoAnswer(f"the server does not know the session (HTTP {refused[-1]})", sent=False) from error
            await asyncio.wait({owner}, timeout=CLOSE_SECONDS)
            raise NoAnswer(_why(owner), sent=not (alone and _was_refused(owner))) from error
        except NoAnswer:
            self._drop()
            raise
        finally:
            self._asking -= 1
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    async def _connected(self) -> tuple[Client, asyncio.Task[None]]:
        async with self._connecting:
            if self._owner is not None and self._client is not None and not self._owner.done():
                return self._client, self._owner
            self._drop()
            ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
            self._closing = asyncio.Event()
            owner = self._owner = asyncio.create_task(self._own(ready, self._closing))
            try:
                await _either(ready, owner, seconds=CONNECT_SECONDS)
            finally:
                if not ready.done():
                    owner.cancel()
            if not ready.done():
                await asyncio.wait({owner}, timeout=CLOSE_SECONDS)
                raise NoAnswer(_why(owner), sent=False)
            self._client = ready.result()
            return self._client, owner

    async def _own(self, ready: asyncio.Future[Client], closing: asyncio.Event) -> None:
        """Hold one connection: the whole life of a task."""
        who = Implementation(name="agenttask", version="1")
        async with Client(self._open(), client_info=who, cache=None) as client:
            if not ready.done():
                ready.set_result(client)
            await closing.wait()

    def _drop(self) -> None:
        """Let go of the connection, without waiting for its end."""
        if self._owner is not None:
            self._closing.set()
            self._left.add(self._owner)
            self._owner.add_done_callback(self._left.discard)
            self._owner.add_done_callback(_heard)
        self._owner = self._client = None


def _is_loss(error: MCPError) -> bool:
    """Whether the SDK says so of the connection. Servers have errors of their own under the same number."""
    return error.code == CONNECTION_CLOSED and error.message.startswith(_LOSSES)


async def _either(one: asyncio.Future[Any], other: asyncio.Future[Any], *, seconds: float | None = None) -> None:
    await asyncio.wait({one, other}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)


def _lost(owner: asyncio.Task[None]) -> NoReturn:
    raise NoAnswer(_why(owner), sent=True)


def _heard(owner: asyncio.Task[None]) -> None:
    """Nobody else may ask how it ended, and asyncio would complain."""
    if not owner.cancelled():
        owner.exception()


def _leaves(error: BaseException | None) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _leaves(each)]
    return [] if error is None else [error]


def _was_refused(owner: asyncio.Task[None]) -> bool:
    """Whether the connection ended with a request that no server took."""
    if not owner.done() or owner.cancelled():
        return False
    leaves = _leaves(owner.exception())
    return bool(leaves) and all(isinstance(leaf, httpx2.ConnectError) for leaf in leaves)


def _why(owner: asyncio.Task[None]) -> str:
    if not owner.done() or owner.cancelled():
        return f"no answer within {CONNECT_SECONDS:.0f} s"
    words = [f"{type(leaf).__name__}: {leaf}".removesuffix(": ") for leaf in _leaves(owner.exception())]
    return "; ".join(dict.fromkeys(words)) or "the server has closed the connection"
