"""Rival writers on a log in memory, in every order that hypothesis thinks of; it shrinks what breaks a promise.

`SEED=n` repeats a run; `make test-deep` plays a hundred thousand store calls.
"""

from __future__ import annotations

import asyncio
from typing import Final

import hypothesis
from agenttask.store.faults import Fault
from agenttask.store.memory import MemoryStore

from tests.unit.log.rivalry import DEEP, Rivalry, play

CALLS_WANTED: Final = 100_000 if DEEP else 3_000


class InMemory(Rivalry):
    """Each example on a store of its own."""

    def open(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.through = self.straight = MemoryStore()

    def close(self) -> None:
        self.loop.close()


def test_no_interleaving_of_rivals_breaks_a_promise_of_the_log() -> None:
    settings = hypothesis.settings(
        max_examples=40,
        stateful_step_count=60,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    played = play(InMemory, calls=CALLS_WANTED, settings=settings)
    assert all(played[fault.name] for fault in Fault), "every fault was played"
    assert played["acknowledged"] > played["calls"] / 50
