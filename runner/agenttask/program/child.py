"""The program as a process, behind its leash, and what it is told by its environment."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agenttask.contract import RUNNER_ONLY
from agenttask.errors import SpecInvalid
from agenttask.program.say import ENV_SOCKET

ENV_STATE_DIR: Final = "AGENTTASK_STATE_DIR"
ENV_RESULT: Final = "AGENTTASK_RESULT"
ENV_PROMPT: Final = "AGENTTASK_PROMPT"
ENV_RESUMED: Final = "AGENTTASK_RESUMED"
OWN: Final = "AGENTTASK_"
"""What variables of the runner's own begin with."""
MAX_PROMPT_BYTES: Final = 96 * 1024
"""Linux takes no more than 128 KiB in one variable."""


@dataclass(frozen=True, kw_only=True)
class Home:
    """Where a program finds what is its own."""

    root: Path
    out: int | None = None
    """Descriptor to which its standard output goes; None: to the runner's own."""

    @property
    def state(self) -> Path:
        """The folder that is kept."""
        return self.root / "state"

    @property
    def result(self) -> Path:
        """What is in this file at the end is the task's answer."""
        return self.root / "result"

    @property
    def socket(self) -> Path:
        """Where the runner listens."""
        return self.root / "socket"


def environment(
    *,
    inherited: Mapping[str, str],
    told: Mapping[str, str],
    home: Home,
    prompt: str,
    resumed: bool,
    code: str | None,
) -> dict[str, str]:
    """The runner's environment without what is the runner's alone, and what the program is told."""
    if len(prompt.encode()) > MAX_PROMPT_BYTES:
        raise SpecInvalid(
            f"a command gets its prompt as a variable, of {MAX_PROMPT_BYTES} bytes at most: mount a ConfigMap instead"
        )
    if "\0" in prompt:
        raise SpecInvalid("a command gets its prompt as a variable, which cannot have NUL characters in it")
    passed = {name: value for name, value in inherited.items() if name not in RUNNER_ONLY and not name.startswith(OWN)}
    modules = [each for each in (code, inherited.get("PYTHONPATH")) if each]
    # The command `agenttask` stands beside our Python, whether or not the image has that on its path.
    path = [*filter(None, [inherited.get("PATH", os.defpath)]), str(Path(sys.executable).parent)]
    return {
        **passed,
        **told,
        "PATH": os.pathsep.join(path),
        **({"PYTHONPATH": os.pathsep.join(modules)} if modules else {}),
        ENV_STATE_DIR: str(home.state),
        ENV_RESULT: str(home.result),
        ENV_SOCKET: str(home.socket),
        ENV_RESUMED: "1" if resumed else "0",
        **({ENV_PROMPT: prompt} if prompt else {}),
    }


class Child:
    """A program that runs. It writes where its runner does, reads nothing, and begins in its folder."""

    def __init__(self, *, process: asyncio.subprocess.Process, pipe: int) -> None:
        self._process = process
        self._pipe = pipe

    @classmethod
    async def start(cls, *, command: Sequence[str], env: Mapping[str, str], home: Home) -> Child:
        """Start it. Raises `SpecInvalid` if there is no such program."""
        if any("\0" in word for word in command):
            raise SpecInvalid("spec.command: a command cannot have NUL characters in it")
        if shutil.which(command[0] if "/" not in command[0] else home.state / command[0], path=env["PATH"]) is None:
            raise SpecInvalid(f"spec.command: there is no program {command[0]} that could be started")
        read, write = os.pipe()
        try:
            # Isolated, since nothing in the program's folder or on its path is a module of the leash's.
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-m", "agenttask.program.leash", str(read), *command,
                stdin=asyncio.subprocess.DEVNULL, stdout=home.out, env=dict(env), cwd=home.state,
                pass_fds=(read,), start_new_session=True,
            )  # fmt: skip
        except BaseException:
            os.close(write)
            raise
        finally:
            os.close(read)
        return cls(process=process, pipe=write)

    async def wait(self) -> int:
        """Wait for its end; the exit code, 128 and the number for a signal."""
        code = await self._process.wait()
        return code if code >= 0 else 128 - code

    def stop(self) -> None:
        """Ask it to end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    async def kill(self) -> None:
        """Leave nothing of it running."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
