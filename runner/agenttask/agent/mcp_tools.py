"""The tools of MCP servers, as the model and the ledger see them: names, schemas, recovery, results.

A server's annotations are hints for recovery and nothing more: a tool without any is `Once`, and what the task says
about a server goes before what the server says about itself.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import msgspec

from agenttask.agent.command import environment
from agenttask.agent.headers import values, without_secrets
from agenttask.agent.result import NOT_SURE, ToolResult, cut, error
from agenttask.agent.state import Call
from agenttask.contract import McpServer, Tool
from agenttask.errors import SpecInvalid, ToolsUnavailable

if TYPE_CHECKING:
    import mcp_types

    from agenttask.agent.mcp_connection import Connection

TRIES: Final = 4
PAUSE_SECONDS: Final = 0.5
"""Before the second try; doubled from then on."""
LONGEST_NAME: Final = 64

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class _Remote:
    """One tool of a server: as the task knows it, and as its server does."""

    tool: Tool
    name: str
    server: McpServer
    connection: Connection


class McpTools:
    """The tools of a task's servers. Connections are made when they are needed and again after a loss."""

    def __init__(
        self,
        servers: Sequence[McpServer],
        *,
        inherited: Mapping[str, str],
        own: Mapping[str, str],
        sleep: Sleep,
    ) -> None:
        """`inherited` is the runner's environment, `own` what every process of a tool is told.

        Raises `SpecInvalid` if this installation has no MCP, or for a Secret that is missing.
        """
        self._environment = inherited
        self._sleep = sleep
        self._remotes: dict[str, _Remote] = {}
        self._connections: dict[str, Connection] = {}
        self._servers = servers
        if not servers:
            return
        try:
            from agenttask.agent import mcp_connection as mcp  # noqa: PLC0415 - heavy, and optional
        except ImportError as error:
            raise SpecInvalid(f"MCP servers need the package agenttask[mcp] in the runner's image: {error}") from error
        self._no_answer, self._refused = mcp.NoAnswer, mcp.Refused
        for server in servers:
            if server.url is not None:
                opened = mcp.over_http(url=server.url, headers=values(server.headers, environment=inherited))
            else:
                around = environment(inherited=inherited, passed=server.pass_env, own=own)
                opened = mcp.over_pipes(argv=server.command or (), environment=around)
            self._connections[server.name] = mcp.Connection(opened)

    async def find(self, *, taken: Sequence[str]) -> tuple[Tool, ...]:
        """Ask all servers for their tools. `taken` are the names of the task's other tools.

        Raises `ToolsUnavailable` if a server does not answer, `SpecInvalid` for names that clash or are not there.
        """
        asked = await asyncio.gather(*map(self._listed, self._servers), return_exceptions=True)
        for server, listed in zip(self._servers, asked, strict=True):
            if isinstance(listed, BaseException):
                raise listed
            there = {each.name for each in listed}
            if missing := sorted(set(server.tools or ()) - there):
                raise SpecInvalid(f"MCP server {server.name} has no tool {', '.join(missing)}")
            for found in sorted(listed, key=lambda each: each.name):
                if server.tools is None or found.name in server.tools:
                    self._add(server, found, taken=taken)
        return tuple(remote.tool for remote in self._remotes.values())

    def __contains__(self, tool: str) -> bool:
        return tool in self._remotes

    async def run(self, call: Call, *, key: str) -> ToolResult:
        """Run one call. A lost connection is made again; the call is repeated where that does no harm."""
        remote = self._remotes[call.tool]
        arguments = msgspec.json.decode(call.arguments)
        try:
            async with asyncio.timeout(remote.server.timeout_seconds):
                answer = await self._asked(
                    lambda: remote.connection.call(remote.name, arguments, key=key),
                    twice=remote.tool.recovery == "Idempotent",
                )
        except TimeoutError:
            unknown = "" if remote.tool.recovery == "Idempotent" else NOT_SURE
            return error(f"no result within {remote.server.timeout_seconds} s{unknown}")
        except self._refused as refused:
            return error(self._told(str(refused), remote.server))
        except self._no_answer as lost:
            unknown = NOT_SURE if lost.sent else ""
            return error(f"MCP server {remote.server.name} is lost: {lost}{unknown}")
        text = self._told(text_of(answer), remote.server)
        return error(text) if answer.is_error else ToolResult(text=text, ok=True)

    async def close(self) -> None:
        """Leave all servers."""
        await asyncio.gather(*(connection.close() for connection in self._connections.values()))

    async def _listed(self, server: McpServer) -> list[mcp_types.Tool]:
        try:
            return await self._asked(self._connections[server.name].tools, twice=True)
        except (self._no_answer, self._refused) as error:
            why = self._told(str(error), server)
            raise ToolsUnavailable(f"MCP server {server.name} does not give its tools: {why}") from error

    def _told(self, text: str, server: McpServer) -> str:
        """What a server says, errors included, as it may be told: without its secrets, no longer than agreed."""
        text = without_secrets(text, server.headers, environment=self._environment)
        return cut(text.encode(), limit=server.max_result_bytes, whole=None)

    async def _asked(self, ask: Callable[[], Awaitable[T]], *, twice: bool) -> T:
        """Ask, and ask again after a loss: only what the server has not got, unless it may be done `twice`."""
        for attempt in range(TRIES):
            try:
                return await ask()
            except self._no_answer as lost:
                if attempt == TRIES - 1 or (lost.sent and not twice):
                    raise
            await self._sleep(PAUSE_SECONDS * 2**attempt)
        raise AssertionError

    def _add(self, server: McpServer, found: mcp_types.Tool, *, taken: Sequence[str]) -> None:
        name = public_name(server.name, found.name)
        if name in taken or name in self._remotes:
            raise SpecInvalid(f"MCP server {server.name}: the name {name} is there twice; choose with its tools")
        tool = Tool(
            name=name,
            description=found.description or "",
            parameters=found.input_schema,
            recovery=server.recovery or recovery_of(found.annotations),
            on_doubt=server.on_doubt,
            timeout_seconds=server.timeout_seconds,
            max_result_bytes=server.max_result_bytes,
        )
        connection = self._connections[server.name]
        self._remotes[name] = _Remote(tool=tool, name=found.name, server=server, connection=connection)


def public_name(server: str, tool: str) -> str:
    """By which the model calls a server's tool."""
    return re.sub("[^A-Za-z0-9_-]", "_", f"{server}_{tool}")[:LONGEST_NAME]


def recovery_of(hints: mcp_types.ToolAnnotations | None) -> Literal["Idempotent", "Once"]:
    """What a server's own hints say."""
    repeatable = hints is not None and bool(hints.read_only_hint or hints.idempotent_hint)
    return "Idempotent" if repeatable else "Once"


def text_of(answer: mcp_types.CallToolResult) -> str:
    """A result as the model gets it. What is no text is named, not shown."""
    parts = [_part(block) for block in answer.content]
    if not parts and answer.structured_content is not None:
        return msgspec.json.encode(answer.structured_content).decode()
    return "\n".join(parts)


def _part(block: mcp_types.ContentBlock) -> str:
    match block.type:
        case "text":
            return block.text
        case "resource":
            text = getattr(block.resource, "text", None)
            return text if isinstance(text, str) else f"[resource {block.resource.uri}, not shown]"
        case "resource_link":
            return f"[resource {block.uri}: {block.name}]"
        case _:
            return f"[{block.type} of type {block.mime_type}, not shown]"
