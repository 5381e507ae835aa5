"""A program on a terminal of its own, whose keys are pressed from outside."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.e2e.harness.wait import PATIENCE_SECONDS

CTRL_C: Final = b"\x03"
_TAKE_TERMINAL: Final = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """Runs one program; its standard output goes to a file, as if the person had said `> answer`."""

    def __init__(self, argv: Sequence[str], *, folder: Path, environment: dict[str, str]) -> None:
        self._keys, inside = pty.openpty()
        self._shown = bytearray()
        with (folder / "answer").open("wb") as answer:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _TAKE_TERMINAL, *argv],
                stdin=inside,
                stdout=answer,
                stderr=inside,
                start_new_session=True,
                cwd=folder,
                env={**os.environ, "TERM": "xterm", **environment},
            )
        os.close(inside)
        self._reader = threading.Thread(target=self._read, name="terminal")
        self._reader.start()

    @property
    def shown(self) -> str:
        """All that was written to the terminal so far, control sequences included."""
        return bytes(self._shown).decode(errors="replace")  # a character may have come in part

    def press(self, keys: bytes) -> None:
        os.write(self._keys, keys)

    def end(self, *, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for the program and what it has still to show; its exit code, negative for a signal."""
        try:
            code = self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(f"it does not end:\n{self.shown}") from None
        finally:
            self._reader.join(timeout=seconds)
            os.close(self._keys)
        return code

    def _read(self) -> None:
        try:
            while chunk := os.read(self._keys, 65536):
                self._shown += chunk
        except OSError:  # how a terminal says that nobody is at its other end any more
            return
