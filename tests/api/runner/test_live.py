"""`agenttask run` on a real terminal: what it shows, and what Ctrl-C does."""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from agenttask.contract import Exit

from tests.api.runner.conftest import ANSWER, STEPS, Job, MakeJob
from tests.api.runner.terminal import CTRL_C, Terminal
from tests.api.store import servers
from tests.api.waiting import until

PROGRAMS = Path(sys.executable).parent
COMMAND = ("agenttask", "run", "task.yaml", "--store", "./check points")
HANGS = """
import asyncio, math, sys
from agenttask.agent.stop import Stop
from agenttask.clock import SystemClock
from agenttask.lines import PlainLines
from agenttask.local import interrupted
from agenttask.process import listen

async def main():
    stop, lines = Stop(grace_seconds=math.inf, clock=SystemClock()), PlainLines(out=sys.stderr)
    listen(lambda: interrupted(stop, lines=lines))
    lines.say("begun")
    await asyncio.Event().wait()

asyncio.run(main())
"""
WAITS = "echo x >> begun; while [ ! -e go ]; do sleep 0.05; done; echo x >> ended; echo 11"


def on_terminal(job: Job, argv: Sequence[str] = COMMAND, **environment: str) -> Terminal:
    program, *arguments = argv
    environment = job.environment | environment
    return Terminal([str(PROGRAMS / program), *arguments], folder=job.folder, environment=environment)


def runs_a_command(job: Job, *, recovery: str = "Idempotent") -> None:
    """The job's tool is a command that waits until it is let go."""
    tool: dict[str, Any] = {
        "name": "number",
        "recovery": recovery,
        "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}},
        "command": ["sh", "-c", f"cd {shlex.quote(str(job.folder))}; {WAITS}"],
    }
    job.file.write_text(json.dumps(job.manifest(prompt="Add up the numbers.", tools=[tool])))


def count(job: Job, name: str) -> int:
    file = job.folder / name
    return len(file.read_text().splitlines()) if file.exists() else 0


def said(terminal: Terminal, word: str, times: int) -> bool:
    return terminal.shown.count(word) == times


def test_a_terminal_shows_step_tool_tokens_and_cost_and_the_answer_stands_alone_on_stdout(make_job: MakeJob) -> None:
    job = make_job()
    terminal = on_terminal(job)
    assert terminal.end() == 0
    assert (job.folder / "answer").read_text() == f"{ANSWER}\n"
    drawn = [line.partition("\x1b[?7h")[0] for line in terminal.shown.split("\x1b[?7l")[1:]]
    running = [line for line in drawn if line.startswith("step 3/50  running number")]
    assert any("tokens  $0." in line for line in running), drawn
    assert any(line.startswith(f"step {STEPS}/50") for line in drawn)
    assert terminal.shown.rpartition("\x1b[K")[2] == "", "the line is gone at the end"
    assert job.environment["AGENTTASK_MODEL_API_KEY"] not in terminal.shown


def test_without_a_terminal_nothing_is_drawn(make_job: MakeJob) -> None:
    job = make_job()
    assert job.run() == 0
    assert "\x1b" not in job.lines


def test_ctrl_c_waits_for_the_tool_in_flight_and_the_command_it_names_repeats_no_model_call(make_job: MakeJob) -> None:
    job = make_job()
    runs_a_command(job, recovery="Once")
    terminal = on_terminal(job)
    until("a tool is at work", lambda: count(job, "begun") == 1)
    terminal.press(CTRL_C)
    until("it was heard", lambda: "stopping" in terminal.shown)
    (job.folder / "go").touch()
    assert terminal.end() == Exit.STOPPED
    assert (count(job, "begun"), count(job, "ended")) == (1, 1), "the terminal's signal has not reached the tool"
    assert (job.folder / "answer").read_text() == ""
    named = terminal.shown.partition("to go on: ")[2].splitlines()[0]
    assert shlex.split(named) == list(COMMAND)
    assert on_terminal(job, shlex.split(named)).end() == 0
    assert job.answer == f"The sum is {11 * (STEPS - 1)}."
    assert job.repeated() == 0
    assert len(job.model.journal(job.name)) == STEPS
    assert count(job, "ended") == STEPS - 1


def test_a_second_ctrl_c_gives_up_the_tool_in_flight(make_job: MakeJob) -> None:
    job = make_job()
    runs_a_command(job)
    terminal = on_terminal(job)
    until("a tool is at work", lambda: count(job, "begun") == 1)
    terminal.press(CTRL_C)
    until("it was heard", lambda: "stopping" in terminal.shown)
    terminal.press(CTRL_C)
    assert terminal.end() == Exit.STOPPED
    (job.folder / "go").touch()
    assert on_terminal(job).end() == 0
    assert job.repeated() == 0
    assert count(job, "ended") == STEPS - 1, "what was given up is gone"


@contextmanager
def asks_a_silent_store(job: Job, *, kind: str) -> Iterator[Terminal]:
    """A run whose store takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        store = f"redis://{host}/0/agents" if kind == "redis" else "s3://bucket/agents"
        names = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL_S3": f"http://{host}"}
        terminal = on_terminal(job, (*COMMAND[:-1], store), **names)
        until("it has asked the store", lambda: bool(select.select([silent], [], [], 0)[0]))
        terminal.press(CTRL_C)
        until("it was heard", lambda: terminal.shown.count("stopping") == 1)
        yield terminal


@pytest.mark.parametrize("kind", ["redis", "s3"])
def test_a_second_ctrl_c_ends_the_wait_for_a_silent_store(make_job: MakeJob, kind: str) -> None:
    with asks_a_silent_store(make_job(), kind=kind) as terminal:
        terminal.press(CTRL_C)
        assert terminal.end() == Exit.STOPPED
    assert "to go on: agenttask run" in terminal.shown


def test_a_second_ctrl_c_ends_the_wait_for_a_record_and_the_run_goes_on_later(
    make_job: MakeJob, tmp_path: Path
) -> None:
    job = make_job()
    runs_a_command(job)
    with servers.redis(tmp_path / "valkey", program=servers.valkey_program()) as server:
        command = (*COMMAND[:-1], f"{server.url}/agents")
        terminal = on_terminal(job, command)
        until("a tool is at work", lambda: count(job, "begun") == 1)
        os.kill(server.pid, signal.SIGSTOP)
        (job.folder / "go").touch()
        until("its result waits to be recorded", lambda: count(job, "ended") == 1)
        terminal.press(CTRL_C)
        until("it was heard", lambda: "stopping" in terminal.shown)
        terminal.press(CTRL_C)
        assert terminal.end() == Exit.UNAVAILABLE
        assert "is not waited for" in terminal.shown
        os.kill(server.pid, signal.SIGCONT)
        assert on_terminal(job, command).end() == 0
    assert job.answer == f"The sum is {11 * (STEPS - 1)}."
    assert job.repeated() == 0


def test_a_second_ctrl_c_ends_the_wait_for_a_folder_that_hangs(make_job: MakeJob) -> None:
    job = make_job()
    record = job.folder / "check points" / "local" / job.name / "local" / "log" / f"{1:012d}"
    record.parent.mkdir(parents=True)
    os.mkfifo(record)  # whoever opens it waits for somebody to write
    terminal = on_terminal(job)
    until("it opens the log", lambda: "opening the log for " in terminal.shown)
    terminal.press(CTRL_C)
    until("it was heard", lambda: "stopping" in terminal.shown)
    terminal.press(CTRL_C)
    assert terminal.end() == Exit.STOPPED


def test_a_third_ctrl_c_ends_the_process_whatever_it_is_at(make_job: MakeJob) -> None:
    terminal = on_terminal(make_job(), (sys.executable, "-c", HANGS))
    until("it listens", lambda: "begun" in terminal.shown)
    for times in (1, 2):
        terminal.press(CTRL_C)
        until("it was heard", partial(said, terminal, "stopping", times))
    terminal.press(CTRL_C)
    assert terminal.end() == -signal.SIGINT
