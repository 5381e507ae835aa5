"""`agenttask run` on a real terminal: what it shows, and what Ctrl-C does."""

from __future__ import annotations

import json
import select
import shlex
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agenttask.contract import Exit

from tests.api.runner.conftest import ANSWER, STEPS, Job, MakeJob
from tests.api.runner.terminal import CTRL_C, Terminal
from tests.api.waiting import until

PROGRAMS = Path(sys.executable).parent
COMMAND = ("agenttask", "run", "task.yaml", "--store", "./check points")
WAITS = "echo x >> begun; while [ ! -e go ]; do sleep 0.05; done; echo x >> ended; echo 11"


def on_terminal(job: Job, argv: Sequence[str] = COMMAND) -> Terminal:
    program, *arguments = argv
    return Terminal([str(PROGRAMS / program), *arguments], folder=job.folder, environment=job.environment)


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


def test_a_third_ctrl_c_ends_a_process_whose_store_does_not_answer(make_job: MakeJob) -> None:
    job = make_job()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = f"redis://127.0.0.1:{silent.getsockname()[1]}/0/agents"
        terminal = on_terminal(job, (*COMMAND[:-1], store))
        until("it has asked the store", lambda: bool(select.select([silent], [], [], 0)[0]))
        terminal.press(CTRL_C)
        until("it was heard", lambda: terminal.shown.count("stopping") == 1)
        terminal.press(CTRL_C)
        until("it was heard again", lambda: terminal.shown.count("stopping") == 2)
        terminal.press(CTRL_C)
        assert terminal.end() == -signal.SIGINT
