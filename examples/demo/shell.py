"""Shell commands as a user types them: each is shown before it runs, and runs exactly as shown."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

DIM, BOLD, PLAIN = ("\033[2m", "\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


class DemoError(Exception):
    """A command of the demo failed, or nothing came of it in time."""


def say(text: str) -> None:
    """Tell the story."""
    sys.stdout.write(f"\n{BOLD}{text}{PLAIN}\n")
    sys.stdout.flush()


@dataclass(frozen=True, kw_only=True)
class Shell:
    """Runs commands with these variables in the environment; keys are in variables, so no command shows one."""

    variables: Mapping[str, str]

    def run(self, command: str) -> None:
        """Show and run; the output goes to the terminal. Raises DemoError if the command fails."""
        self._show(command)
        if subprocess.run(["bash", "-c", command], env=self._environment, check=False).returncode:
            raise DemoError(f"this failed: {command}")

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Show and start in the background; `exec`, so that ending the process ends the command itself."""
        self._show(f"{command} &")
        return subprocess.Popen(["bash", "-c", f"exec {command}"], env=self._environment)

    def read(self, command: str) -> str:
        """Run without showing and return the output, empty if the command fails."""
        done = subprocess.run(
            ["bash", "-c", command],
            env=self._environment,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return done.stdout.decode()

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.variables}

    @staticmethod
    def _show(command: str) -> None:
        sys.stdout.write(f"{DIM}${PLAIN} {command}\n")
        sys.stdout.flush()


def wait(probe: Callable[[], bool], *, what: str, seconds: float) -> None:
    """Wait until `probe` is true. Raises DemoError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not probe():
        if time.monotonic() > deadline:
            raise DemoError(f"not within {seconds:g} s: {what}")
        time.sleep(0.2)
