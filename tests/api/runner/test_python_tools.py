"""Python tools as real processes: what their functions get, what becomes of what they return, print and raise."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from agenttask.agent.doubt import Probed
from agenttask.agent.result import Caller, ToolResult
from agenttask.agent.state import Call
from agenttask.agent.tools import Toolbox, idempotency_key
from agenttask.contract import Probe, Tool
from agenttask.errors import SpecInvalid

from tests.api.runner.conftest import MakeJob
from tests.e2e.harness.model import calls, says_sum

MODULE = '''
"""Tools."""
import asyncio, os, subprocess, sys, time

def add(a: int, b: int = 1) -> int:
    print("adding", a, b)
    subprocess.run(["echo", "and so says a child"])
    return a + b

def say(text):
    return text

async def later(**numbers):
    await asyncio.sleep(0)
    return {"sum": sum(numbers.values()), "list": [None, True, "\\N{SNOWMAN}"]}

def fails(**_):
    raise ValueError("no\\nsuch city")

def leaves():
    sys.exit(5)

def returns_what_is_no_json():
    return object()

def no_number():
    return float("nan")

def environment():
    return sorted(name for name in os.environ if "KEY" in name or name.startswith("AGENTTASK_"))

def key():
    return os.environ["AGENTTASK_IDEMPOTENCY_KEY"]

def paid(**_):
    return {"done": True, "result": {"receipt": 7}}

def sleeps():
    time.sleep(100)

class Desk:
    @staticmethod
    def look():
        return "looked"

no_function = 1
'''
INHERITED = {**os.environ, "AGENTTASK_MODEL_API_KEY": "sk-very-secret", "AWS_SECRET_ACCESS_KEY": "very-secret"}


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "desk_tools.py").write_text(MODULE)
    (tmp_path / "broken_tools.py").write_text("import no_such_thing\n")
    (tmp_path / "deadly_tools.py").write_text("import os\nos._exit(4)\n")
    return tmp_path


def toolbox(*tools: Tool, code: Path, http: httpx.AsyncClient) -> Toolbox:
    caller = Caller(namespace="ns", name="task", uid="uid", attempt=2)
    return Toolbox(tools=tools, caller=caller, http=http, inherited=INHERITED, code=str(code))


def call(arguments: str = "{}") -> Call:
    return Call(id="3.0", provider_id="x", tool="t", arguments=arguments)


async def run(function: str, *, code: Path, arguments: str = "{}", seconds: int = 30) -> ToolResult:
    tool = Tool(name="t", python=f"desk_tools:{function}", timeout_seconds=seconds)
    async with httpx.AsyncClient() as http:
        return await toolbox(tool, code=code, http=http).run(call(arguments))


RESULTS = {
    "arguments come by name, and what is printed is no result": ("add", '{"a": 41}', "42"),
    "text comes back as it is": ("say", '{"text": "a \\"b\\"\\n"}', 'a "b"\n'),
    "a coroutine is waited for, and JSON is made of what it returns": (
        "later", '{"x": 1, "y": 2}', '{"sum": 3, "list": [null, true, "\N{SNOWMAN}"]}',
    ),
    "a function may be an attribute": ("Desk.look", "{}", "looked"),
    "an exception is a text for the model": ("fails", '{"city": "Ys"}', "error: ValueError: no such city"),
    "wrong arguments are too": ("say", '{"words": 1}', "error: TypeError: say() got an unexpected keyword argument"),
    "and what is no JSON": (
        "returns_what_is_no_json", "{}", "error: TypeError: Object of type object is not JSON serializable"
    ),
    "no number at all": ("no_number", "{}", "error: ValueError: Out of range float values are not JSON compliant"),
    "a function that ends its process": ("leaves", "{}", "error: exit code 5"),
}  # fmt: skip


@pytest.mark.parametrize(("function", "arguments", "want"), RESULTS.values(), ids=RESULTS.keys())
async def test_result(code: Path, function: str, arguments: str, want: str) -> None:
    result = await run(function, code=code, arguments=arguments)
    assert result.ok == (not want.startswith("error"))
    assert result.text == want if result.ok else result.text.startswith(want)


async def test_a_function_sees_no_keys_of_the_runner_and_its_own_idempotency_key(code: Path) -> None:
    seen = json.loads((await run("environment", code=code)).text)
    assert seen == ["AGENTTASK_ATTEMPT", "AGENTTASK_IDEMPOTENCY_KEY", "AGENTTASK_NAMESPACE", "AGENTTASK_TASK"]
    assert (await run("key", code=code)).text == idempotency_key(uid="uid", call=call())


async def test_a_function_that_never_returns_is_given_up(code: Path) -> None:
    result = await run("sleeps", code=code, seconds=1)
    assert result.text == "error: no result within 1 s; whether the call took effect is not known"


async def test_a_probe_may_be_a_function(code: Path) -> None:
    tool = Tool(name="t", recovery="Reconcile", python="desk_tools:add", probe=Probe(python="desk_tools:paid"))
    async with httpx.AsyncClient() as http:
        assert await toolbox(tool, code=code, http=http).probe(call('{"a": 1}')) == Probed(
            done=True, text='{"receipt":7}'
        )


MISSING = {
    "a module that does not exist": ("no_such_module:f", "ModuleNotFoundError"),
    "a function that does not": ("desk_tools:nothing", "AttributeError"),
    "what is no function": ("desk_tools:no_function", "is no function"),
    "a module that cannot be imported": ("broken_tools:f", "No module named 'no_such_thing'"),
    "a module that ends the process": ("deadly_tools:f", "end the process that imports them"),
}


@pytest.mark.parametrize(("entry", "words"), MISSING.values(), ids=MISSING.keys())
async def test_an_entry_point_that_cannot_be_had_is_found_before_anything_runs(
    code: Path, entry: str, words: str
) -> None:
    good = Tool(name="good", python="desk_tools:add")
    async with httpx.AsyncClient() as http:
        await toolbox(good, code=code, http=http).require_entry_points()
        with pytest.raises(SpecInvalid, match=words):
            await toolbox(good, Tool(name="t", python=entry), code=code, http=http).require_entry_points()


def double(entry: str) -> dict[str, Any]:
    return {"name": "double", "python": entry, "parameters": {"type": "object"}}


def with_code(task: dict[str, Any]) -> str:
    """The task, and beside it the ConfigMap with its code."""
    task["spec"]["code"] = {"configMapRef": {"name": "tools"}}
    code = {"numbers_of_mine.py": "def double(n):\n    return 2 * n\n"}
    modules = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "tools"}, "data": code}
    return f"{json.dumps(modules)}\n---\n{json.dumps(task)}\n"


def test_a_local_run_takes_the_code_from_the_config_map_beside_its_task(make_job: MakeJob) -> None:
    job = make_job()
    job.model.script(job.name, [calls(("double", {"n": 21})), says_sum()])
    job.file.write_text(with_code(job.manifest(prompt="Double.", tools=[double("numbers_of_mine:double")])))
    assert job.run() == 0, job.lines
    assert job.answer == "The sum is 42."


def test_a_missing_entry_point_ends_a_run_before_any_model_call(make_job: MakeJob) -> None:
    job = make_job()
    job.file.write_text(with_code(job.manifest(prompt="Double.", tools=[double("numbers_of_mine:triple")])))
    assert job.run() == 78
    assert "tool double: numbers_of_mine:triple cannot be had" in job.lines
    assert job.model.begun(job.name) == 0
