"""Waiting for a condition with a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tests.e2e.harness.wait import PATIENCE_SECONDS


def until(sentence: str, condition: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Return once `condition` holds; it is asked ten times a second.

    Raises:
        AssertionError: it did not hold within `seconds`; the message is the sentence.
    """
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {sentence}"
        pause.wait(0.1)
