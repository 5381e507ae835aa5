"""Runs the model's tool calls. Whatever goes wrong with one is a text for the model, never an error of the runner."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import httpx
import msgspec

from agenttask.agent.command import environment, run_command
from agenttask.agent.doubt import Probed
from agenttask.agent.state import Call
from agenttask.contract import HttpTool, Probe, Tool

OUTPUT_BYTES: Final = 256 * 1024
"""What the model gets of a result at most; the rest is cut, and the result says so."""
QUERY_METHODS: Final = frozenset({"GET", "HEAD", "DELETE"})
"""Methods that carry their arguments in the query, since their bodies mean nothing."""

ENV_IDEMPOTENCY_KEY: Final = "AGENTTASK_IDEMPOTENCY_KEY"
ENV_NAMESPACE: Final = "AGENTTASK_NAMESPACE"
ENV_TASK: Final = "AGENTTASK_TASK"
ENV_ATTEMPT: Final = "AGENTTASK_ATTEMPT"


@dataclass(frozen=True, kw_only=True)
class ToolResult:
    """What the model is told, and whether the tool did what it was asked."""

    text: str
    ok: bool


@dataclass(frozen=True, kw_only=True)
class Caller:
    """On whose behalf tools run."""

    namespace: str
    name: str
    uid: str
    attempt: int


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


class _ProbeAnswer(msgspec.Struct, frozen=True):
    done: bool
    result: Any = ""


class Toolbox:
    """The tools of a task's spec."""

    def __init__(
        self, *, tools: Sequence[Tool], caller: Caller, http: httpx.AsyncClient, inherited: Mapping[str, str]
    ) -> None:
        """`inherited` is the runner's environment, of which commands see an allow-list."""
        self._tools = {tool.name: tool for tool in tools}
        self._caller = caller
        self._http = http
        self._inherited = inherited

    async def run(self, call: Call) -> ToolResult:
        tool = self._tools.get(call.tool)
        if tool is None:
            known = ", ".join(sorted(self._tools)) or "none"
            return _error(f"there is no tool named {call.tool}; the tools are: {known}")
        if call.problem is not None:
            return _error(call.problem)
        return await self._carry_out(tool, call, seconds=tool.timeout_seconds)

    async def probe(self, call: Call) -> Probed | None:
        """Ask the tool's probe whether the call took effect; None if it has none."""
        tool = self._tools.get(call.tool)
        if tool is None or tool.probe is None or tool.recovery != "Reconcile":
            return None
        said = await self._carry_out(tool.probe, call, seconds=tool.timeout_seconds)
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

    async def _carry_out(self, means: Tool | Probe, call: Call, *, seconds: float) -> ToolResult:
        try:
            async with asyncio.timeout(seconds):
                if means.http is not None:
                    return await self._request(means.http, call)
                return await self._execute(means.command or (), call)
        except TimeoutError:
            return _error(f"no result within {seconds} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return _error(f"{type(error).__name__}: {error}".removesuffix(": "))

    async def _request(self, tool: HttpTool, call: Call) -> ToolResult:
        headers = {"idempotency-key": idempotency_key(uid=self._caller.uid, call=call)}
        arguments: dict[str, Any] = msgspec.json.decode(call.arguments)
        if tool.method in QUERY_METHODS:
            request = self._http.build_request(
                tool.method, tool.url, params=_query(tool.url, arguments), headers=headers
            )
        else:
            headers["content-type"] = "application/json"
            request = self._http.build_request(tool.method, tool.url, content=call.arguments.encode(), headers=headers)
        response = await self._http.send(request, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > OUTPUT_BYTES:
                    break
        finally:
            await response.aclose()
            self._http.cookies.clear()  # a resumed run would not have them
        text = _cut(bytes(body), whole=None)
        if tool.method == "HEAD":
            text = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
        if response.is_success:
            return ToolResult(text=text or f"HTTP {response.status_code}, no body", ok=True)
        return _error(f"HTTP {response.status_code}\n{text}".rstrip())

    async def _execute(self, argv: Sequence[str], call: Call) -> ToolResult:
        own = {
            ENV_IDEMPOTENCY_KEY: idempotency_key(uid=self._caller.uid, call=call),
            ENV_NAMESPACE: self._caller.namespace,
            ENV_TASK: self._caller.name,
            ENV_ATTEMPT: str(self._caller.attempt),
        }
        finished = await run_command(
            argv=argv,
            stdin=call.arguments.encode(),
            env=environment(inherited=self._inherited, own=own),
            stdout_limit=OUTPUT_BYTES,
        )
        text = _cut(finished.stdout, whole=finished.stdout_bytes)
        if finished.code == 0:
            return ToolResult(text=text, ok=True)
        ended = f"signal {-finished.code}" if finished.code < 0 else f"exit code {finished.code}"
        return _error("\n".join(part for part in (ended, finished.stderr.decode(errors="replace"), text) if part))


def _error(text: str) -> ToolResult:
    return ToolResult(text=f"error: {text}", ok=False)


def _cut(output: bytes, *, whole: int | None) -> str:
    """The output as text of at most `OUTPUT_BYTES`; `whole` is its true size where that is known."""
    text = output[:OUTPUT_BYTES].decode(errors="replace")
    if (whole or len(output)) <= OUTPUT_BYTES:
        return text
    of = f" of {whole}" if whole is not None else ""
    return f"{text}\n[cut: the first {OUTPUT_BYTES}{of} bytes]"


def _query(url: str, arguments: Mapping[str, Any]) -> httpx.QueryParams:
    """The address's own query, and the arguments behind it.

    A list repeats its name, what is no scalar becomes JSON, null is left out.
    """
    pairs = httpx.URL(url).params.multi_items()
    for name, value in arguments.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None:
                pairs.append((name, one if isinstance(one, str) else msgspec.json.encode(one).decode()))
    return httpx.QueryParams(tuple(pairs))
