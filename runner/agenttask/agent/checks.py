"""Pure: what is wrong with a task's tools that no schema can say."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from agenttask.agent.template import TemplateError, names
from agenttask.contract import RUNNER_ONLY, Agent, McpServer, Probe, Tool, secrets_of
from agenttask.errors import SpecInvalid


def check_tools(agent: Agent) -> None:
    """Raises `SpecInvalid`, naming the tool."""
    called = [tool.name for tool in agent.tools]
    for tool in agent.tools:
        if called.count(tool.name) > 1:
            raise SpecInvalid(f"tool {tool.name} is there twice")
        _check_tool(tool)
    for server in agent.mcp_servers:
        _check_server(server, agent)
    try:
        secrets_of(agent)
    except ValueError as error:
        raise SpecInvalid(str(error)) from error


def _check_tool(tool: Tool) -> None:
    if (tool.probe is None) == (tool.recovery == "Reconcile"):
        raise SpecInvalid(f"tool {tool.name}: recovery Reconcile needs a probe, and a probe needs it")
    _check_means(tool, tool=tool, of=f"tool {tool.name}")
    if tool.probe is not None:
        _check_means(tool.probe, tool=tool, of=f"the probe of tool {tool.name}")
    _check_passed(tool.pass_env, of=f"tool {tool.name}")


def _check_server(server: McpServer, agent: Agent) -> None:
    of = f"MCP server {server.name}"
    if [each.name for each in agent.mcp_servers].count(server.name) > 1:
        raise SpecInvalid(f"{of} is there twice")
    if (server.url is None) == (not server.command):
        raise SpecInvalid(f"{of}: exactly one of url and command is needed")
    if any("\0" in word for word in server.command or ()):
        raise SpecInvalid(f"{of}: a command cannot have NUL characters in it")
    _check_passed(server.pass_env, of=of)


def _check_passed(names: Sequence[str], *, of: str) -> None:
    for name in names:
        if name.startswith("AGENTTASK_") or name in RUNNER_ONLY:
            raise SpecInvalid(f"{of}: {name} is the runner's own and not passed on")


def _check_means(means: Tool | Probe, *, tool: Tool, of: str) -> None:
    if sum(map(bool, (means.http, means.command, means.python))) != 1:
        raise SpecInvalid(f"{of}: exactly one of http, command and python is needed")
    if any("\0" in word for word in means.command or ()):
        raise SpecInvalid(f"{of}: a command cannot have NUL characters in it")
    if means.http is not None:
        try:
            asked = sorted(names([means.http.url, means.http.body]))
        except TemplateError as error:
            raise SpecInvalid(f"{of}: {error}") from error
        _check_names(asked, tool=tool, of=of)
        if "{{" in urlsplit(means.http.url).netloc:
            raise SpecInvalid(f"{of}: an argument cannot say which host is asked")


def _check_names(asked: Sequence[str], *, tool: Tool, of: str) -> None:
    """Arguments that the tool's parameters do not have would never come."""
    properties = tool.parameters.get("properties")
    for name in asked:
        if not isinstance(properties, dict) or name not in properties:
            raise SpecInvalid(f"{of}: {{{{{name}}}}} is none of the tool's parameters")
