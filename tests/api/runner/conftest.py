"""A scripted model (aimock), a tool server, and tasks of twelve steps between them, each with a model of its own."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.api import forked
from tests.api.runner.local_process import LocalProcess, Place
from tests.e2e.harness.model import ScriptedModel, calls, says_sum
from tests.e2e.harness.tools import ToolServer, number_of

STEPS = 12
ANSWER = f"The sum is {sum(map(number_of, range(1, STEPS)))}."


@pytest.fixture(scope="session")
def model() -> Iterator[ScriptedModel]:
    """aimock; its journal is the witness."""
    model = ScriptedModel(address="127.0.0.1")
    yield model
    model.close()


@pytest.fixture(scope="session")
def tool_server() -> Iterator[ToolServer]:
    server = ToolServer(address="127.0.0.1")
    yield server
    server.close()


@dataclass(frozen=True, kw_only=True)
class Job:
    """A task of twelve steps: eleven tool calls, one by one, and an answer that is wrong if a result is missing."""

    name: str
    folder: Path
    model: ScriptedModel
    tools: ToolServer

    @property
    def file(self) -> Path:
        return self.folder / "task.yaml"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AGENTTASK_MODEL_API_KEY": "sk-very-secret",
        }

    @property
    def answer(self) -> str:
        """What the newest process printed."""
        return (self.folder / "answer").read_text().strip()

    @property
    def lines(self) -> str:
        """What all processes said."""
        return (self.folder / "lines").read_text()

    def write(self, *, prompt: str = "Add up the numbers.") -> None:
        tool = {
            "name": "number",
            "recovery": "Idempotent",
            "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}},
            "http": {"url": self.tools.url(task=self.name)},
        }
        self.file.write_text(json.dumps(self.manifest(prompt=prompt, tools=[tool])))

    def manifest(self, *, prompt: str, tools: list[dict[str, Any]]) -> dict[str, Any]:
        """YAML's better half."""
        return {
            "apiVersion": "agenttask.dev/v1alpha1",
            "kind": "AgentTask",
            "metadata": {"name": self.name},
            "spec": {
                "prompt": prompt,
                "agent": {
                    "systemPrompt": "Be exact.",
                    # With a price of its own, so that not each of many processes reads the whole list.
                    "model": {
                        "baseURL": self.model.base_url,
                        "name": self.name,
                        "price": {"input": "1", "output": "2"},
                    },
                    "tools": tools,
                },
            },
        }

    def start(self, *, dies: Place | None = None, store: Path | str | None = None) -> ForkServerProcess:
        """A process that runs the file."""
        local = LocalProcess(
            file=self.file,
            store=store or self.folder / "store",
            answer=self.folder / "answer",
            lines=self.folder / "lines",
            environment=self.environment,
            dies=dies,
        )
        return forked.start(local.run)

    def run(self, *, dies: Place | None = None) -> int:
        """Run the file to the process's end; its exit code, negative for a signal.

        The model call during which it dies is answered when it is dead.
        """
        if dies is None or dies.when != "during":
            return self.end(self.start(dies=dies))
        self.model.release(self.name, hold_after=self.model.begun(self.name) + dies.number - 1)
        code = self.end(self.start(dies=dies))
        self.model.release(self.name)
        return code

    def end(self, process: ForkServerProcess) -> int:
        """Wait for a process."""
        return forked.end(process, lines=self.folder / "lines")

    def repeated(self) -> int:
        """Model calls made more than once, by aimock's journal."""
        return sum(self.model.repeated(self.name).values())


class MakeJob(Protocol):
    """Makes a job of its own name."""

    def __call__(self) -> Job: ...


@pytest.fixture
def make_job(tmp_path: Path, model: ScriptedModel, tool_server: ToolServer) -> MakeJob:
    def make() -> Job:
        name = f"job-{secrets.token_hex(8)}"
        folder = tmp_path / name
        folder.mkdir()
        job = Job(name=name, folder=folder, model=model, tools=tool_server)
        model.script(name, [*(calls(("number", {"n": n})) for n in range(1, STEPS)), says_sum()])
        job.write()
        return job

    return make
