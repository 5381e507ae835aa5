"""MCP servers as real processes, over both transports: found, called, killed, started again, and gone.

Three of them are other people's: @modelcontextprotocol/server-everything and -filesystem, and mcp-server-time. The
fourth is ours and counts what was done.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import agenttask.agent
import pytest
from agenttask.agent.mcp_tools import McpTools
from agenttask.agent.result import ToolResult
from agenttask.agent.state import Call
from agenttask.contract import Header, McpServer, SecretKeyRef
from agenttask.errors import SpecInvalid, ToolsUnavailable

from tests.api.runner.conftest import MakeJob
from tests.api.waiting import until
from tests.cluster.processes import descendants
from tests.e2e.harness.model import PEERS, calls, says_sum
from tests.e2e.harness.wait import PATIENCE_SECONDS
from tests.ports import reserved

DESK = Path(__file__).with_name("mcp_server.py")
BIN = PEERS / "node_modules/.bin"
INHERITED = {**os.environ, "AGENTTASK_MODEL_API_KEY": "sk-very-secret", "AGENTTASK_SECRET_DESK_TOKEN": "desk-secret"}


async def soon(seconds: float) -> None:
    await asyncio.sleep(seconds / 10)


@contextlib.asynccontextmanager
async def tools(*servers: McpServer, environment: Mapping[str, str] = INHERITED) -> AsyncIterator[McpTools]:
    """The tools of these servers, found."""
    made = McpTools(servers, inherited=environment, own={"AGENTTASK_TASK": "task"}, sleep=soon)
    try:
        await made.find(taken=())
        yield made
    finally:
        await made.close()


async def ask(made: McpTools, tool: str, **arguments: Any) -> ToolResult:
    call = Call(id="3.0", provider_id="x", tool=tool, arguments=json.dumps(arguments))
    return await made.run(call, key="key-3.0")


def desk_over_pipes(folder: Path, **more: Any) -> McpServer:
    return McpServer(name="desk", command=(sys.executable, str(DESK), str(folder)), **more)


class Listening:
    """A server process on a port of its own, to be killed and started again there."""

    def __init__(self, argv: Callable[[int], Sequence[str]], *, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/mcp"
        self._argv = argv
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {**os.environ, "PORT": str(self.port)}
        self._process = subprocess.Popen(
            self._argv(self.port), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until("the server listens", self._listens)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def listening() -> Iterator[Callable[..., Listening]]:
    """Starts servers, and ends them."""
    with contextlib.ExitStack() as stack:

        def start(argv: Callable[[int], Sequence[str]]) -> Listening:
            server = Listening(argv, port=stack.enter_context(reserved()))
            stack.callback(server.kill)
            server.start()
            return server

        yield start


@pytest.fixture
def desk_over_http(tmp_path: Path, listening: Callable[..., Listening]) -> Listening:
    return listening(lambda port: (sys.executable, str(DESK), str(tmp_path), str(port)))


async def test_mcp_server_time_over_pipes() -> None:
    async with tools(McpServer(name="time", command=("mcp-server-time",))) as made:
        result = await ask(made, "time_convert_time", source_timezone="UTC", time="12:00", target_timezone="Asia/Tokyo")
        assert result.ok
        assert "T21:00:00" in result.text
        wrong = await ask(made, "time_get_current_time", timezone="Nowhere")
        assert not wrong.ok
        assert wrong.text.startswith("error: Error executing tool")


async def test_server_filesystem_over_pipes(tmp_path: Path) -> None:
    files = McpServer(name="files", command=(str(BIN / "mcp-server-filesystem"), str(tmp_path)))
    made = McpTools([files], inherited=INHERITED, own={}, sleep=asyncio.sleep)
    try:
        found = {tool.name: tool for tool in await made.find(taken=())}
        assert found["files_read_text_file"].recovery == "Idempotent"
        assert (await ask(made, "files_write_file", path=str(tmp_path / "a.txt"), content="kept")).ok
        assert (tmp_path / "a.txt").read_text() == "kept"
        assert "kept" in (await ask(made, "files_read_text_file", path=str(tmp_path / "a.txt"))).text
        assert not (await ask(made, "files_read_text_file", path="/etc/passwd")).ok
    finally:
        await made.close()


async def test_server_everything_over_pipes() -> None:
    async with tools(McpServer(name="all", command=(str(BIN / "mcp-server-everything"), "stdio"))) as made:
        assert await ask(made, "all_echo", message="hello") == ToolResult(text="Echo: hello", ok=True)


async def test_server_everything_over_http_killed_and_started_again_between_calls(
    listening: Callable[..., Listening],
) -> None:
    everything = listening(lambda _: (str(BIN / "mcp-server-everything"), "streamableHttp"))
    async with tools(McpServer(name="all", url=everything.url, recovery="Once")) as made:
        assert (await ask(made, "all_echo", message="one")).text == "Echo: one"
        everything.kill()
        everything.start()
        assert (await ask(made, "all_echo", message="two")).text == "Echo: two"


def kill_process(program: str) -> None:
    """Kill the server on pipes that this process has of a program."""
    found = []
    for pid in descendants(os.getpid()):
        with contextlib.suppress(FileNotFoundError):  # it ended meanwhile
            if program.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    assert len(found) == 1, program
    os.kill(found[0], signal.SIGKILL)


async def test_real_servers_on_pipes_killed_between_calls_are_started_again(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("kept")
    files = McpServer(name="files", command=(str(BIN / "mcp-server-filesystem"), str(tmp_path)))
    noon = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
    async with tools(files, McpServer(name="time", command=("mcp-server-time",))) as made:
        for _ in range(2):
            assert "kept" in (await ask(made, "files_read_text_file", path=str(tmp_path / "a.txt"))).text
            assert "T21:00:00" in (await ask(made, "time_convert_time", **noon)).text
            kill_process("mcp-server-filesystem")
            kill_process("mcp-server-time")


@pytest.mark.parametrize("tool", ["look", "pay"])
async def test_a_server_on_pipes_that_dies_in_a_call_is_asked_again_where_that_does_no_harm(
    tmp_path: Path, tool: str
) -> None:
    async with tools(desk_over_pipes(tmp_path)) as made:
        (tmp_path / "dies").touch()
        result = await ask(made, f"desk_{tool}", number=7)
        if tool == "look":
            assert result == ToolResult(text="7", ok=True)
            assert (tmp_path / "looked").read_text().split() == ["7", "7"]
        else:
            assert not result.ok
            assert "whether the call took effect is not known" in result.text
            assert (tmp_path / "paid").read_text().split() == ["key-3.0"]
        assert (await ask(made, "desk_pay", number=8)).text == "8", "the next call has a server again"


@pytest.mark.parametrize("tool", ["look", "pay"])
async def test_a_server_over_http_that_dies_in_a_call_is_an_error_and_no_cancellation(
    tmp_path: Path, desk_over_http: Listening, tool: str
) -> None:
    async with tools(McpServer(name="desk", url=desk_over_http.url)) as made:
        (tmp_path / "dies").touch()
        call = asyncio.create_task(ask(made, f"desk_{tool}", number=7))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (tmp_path / "dies").exists():  # noqa: ASYNC110 - another process's doing
                await asyncio.sleep(0.01)
        desk_over_http.kill()
        if tool == "look":
            desk_over_http.start()
        result = await call
        if tool == "look":
            assert result == ToolResult(text="7", ok=True)
        else:
            assert "whether the call took effect is not known" in result.text
            assert (tmp_path / "paid").read_text().split() == ["key-3.0"]
        current = asyncio.current_task()
        assert current is not None
        assert current.cancelling() == 0


async def test_a_server_that_is_away_is_not_told_to_have_done_something(desk_over_http: Listening) -> None:
    async with tools(McpServer(name="desk", url=desk_over_http.url)) as made:
        desk_over_http.kill()
        result = await ask(made, "desk_pay", number=7)
        assert not result.ok
        assert "MCP server desk is lost" in result.text
        assert "not known" not in result.text
        desk_over_http.start()
        assert (await ask(made, "desk_pay", number=7)).text == "7"


async def test_a_process_of_a_server_sees_an_allow_list(tmp_path: Path) -> None:
    async with tools(desk_over_pipes(tmp_path, pass_env=("PYTHONPATH",))) as made:
        seen = (await ask(made, "desk_environment")).text.split(",")
    assert {name for name in seen if "KEY" in name or "SECRET" in name} == set()
    assert "AGENTTASK_TASK" in seen


async def test_headers_from_secrets_reach_their_server_and_no_result(desk_over_http: Listening) -> None:
    headers = (Header(name="Authorization", prefix="Bearer ", secret_key_ref=SecretKeyRef(name="desk", key="token")),)
    async with tools(McpServer(name="desk", url=desk_over_http.url, headers=headers)) as made:
        text = (await ask(made, "desk_tell")).text
        assert "'authorization': 'Bearer ***'" in text
        assert "desk-secret" not in text
        refused = await ask(made, "desk_refuse")
        assert not refused.ok
        assert "'authorization': 'Bearer ***'" in refused.text
        assert "desk-secret" not in refused.text
    with pytest.raises(SpecInvalid, match="AGENTTASK_SECRET_DESK_TOKEN"):
        async with tools(McpServer(name="desk", url=desk_over_http.url, headers=headers), environment={}):
            raise AssertionError


@pytest.mark.parametrize("over", ["pipes", "http"])
async def test_a_server_s_own_error_is_told_once_and_is_no_lost_connection(
    over: str, tmp_path: Path, desk_over_http: Listening
) -> None:
    server = McpServer(name="desk", url=desk_over_http.url) if over == "http" else desk_over_pipes(tmp_path)
    async with tools(server) as made:
        assert await ask(made, "desk_deny", number=5) == ToolResult(text="error: the desk is closed", ok=False)
        assert (tmp_path / "denied").read_text() == "5\n"


async def test_a_call_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    server = McpServer(name="all", command=(str(BIN / "mcp-server-everything"), "stdio"), timeout_seconds=2)
    async with tools(server) as made:
        result = await ask(made, "all_trigger-long-running-operation", duration=60, steps=1)
        assert result == ToolResult(text="error: no result within 2 s", ok=False)
        assert (await ask(made, "all_echo", message="still there")).ok


async def test_the_task_says_which_tools_and_how_they_recover(tmp_path: Path) -> None:
    made = McpTools(
        [desk_over_pipes(tmp_path, tools=("pay",), recovery="Idempotent", on_doubt="Fail")],
        inherited=INHERITED, own={}, sleep=asyncio.sleep,
    )  # fmt: skip
    try:
        (tool,) = await made.find(taken=())
    finally:
        await made.close()
    assert (tool.name, tool.recovery, tool.on_doubt, tool.description) == (
        "desk_pay", "Idempotent", "Fail", "Pay a number.",
    )  # fmt: skip


BAD: dict[str, tuple[Callable[[Path], McpServer], type[Exception], str]] = {
    "a program that does not exist": (
        lambda _: McpServer(name="x", command=("/no/such/program",)), ToolsUnavailable, "FileNotFoundError",
    ),
    "one that is no server": (
        lambda _: McpServer(name="x", command=("true",)), ToolsUnavailable, "does not give its tools",
    ),
    "an address where nobody is": (
        lambda _: McpServer(name="x", url="http://127.0.0.1:9/mcp"), ToolsUnavailable, "ConnectError",
    ),
    "a tool it does not have": (lambda folder: desk_over_pipes(folder, tools=("fly",)), SpecInvalid, "has no tool fly"),
}  # fmt: skip


@pytest.mark.parametrize(("server", "error", "words"), BAD.values(), ids=BAD.keys())
async def test_a_server_that_cannot_be_had_is_named(
    tmp_path: Path, server: Callable[[Path], McpServer], error: type[Exception], words: str
) -> None:
    async def at_once(_: float) -> None:
        return None

    made = McpTools([server(tmp_path)], inherited=INHERITED, own={}, sleep=at_once)
    try:
        with pytest.raises(error, match=words):
            await made.find(taken=())
    finally:
        await made.close()


async def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "agenttask.agent.mcp_connection", raising=False)
    monkeypatch.delattr(agenttask.agent, "mcp_connection", raising=False)
    monkeypatch.setitem(sys.modules, "mcp.client", None)
    with pytest.raises(SpecInvalid, match=r"agenttask\[mcp\]"):
        McpTools([McpServer(name="x", command=("x",))], inherited={}, own={}, sleep=asyncio.sleep)


def test_a_run_whose_server_does_not_answer_stalls_before_any_model_call(make_job: MakeJob) -> None:
    job = make_job()
    task = job.manifest(prompt="Pay.", tools=[])
    task["spec"]["agent"]["mcpServers"] = [{"name": "desk", "command": ["true"]}]
    job.file.write_text(json.dumps(task))
    assert job.run() == 78
    assert "reason=ToolsUnavailable" in job.lines
    assert job.model.begun(job.name) == 0


def test_a_run_goes_on_when_its_servers_die_and_are_there_again(
    make_job: MakeJob, listening: Callable[..., Listening]
) -> None:
    everything = listening(lambda _: (str(BIN / "mcp-server-everything"), "streamableHttp"))
    job = make_job()
    asked: list[tuple[str, dict[str, Any]]] = [
        ("all_echo", {"message": "1"}),
        ("desk_look", {"number": 2}),
        ("all_echo", {"message": "4"}),
    ]
    job.model.script(job.name, [*map(calls, asked), says_sum()], hold_after=1)
    task = job.manifest(prompt="Add them.", tools=[])
    task["spec"]["agent"]["mcpServers"] = [
        {"name": "all", "url": everything.url},
        {"name": "desk", "command": [sys.executable, str(DESK), str(job.folder)]},
    ]
    job.file.write_text(json.dumps(task))
    (job.folder / "dies").touch()
    process = job.start()
    until("the model is asked what follows the first echo", lambda: job.model.begun(job.name) >= 2)
    everything.kill()
    everything.start()
    job.model.release(job.name)
    assert job.end(process) == 0, job.lines
    assert job.answer == "The sum is 7."
    assert (job.folder / "looked").read_text().split() == ["2", "2"], (
        "the process died in the call, and was asked again"
    )
    assert job.repeated() == 0
