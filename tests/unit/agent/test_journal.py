"""Durable steps: what is in the state is in the log, and a caller that gives up breaks nothing."""

from __future__ import annotations

import asyncio

import pytest
from agenttask.agent.events import Event, Reconfigured, Started, ToolReturned
from agenttask.agent.state import State
from agenttask.clock import ManualClock
from agenttask.errors import FormatTooNew, RecordTooLarge
from agenttask.journal import Journal, restore
from agenttask.log import Holder, Kind, Log, Patience, RecordRef, read
from agenttask.store.faults import Call, Fault, FaultyStore
from agenttask.store.memory import MemoryStore

STARTED = Started(prompt="p")


def result(identity: str, text: str = "x") -> ToolReturned:
    return ToolReturned(call=identity, tool="t", text=text, ok=True, ms=1)


class Gate:
    """Holds puts back behind the claim until it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.reached = asyncio.Event()

    async def before(self, call: Call) -> Fault:
        if call.operation == "put" and not self.open.is_set():
            self.reached.set()
            await self.open.wait()
        return Fault.NONE


class Desk:
    """A claimed journal on a store that can be held back."""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.gate = Gate()
        self.recorded_events: list[tuple[int, tuple[Event, ...]]] = []

    def recorded(self, *, events: tuple[Event, ...], state: State, head: RecordRef) -> None:
        self.recorded_events.append((head.seq, events))

    async def journal(self) -> Journal:
        opened = await Log.open(
            store=FaultyStore(self.memory, before=self.gate.before),
            prefix="p",
            task="ns/t",
            attempt=1,
            holder=Holder(pod_uid="pod", process="p"),
            recorded=None,
            clock=ManualClock(),
            patience=Patience(),
        )
        assert opened.log is not None
        return Journal(
            log=opened.log, state=restore(base=None, records=opened.records), max_steps=50, witnesses=(self,)
        )

    async def stored(self) -> State:
        found = await read(store=self.memory, prefix="p", clock=ManualClock(), patience=Patience())
        return restore(base=found.base, records=found.records)


async def test_a_caller_that_gives_up_leaves_its_append_to_finish() -> None:
    desk = Desk()
    journal = await desk.journal()
    desk.gate.open.clear()
    task = asyncio.create_task(journal.commit(STARTED))
    await desk.gate.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    desk.gate.open.set()
    await journal.commit(result("2.0"))
    assert [seq for seq, _ in desk.recorded_events] == [2, 3]
    assert journal.state == await desk.stored()
    assert journal.state.started


async def test_events_that_come_during_an_append_share_the_next_record() -> None:
    desk = Desk()
    journal = await desk.journal()
    desk.gate.open.clear()
    first = asyncio.create_task(journal.commit(STARTED))
    await desk.gate.reached.wait()
    rest = [asyncio.create_task(journal.commit(result(f"2.{i}"))) for i in range(3)]
    await asyncio.sleep(0)
    assert not journal.state.started, "nothing is in the state before it is durable"
    desk.gate.open.set()
    await asyncio.gather(first, *rest)
    assert desk.recorded_events == [(2, (STARTED,)), (3, tuple(result(f"2.{i}") for i in range(3)))]


async def test_an_append_that_fails_fails_for_everyone_in_it_and_changes_nothing() -> None:
    desk = Desk()
    journal = await desk.journal()
    desk.gate.open.clear()
    first = asyncio.create_task(journal.commit(STARTED))
    await desk.gate.reached.wait()
    huge = asyncio.create_task(journal.commit(Reconfigured(tools=({"x": ["y" * 1024] * 17 * 1024},))))
    small = asyncio.create_task(journal.commit(result("2.1")))
    await asyncio.sleep(0)
    desk.gate.open.set()
    await first
    before = journal.state
    for failed in (huge, small):
        with pytest.raises(RecordTooLarge):
            await failed
    assert journal.state == before == await desk.stored()


async def test_an_event_of_a_later_version_is_refused() -> None:
    desk = Desk()
    journal = await desk.journal()
    await journal._log.append(kind=Kind.EVENTS, events=[{"type": "dreamt"}], step=0, max_steps=1)
    with pytest.raises(FormatTooNew, match="dreamt"):
        await desk.stored()
