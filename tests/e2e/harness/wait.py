"""Waiting for a condition, with a deadline and an account of what was last seen: the one place that sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from tests.cluster import shell

T = TypeVar("T")

POLL_SECONDS = 0.05
PATIENCE_SECONDS: Final = shell.PATIENCE_SECONDS
"""That of the cluster's own waits."""


def until(
    probe: Callable[[], T | None],
    *,
    what: str,
    seen: Callable[[], object] = lambda: "nothing more is known",
) -> T:
    """Return the first truthy answer of `probe`.

    Raises AssertionError naming `what`, and what `seen` answers then, when `PATIENCE_SECONDS` have passed.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENCE_SECONDS:g} s: {what}; last seen: {seen()}")
        time.sleep(POLL_SECONDS)


def throughout(probe: Callable[[], object], *, what: str, seconds: float) -> None:
    """Hold that `probe` stays truthy for `seconds`: for what must *not* happen, where no event marks the end."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert probe(), f"stopped being so: {what}"
        time.sleep(POLL_SECONDS)


def pause(*, seconds: float) -> None:
    """Let a seeded random span pass: the point in time at which a fault strikes."""
    time.sleep(seconds)
