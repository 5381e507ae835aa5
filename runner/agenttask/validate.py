"""`agenttask validate FILE`: all that is wrong with a task, before a cluster has to say so, or could not.

What the API server would refuse: fields, bounds and patterns, and its rules. What it cannot know: templates, tools and
schemas that make no sense, functions that are not there. And with `--connect` whether those answer whom the task names;
nothing is asked of them that has an effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final, TextIO

import httpx
import msgspec

from agenttask.agent.checks import check_answer, check_model, check_schemas, check_tools
from agenttask.agent.mcp_tools import McpTools
from agenttask.agent.result import Caller
from agenttask.agent.tools import Toolbox, told
from agenttask.clock import SystemClock
from agenttask.contract import Agent, Endpoint, TaskSpec, endpoints_of, memory_flaw, secrets_of
from agenttask.errors import AgentTaskError, SpecInvalid
from agenttask.local import code_of, with_model
from agenttask.manifest import Manifest, find, read, spec_schema, wrong
from agenttask.model.endpoint import Deadlines, ModelEndpoint
from agenttask.model.failures import ModelError
from agenttask.preconditions import check_options
from agenttask.rules import broken

WRONG: Final = 1
"""Exit code: something is wrong, and has been named."""
SECONDS: Final = 10.0
"""For whoever is asked."""
CALLER: Final = Caller(namespace="local", name="validate", uid="local", attempt=0)


def validate_file(
    *, path: Path, connect: bool, output: str, environment: Mapping[str, str] = os.environ, out: TextIO | None = None
) -> int:
    """Name all that is wrong; the exit code."""
    out = out or sys.stdout
    problems = asyncio.run(_problems(path, connect=connect, environment=environment))
    if output == "json":
        out.write(msgspec.json.encode({"file": str(path), "problems": problems}).decode() + "\n")
    else:
        out.write("".join(f"{path}: {problem}\n" for problem in problems) or f"{path}: nothing is wrong with it\n")
    return WRONG if problems else 0


async def _problems(path: Path, *, connect: bool, environment: Mapping[str, str]) -> list[str]:
    try:
        task, documents = find(path)
        if refused := wrong(task):
            return refused
        manifest = read(task, source=str(path), others=documents)
        if refused := _refused(task):
            return refused
    except SpecInvalid as error:
        return [str(error).removeprefix(f"{path}: ")]
    spec = with_model(manifest.spec, environment=environment)
    found = [problem for check in _CHECKS if (problem := _said(check, spec)) is not None]
    if spec.command is not None:
        return found  # what its image holds, nobody knows here
    elsewhere = spec.code is not None and spec.code.config_map_ref.name not in manifest.config_maps
    if not found and not elsewhere:
        found += await _missing(manifest, spec.agent, environment=environment)
    if connect and not found:
        found += [each async for each in _silent(spec.agent, environment=environment)]
    return found


def _refused(task: dict[str, Any]) -> list[str]:
    """What the API server's rules say."""
    refused = list(broken(task["spec"], spec_schema(), path="spec"))
    if (task["spec"].get("resumeFrom") or {}).get("task") == task["metadata"]["name"]:
        refused.append("a task cannot resume from itself")
    return refused


def _check_memory(spec: TaskSpec) -> None:
    if (problem := memory_flaw(spec)) is not None:
        raise SpecInvalid(problem)


_CHECKS: Final[tuple[Callable[[TaskSpec], None], ...]] = (
    lambda spec: check_tools(spec.agent),
    lambda spec: check_answer(spec.agent),
    lambda spec: check_schemas(spec.agent),
    _check_memory,
    lambda spec: check_model(spec.agent.model) if spec.agent.model is not None else None,
    lambda spec: check_options(spec.agent.model) if spec.agent.model is not None else None,
)


def _said(check: Callable[[TaskSpec], None], spec: TaskSpec) -> str | None:
    try:
        check(spec)
    except SpecInvalid as error:
        return str(error)
    return None


async def _missing(manifest: Manifest, agent: Agent, *, environment: Mapping[str, str]) -> list[str]:
    """Functions that cannot be found. Secrets are the cluster's, and not asked for here.

    Where the task's modules are in a ConfigMap that is not in the file, nobody can say.
    """
    there = {**environment, **dict.fromkeys(secrets_of(agent), "secret")}
    try:
        async with httpx.AsyncClient() as http:
            with code_of(manifest) as code:
                toolbox = Toolbox(tools=agent.tools, caller=CALLER, http=http, inherited=there, code=code)
                await toolbox.require_entry_points()
    except SpecInvalid as error:
        return [str(error)]
    return []


async def _silent(agent: Agent, *, environment: Mapping[str, str]) -> AsyncIterator[str]:
    """Who does not answer, or not to us."""
    for endpoint in endpoints_of(agent.model) if agent.model is not None else ():
        if (problem := await _endpoint(endpoint, environment=environment)) is not None:
            yield problem
    urls = {tool.http.url: tool.name for tool in agent.tools if tool.http is not None}
    urls |= {tool.probe.http.url: f"{tool.name}, its probe" for tool in agent.tools if tool.probe and tool.probe.http}
    for url, name in urls.items():
        if (problem := await _address(url)) is not None:
            yield f"tool {name}: {problem}"
    for server in agent.mcp_servers:
        servers = None
        try:
            servers = McpTools([server], inherited=environment, own=told(CALLER), sleep=asyncio.sleep)
            await servers.find(taken=[tool.name for tool in agent.tools])
        except AgentTaskError as error:
            yield str(error)
        finally:
            if servers is not None:
                await servers.close()


async def _endpoint(endpoint: Endpoint, *, environment: Mapping[str, str]) -> str | None:
    key = environment.get(endpoint.key_env, "").strip()
    try:
        there = ModelEndpoint(
            endpoint=endpoint,
            api_key=key,
            certificates=environment.get(endpoint.ca_env),
            clock=SystemClock(),
            deadlines=Deadlines(),
            transport=None,
        )
    except ModelError as error:
        return str(error)
    try:
        async with asyncio.timeout(SECONDS):
            status = await there.look()
    except (httpx.HTTPError, OSError) as error:
        return f"model: {endpoint.base_url} does not answer: {type(error).__name__} {error}".rstrip()
    finally:
        await there.close()
    if status in {401, 403} and key:
        return f"model: {endpoint.base_url} refuses the key in {endpoint.key_env}: HTTP {status}"
    return None


async def _address(url: str) -> str | None:
    """Whether anybody listens; a request might have an effect."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        return f"{url} is no address: {error}"
    port = parsed.port or (443 if parsed.scheme == "https" else 80)
    try:
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection(parsed.host, port)
    except OSError as error:
        return f"nobody answers at {parsed.host}:{port}: {type(error).__name__} {error}".rstrip()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return None
