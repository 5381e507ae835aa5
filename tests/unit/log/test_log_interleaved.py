"""Several writers on one log, interleaved call by call, with lost, late and cut-off calls: what holds whatever happens.

`SEED=n` repeats a run.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import deque
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import hypothesis
from agenttask.clock import ManualClock
from agenttask.errors import AgentTaskError, Fenced, Unavailable
from agenttask.log import Holder, Kind, Log, Opened, Patience, Policy, RecordRef, read
from agenttask.log.blob import LARGE_BYTES
from agenttask.store.faults import Call, Fault, FaultyStore
from agenttask.store.memory import MemoryStore
from hypothesis import strategies as st

from tests.unit.log.ledger import frozen, thawed

SEED = int(os.environ.get("SEED") or random.randrange(2**32))
PREFIX = "ns/task/uid"
WRITERS = ((1, "pod-1", "p"), (2, "pod-2", "p"), (2, "pod-2", "q"), (3, "pod-3", "p"), (3, "other", "p"))
"""Attempt, pod, process: successors, two processes of one pod, and two pods that both think they are attempt 3."""
STEPS = 7
POLICY = Policy(snapshot_every=2, keep_last=1)
"""Retention as sharp as it can be: whoever sleeps wakes to a log whose beginning is gone."""

What = Fault | Literal["killed", "delivered"]


class Move(NamedTuple):
    """One move of the schedule: what becomes of a writer's next calls, of the writer, or of its late puts."""

    writer: int
    what: What
    calls: int


WHATS: tuple[What, ...] = (*[Fault.NONE] * 14, Fault.LOST_REQUEST, Fault.LOST_ANSWER, Fault.LATE, "killed", "delivered")
SCHEDULES = st.lists(
    st.builds(Move, st.integers(0, len(WRITERS) - 1), st.sampled_from(WHATS), st.integers(1, 12)),
    min_size=10,
    max_size=80,
)


@dataclass(kw_only=True)
class Writer:
    """One attempt: claims, appends a few times, finishes. Every call of its store waits until it is let go."""

    attempt: int
    holder: Holder
    objects: MemoryStore
    opened: Opened | None = None
    acknowledged: list[tuple[RecordRef, str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    error: AgentTaskError | None = None
    gates: deque[asyncio.Future[Fault]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.store = FaultyStore(self.objects, before=self._before)

    async def _before(self, call: Call) -> Fault:
        self.gates.append(asyncio.get_running_loop().create_future())
        return await self.gates[-1]

    def let_go(self, fault: Fault) -> None:
        if self.gates and not (gate := self.gates.popleft()).done():
            gate.set_result(fault)

    async def run(self) -> None:
        try:
            self.opened = await Log.open(
                store=self.store,
                prefix=PREFIX,
                task="ns/task",
                attempt=self.attempt,
                holder=self.holder,
                recorded=None,
                clock=ManualClock(),
                patience=Patience(jitter=lambda: 0.0),
                policy=POLICY,
            )
            if self.opened.log is not None:
                self.texts = thawed(base=self.opened.restored.base, records=self.opened.records)
                await self._work(self.opened.log)
        except AgentTaskError as error:
            self.error = error

    async def _work(self, log: Log) -> None:
        for step in range(1, STEPS + 1):
            if log.snapshot_due:
                await log.snapshot(frozen(self.texts))
            text = f"{self.holder.pod_uid}/{self.holder.process}: {step}".ljust(40 if step % 3 else LARGE_BYTES + 1)
            kind = Kind.FINAL if step == STEPS else Kind.EVENTS
            ref = await log.append(kind=kind, events=[{"text": text}], step=step, max_steps=STEPS)
            self.texts.append(text)
            self.acknowledged.append((ref, text))


async def settle() -> None:
    """Let every task run up to its gate; nothing here waits for anything else, so a few turns are enough."""
    for _ in range(10):
        await asyncio.sleep(0)


async def play(schedule: list[Move]) -> tuple[MemoryStore, list[Writer]]:
    """Run the schedule, then let every writer that is left come to its end, and its late puts arrive."""
    objects = MemoryStore()
    writers = [Writer(attempt=a, holder=Holder(pod_uid=u, process=p), objects=objects) for a, u, p in WRITERS]
    tasks = [asyncio.create_task(writer.run()) for writer in writers]
    await settle()
    for number, what, calls in schedule:
        if what == "killed":
            tasks[number].cancel()
        elif what == "delivered":
            await writers[number].store.deliver()
        else:
            for _ in range(calls if what is Fault.NONE else 1):
                writers[number].let_go(what)
                await settle()
        await settle()
    for writer, task in zip(writers, tasks, strict=True):
        while not task.done():
            writer.let_go(Fault.NONE)
            await settle()
        await writer.store.deliver()
    await asyncio.gather(*tasks, return_exceptions=True)
    return objects, writers


async def judge(schedule: list[Move]) -> None:
    objects, writers = await play(schedule)
    last = Writer(attempt=9, holder=Holder(pod_uid="last", process="p"), objects=objects)
    task = asyncio.create_task(last.run())
    while not task.done():
        last.let_go(Fault.NONE)
        await settle()
    assert last.error is None, "whatever happened, an undisturbed attempt can go on"

    found = await read(store=objects, prefix=PREFIX, clock=ManualClock(), patience=Patience())
    assert (found.lost, found.damage) == (None, ())
    assert found.final is not None
    texts = thawed(base=found.base, records=found.records)
    assert len(set(texts)) == len(texts), "nothing stands in the log twice"
    digests = {record.seq: record.digest for record in found.records}
    confirmed: dict[int, set[str]] = {}
    for writer in writers:
        assert writer.error is None or isinstance(writer.error, Fenced | Unavailable)
        places = [texts.index(text) for _, text in writer.acknowledged]
        assert places == sorted(places), "what was acknowledged stands, in order"
        assert all(digests.get(ref.seq, ref.digest) == ref.digest for ref, _ in writer.acknowledged)
        if writer.opened is not None and writer.opened.log is not None:
            assert writer.texts == texts[: len(writer.texts)], "what was restored and written is what happened"
            confirmed.setdefault(writer.attempt, set()).add(writer.holder.pod_uid)
    assert all(len(pods) == 1 for pods in confirmed.values()), "an attempt is one pod"


@hypothesis.seed(SEED)
@hypothesis.settings(max_examples=150, deadline=None, database=None, print_blob=True)
@hypothesis.given(SCHEDULES)
def test_no_interleaving_lets_an_older_attempt_write_or_loses_what_was_acknowledged(schedule: list[Move]) -> None:
    hypothesis.note(f"SEED={SEED}")
    asyncio.run(judge(schedule))
