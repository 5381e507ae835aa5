"""Running programs and saying what is being done: the only two things every other module here does."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

_BEGAN = time.monotonic()
PATIENCE_SECONDS: Final = 180
"""Tells what hangs from what is slow: several times what anything takes on a machine that is slow."""


class ClusterError(Exception):
    """A cluster could not be made, changed or taken down; the message says what a person can do about it."""


def say(message: str) -> None:
    """Print one line of progress with the seconds since the program began."""
    print(f"{time.monotonic() - _BEGAN:6.1f}s  {message}", file=sys.stderr, flush=True)


def run(
    *command: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout_seconds: float = 600,
) -> str:
    """Run a program to its end and return its standard output.

    Raises ClusterError with the end of its output if it fails or takes too long.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, cwd=cwd, env=env, input=stdin, capture_output=True, text=True, timeout=timeout_seconds, check=False
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"`{' '.join(words)}` did not end within {timeout_seconds:.0f} s") from error
    if done.returncode:
        tail = (done.stderr or done.stdout).strip()[-2000:]
        raise ClusterError(f"`{' '.join(words)}` ended with {done.returncode}:\n{tail}")
    return done.stdout


def succeeds(*command: str | Path, timeout_seconds: float = 60) -> bool:
    """Whether a program ends with 0; what it prints is thrown away."""
    try:
        run(*command, timeout_seconds=timeout_seconds)
    except ClusterError:
        return False
    return True


def wait_until(what: str, condition: Callable[[], bool], *, every: float = 0.1) -> None:
    """Ask until a condition holds. Raises ClusterError naming `what` after `PATIENCE_SECONDS`."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not within {PATIENCE_SECONDS} s")
        time.sleep(every)


def tail(path: Path, *, lines: int = 20) -> str:
    """The last lines of a log file, or an empty string where there is none."""
    try:
        text: Sequence[str] = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(text[-lines:])
