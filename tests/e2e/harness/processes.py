"""Finding and killing the processes of a container from outside it, as an out-of-memory kill or a crash would.

Works where the nodes' processes are this machine's own: native, and kind on a local engine, both as root.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path


def with_environment(name: str, value: str) -> list[int]:
    """Ids of all processes whose initial environment has `name=value`."""
    wanted = f"{name}={value}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it ended, or is a kernel thread
            continue
        if wanted in environment:
            found.append(int(folder.name))
    return found


def kill(pids: list[int]) -> int:
    """SIGKILL each; return how many were still there."""
    killed = 0
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        killed += 1
    return killed
