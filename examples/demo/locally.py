"""The demo without a cluster: the same manifest with `agenttask run`, killed twice with SIGKILL and started again."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from agenttask.clock import SystemClock
from agenttask.contract import Location, log_prefix
from agenttask.journal import restore
from agenttask.log import Kind, Patience, Record, read
from agenttask.store import open_store

from examples.demo.shell import Shell, say, wait
from examples.demo.table import Row, record_of, table
from tests.ports import reserved

TITLES = ("ATTEMPT", "PROCESS", "WHY IT ENDED", "RESUMED FROM", "MODEL CALLS", "REPEATED")


def play() -> None:
    """Tell the story from an empty folder to the answer. The folder is left for a look around."""
    folder = Path(tempfile.mkdtemp(prefix="agenttask-demo-"))
    with reserved() as rivers, reserved() as standin:
        variables = {"FOLDER": str(folder), **model(standin), "AGENTTASK_MODEL_API_KEY": key()}
        tell(Shell(variables=variables), folder, rivers=rivers, standin=standin)


def tell(shell: Shell, folder: Path, *, rivers: int, standin: int) -> None:
    """The story, with a service on each of the two ports."""
    with services(shell, rivers=rivers, standin=None if "MODEL_BASE_URL" in os.environ else standin):
        say("The task's tool asks a service by its name in a cluster. Here it listens on this machine.")
        shell.run(
            f"sed 's#http://rivers:8080#http://127.0.0.1:{rivers}#' examples/research.yaml > $FOLDER/research.yaml"
        )
        killed = [
            kill_at_step(
                shell, folder, step=4, story="Start the agent. It has two tools and about twelve steps ahead."
            ),
            kill_at_step(shell, folder, step=8, story="Start it again: it goes on from the checkpoint."),
        ]
        say("And again, to the end.")
        last = shell.start('agenttask run "$FOLDER/research.yaml" --store "$FOLDER/store"')
        if last.wait(timeout=300):
            sys.exit(last.returncode)
    say("What each process did (from the checkpoint log):")
    sys.stdout.write(table(rows(folder, pids=[*killed, last.pid]), titles=TITLES) + "\n")
    say("Look around:")
    sys.stdout.write(f"$ ls -R {folder}/store\n")


def model(standin: int) -> dict[str, str]:
    """The endpoint: a real one where MODEL_BASE_URL names it, else the scripted stand-in."""
    return {
        "AGENTTASK_MODEL_BASE_URL": os.environ.get("MODEL_BASE_URL", f"http://127.0.0.1:{standin}/v1"),
        "AGENTTASK_MODEL_NAME": os.environ.get("MODEL_NAME", "scripted-stand-in"),
    }


def key() -> str:
    """The model's key; the stand-in takes any."""
    return os.environ.get("MODEL_API_KEY", "the-stand-in-takes-any")


@contextmanager
def services(shell: Shell, *, rivers: int, standin: int | None) -> Iterator[None]:
    """The tool's service and the stand-in, while the `with` block lasts."""
    say(
        "Start the service behind the agent's tool"
        + ("." if standin is None else ", and a scripted stand-in for a model.")
    )
    running = [shell.start(f"python3 examples/demo/rivers.py {rivers} 2> /dev/null")]
    if standin is not None:
        running.append(shell.start(f"python3 examples/demo/standin_model.py {standin} 2> /dev/null"))
    try:
        for port in (rivers, *([standin] if standin else [])):
            wait(partial(listens, port), what=f"a server on port {port}", seconds=10)
        yield
    finally:
        for process in running:
            process.terminate()
            process.wait(timeout=10)


def kill_at_step(shell: Shell, folder: Path, *, step: int, story: str) -> int:
    """Start the agent and SIGKILL it once the log holds `step` steps; return its process id."""
    say(story)
    process: subprocess.Popen[bytes] = shell.start('agenttask run "$FOLDER/research.yaml" --store "$FOLDER/store"')
    wait(lambda: records(folder)[-1:] != () and records(folder)[-1].step >= step, what=f"step {step}", seconds=120)
    say(f"Step {step} is recorded. Kill it.")
    shell.run(f"kill -9 {process.pid}")
    process.wait(timeout=10)
    return process.pid


def records(folder: Path) -> tuple[Record, ...]:
    """The log so far, verified."""
    store = open_store(Location(type="filesystem", path=str(folder / "store")))
    prefix = log_prefix(prefix="", namespace="local", name="research", uid="local")
    return asyncio.run(read(store=store, prefix=prefix, clock=SystemClock(), patience=Patience())).records


def rows(folder: Path, *, pids: list[int]) -> list[Row]:
    """One row per attempt in the log."""
    log = records(folder)
    keys = {record.seq: record.key for record in log}
    claims = [record for record in log if record.kind is Kind.CLAIM]
    made = {tally.attempt: tally for tally in restore(base=None, records=log).attempts}
    ends = [*["killed by SIGKILL"] * (len(claims) - 1), "Completed"]
    return [
        (
            str(claim.attempt),
            str(pid),
            end,
            record_of(keys[claim.parent.seq] if claim.parent else None),
            str(made[claim.attempt].model_calls),
            str(made[claim.attempt].repeated_model_calls),
        )
        for claim, pid, end in zip(claims, pids, ends, strict=True)
    ]


def listens(port: int) -> bool:
    """Whether somebody listens on it."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
