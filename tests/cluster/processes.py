"""Processes that outlive the program that starts them, found again by a mark in their environment.

Everything a native cluster starts carries its folder and a role in the environment. So a teardown finds all of it,
also after a crash between a start and whatever would have recorded it, and it never ends a process by name.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster.shell import wait_until

_OWNER = "AGENTTASK_TEST_CLUSTER_OWNER"
_ROLE = "AGENTTASK_TEST_CLUSTER_ROLE"


OWN_PID_NAMESPACE: Final = str(Path("/proc/self/ns/pid").readlink())


@dataclass(frozen=True, kw_only=True)
class Owned:
    """A live process of a cluster, as seen now."""

    pid: int
    role: str


def start(command: Sequence[str | Path], *, owner: Path, role: str, log: Path) -> int:
    """Start a program in a session of its own with its output in a file, and return its process id."""
    environment = {**os.environ, _OWNER: str(owner), _ROLE: role}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )
    # Not awaited on purpose: it outlives this program, and a warning about that would be an error in tests.
    process.returncode = 0
    return process.pid


def owned(*, owner: Path, role: str | None = None) -> tuple[Owned, ...]:
    """The live processes a cluster has started, those of one role if given. Zombies do not count."""
    found = []
    for pid in _pids():
        marks = _environment(pid)
        if marks.get(_OWNER) == str(owner) and role in (None, marks.get(_ROLE)):
            found.append(Owned(pid=pid, role=marks.get(_ROLE, "")))
    return tuple(found)


def end(pids: Sequence[int]) -> None:
    """SIGKILL processes and wait until they are gone."""
    for pid in pids:
        signal_process(pid, signal.SIGKILL)
    wait_until(f"processes {list(pids)} gone", lambda: not any(alive(pid) for pid in pids), every=0.02)


def signal_process(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that is gone already is what the caller wanted or will notice."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie. Reaps it if it is ours."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    state = _state(pid)
    # A killed process is called a zombie while its other threads still hold its files and ports.
    return state not in ("", "X") and not (state == "Z" and _threads(pid) <= 1)


def descendants(pid: int) -> tuple[int, ...]:
    """All processes below one, itself not included."""
    children: dict[int, list[int]] = {}
    for candidate in _pids():
        children.setdefault(_parent(candidate), []).append(candidate)
    found: list[int] = []
    pending = [pid]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return tuple(found)


def pid_namespace(pid: int) -> str:
    """The identity of a process's pid namespace; empty if the process is gone."""
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _environment(pid: int) -> dict[str, str]:
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.partition("=") for entry in raw.decode(errors="replace").split("\0"))
    return {name: value for name, _, value in pairs}


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; the name before may hold spaces and parentheses."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _state(pid: int) -> str:
    return (_stat(pid) or [""])[0]


def _threads(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir()))
    except OSError:
        return 0


def _parent(pid: int) -> int:
    return int((_stat(pid) or ["", "0"])[1])
