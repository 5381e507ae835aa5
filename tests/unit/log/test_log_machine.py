"""Rival writers on a log in memory, in every order that hypothesis thinks of; it shrinks what breaks a promise.

`SEED=n` repeats a run; `make test-deep` plays a hundred thousand store calls.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

import hypothesis
from agenttask.log import Policy
from agenttask.store.faults import Fault
from agenttask.store.memory import MemoryStore
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.unit.log.rivalry import DEEP, AtOnce, Rivalry, play

CALLS_WANTED: Final = 100_000 if DEEP else 3_000


class InMemory(Rivalry):
    """Each example on a store of its own."""

    def open(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_default_executor(AtOnce())
        self.through = self.straight = self.objects = MemoryStore()

    def close(self) -> None:
        self.loop.close()


class Rotting(InMemory):
    """Something goes bad once, under whoever holds the log or wants it; with retention as sharp as it can be."""

    policy = Policy(snapshot_every=2, keep_last=1)

    @rule(what=st.sampled_from(["snapshot", "blob", "log", "log", "claim"]), which=st.integers(0, 9999))
    @precondition(lambda self: not self.witness.damages and len(self.witness.acknowledged) > 3)
    def rots(self, *, what: str, which: int) -> None:
        objects = self.objects.objects
        if what == "claim":
            keys = [f"{self.witness.prefix}/log/{max(self.witness.claims):012d}"]
        else:
            keys = sorted(key for key in objects if f"/{what}/" in key)
        if not keys:
            return
        key = keys[-1 - which % min(len(keys), 3)]
        objects[key] = objects[key][:-1] + bytes([objects[key][-1] ^ 1])
        self.witness.damaged(int(key[-12:]) if "/log/" in key else None)
        self.played["damaged"] += 1


SETTINGS: Final = hypothesis.settings(
    max_examples=40,
    stateful_step_count=60,
    suppress_health_check=list(hypothesis.HealthCheck),
)


def test_no_interleaving_of_rivals_breaks_a_promise_of_the_log() -> None:
    played = play(InMemory, calls=CALLS_WANTED, settings=SETTINGS)
    assert all(played[fault.name] for fault in Fault), "every fault was played"
    assert played["acknowledged"] > played["calls"] / 50


def is_damaged_often(played: Counter[str]) -> bool:
    return played["damaged"] > played["calls"] / 1000


def test_one_object_that_goes_bad_costs_nothing_that_is_acknowledged_to_those_who_come_after() -> None:
    played = play(Rotting, calls=CALLS_WANTED, settings=SETTINGS, enough=is_damaged_often)
    assert is_damaged_often(played)
    assert played["acknowledged"] > played["calls"] / 50
