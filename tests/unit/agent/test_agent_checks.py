"""What of a task would do nothing, or could not be done, is refused by name, without a server's rules."""

from __future__ import annotations

import msgspec
import pytest
from agenttask.agent.checks import check_code, check_tools
from agenttask.contract import (
    CONTRACT,
    Agent,
    Assignment,
    Code,
    ConfigMapRef,
    HttpTool,
    Location,
    McpServer,
    Model,
    Probe,
    Sleep,
    TaskSpec,
    Tool,
)
from agenttask.errors import SpecInvalid
from agenttask.preconditions import check

CODE = Code(config_map_ref=ConfigMapRef(name="tools"))
HTTP = HttpTool(url="http://tool.test/x")
FUNCTION = Tool(name="t", python="tools:f")
PROBED = Tool(name="t", http=HTTP, recovery="Reconcile", probe=Probe(python="tools:done"))
ASKED = Tool(name="t", http=HTTP, recovery="Reconcile", probe=Probe(http=HTTP))

USED = {
    "by a function": TaskSpec(code=CODE, agent=Agent(tools=(ASKED, FUNCTION))),
    "by a probe": TaskSpec(code=CODE, agent=Agent(tools=(PROBED,))),
    "by a program": TaskSpec(code=CODE, command=("python", "-m", "work")),
    "not there": TaskSpec(agent=Agent(tools=(ASKED,))),
}


@pytest.mark.parametrize("spec", USED.values(), ids=USED.keys())
def test_modules_that_are_used_are_taken(spec: TaskSpec) -> None:
    check_code(spec)


@pytest.mark.parametrize("tools", [(), (ASKED,)], ids=["no tools", "no functions"])
def test_modules_that_nothing_imports_are_refused(tools: tuple[Tool, ...]) -> None:
    with pytest.raises(SpecInvalid, match=r"spec\.code is for a command, or for tools or probes"):
        check_code(TaskSpec(code=CODE, agent=Agent(tools=tools)))


def test_an_attempt_looks_for_modules_that_nothing_imports_before_it_does_anything() -> None:
    model = Model(base_url="http://model.test/v1", name="small")
    spec = TaskSpec(prompt="p", code=CODE, agent=Agent(model=model, tools=(FUNCTION,)))
    place = Location(type="s3", bucket="b")
    made = Assignment(contract=CONTRACT, namespace="ns", name="t", uid="u", attempt=1, location=place, spec=spec)
    assert check(made) == model
    idle = msgspec.structs.replace(spec, agent=Agent(model=model))
    with pytest.raises(SpecInvalid, match=r"spec\.code"):
        check(msgspec.structs.replace(made, spec=idle))


def desk(**fields: object) -> Agent:
    return Agent(mcp_servers=(McpServer(name="desk", command=("mcp",), **fields),))  # type: ignore[arg-type]


IDLE = {
    "a doubt of a server whose calls may run twice": (
        desk(recovery="Idempotent", on_doubt="Fail"),
        "MCP server desk: onDoubt Fail is for the recovery Once",
    ),
    "a doubt of a sleep": (
        Agent(tools=(Tool(name="nap", sleep=Sleep(), on_doubt="Fail"),)),
        "tool nap: onDoubt, timeoutSeconds and maxResultBytes do nothing for a tool that sleeps",
    ),
    "a sleep whose result is cut": (
        Agent(tools=(Tool(name="nap", sleep=Sleep(), max_result_bytes=2048),)),
        "do nothing for a tool that sleeps",
    ),
}


@pytest.mark.parametrize(("agent", "words"), IDLE.values(), ids=IDLE.keys())
def test_what_does_nothing_for_a_tool_is_refused(agent: Agent, words: str) -> None:
    with pytest.raises(SpecInvalid, match=words):
        check_tools(agent)


WORKS = {
    "a doubt of a server whose tools say by themselves whether they may": desk(on_doubt="Fail"),
    "a doubt of a server whose calls run once": desk(recovery="Once", on_doubt="TellModel"),
    "a sleep": Agent(tools=(Tool(name="nap", sleep=Sleep(max_seconds=5)),)),
}


@pytest.mark.parametrize("agent", WORKS.values(), ids=WORKS.keys())
def test_what_does_something_for_a_tool_is_taken(agent: Agent) -> None:
    check_tools(agent)
