"""An MCP server with effects that are counted: `mcp_server.py FOLDER [PORT]`, on pipes without a port.

pay(number)    Once, as it says nothing of itself: appends to FOLDER/paid; then dies where FOLDER/dies is
look(number)   read-only: appends to FOLDER/looked; dies before it answers where FOLDER/dies is
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED, ToolAnnotations

FOLDER = Path(sys.argv[1])
KEY = "agenttask.dev/idempotency-key"
server = MCPServer("desk")


def note(name: str, line: str) -> None:
    with (FOLDER / name).open("a") as file:
        file.write(line + "\n")


def die() -> None:
    if (FOLDER / "dies").exists():
        (FOLDER / "dies").unlink()
        os.kill(os.getpid(), signal.SIGKILL)


@server.tool()
def pay(number: int, ctx: Context) -> str:
    """Pay a number."""
    note("paid", str((ctx.request_context.meta or {}).get(KEY)))
    die()
    return str(number)


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def look(number: int) -> str:
    """Look at a number."""
    note("looked", str(number))
    die()
    return str(number)


@server.tool(annotations=ToolAnnotations(idempotent_hint=True))
def environment() -> str:
    """Names of all variables the process has."""
    return ",".join(sorted(os.environ))


@server.tool()
def tell(ctx: Context) -> str:
    """Headers of the request."""
    return str(dict(ctx.headers or {}))


@server.tool()
def refuse(ctx: Context) -> str:
    """Refuses by an error of the protocol, which quotes the request's headers."""
    raise MCPError(code=-32050, message=str(dict(ctx.headers or {})))


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def deny(number: int) -> str:
    """Refuses by an error of its own, under the number that the SDK gives a lost connection."""
    note("denied", str(number))
    raise MCPError(code=CONNECTION_CLOSED, message="the desk is closed")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        server.run()
