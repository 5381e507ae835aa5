"""Rival writers on one log, interleaved call by call at random: lost requests, lost answers, late puts and deletes,
kills, restarts, writers that sleep across retention. Hypothesis plays; what the witness is promised must hold.

The store is the machine's own choice: memory in `test_log_machine.py`, real servers in `tests/api/store`.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ClassVar, Final

import hypothesis
from agenttask.clock import ManualClock
from agenttask.errors import CheckpointCorrupt, Fenced, Unavailable
from agenttask.log import Holder, Policy
from agenttask.store import Store
from agenttask.store.faults import Call, Fault, FaultyStore
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.unit.log.rivals import POLICY, Rival, Witness

SEED: Final = int(os.environ.get("SEED") or random.randrange(2**32))
DEEP: Final = bool(os.environ.get("DEEP"))
AWAKE: Final = 4
TURNS: Final = 32
"""Of the event loop: enough to get from the answer of one call to the next call."""
UNLUCKY: Final = 10
"""So many times the calls wanted are played while what else is wanted has not come."""
FAULTS: Final = (*[Fault.NONE] * 4, Fault.LOST_REQUEST, Fault.LOST_ANSWER, Fault.LATE)


class AtOnce(ThreadPoolExecutor):
    """Does what is meant for threads at once, so that the same orders make the same play."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = Future[Any]()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Gated:
    """A rival whose every store call waits until it is let go."""

    def __init__(
        self, *, attempt: int, holder: Holder, store: Store, witness: Witness, number: int, policy: Policy
    ) -> None:
        self.under_way = 0
        """Calls that the store has not answered yet."""
        self._gates: deque[asyncio.Future[Fault]] = deque()
        self.store = FaultyStore(store, before=self._wait, after=self._answered)
        self.rival = Rival(
            attempt=attempt,
            holder=holder,
            store=self.store,
            witness=witness,
            clock=ManualClock(),
            first_number=1000 * number,
            policy=policy,
        )
        self.task = asyncio.create_task(self.rival.run())

    async def _wait(self, _: Call) -> Fault:
        gate: asyncio.Future[Fault] = asyncio.get_running_loop().create_future()
        self._gates.append(gate)
        fault = await gate
        if fault in (Fault.NONE, Fault.LOST_ANSWER):
            self.under_way += 1
        return fault

    async def _answered(self, _: Call) -> None:
        self.under_way -= 1

    def let_go(self, fault: Fault) -> bool:
        """The oldest call that waits goes on, or is lost; whether there was one."""
        while self._gates:
            if not (gate := self._gates.popleft()).done():
                gate.set_result(fault)
                return True
        return False


class Rivalry(RuleBasedStateMachine):
    """Attempts that come, write, sleep and die in any order, on one store. `open` says on which."""

    policy: ClassVar[Policy] = POLICY
    played: ClassVar[Counter[str]]
    """What has been played so far, over all examples."""
    loop: asyncio.AbstractEventLoop
    through: Store
    """The store as rivals reach it."""
    straight: Store
    """The same store, for whoever judges."""

    def open(self) -> None:
        """Set `loop`, `through` and `straight`."""
        raise NotImplementedError

    def close(self) -> None:
        """The end of an example."""

    @initialize()
    def begin(self) -> None:
        self.open()
        self.witness = Witness(prefix=f"ns/task/{secrets.token_hex(8)}")
        self.rivals: list[Gated] = []
        self.attempt = 0
        self.next_attempt()

    async def settle(self) -> None:
        """Let every rival run up to its gate; whatever else they wait for, the store answers."""
        while True:
            for _ in range(TURNS):
                await asyncio.sleep(0)
            if not any(rival.under_way for rival in self.rivals):
                return
            await asyncio.sleep(0.0005)

    async def let_go(self, rival: Gated, fault: Fault = Fault.NONE) -> None:
        """One call of a rival, from its gate to its answer."""
        self.played["calls"] += (went := rival.let_go(fault))
        self.played[fault.name] += went
        await self.settle()

    def start(self, holder: Holder, *, attempt: int | None = None) -> None:
        """A process that wants the log, for the newest attempt unless another is given."""

        async def started() -> None:
            self.rivals.append(
                Gated(
                    attempt=attempt or self.attempt,
                    holder=holder,
                    store=self.through,
                    witness=self.witness,
                    number=len(self.rivals) + 1,
                    policy=self.policy,
                )
            )
            await self.settle()

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

    @rule()
    @precondition(lambda self: self.attempt > 1 and len(self.awake) < AWAKE)
    def older_attempt_comes_late(self) -> None:
        number = len(self.rivals) + 1
        self.start(Holder(pod_uid=f"late-{number}", process="p1"), attempt=self.attempt - 1)

    @rule(which=st.integers(0, 99), calls=st.integers(1, 20), fault=st.sampled_from(FAULTS))
    @precondition(lambda self: self.awake)
    def go_on(self, *, which: int, calls: int, fault: Fault) -> None:
        rival = self.awake[which % len(self.awake)]

        async def play() -> None:
            for number in range(calls):
                await self.let_go(rival, fault if number == 0 else Fault.NONE)

        self.loop.run_until_complete(play())
        self.judge(rival)

    @rule(which=st.integers(0, 99))
    @precondition(lambda self: len(self.awake) > 1)
    def dies(self, *, which: int) -> None:
        rival = self.awake[which % len(self.awake)]
        rival.task.cancel()
        self.played["killed"] += 1
        self.loop.run_until_complete(self.settle())

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
        self.loop.run_until_complete(self.witness.look(self.straight, clock=ManualClock()))

    def judge(self, rival: Gated) -> None:
        """A rival may end fenced, or without a store; a broken promise comes out of its task."""
        if rival.task.done() and not rival.task.cancelled():
            rival.task.result()
            error = rival.rival.error
            bad_news = isinstance(error, CheckpointCorrupt) and self.witness.damages
            assert error is None or bad_news or isinstance(error, Fenced | Unavailable)

    def teardown(self) -> None:
        """Whatever happened, an undisturbed attempt can go on and finish."""
        if not hasattr(self, "rivals"):
            return
        try:
            self.loop.run_until_complete(self._end())
        finally:
            self.close()

    async def _end(self) -> None:
        for each in self.rivals:
            each.task.cancel()
        await asyncio.gather(*(each.task for each in self.rivals), return_exceptions=True)
        for each in self.rivals:
            await each.store.deliver()
        self.played["acknowledged"] += len(self.witness.acknowledged)
        last = Rival(
            attempt=self.attempt + 1,
            holder=Holder(pod_uid="last", process="p1"),
            store=self.straight,
            witness=self.witness,
            clock=ManualClock(),
            first_number=1000 * (len(self.rivals) + 1),
            steps=2,
        )
        await last.run()
        hopeless = isinstance(last.error, CheckpointCorrupt) and self.witness.damages and not self.witness.promised
        assert last.error is None or hopeless, "whatever happened, an undisturbed attempt can go on"
        await self.witness.look(self.straight, clock=ManualClock())


def play(
    machine: type[Rivalry],
    *,
    calls: int,
    settings: hypothesis.settings,
    enough: Callable[[Counter[str]], bool] = lambda _: True,
) -> Counter[str]:
    """Play examples until so many store calls have been let go, and `enough` was played, with luck; what was played."""
    print(f"SEED={SEED}")  # noqa: T201 - shown when it fails
    played = Counter[str]()
    turn = 0
    while played["calls"] < calls or (not enough(played) and played["calls"] < UNLUCKY * calls):
        fresh = type(machine.__name__, (machine,), {"played": played})
        run_state_machine_as_test(hypothesis.seed(SEED + turn)(fresh), settings=settings)
        turn += 1
    print(f"played: {dict(played)}")  # noqa: T201
    return played
