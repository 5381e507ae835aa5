"""A tool of the tests that signs numbers, which must not happen twice, in whose calls the runner can be made to die.

A module for Python tools: `sign`, and `signed` as its probe. As a program an MCP server with `sign`. Beside it lies the
file `folder`, with the path of the folder in which its effects are counted, by idempotency key, in `booked`. There also
lie `keyed`, if one key signs once, and `dies`: `before` or `after`, which the first call to sign obeys.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

FOLDER = Path(Path(__file__).with_name("folder").read_text())
KEY = "AGENTTASK_IDEMPOTENCY_KEY"


def sign(number: int) -> int:
    """Sign a number."""
    return _sign(number, key=os.environ[KEY])


def signed(number: int) -> dict[str, Any]:
    """Whether the number was signed."""
    return {"done": os.environ[KEY] in _keys(), "result": number}


def _sign(number: int, *, key: str) -> int:
    if (FOLDER / "keyed").exists() and key in _keys():
        return number
    _kill_caller("before")
    with (FOLDER / "booked").open("a") as file:
        file.write(f"{key}\n")
    _kill_caller("after")
    return number


def _keys() -> list[str]:
    booked = FOLDER / "booked"
    return booked.read_text().split() if booked.exists() else []


def _kill_caller(when: str) -> None:
    dies = FOLDER / "dies"
    if dies.exists() and dies.read_text() == when:
        dies.unlink()
        os.kill(os.getppid(), signal.SIGKILL)
        os._exit(1)


if __name__ == "__main__":
    from mcp.server.mcpserver import Context, MCPServer

    server = MCPServer("signing")

    @server.tool(name="sign")
    def over_mcp(number: int, ctx: Context) -> str:
        """Sign a number."""
        return str(_sign(number, key=str((ctx.request_context.meta or {}).get("agenttask.dev/idempotency-key"))))

    server.run()
