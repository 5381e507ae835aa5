"""`agenttask attempt` as a pod runs it, on versitygw: assignment in; exit code, termination message, JSON lines out."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from agenttask.contract import (
    CONTRACT,
    Agent,
    Assignment,
    Exit,
    HttpTool,
    Location,
    Model,
    Outcome,
    TaskSpec,
    Termination,
    Tool,
)

from tests.api.runner.conftest import ANSWER, STEPS, Job, MakeJob
from tests.api.waiting import until
from tests.cluster.environment import Environment
from tests.e2e.harness.wait import PATIENCE_SECONDS

KEY = "sk-very-secret"
NO_TERMINATION = Termination(contract=CONTRACT, outcome=Outcome.INTERNAL, reason="", message="", attempt=0)
"""Of a process that was killed."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What is left of an attempt."""

    code: int
    termination: Termination
    lines: list[dict[str, Any]]
    everything: str


@dataclass(kw_only=True)
class Pod:
    """Runs attempts of one job as the kubelet would, without a cluster."""

    job: Job
    location: Location
    secrets: dict[str, str]
    spec: TaskSpec
    uid: str

    def start(self, *, attempt: int, recorded: Termination | None = None) -> subprocess.Popen[str]:
        assignment = Assignment(
            contract=CONTRACT,
            namespace="ns",
            name=self.job.name,
            uid=self.uid,
            attempt=attempt,
            location=self.location,
            spec=self.spec,
            recorded_key=recorded.key if recorded else None,
            recorded_seq=recorded.seq if recorded else None,
        )
        folder = self.job.folder / f"attempt-{attempt}"
        folder.mkdir()
        (folder / "assignment").write_bytes(msgspec.json.encode(assignment))
        return subprocess.Popen(
            [
                str(Path(sys.executable).with_name("agenttask")), "attempt",
                "--assignment", str(folder / "assignment"),
                "--termination-log", str(folder / "termination"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                "PATH": os.environ["PATH"],
                "AGENTTASK_POD_UID": f"pod-{attempt}",
                "AGENTTASK_MODEL_API_KEY": KEY,
                **self.secrets,
            },
        )  # fmt: skip

    def end(self, process: subprocess.Popen[str], *, attempt: int) -> Ended:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        termination = self.job.folder / f"attempt-{attempt}" / "termination"
        raw = termination.read_bytes() if termination.exists() else b""
        assert raw or process.returncode < 0, err
        return Ended(
            code=process.returncode,
            termination=msgspec.json.decode(raw, type=Termination) if raw else NO_TERMINATION,
            lines=[json.loads(line) for line in out.splitlines()],
            everything=f"{out}{err}{raw!r}",
        )

    def run(self, *, attempt: int, recorded: Termination | None = None) -> Ended:
        return self.end(self.start(attempt=attempt, recorded=recorded), attempt=attempt)


@pytest.fixture
def pod(cluster: object, make_job: MakeJob) -> Pod:
    environment = Environment.read()
    assert environment is not None
    job = make_job()
    tool = Tool(name="number", recovery="Idempotent", http=HttpTool(url=job.tools.url(task=job.name)))
    return Pod(
        job=job,
        location=Location(
            type="s3",
            bucket=environment.s3_bucket,
            prefix="runner-tests",
            endpoint=environment.s3_host_endpoint,
            region=environment.s3_region,
        ),
        secrets={
            "AWS_ACCESS_KEY_ID": environment.s3_access_key_id,
            "AWS_SECRET_ACCESS_KEY": environment.s3_secret_access_key,
        },
        spec=TaskSpec(
            prompt="Add up the numbers.",
            agent=Agent(model=Model(base_url=job.model.base_url, name=job.name), tools=(tool,)),
        ),
        uid=secrets.token_hex(8),
    )


def test_an_undisturbed_attempt_completes_and_says_so_in_json_lines_without_keys(pod: Pod) -> None:
    ended = pod.run(attempt=1)
    assert ended.code == Exit.FINAL
    assert (ended.termination.outcome, ended.termination.reason) == (Outcome.COMPLETED, "Completed")
    assert (ended.termination.attempt, ended.termination.newest_attempt) == (1, 1)
    assert ended.termination.key == f"runner-tests/ns/{pod.job.name}/{pod.uid}/log/000000000026"
    assert ended.termination.seq == 26
    assert len(pod.job.model.journal(pod.job.name)) == STEPS
    names = [line["event"] for line in ended.lines]
    assert names == ["claimed", "started", *["reply", "tool"] * (STEPS - 1), "reply", "ended", "exit"]
    assert all(line["attempt"] == 1 and line["time"].endswith("Z") for line in ended.lines)
    assert not [secret for secret in (KEY, pod.secrets["AWS_SECRET_ACCESS_KEY"]) if secret in ended.everything]
    assert ANSWER not in ended.everything


def test_killed_attempts_resume_from_the_recorded_key_and_repeat_at_most_a_model_call_each(pod: Pod) -> None:
    for attempt, number in ((1, 3), (2, 6), (3, 10)):
        pod.job.model.release(pod.job.name, hold_after=number - 1)
        process = pod.start(attempt=attempt)
        until(f"model call {number} has begun", partial(_has_begun, pod, number))
        process.kill()
        assert pod.end(process, attempt=attempt).code == -signal.SIGKILL
    pod.job.model.release(pod.job.name)
    ended = pod.run(attempt=4)
    assert (ended.code, ended.termination.outcome) == (Exit.FINAL, Outcome.COMPLETED)
    assert pod.job.repeated() == 3
    again = pod.run(attempt=5, recorded=ended.termination)
    assert (again.code, again.termination.key) == (Exit.FINAL, ended.termination.key)


def _has_begun(pod: Pod, number: int) -> bool:
    return pod.job.model.begun(pod.job.name) >= number


def test_an_older_attempt_is_fenced_by_a_newer_one_and_names_it(pod: Pod) -> None:
    pod.job.model.release(pod.job.name, hold_after=2)
    old = pod.start(attempt=3)
    until("the old one is at work", lambda: pod.job.model.begun(pod.job.name) == 3)
    new = pod.start(attempt=7)
    until("the new one has taken over", lambda: pod.job.model.begun(pod.job.name) == 4)
    pod.job.model.release(pod.job.name)
    assert pod.end(new, attempt=7).code == Exit.FINAL
    fenced = pod.end(old, attempt=3)
    assert (fenced.code, fenced.termination.outcome) == (Exit.FENCED, Outcome.FENCED)
    assert fenced.termination.newest_attempt == 7


def test_told_to_stop_right_after_its_start_it_has_claimed_nothing_or_stops_cleanly(pod: Pod) -> None:
    process = pod.start(attempt=1)
    until("it hears signals", lambda: _catches(process.pid, signal.SIGTERM))
    process.terminate()
    ended = pod.end(process, attempt=1)
    assert (ended.code, ended.termination.outcome) == (Exit.STOPPED, Outcome.STOPPED)
    assert pod.run(attempt=2).code == Exit.FINAL
    assert pod.job.repeated() == 0


def _catches(pid: int, number: signal.Signals) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def _denied(pod: Pod) -> None:
    pod.secrets["AWS_SECRET_ACCESS_KEY"] = "wrong"


def _no_bucket(pod: Pod) -> None:
    pod.location = msgspec.structs.replace(pod.location, bucket="no-such-bucket")


def _no_model(pod: Pod) -> None:
    pod.spec = msgspec.structs.replace(pod.spec, agent=Agent())


def _wrong_model(pod: Pod) -> None:
    agent = Agent(model=Model(base_url=f"{pod.job.model.base_url}/nowhere", name=pod.job.name))
    pod.spec = msgspec.structs.replace(pod.spec, agent=agent)


FAULTS = {
    "StoreDenied": _denied,
    "StoreNotFound": _no_bucket,
    "SpecInvalid": _no_model,
    "ModelNotFound": _wrong_model,
}


@pytest.mark.parametrize(("reason", "break_it"), FAULTS.items(), ids=FAULTS.keys())
def test_what_needs_someone_ends_with_78_and_its_reason(pod: Pod, reason: str, break_it: Any) -> None:
    break_it(pod)
    ended = pod.run(attempt=1)
    assert (ended.code, ended.termination.outcome, ended.termination.reason) == (78, Outcome.STALLED, reason)
    assert ended.termination.message


def test_a_store_that_is_not_there_ends_with_69_after_ten_seconds(pod: Pod) -> None:
    pod.location = msgspec.structs.replace(pod.location, endpoint="http://127.0.0.1:9")
    ended = pod.run(attempt=1)
    assert (ended.code, ended.termination.reason) == (69, "StoreUnavailable")


def test_an_assignment_that_cannot_be_read_ends_with_78(pod: Pod) -> None:
    process = subprocess.run(
        [str(Path(sys.executable).with_name("agenttask")), "attempt", "--assignment", "/no/such/file",
         "--termination-log", str(pod.job.folder / "termination")],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert process.returncode == 78
    assert process.stderr.startswith("the assignment /no/such/file cannot be read: "), "no traceback"
    assert json.loads((pod.job.folder / "termination").read_text())["reason"] == "SpecInvalid"
