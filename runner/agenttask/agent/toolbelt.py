"""All tools of a task, its own and its MCP servers', as one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Final

import httpx

from agenttask.agent.doubt import Probed
from agenttask.agent.mcp_tools import McpTools
from agenttask.agent.result import Caller, ToolResult
from agenttask.agent.state import Call
from agenttask.agent.stop import Stop
from agenttask.agent.tools import Toolbox, idempotency_key, told
from agenttask.contract import Agent, Tool

CONNECT_SECONDS: Final = 5.0


class Toolbelt:
    """Runs calls; `tools` are all there are, those of servers included."""

    def __init__(self, *, tools: tuple[Tool, ...], toolbox: Toolbox, servers: McpTools, caller: Caller) -> None:
        self.tools = tools
        self._toolbox = toolbox
        self._servers = servers
        self._caller = caller

    @property
    def guarded(self) -> frozenset[str]:
        """The tools of which a call must not run twice."""
        return frozenset(tool.name for tool in self.tools if is_guarded(tool))

    async def run(self, call: Call) -> ToolResult:
        """Run one call to its end. Being cancelled leaves nothing running."""
        if call.tool in self._servers and call.problem is None:
            return await self._servers.run(call, key=idempotency_key(uid=self._caller.uid, call=call))
        return await self._toolbox.run(call)

    async def probe(self, call: Call) -> Probed | None:
        """What the tool's probe says of the call; None if it has none."""
        return await self._toolbox.probe(call)


def is_guarded(tool: Tool) -> bool:
    """Whether a call of it must not run twice."""
    return tool.recovery != "Idempotent" and tool.sleep is None


@contextlib.asynccontextmanager
async def opened(
    agent: Agent,
    *,
    caller: Caller,
    inherited: Mapping[str, str],
    code: str | None,
    transport: httpx.AsyncBaseTransport | None,
    stop: Stop,
) -> AsyncIterator[Toolbelt]:
    """The tools of a task, found and connected; nothing of them is left behind.

    Raises `SpecInvalid` for one that cannot be had, and `ToolsUnavailable`.
    """
    async with contextlib.AsyncExitStack() as stack:
        http = httpx.AsyncClient(timeout=httpx.Timeout(None, connect=CONNECT_SECONDS), transport=transport)
        await stack.enter_async_context(http)
        toolbox = Toolbox(tools=agent.tools, caller=caller, http=http, inherited=inherited, code=code)
        servers = McpTools(agent.mcp_servers, inherited=inherited, own=told(caller), sleep=stop.sleep)
        stack.push_async_callback(servers.close)
        await stop.bound(toolbox.require_entry_points(), calling=False)
        found = await stop.bound(servers.find(taken=[tool.name for tool in agent.tools]), calling=False)
        toolbox.know(found)
        yield Toolbelt(tools=(*agent.tools, *found), toolbox=toolbox, servers=servers, caller=caller)
