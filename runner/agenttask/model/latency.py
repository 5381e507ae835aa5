"""How long an endpoint may take to begin its reply: measured latencies → a deadline. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

BASE_SECONDS: Final = 60.0
"""The least that is granted, and all there is before anything was measured."""
MAX_SECONDS: Final = 300.0
SLACK_SECONDS: Final = 10.0


def first_token_seconds(latencies_ms: Sequence[int]) -> float:
    """The deadline for the first token (of a reply that is not streamed: for all of it).

    Twice the mean and a slack, within bounds. Tries that ran into their deadline are among the latencies, with the time
    they were given: so an endpoint that is always slower than the base gets more from try to try.
    """
    if not latencies_ms:
        return BASE_SECONDS
    mean_seconds = sum(latencies_ms) / len(latencies_ms) / 1000
    return min(max(BASE_SECONDS, 2 * mean_seconds + SLACK_SECONDS), MAX_SECONDS)
