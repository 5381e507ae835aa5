"""Command tools as real processes: what they get, what they may do, and that nothing of them stays."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from agenttask.agent import command
from agenttask.agent.result import Caller, ToolResult
from agenttask.agent.state import Call
from agenttask.agent.tools import Toolbox, idempotency_key
from agenttask.contract import RESULT_BYTES, Tool

from tests.e2e.harness.wait import PATIENCE_SECONDS

INHERITED = {
    **os.environ,
    "GREETING": "hello",
    "AGENTTASK_MODEL_API_KEY": "sk-very-secret",
    "AWS_SECRET_ACCESS_KEY": "very-secret",
}


def call(arguments: str = '{"a": 1}') -> Call:
    return Call(id="3.0", provider_id="x", tool="t", arguments=arguments)


async def run(*argv: str, arguments: str = '{"a": 1}', seconds: int = 30, pass_env: tuple[str, ...] = ()) -> ToolResult:
    tool = Tool(name="t", recovery="Idempotent", command=argv, timeout_seconds=seconds, pass_env=pass_env)
    caller = Caller(namespace="ns", name="task", uid="uid", attempt=2)
    async with httpx.AsyncClient() as http:
        return await Toolbox(tools=[tool], caller=caller, http=http, inherited=INHERITED).run(call(arguments))


def shell(script: str) -> tuple[str, str, str]:
    return ("sh", "-c", script)


async def test_arguments_come_on_stdin_and_the_result_is_stdout() -> None:
    assert await run("cat", arguments='{"b":1, "a":2.50}') == ToolResult(text='{"b":1, "a":2.50}', ok=True)


async def test_the_environment_is_an_allow_list_without_keys() -> None:
    result = await run("env")
    variables = dict(line.split("=", 1) for line in result.text.splitlines())
    assert set(variables) <= {
        "PATH", "HOME", "TMPDIR", "LANG", "AGENTTASK_IDEMPOTENCY_KEY", "AGENTTASK_NAMESPACE", "AGENTTASK_TASK",
        "AGENTTASK_ATTEMPT",
    }  # fmt: skip
    assert variables["AGENTTASK_IDEMPOTENCY_KEY"] == idempotency_key(uid="uid", call=call())
    assert (variables["AGENTTASK_NAMESPACE"], variables["AGENTTASK_TASK"]) == ("ns", "task")
    assert variables["AGENTTASK_ATTEMPT"] == "2"
    assert "secret" not in result.text


async def test_a_tool_may_add_to_the_allow_list() -> None:
    assert await run("printenv", "GREETING", pass_env=("GREETING", "ABSENT")) == ToolResult(text="hello\n", ok=True)


FAILURES = {
    "an exit code, with what it said": (shell("echo out; echo err >&2; exit 3"), "error: exit code 3\nerr\n\nout\n"),
    "a signal": (shell("kill -9 $$"), "error: signal 9"),
    "a program that does not exist": (("/no/such/program",), "error: FileNotFoundError"),
    "a file that is no program": (("/etc/passwd",), "error: PermissionError"),
}


@pytest.mark.parametrize(("argv", "want"), FAILURES.values(), ids=FAILURES.keys())
async def test_a_failure_is_a_text_for_the_model(argv: tuple[str, ...], want: str) -> None:
    result = await run(*argv)
    assert not result.ok
    assert result.text.startswith(want)


async def test_a_long_output_is_cut_and_says_so_and_the_command_still_ends_well() -> None:
    result = await run(*shell(f"head -c {RESULT_BYTES + 1000} /dev/zero | tr '\\0' x"))
    assert result.ok
    assert result.text == "x" * RESULT_BYTES + f"\n[cut: the first {RESULT_BYTES} of {RESULT_BYTES + 1000} bytes]"


async def test_a_command_that_prints_a_gigabyte_takes_no_memory_for_it_and_the_model_gets_the_beginning() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = await run("head", "-c", str(2**30), "/dev/zero", seconds=600)
    assert result.ok
    assert result.text.endswith(f"[cut: the first {RESULT_BYTES} of {2**30} bytes]")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024, "kilobytes"


async def test_output_that_is_no_text_does_no_harm() -> None:
    result = await run(*shell("printf '\\377ok'"))
    assert result == ToolResult(text="\N{REPLACEMENT CHARACTER}ok", ok=True)


async def test_a_command_that_does_not_read_its_arguments_is_fine() -> None:
    assert await run("echo", "done", arguments=f'{{"a": "{"x" * 1_000_000}"}}') == ToolResult(text="done\n", ok=True)


def two_processes(pids: Path) -> tuple[str, str, str]:
    """A command that never ends, and the file in which its processes are named."""
    return shell(f"sleep 3600 & echo $! > {pids}; echo $$ >> {pids}; wait")


def both_began(pids: Path) -> bool:
    return pids.exists() and len(pids.read_text().split()) == 2


async def test_a_timeout_kills_the_whole_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    seconds = 0
    while not both_began(pids):  # a second is not always enough for that
        seconds += 1
        result = await run(*two_processes(pids), seconds=seconds)
        assert result == ToolResult(text=f"error: no result within {seconds} s", ok=False)
    await none_alive(pids)


async def test_being_cancelled_kills_the_whole_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    task = asyncio.create_task(run(*two_processes(pids), seconds=600))
    await until(lambda: both_began(pids))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await none_alive(pids)


async def test_what_a_command_leaves_behind_is_killed_and_does_not_hold_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "DRAIN_SECONDS", 3600)
    pids = tmp_path / "pids"
    async with asyncio.timeout(PATIENCE_SECONDS):
        result = await run(*shell(f"sleep 3600 & echo $! > {pids}; echo done"))
    assert result == ToolResult(text="done\n", ok=True)
    await none_alive(pids)


@pytest.fixture
def as_process_one() -> Iterator[None]:
    """Inherit orphans, as process 1 of a container does."""
    set_child_subreaper = partial(ctypes.CDLL(None).prctl, 36)
    assert set_child_subreaper(1) == 0
    yield
    assert set_child_subreaper(0) == 0


@pytest.mark.usefixtures("as_process_one")
async def test_process_1_reaps_what_a_command_leaves_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "REAP_TRIES", 100_000)
    pids = tmp_path / "pids"
    await run(*shell(f"sleep 100 & echo $! > {pids}; echo done"))
    assert not exists(pids)


async def test_a_process_that_left_the_group_with_the_pipe_delays_the_result_by_a_second_only(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    leaves = f"setsid sh -c 'echo $$ > {pids}; exec sleep 3600' & until [ -s {pids} ]; do sleep 0.05; done; echo done"
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            result = await run(*shell(leaves))
        assert result == ToolResult(text="done\n", ok=True)
    finally:
        os.kill(int(pids.read_text()), 9)


async def none_alive(pids: Path) -> None:
    """Wait until none of the processes in the file runs; a zombie does not."""
    await until(lambda: not any(runs(int(pid)) for pid in pids.read_text().split()))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - the condition is another process's doing
            await asyncio.sleep(0.01)


def exists(pids: Path) -> bool:
    return Path(f"/proc/{pids.read_text().strip()}").exists()


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in {"Z", "X"}
