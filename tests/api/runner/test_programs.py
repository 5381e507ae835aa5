"""Programs of a task's own on versitygw, in `agenttask attempt` as a pod runs it: what they are told, how they end."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
import yaml
from agenttask.contract import CONTRACT, Assignment, Checkpoint, Exit, Location, TaskSpec, Termination

from tests.api.waiting import until
from tests.cluster.environment import Environment
from tests.e2e.harness.wait import PATIENCE_SECONDS

AGENTTASK = Path(sys.executable).with_name("agenttask")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What is left of an attempt."""

    code: int
    said: Termination | None
    output: str


@dataclass(kw_only=True)
class Pods:
    """Runs attempts of one program; all they write outside their folder goes to `folder`, where each begins."""

    folder: Path
    location: Location
    keys: dict[str, str]
    uid: str
    script: str = ""
    every_seconds: int | None = None
    prompt: str | None = None
    grace_seconds: int = 30
    command: tuple[str, ...] | None = None
    begun: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, attempt: int) -> subprocess.Popen[str]:
        spec = TaskSpec(
            command=self.command or ("sh", "-euc", self.script),
            prompt=self.prompt,
            checkpoint=Checkpoint(every_seconds=self.every_seconds),
        )
        assignment = Assignment(
            contract=CONTRACT,
            namespace="ns",
            name="program",
            uid=self.uid,
            attempt=attempt,
            location=self.location,
            spec=spec,
        )
        home = self.folder / str(attempt)
        home.mkdir()
        (home / "assignment").write_bytes(msgspec.json.encode(assignment))
        process = subprocess.Popen(
            [
                str(AGENTTASK), "attempt", "--assignment", str(home / "assignment"),
                "--program-dir", str(home), "--termination-log", str(home / "termination"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                "PATH": "/usr/bin:/bin",
                "OUT": str(self.folder),
                "AGENTTASK_POD_UID": f"pod-{attempt}",
                "AGENTTASK_GRACE_SECONDS": str(self.grace_seconds),
                **self.keys,
            },
        )  # fmt: skip
        self.begun.append(process)
        return process

    def end(self, process: subprocess.Popen[str], attempt: int) -> Ended:
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
        termination = self.folder / str(attempt) / "termination"
        raw = termination.read_bytes() if termination.exists() else None
        said = msgspec.json.decode(raw, type=Termination) if raw is not None else None
        return Ended(code=process.returncode, said=said, output=output)

    def run(self, attempt: int) -> Ended:
        return self.end(self.start(attempt), attempt)

    def file(self, name: str) -> str:
        """What the program wrote outside its folder."""
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def wait_for(self, name: str) -> str:
        until(f"the program has written {name}", lambda: self.file(name).endswith("\n"))
        return self.file(name)

    def result(self) -> str:
        """As a person asks for it."""
        place = f"s3://{self.location.bucket}/{self.location.prefix}/ns/program/{self.uid}"
        asked = [str(AGENTTASK), "log", "result", place]
        return subprocess.run(asked, env={**os.environ, **self.keys}, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def pods(cluster: object, tmp_path: Path) -> Iterator[Pods]:
    server = Environment.read()
    assert server is not None
    made = Pods(
        folder=tmp_path,
        location=Location(
            type="s3",
            bucket=server.s3_bucket,
            prefix="program-tests",
            endpoint=server.s3_host_endpoint,
            region=server.s3_region,
        ),
        keys={
            "AWS_ACCESS_KEY_ID": server.s3_access_key_id,
            "AWS_SECRET_ACCESS_KEY": server.s3_secret_access_key,
            "AWS_ENDPOINT_URL_S3": server.s3_host_endpoint,
            "AWS_REGION": server.s3_region,
        },
        uid=secrets.token_hex(8),
    )
    yield made
    for process in made.begun:
        process.kill()
        process.communicate()


def gone(pid: int) -> bool:
    """Whether a process has ended, though perhaps nobody has heard of it."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


def test_a_shell_program_checkpoints_says_how_far_it_is_and_gives_a_result(pods: Pods) -> None:
    pods.prompt = "count"
    pods.script = """
        pwd > $OUT/begins-in
        echo one > n
        agenttask progress 1 2 half of it
        agenttask checkpoint
        where=$AGENTTASK_NAMESPACE/$AGENTTASK_TASK
        echo "$AGENTTASK_PROMPT: attempt $AGENTTASK_ATTEMPT of $where, resumed $AGENTTASK_RESUMED" > $AGENTTASK_RESULT
    """
    ended = pods.run(1)
    assert (ended.code, ended.said and ended.said.reason) == (Exit.FINAL, "Completed")
    assert pods.file("begins-in").strip() == str(pods.folder / "1/state"), "the program begins in its folder"
    assert pods.result() == "count: attempt 1 of ns/program, resumed 0\n"


def test_sigterm_stores_the_folder_whatever_the_program_does_with_it(pods: Pods) -> None:
    pods.script = """
        trap 'echo told >> kept; exit 0' TERM
        if [ -e kept ]; then cat kept > $AGENTTASK_RESULT; exit 0; fi
        echo begun > kept
        echo > $OUT/ready
        while :; do sleep 0.1; done
    """
    process = pods.start(1)
    pods.wait_for("ready")
    process.terminate()
    ended = pods.end(process, 1)
    assert (ended.code, ended.said and ended.said.outcome) == (Exit.STOPPED, "Stopped"), ended.output
    assert pods.run(2).code == Exit.FINAL
    assert pods.result() == "begun\ntold\n", "exit code 0 after SIGTERM is no end of the task"


def test_a_program_that_ignores_sigterm_is_killed_and_its_folder_stored(pods: Pods) -> None:
    pods.grace_seconds = 6
    pods.script = """
        if [ -e kept ]; then exit 0; fi
        trap '' TERM
        echo begun > kept
        echo $$ > $OUT/pid
        while :; do sleep 0.1; done
    """
    process = pods.start(1)
    pid = int(pods.wait_for("pid"))
    process.terminate()
    assert pods.end(process, 1).code == Exit.STOPPED
    assert gone(pid)
    assert pods.run(2).code == Exit.FINAL


def test_the_program_dies_with_its_runner_even_under_sigkill_and_the_next_goes_on(pods: Pods) -> None:
    pods.script = """
        if [ -e kept ]; then cat kept > $AGENTTASK_RESULT; exit 0; fi
        echo kept > kept
        agenttask checkpoint
        echo lost > kept
        (while :; do sleep 0.1; done) &
        echo $! > $OUT/background
        echo $$ > $OUT/pid
        while :; do sleep 0.1; done
    """
    process = pods.start(1)
    pids = [int(pods.wait_for(name)) for name in ("background", "pid")]
    process.kill()
    process.wait()
    until("the program and what it began are gone", lambda: all(map(gone, pids)))
    assert pods.run(2).code == Exit.FINAL
    assert pods.result() == "kept\n"


def test_the_folder_is_stored_every_so_many_seconds_without_being_asked(pods: Pods) -> None:
    pods.every_seconds = 1
    pods.script = """
        if [ -e kept ]; then exit 0; fi
        echo kept > kept
        while :; do sleep 0.1; done
    """
    process = pods.start(1)
    assert process.stdout is not None
    for line in process.stdout:
        if '"event":"stored"' in line:
            break
    process.kill()
    process.wait()
    assert pods.run(2).code == Exit.FINAL


def test_a_program_that_fails_ends_the_container_as_any_other_would_and_keeps_what_was_stored(pods: Pods) -> None:
    pods.script = """
        if [ -e kept ]; then cat kept > $AGENTTASK_RESULT; exit 0; fi
        echo kept > kept
        agenttask checkpoint
        echo lost > kept
        echo the disk is on fire >&2
        exit 3
    """
    ended = pods.run(1)
    assert (ended.code, ended.said) == (3, None), "the last lines of its log speak for it"
    assert "the disk is on fire\n" in ended.output
    assert pods.run(2).code == Exit.FINAL
    assert pods.result() == "kept\n"


def test_a_program_killed_by_a_signal_ends_as_shells_say_it(pods: Pods) -> None:
    pods.script = "kill -9 $$"
    assert pods.run(1).code == 128 + signal.SIGKILL


@pytest.mark.parametrize("before", ["echo more > kept", ":"], ids=["new work", "nothing new"])
def test_a_fenced_runner_kills_its_program_and_its_checkpoint_is_never_acknowledged(pods: Pods, before: str) -> None:
    pods.script = """
        [ $AGENTTASK_ATTEMPT = 7 ] && exit 0
        echo $$ > $OUT/pid
        until [ -e $OUT/fenced ]; do sleep 0.1; done
        BEFORE
        agenttask checkpoint && echo acknowledged > $OUT/acknowledged
        while :; do sleep 0.1; done
    """.replace("BEFORE", before)
    old = pods.start(3)
    pid = int(pods.wait_for("pid"))
    assert pods.run(7).code == Exit.FINAL
    (pods.folder / "fenced").touch()
    ended = pods.end(old, 3)
    assert ended.said is not None
    assert (ended.code, ended.said.outcome, ended.said.newest_attempt) == (Exit.FENCED, "Fenced", 7)
    assert gone(pid)
    assert pods.file("acknowledged") == ""


def test_a_program_sees_neither_the_stores_keys_nor_anything_of_the_runners_own(pods: Pods) -> None:
    pods.script = "env > $OUT/env"
    assert pods.run(1).code == Exit.FINAL
    seen = pods.file("env")
    assert [key for key in pods.keys.values() if key.startswith("AWS_ACCESS") and key in seen] == []
    assert pods.keys["AWS_SECRET_ACCESS_KEY"] not in seen
    own = {line.partition("=")[0] for line in seen.splitlines() if line.startswith("AGENTTASK_")}
    told = ("ATTEMPT", "NAMESPACE", "RESULT", "RESUMED", "SOCKET", "STATE_DIR", "TASK")
    assert own == {f"AGENTTASK_{name}" for name in told}


def test_a_checkpoint_of_what_cannot_be_kept_is_refused_by_name_and_the_rest_is_kept_at_the_end(pods: Pods) -> None:
    pods.script = """
        if [ -e kept ]; then exit 0; fi
        echo kept > kept
        mkfifo pipe
        agenttask checkpoint 2> $OUT/said && exit 1
        echo $? > $OUT/code
        while :; do sleep 0.1; done
    """
    process = pods.start(1)
    assert pods.wait_for("code") == "1\n"
    assert pods.file("said") == "not stored: pipe is a pipe\n"
    process.terminate()
    ended = pods.end(process, 1)
    assert ended.code == Exit.STOPPED
    assert "not stored: pipe is a pipe" in ended.output
    assert pods.run(2).code == Exit.FINAL


BAD: dict[str, tuple[Callable[[Pods], None], str, str]] = {
    "a program that is not there": (
        lambda pods: setattr(pods, "command", ("no-such-program", "x")),
        "SpecInvalid",
        "there is no program no-such-program",
    ),
    "a file that is no program": (
        lambda pods: setattr(pods, "command", ("/etc/passwd",)),
        "SpecInvalid",
        "there is no program /etc/passwd",
    ),
    "a prompt that no variable holds": (
        lambda pods: setattr(pods, "prompt", "x" * 100_000),
        "SpecInvalid",
        "98304 bytes at most",
    ),
    "a prompt with a NUL character": (
        lambda pods: setattr(pods, "prompt", "a\0b"),
        "SpecInvalid",
        "cannot have NUL characters in it",
    ),
    "a command with a NUL character": (
        lambda pods: setattr(pods, "command", ("true", "a\0b")),
        "SpecInvalid",
        "spec.command: a command cannot have NUL characters in it",
    ),
}


@pytest.mark.parametrize("sentence", BAD)
def test_what_cannot_be_started_ends_with_78_and_says_why(pods: Pods, sentence: str) -> None:
    spoil, reason, words = BAD[sentence]
    pods.script = "true"
    spoil(pods)
    ended = pods.run(1)
    assert ended.said is not None
    assert (ended.code, ended.said.reason) == (Exit.STALLED, reason)
    assert words in ended.said.message


ASK = """
import os, socket
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(os.environ["AGENTTASK_SOCKET"])
    connection.sendall(b"what\\n")
    print(connection.makefile().readline())
"""


def test_words_that_are_neither_checkpoint_nor_progress_are_refused(pods: Pods) -> None:
    pods.script = f"""
        agenttask progress -- -1 5 2> $OUT/negative && exit 1
        {sys.executable} -c '{ASK}' > $OUT/answer
    """
    assert pods.run(1).code == Exit.FINAL
    assert "progress" in pods.file("negative")
    assert pods.file("answer").startswith('{"ok":false,"why":"this is neither a checkpoint nor progress')


CODE = """
import os, pathlib, signal, sys, time
print("begins", flush=True)
kept = pathlib.Path("kept")
if kept.exists():
    pathlib.Path(os.environ["AGENTTASK_RESULT"]).write_text(kept.read_text())
    sys.exit()
kept.write_text("kept by Ctrl-C\\n")
pathlib.Path(os.environ["OUT"], "ready").write_text("ready\\n")
time.sleep(600)
"""


def test_the_same_manifest_runs_without_a_cluster_and_ctrl_c_keeps_its_folder(pods: Pods) -> None:
    file = pods.folder / "task.yaml"
    meta = {"metadata": {"name": "work"}}
    documents = [
        {"apiVersion": "v1", "kind": "ConfigMap", **meta, "data": {"work.py": CODE}},
        {
            "apiVersion": "agenttask.dev/v1alpha1",
            "kind": "AgentTask",
            **meta,
            "spec": {"command": [sys.executable, "-m", "work"], "code": {"configMapRef": {"name": "work"}}},
        },
    ]
    file.write_text(yaml.safe_dump_all(documents))
    command = [str(AGENTTASK), "run", str(file), "--store", str(pods.folder / "store")]
    env = {"PATH": "/usr/bin:/bin", "OUT": str(pods.folder), "AWS_SECRET_ACCESS_KEY": "secret"}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        pods.begun.append(process)
        pods.wait_for("ready")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == Exit.STOPPED
    again = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout) == (0, "kept by Ctrl-C\n")
    assert "begins\n" in again.stderr


def test_outside_of_a_task_there_is_nobody_to_hear_it() -> None:
    for words in (["checkpoint"], ["progress", "1", "2", "text"]):
        asked = [str(AGENTTASK), *words]
        said = subprocess.run(asked, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False)
        assert (said.returncode, said.stderr) == (69, "not inside a task's command: AGENTTASK_SOCKET is not set\n")
