"""Processes forked from a server that has everything imported, so that a hundred of them take seconds."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from multiprocessing import connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Final

from tests.e2e.harness.wait import PATIENCE_SECONDS

_SERVER: Final = multiprocessing.get_context("forkserver")
# There is one server, started with the first process of a session, whichever test that is of: so it gets the modules of
# all of them. pytest is the program that each process takes itself for, and would else load anew.
_SERVER.set_forkserver_preload(
    ["pytest", "tests.api.operator.process", "tests.api.runner.local_process", "tests.api.store.killed_keeper"]
)
_ONE_AT_A_TIME: Final = threading.Lock()
"""Starting a process asks after all others too, and a second thread that does so finds its exit code gone."""


def start(life: Callable[[], None]) -> ForkServerProcess:
    """A process that does this, which has to be picklable."""
    process = _SERVER.Process(target=life)
    with _ONE_AT_A_TIME:
        process.start()
    return process


def end(process: ForkServerProcess, *, seconds: float = PATIENCE_SECONDS, lines: Path | None = None) -> int:
    """Wait for a process; its exit code, negative for a signal.

    Raises:
        AssertionError: it did not end within `seconds`; the message has what it wrote to `lines`.
    """
    assert connection.wait([process.sentinel], timeout=seconds), f"it hangs:\n{lines.read_text() if lines else ''}"
    with _ONE_AT_A_TIME:
        process.join()
    assert process.exitcode is not None
    return process.exitcode
