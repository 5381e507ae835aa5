"""Pure: what is wrong with a task's tools that no schema can say."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from agenttask.agent.schema import flaw
from agenttask.agent.template import TemplateError, names
from agenttask.contract import (
    FINISH_TOOL,
    RUNNER_ONLY,
    Agent,
    McpServer,
    Model,
    Probe,
    TaskSpec,
    Tool,
    endpoints_of,
    secrets_of,
)
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


def check_model(model: Model) -> None:
    """Raises `SpecInvalid` for a base URL that only looks like one."""
    for endpoint in endpoints_of(model):
        _check_address(endpoint.base_url, of="the model's baseURL")


def check_code(spec: TaskSpec) -> None:
    """Raises `SpecInvalid` for modules that nothing imports."""
    means = [each for tool in spec.agent.tools for each in (tool, tool.probe) if each is not None]
    if spec.code is not None and spec.command is None and all(each.python is None for each in means):
        raise SpecInvalid("spec.code is for a command, or for tools or probes that are python functions")


def check_answer(agent: Agent) -> None:
    """Raises `SpecInvalid` if the answer cannot be given in the way that is asked for."""
    called, output = agent.finish == "Tool", agent.output
    if agent.tool_choice != "Auto" and (agent.tool_choice == "Required") != called:
        raise SpecInvalid("toolChoice Required needs finish Tool, and toolChoice None cannot have it")
    if called and any(tool.name == FINISH_TOOL for tool in agent.tools):
        raise SpecInvalid(f"the tool {FINISH_TOOL} is the one that ends the task")
    if called and output.format == "XmlTag":
        raise SpecInvalid("an answer that is given by a tool has no tag")
    if (output.tag is None) == (output.format == "XmlTag"):
        raise SpecInvalid("output: the format XmlTag needs a tag, and a tag needs it")
    if output.schema is not None and output.format == "Text":
        raise SpecInvalid("output: a schema needs the format Json or XmlTag")


def check_schemas(agent: Agent) -> None:
    """Raises `SpecInvalid` for what is no JSON Schema, naming whose it is."""
    of_tools = ((f"the parameters of tool {tool.name}", tool.parameters) for tool in agent.tools)
    for of, schema in (*of_tools, ("output.schema", agent.output.schema)):
        if schema and (problem := flaw(schema)):
            raise SpecInvalid(f"{of} are no sound JSON Schema: {problem}")


def _check_tool(tool: Tool) -> None:
    if (tool.probe is None) == (tool.recovery == "Reconcile"):
        raise SpecInvalid(f"tool {tool.name}: recovery Reconcile needs a probe, and a probe needs it")
    _check_doubt(tool, of=f"tool {tool.name}")
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
    _check_doubt(server, of=of)
    _check_command(server.command, of=of)
    _check_passed(server.pass_env, of=of)
    if server.url is not None:
        _check_address(server.url, of=of)


def _check_doubt(made: Tool | McpServer, *, of: str) -> None:
    if made.on_doubt != "Stall" and made.recovery == "Idempotent":
        raise SpecInvalid(
            f"{of}: onDoubt {made.on_doubt} is for the recovery Once; a call that is Idempotent runs again"
        )


def _check_command(words: Sequence[str] | None, *, of: str) -> None:
    if any("\0" in word for word in words or ()):
        raise SpecInvalid(f"{of}: a command cannot have NUL characters in it")


def _check_address(url: str, *, of: str) -> None:
    """Brackets may hold no IPv6 address, and a port may be none."""
    try:
        port = urlsplit(url).port
    except ValueError as error:
        raise SpecInvalid(f"{of}: {url} is no address: {error}") from error
    if port == 0:
        raise SpecInvalid(f"{of}: {url} is no address: there is no port 0")


def _check_passed(names: Sequence[str], *, of: str) -> None:
    for name in names:
        if name.startswith("AGENTTASK_") or name in RUNNER_ONLY:
            raise SpecInvalid(f"{of}: {name} is the runner's own and not passed on")


def _check_means(means: Tool | Probe, *, tool: Tool, of: str) -> None:
    sleep = means.sleep if isinstance(means, Tool) else None
    if sum(each is not None for each in (means.http, means.command, means.python, sleep)) != 1:
        kinds = "http, command, python and sleep" if isinstance(means, Tool) else "http, command and python"
        raise SpecInvalid(f"{of}: exactly one of {kinds} is needed")
    if sleep is not None and tool.probe is not None:
        raise SpecInvalid(f"{of}: to sleep twice does no harm; it needs no probe")
    if sleep is not None and _as_of_calls(tool) != _as_of_calls(Tool(name=tool.name)):
        raise SpecInvalid(f"{of}: onDoubt, timeoutSeconds and maxResultBytes do nothing for a tool that sleeps")
    _check_command(means.command, of=of)
    if means.http is not None:
        _check_address(means.http.url, of=of)
        try:
            asked = sorted(names([means.http.url, means.http.body]))
        except TemplateError as error:
            raise SpecInvalid(f"{of}: {error}") from error
        _check_names(asked, tool=tool, of=of)
        if "{{" in urlsplit(means.http.url).netloc:
            raise SpecInvalid(f"{of}: an argument cannot say which host is asked")


def _as_of_calls(tool: Tool) -> tuple[object, ...]:
    """What is said of calls that do something."""
    return tool.on_doubt, tool.timeout_seconds, tool.max_result_bytes


def _check_names(asked: Sequence[str], *, tool: Tool, of: str) -> None:
    """Arguments that the tool's parameters do not have would never come."""
    properties = tool.parameters.get("properties")
    for name in asked:
        if not isinstance(properties, dict) or name not in properties:
            raise SpecInvalid(f"{of}: {{{{{name}}}}} is none of the tool's parameters")
