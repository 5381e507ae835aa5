"""`agenttask validate` on files, with functions, servers and models that are there, or are not."""

from __future__ import annotations

import io
import json
import socket
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from agenttask.cli import main
from agenttask.validate import validate_file


def write(folder: Path, *others: dict[str, Any], **spec: Any) -> Path:
    task = {"apiVersion": "agenttask.dev/v1alpha1", "kind": "AgentTask", "metadata": {"name": "t"}}
    file = folder / "task.yaml"
    file.write_text("\n---\n".join(json.dumps(each) for each in ({**task, "spec": {"prompt": "p", **spec}}, *others)))
    return file


def said(file: Path, *, connect: bool = False, environment: dict[str, str] | None = None) -> list[str]:
    out = io.StringIO()
    code = validate_file(path=file, connect=connect, output="json", environment=environment or {}, out=out)
    found: list[str] = json.loads(out.getvalue())["problems"]
    assert code == (1 if found else 0)
    return found


def tool(**fields: Any) -> dict[str, Any]:
    return {"tools": [{"name": "t", "recovery": "Idempotent", **fields}]}


HTTP = {"url": "http://127.0.0.1:9/x"}
PROBLEMS: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown field": ({"promt": "x"}, "unknown field spec.promt"),
    "a rule of the API": ({"agent": tool(http=HTTP, command=["x"])}, "spec.agent.tools[0]: exactly one of http"),
    "a task that goes on from itself": ({"resumeFrom": {"task": "t"}}, "a task cannot resume from itself"),
    "a template error": ({"agent": tool(http={"url": "http://h/{{"})}, "braces"),
    "a place for what is no parameter": (
        {"agent": tool(http={"url": "http://h/{{id}}"})}, "{{id}} is none of the tool's parameters",
    ),
    "more memory that is no more": (
        {"pod": {"resources": {"limits": {"memory": "1Gi"}}}, "retry": {"oomMemoryLimit": "1G"}},
        "spec.retry.oomMemoryLimit 1G must be above the limit from which it raises",
    ),
    "brackets that hold no address": ({"agent": tool(http={"url": "http://[::1/x"})}, "no address: Invalid IPv6 URL"),
    "a port that no host has": ({"agent": tool(http={"url": "http://h:99999/x"})}, "http://h:99999/x is no address"),
    "a port in words": ({"agent": tool(http={"url": "http://h:port/x"})}, "tool t: http://h:port/x is no address"),
    "a model nowhere": ({"agent": {"model": {"baseURL": "http://h:0", "name": "m"}}}, "http://h:0 is no address"),
    "an MCP server nowhere": (
        {"agent": {"mcpServers": [{"name": "a", "url": "http://[zz]/x"}]}}, "MCP server a: http://[zz]/x is no address",
    ),
    "a bad JSON Schema": (
        {"agent": tool(http=HTTP, parameters={"type": "objekt"})}, "the parameters of tool t are no sound JSON Schema",
    ),
    "a function that is not there": ({"agent": tool(python="no_such_module:f")}, "no_such_module:f cannot be had"),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "words"), PROBLEMS.values(), ids=PROBLEMS.keys())
def test_what_is_wrong_is_named(tmp_path: Path, spec: dict[str, Any], words: str) -> None:
    assert any(words in problem for problem in said(write(tmp_path, **spec)))


def test_functions_are_looked_for_in_the_config_map_beside_the_task(tmp_path: Path) -> None:
    code = {"configMapRef": {"name": "tools"}}
    modules = {"kind": "ConfigMap", "metadata": {"name": "tools"}, "data": {"mine.py": "def f(): ..."}}
    good, bad = tool(python="mine:f"), tool(python="mine:g")
    assert said(write(tmp_path, modules, agent=good, code=code)) == []
    assert "has no attribute 'g'" in said(write(tmp_path, modules, agent=bad, code=code))[0]
    assert said(write(tmp_path, agent=bad, code=code)) == [], "it is in the cluster, and nobody here can say"


class Model(BaseHTTPRequestHandler):
    """Knows one key, and counts on nothing else being asked."""

    def do_GET(self) -> None:
        assert self.path == "/v1/models"
        self.send_response(200 if self.headers.get("authorization") in {None, "Bearer right"} else 401)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def model() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def test_with_connect_whoever_does_not_answer_is_named(tmp_path: Path, model: str) -> None:
    desk = [sys.executable, str(Path(__file__).with_name("mcp_server.py")), str(tmp_path)]
    there = {
        "model": {"baseURL": model, "name": "m"},
        **tool(http={"url": model}),
        "mcpServers": [{"name": "desk", "command": desk}],
    }
    file = write(tmp_path, agent=there)
    assert said(file, connect=True) == []
    assert said(file, connect=True, environment={"AGENTTASK_MODEL_API_KEY": "right"}) == []
    (refused,) = said(file, connect=True, environment={"AGENTTASK_MODEL_API_KEY": "wrong"})
    assert "refuses the key in AGENTTASK_MODEL_API_KEY" in refused
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, and not listened at
        away = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        gone = {
            "model": {"baseURL": away, "name": "m"},
            **tool(http={"url": away}),
            "mcpServers": [{"name": "desk", "command": ["true"]}],
        }
        file = write(tmp_path, agent=gone)
        assert said(file) == []
        first, second, third = said(file, connect=True)
    assert first.startswith(f"model: {away} does not answer")
    assert second.startswith("tool t: nobody answers at 127.0.0.1")
    assert third.startswith("MCP server desk does not give its tools")


def test_nobody_is_asked_for_a_task_that_is_wrong_in_itself(tmp_path: Path) -> None:
    (problem,) = said(write(tmp_path, agent=tool(http={"url": "http://h:99999/x"})), connect=True)
    assert "is no address" in problem


OUR_SIDE: dict[str, tuple[dict[str, str], str]] = {
    "a key that no header can carry": ({"AGENTTASK_MODEL_API_KEY": "\u00e9"}, "the model's API key has characters"),
    "certificates that are none": ({"AGENTTASK_MODEL_CA": "none"}, "the model's certificates cannot be read"),
    "certificates that are no ASCII": ({"AGENTTASK_MODEL_CA": "\u2013"}, "the model's certificates cannot be read"),
}


@pytest.mark.parametrize("case", OUR_SIDE)
def test_with_connect_what_cannot_be_sent_to_a_model_is_named_as_a_runner_would(
    case: str, tmp_path: Path, model: str
) -> None:
    environment, says = OUR_SIDE[case]
    (problem,) = said(
        write(tmp_path, agent={"model": {"baseURL": model, "name": "m"}}), connect=True, environment=environment
    )
    assert problem.startswith(says)


def test_the_command_says_it_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path)
    assert main(["validate", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: nothing is wrong with it\n"
    assert main(["validate", str(write(tmp_path, prompt=""))]) == 1
    assert capsys.readouterr().out.startswith(f"{file}: spec.prompt")


@pytest.mark.parametrize(
    "example", sorted(Path(__file__).parents[3].glob("examples/*.yaml")), ids=lambda path: path.name
)
def test_nothing_is_wrong_with_the_examples(example: Path) -> None:
    assert said(example) == []
