"""Runs the model's tool calls. Whatever goes wrong with one is a text for the model, never an error of the runner."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import httpx
import msgspec

from agenttask.agent.command import environment, run_command
from agenttask.agent.doubt import Probed
from agenttask.agent.headers import values
from agenttask.agent.http_tool import HttpCaller
from agenttask.agent.park import sleep_seconds
from agenttask.agent.result import NOT_SURE, Caller, ToolResult, cut, error
from agenttask.agent.state import Call
from agenttask.agent.template import TemplateError
from agenttask.contract import RESULT_BYTES, Probe, Tool
from agenttask.errors import SpecInvalid
from agenttask.toolhost import RAISED

TOOLHOST: Final = (sys.executable, "-m", "agenttask.toolhost")
IMPORT_SECONDS: Final = 60
ENV_IDEMPOTENCY_KEY: Final = "AGENTTASK_IDEMPOTENCY_KEY"
ENV_NAMESPACE: Final = "AGENTTASK_NAMESPACE"
ENV_TASK: Final = "AGENTTASK_TASK"
ENV_ATTEMPT: Final = "AGENTTASK_ATTEMPT"


class Tools(Protocol):
    """Something that runs calls."""

    async def run(self, call: Call) -> ToolResult:
        """Run one call to its end. Being cancelled leaves nothing running."""
        ...


def idempotency_key(*, uid: str, call: Call) -> str:
    """The same for every run of this call, whichever attempt makes it, and for no other call: 64 hex digits."""
    arguments = msgspec.json.encode(msgspec.json.decode(call.arguments), order="sorted").decode()
    named = msgspec.json.encode([uid, call.id, call.tool, arguments])
    return hashlib.sha256(named).hexdigest()


def told(caller: Caller) -> dict[str, str]:
    """What every process of a tool is told, as variables."""
    return {ENV_NAMESPACE: caller.namespace, ENV_TASK: caller.name, ENV_ATTEMPT: str(caller.attempt)}


def _words(wrong: Exception) -> str:
    return f"{type(wrong).__name__}: {wrong}".removesuffix(": ")


class _ProbeAnswer(msgspec.Struct, frozen=True):
    done: bool
    result: Any = ""


class Toolbox:
    """The tools of a task's spec."""

    def __init__(
        self,
        *,
        tools: Sequence[Tool],
        caller: Caller,
        http: httpx.AsyncClient,
        inherited: Mapping[str, str],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        code: str | None = None,
    ) -> None:
        """`inherited` is the runner's environment, of which commands see an allow-list; `code` a folder of modules.

        Raises `SpecInvalid` for a Secret that is missing in it.
        """
        self._tools = {tool.name: tool for tool in tools}
        self._caller = caller
        self._http = HttpCaller(http=http, environment=inherited)
        self._inherited = inherited
        self._sleep = sleep
        self._code = code
        self._others: list[str] = []
        for means in (each for tool in tools for each in (tool, tool.probe) if each is not None):
            if means.http is not None:
                values(means.http.headers, environment=inherited)

    def know(self, others: Sequence[Tool]) -> None:
        """Of tools that somebody else runs, so that they are named to a model that calls one that does not exist."""
        self._others = [tool.name for tool in others]

    async def run(self, call: Call) -> ToolResult:
        if call.problem is not None:
            return error(call.problem)
        tool = self._tools.get(call.tool)
        if tool is None:
            known = ", ".join(sorted([*self._tools, *self._others])) or "none"
            return error(f"there is no tool named {call.tool}; the tools are: {known}")
        if tool.sleep is not None:
            return await self._nap(call, most=tool.sleep.max_seconds)
        return await self._carry_out(tool, tool, call)

    async def _nap(self, call: Call, *, most: int) -> ToolResult:
        seconds = sleep_seconds(call, sleeps={call.tool: most})
        if seconds is None:
            return error(f"seconds must be a whole number from 1 to {most}")
        await self._sleep(seconds)
        return ToolResult(text=f"{seconds} s have passed.", ok=True)

    async def require_entry_points(self) -> None:
        """Raises `SpecInvalid` unless every function that Python tools name can be found."""
        means = [(tool.name, each) for tool in self._tools.values() for each in (tool, tool.probe)]
        entries = {each.python: name for name, each in means if each is not None and each.python is not None}
        if not entries:
            return
        try:
            async with asyncio.timeout(IMPORT_SECONDS):
                finished = await run_command(
                    argv=[*TOOLHOST, "--check", *entries],
                    stdin=b"",
                    env=environment(inherited=self._inherited, passed=(), own=self._python_path()),
                    stdout_limit=RESULT_BYTES,
                )
        except TimeoutError as error:
            raise SpecInvalid(f"the modules of the Python tools are not imported within {IMPORT_SECONDS} s") from error
        if finished.code != 0:
            said = finished.stderr.decode(errors="replace").strip()
            raise SpecInvalid(f"the modules of the Python tools end the process that imports them: {said[-500:]}")
        for entry, problem in msgspec.json.decode(finished.stdout, type=dict[str, str]).items():
            raise SpecInvalid(f"tool {entries[entry]}: {entry} cannot be had: {problem}")

    async def probe(self, call: Call) -> Probed | None:
        """Ask the tool's probe whether the call took effect; None if it has none."""
        tool = self._tools.get(call.tool)
        if tool is None or tool.probe is None or tool.recovery != "Reconcile":
            return None
        said = await self._carry_out(tool.probe, tool, call)
        if not said.ok:
            return Probed(done=None, text=said.text)
        try:
            answer = msgspec.json.decode(said.text, type=_ProbeAnswer)
        except (msgspec.MsgspecError, UnicodeError) as error:
            return Probed(done=None, text=f'its answer is not {{"done": …, "result": …}} ({error})')
        result = answer.result
        return Probed(
            done=answer.done, text=result if isinstance(result, str) else msgspec.json.encode(result).decode()
        )

    async def _carry_out(self, means: Tool | Probe, tool: Tool, call: Call) -> ToolResult:
        unknown = NOT_SURE if means is tool and tool.recovery != "Idempotent" else ""
        try:
            async with asyncio.timeout(tool.timeout_seconds):
                if means.http is not None:
                    key = idempotency_key(uid=self._caller.uid, call=call)
                    return await self._http.request(means.http, call=call, key=key, limit=tool.max_result_bytes)
                return await self._execute(means, tool, call)
        except TimeoutError:
            return error(f"no result within {tool.timeout_seconds} s{unknown}")
        except TemplateError as wrong:
            return error(str(wrong))
        except (httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.RemoteProtocolError) as wrong:
            return error(f"{_words(wrong)}{unknown}")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as wrong:
            return error(_words(wrong))

    async def _execute(self, means: Tool | Probe, tool: Tool, call: Call) -> ToolResult:
        is_python = means.python is not None
        argv = means.command or () if means.python is None else (*TOOLHOST, means.python)
        key = idempotency_key(uid=self._caller.uid, call=call)
        own = {ENV_IDEMPOTENCY_KEY: key, **told(self._caller), **(self._python_path() if is_python else {})}
        limit = tool.max_result_bytes
        finished = await run_command(
            argv=argv,
            stdin=call.arguments.encode(),
            env=environment(inherited=self._inherited, passed=tool.pass_env, own=own),
            stdout_limit=limit,
        )
        text = cut(finished.stdout, limit=limit, whole=finished.stdout_bytes)
        if finished.code == 0:
            return ToolResult(text=text, ok=True)
        if finished.code == RAISED and is_python:
            return error(text)
        ended = f"signal {-finished.code}" if finished.code < 0 else f"exit code {finished.code}"
        return error("\n".join(part for part in (ended, finished.stderr.decode(errors="replace"), text) if part))

    def _python_path(self) -> dict[str, str]:
        """Where modules are found: the task's own first, then where the image says."""
        path = [each for each in (self._code, self._inherited.get("PYTHONPATH")) if each]
        return {"PYTHONPATH": os.pathsep.join(path)} if path else {}
