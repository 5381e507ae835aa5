"""Holds a program: `python -m agenttask.program.leash FD PROGRAM ARGUMENT…`; ends as the program does.

Leads the program's process group. When the runner is gone, which closes the other end of pipe FD, all of the group is
killed; SIGTERM is passed on to the program alone, as a container's first process would get it. Reaps what the program
leaves behind.

Imports the standard library alone: it stays as long as the program does.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from typing import Final

_SUBREAPER: Final = 36
"""PR_SET_CHILD_SUBREAPER, of Linux."""
_RESET: Final = (signal.SIGPIPE, signal.SIGXFSZ)
"""What Python ignores, and a program expects not to be."""
NOT_STARTED: Final = 127


def main(arguments: list[str]) -> int:
    """The exit code: the program's, or 128 and the number of the signal that ended it."""
    pipe, command = int(arguments[0]), arguments[1:]
    os.set_inheritable(pipe, False)
    threading.Thread(target=_watch, args=(pipe,), daemon=True).start()
    ctypes.CDLL(None).prctl(_SUBREAPER, 1)
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    try:
        child = os.posix_spawnp(command[0], command, os.environ, setsigdef=_RESET)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return NOT_STARTED
    signal.signal(signal.SIGTERM, lambda number, _: os.kill(child, number))
    if stopped:
        os.kill(child, signal.SIGTERM)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _watch(pipe: int) -> None:
    os.read(pipe, 1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
