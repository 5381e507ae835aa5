"""Rival writers, interleaved call by call at random: lost requests, lost answers, late puts and deletes, kills,
restarts, writers that sleep across retention. Hypothesis plays, and shrinks what breaks a promise.

`SEED=n` repeats a run; `make test-deep` plays a hundred thousand store calls.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter, deque
from typing import Final

import hypothesis
from agenttask.clock import ManualClock
from agenttask.errors import Fenced, Unavailable
from agenttask.log import Holder
from agenttask.store.faults import Call, Fault, FaultyStore
from agenttask.store.memory import MemoryStore
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.unit.log.rivals import Rival, Witness

SEED: Final = int(os.environ.get("SEED") or random.randrange(2**32))
DEEP: Final = bool(os.environ.get("DEEP"))
CALLS_WANTED: Final = 100_000 if DEEP else 3_000
AWAKE: Final = 4
FAULTS: Final = (*[Fault.NONE] * 4, Fault.LOST_REQUEST, Fault.LOST_ANSWER, Fault.LATE)
PLAYED: Final = Counter[str]()
"""What has been played so far, over all examples."""


class Gated:
    """A rival whose every store call waits until it is let go."""

    def __init__(self, *, attempt: int, holder: Holder, objects: MemoryStore, witness: Witness, number: int) -> None:
        self._gates: deque[asyncio.Future[Fault]] = deque()
        self.store = FaultyStore(objects, before=self._wait)
        self.rival = Rival(
            attempt=attempt,
            holder=holder,
            store=self.store,
            witness=witness,
            clock=ManualClock(),
            first_number=1000 * number,
        )
        self.task = asyncio.create_task(self.rival.run())

    async def _wait(self, _: Call) -> Fault:
        gate: asyncio.Future[Fault] = asyncio.get_running_loop().create_future()
        self._gates.append(gate)
        return await gate

    def let_go(self, fault: Fault) -> None:
        """The oldest call that waits goes on, or is lost."""
        while self._gates:
            if not (gate := self._gates.popleft()).done():
                gate.set_result(fault)
                PLAYED["calls"] += 1
                PLAYED[fault.name] += 1
                return


async def settle() -> None:
    """Let every task run up to its gate; nothing waits for anything else, so a few turns are enough."""
    for _ in range(12):
        await asyncio.sleep(0)


class Rivalry(RuleBasedStateMachine):
    """Attempts that come, write, sleep and die in any order, on one store."""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.objects = MemoryStore()
        self.witness = Witness(prefix="ns/task/uid")
        self.rivals: list[Gated] = []
        self.attempt = 0
        self.next_attempt()

    def start(self, holder: Holder) -> None:
        async def started() -> None:
            number = len(self.rivals) + 1
            self.rivals.append(
                Gated(attempt=self.attempt, holder=holder, objects=self.objects, witness=self.witness, number=number)
            )
            await settle()

        self.loop.run_until_complete(started())

    @property
    def awake(self) -> list[Gated]:
        return [each for each in self.rivals if not each.task.done()]

    @rule()
    @precondition(lambda self: len(self.awake) < AWAKE)
    def next_attempt(self) -> None:
        self.attempt += 1
        self.start(Holder(pod_uid=f"pod-{self.attempt}", process="p1"))

    @rule(other_pod=st.booleans())
    @precondition(lambda self: len(self.awake) < AWAKE)
    def same_attempt_again(self, *, other_pod: bool) -> None:
        number = len(self.rivals) + 1
        pod = f"other-{number}" if other_pod else f"pod-{self.attempt}"
        self.start(Holder(pod_uid=pod, process=f"p{number}"))

    @rule(which=st.integers(0, 99), calls=st.integers(1, 20), fault=st.sampled_from(FAULTS))
    @precondition(lambda self: self.awake)
    def go_on(self, *, which: int, calls: int, fault: Fault) -> None:
        rival = self.awake[which % len(self.awake)]

        async def play() -> None:
            for number in range(calls):
                rival.let_go(fault if number == 0 else Fault.NONE)
                await settle()

        self.loop.run_until_complete(play())
        self.judge(rival)

    @rule(which=st.integers(0, 99))
    @precondition(lambda self: len(self.awake) > 1)
    def dies(self, *, which: int) -> None:
        rival = self.awake[which % len(self.awake)]
        rival.task.cancel()
        PLAYED["killed"] += 1
        self.loop.run_until_complete(settle())

    @rule(which=st.integers(0, 99))
    def late_calls_arrive(self, *, which: int) -> None:
        """Of a rival that may be long dead."""
        self.loop.run_until_complete(self.rivals[which % len(self.rivals)].store.deliver())

    @rule(which=st.integers(0, 99))
    @precondition(lambda self: self.awake and self.attempt > 3)
    def finishes(self, *, which: int) -> None:
        self.awake[which % len(self.awake)].rival.finishing = True

    @rule()
    def look(self) -> None:
        self.loop.run_until_complete(self.witness.look(self.objects, clock=ManualClock()))

    def judge(self, rival: Gated) -> None:
        """A rival may end fenced, or without a store; a broken promise comes out of its task."""
        if rival.task.done() and not rival.task.cancelled():
            rival.task.result()
            assert rival.rival.error is None or isinstance(rival.rival.error, Fenced | Unavailable)

    def teardown(self) -> None:
        """Whatever happened, an undisturbed attempt can go on and finish."""
        if not hasattr(self, "loop"):
            return
        try:
            self.loop.run_until_complete(self._end())
        finally:
            self.loop.close()

    async def _end(self) -> None:
        for each in self.rivals:
            each.task.cancel()
        await asyncio.gather(*(each.task for each in self.rivals), return_exceptions=True)
        for each in self.rivals:
            await each.store.deliver()
        PLAYED["acknowledged"] += len(self.witness.acknowledged)
        last = Rival(
            attempt=self.attempt + 1,
            holder=Holder(pod_uid="last", process="p1"),
            store=self.objects,
            witness=self.witness,
            clock=ManualClock(),
            first_number=1000 * (len(self.rivals) + 1),
            steps=2,
        )
        await last.run()
        assert last.error is None, "whatever happened, an undisturbed attempt can go on"
        await self.witness.look(self.objects, clock=ManualClock())


def test_no_interleaving_of_rivals_breaks_a_promise_of_the_log() -> None:
    print(f"SEED={SEED}")  # noqa: T201 - shown when it fails
    PLAYED.clear()
    settings = hypothesis.settings(
        max_examples=40,
        stateful_step_count=60,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    turn = 0
    while PLAYED["calls"] < CALLS_WANTED:
        run_state_machine_as_test(hypothesis.seed(SEED + turn)(type("Rivalry", (Rivalry,), {})), settings=settings)
        turn += 1
    assert all(PLAYED[fault.name] for fault in Fault), "every fault was played"
    assert PLAYED["acknowledged"] > PLAYED["calls"] / 50
    print(f"played: {dict(PLAYED)}")  # noqa: T201
