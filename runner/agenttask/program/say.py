"""What a program says to its runner: `agenttask checkpoint` and `agenttask progress STEP TOTAL TEXT`.

One JSON object per connection to the socket `AGENTTASK_SOCKET`, answered by one: a program may as well do so itself.
Imports the standard library alone: a program may say something often.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping
from typing import Any, Final

ENV_SOCKET: Final = "AGENTTASK_SOCKET"
REFUSED: Final = 1
NOBODY: Final = 69
"""Exit code where no runner is there to hear it."""


def say(request: Mapping[str, Any], *, environment: Mapping[str, str] = os.environ) -> int:
    """Say it and wait for the answer; the exit code, 0 once what was asked for is done."""
    path = environment.get(ENV_SOCKET)
    if not path:
        sys.stderr.write(f"not inside a task's command: {ENV_SOCKET} is not set\n")
        return NOBODY
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(path)
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as lines:
                line = lines.readline()
        answer = json.loads(line) if line else None
    except (OSError, ValueError) as error:
        sys.stderr.write(f"the task's runner does not answer: {error}\n")
        return NOBODY
    if answer is None:
        sys.stderr.write("the task's runner has ended\n")
        return NOBODY
    if not answer["ok"]:
        sys.stderr.write(f"{answer['why']}\n")
        return REFUSED
    return 0
