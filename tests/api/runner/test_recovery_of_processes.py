"""SIGKILL inside a Python function and inside a call of an MCP server, in each recovery mode that they have.

As test_recovery shows it of requests and commands, whose boundaries between calls are those of all tools.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.api.runner.conftest import Job, MakeJob
from tests.api.runner.effects import booked
from tests.e2e.harness.model import Reply, says_sum

SIGNING = Path(__file__).with_name("signing.py").read_text()


def asks(tool: str, number: int) -> Reply:
    """A reply with a call by the id that all calls have."""
    return {"toolCalls": [{"id": "call_0", "name": tool, "arguments": {"number": number}}]}


def lost(recovery: str) -> dict[str, str]:
    """What is to follow when a call is lost."""
    return {"recovery": recovery, **({} if recovery == "Idempotent" else {"onDoubt": "TellModel"})}


def python(job: Job, *, recovery: str) -> str:
    """The job with a Python tool, whose module lies in a ConfigMap; the tool's name."""
    tool: dict[str, Any] = {"name": "sign", "python": "signing:sign", **lost(recovery)}
    if recovery == "Reconcile":
        tool["probe"] = {"python": "signing:signed"}
    task = job.manifest(prompt="Sign.", tools=[{**tool, "parameters": {"type": "object"}}])
    task["spec"]["code"] = {"configMapRef": {"name": "tools"}}
    data = {"signing.py": SIGNING, "folder": str(job.folder)}
    modules = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "tools"}, "data": data}
    job.file.write_text(f"{json.dumps(modules)}\n---\n{json.dumps(task)}\n")
    return "sign"


def mcp_server(job: Job, *, recovery: str) -> str:
    """The job with an MCP server on pipes; the tool's name."""
    code = job.folder / "code"
    code.mkdir()
    (code / "signing.py").write_text(SIGNING)
    (code / "folder").write_text(str(job.folder))
    task = job.manifest(prompt="Sign.", tools=[])
    command = [sys.executable, str(code / "signing.py")]
    server = {"name": "desk", "command": command, **lost(recovery)}
    task["spec"]["agent"]["mcpServers"] = [server]
    job.file.write_text(json.dumps(task))
    return "desk_sign"


INSIDE: dict[str, tuple[Callable[..., str], str]] = {
    "a Python function that is Idempotent": (python, "Idempotent"),
    "a Python function that is Once": (python, "Once"),
    "a Python function that is Reconcile": (python, "Reconcile"),
    "a call of an MCP server that is Idempotent": (mcp_server, "Idempotent"),
    "a call of an MCP server that is Once": (mcp_server, "Once"),
}


@pytest.mark.parametrize(("write", "recovery"), INSIDE.values(), ids=INSIDE.keys())
def test_killed_inside(make_job: MakeJob, write: Callable[..., str], recovery: str) -> None:
    def killed(when: str) -> tuple[str, int]:
        job = make_job()
        tool = write(job, recovery=recovery)
        job.model.script(job.name, [asks(tool, 1), asks(tool, 2), says_sum()])
        (job.folder / "dies").write_text(when)
        if recovery == "Idempotent":
            (job.folder / "keyed").touch()
        assert job.run() == -signal.SIGKILL, job.lines
        assert job.run() == 0, job.lines
        assert job.repeated() == 0
        effects = booked(job.folder)
        assert max(effects.values()) == 1, f"killed {when} its effect, it was made twice"
        return job.answer, len(effects)

    with ThreadPoolExecutor(max_workers=2) as pool:
        before, after = pool.map(killed, ("before", "after"))
    if recovery == "Once":
        assert before == ("The sum is 2.", 1), "the model is told that nobody knows"
        assert after == ("The sum is 2.", 2)
    else:
        assert before == after == ("The sum is 3.", 2)
