"""`agenttask log` as a person with a kubeconfig and no keys types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.environment import Environment
from tests.e2e.harness.tasks import Task

PROGRAM = str(Path(sys.executable).parent / "agenttask")


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What a command came to."""

    code: int
    answer: Any
    """The JSON it gave; None for none."""
    beside: str
    """What it said on standard error."""


def look(environment: Environment, task: Task, verb: str, *more: str) -> Looked:
    """One command on a task of the cluster, by its name."""
    keyless = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "REDIS_"))}
    done = subprocess.run(
        [PROGRAM, "log", verb, "-n", task.namespace, task.name, "-o", "json", *more],
        env={**keyless, "KUBECONFIG": str(environment.kubeconfig)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    return Looked(code=done.returncode, answer=json.loads(done.stdout) if done.stdout else None, beside=done.stderr)
