"""Durable steps: what is in the state is in the log, and a caller that gives up breaks nothing."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from agenttask.agent.events import Ended, Event, Reconfigured, Replied, Started, Tokens, ToolReturned
from agenttask.agent.state import State
from agenttask.clock import ManualClock
from agenttask.errors import FormatTooNew, RecordTooLarge
from agenttask.journal import Journal, charge, restore
from agenttask.log import Holder, Kind, Log, Patience, Policy, RecordRef, read
from agenttask.store.faults import Call, Fault, FaultyStore
from agenttask.store.memory import MemoryStore

from tests.unit.agent.replies import replied, tool_call

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

    async def journal(self, *, attempt: int = 1, every_steps: int = 1, snapshot_every: int = 200) -> Journal:
        opened = await Log.open(
            store=FaultyStore(self.memory, before=self.gate.before),
            prefix="p",
            task="ns/t",
            attempt=attempt,
            holder=Holder(pod_uid=f"pod-{attempt}", process="p"),
            recorded=None,
            clock=ManualClock(),
            patience=Patience(),
            policy=Policy(snapshot_every=snapshot_every),
            charge=partial(charge, guarded=False),
        )
        assert opened.log is not None
        state = restore(base=opened.restored.base, records=opened.records)
        return Journal(log=opened.log, state=state, max_steps=50, witnesses=(self,), every_steps=every_steps)

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


def asks(number: int) -> Replied:
    return replied(None, tool_call(provider_id=f"c{number}"), tokens=Tokens(prompt=5, completion=1))


async def step(journal: Journal, number: int) -> None:
    """One reply with a call, and its result."""
    await journal.commit(asks(number))
    await journal.commit(result(journal.state.open_calls[0].id))


async def test_with_every_steps_replies_and_results_wait_and_share_a_record() -> None:
    desk = Desk()
    journal = await desk.journal(every_steps=3)
    await journal.commit(STARTED)
    for number in range(7):
        await step(journal, number)
        assert journal.state.step == number + 1, "the state goes on"
    # record 2: Started; 3: replies 0 to 2; 4: replies 3 to 5, and what came between
    assert [(seq, len(events)) for seq, events in desk.recorded_events] == [(2, 1), (3, 5), (4, 6)]
    assert (await desk.stored()).step == 6
    await journal.commit(Ended(outcome="Completed", reason="Completed", message="m"))
    assert journal.state == await desk.stored()
    assert journal.head.seq == 5


async def test_calls_of_several_replies_in_one_record_have_identities_of_their_own() -> None:
    desk = Desk()
    journal = await desk.journal(every_steps=3)
    await journal.commit(STARTED)
    seen = []
    for number in range(4):
        await journal.commit(asks(number))
        seen.append(journal.state.open_calls[0].id)
        await journal.commit(result(seen[-1]))
    assert seen == ["3.0", "3.1", "3.2", "4.0"]


async def test_what_waited_when_a_process_died_is_repeated_and_nothing_else() -> None:
    desk = Desk()
    first = await desk.journal(every_steps=3)
    await first.commit(STARTED)
    for number in range(5):
        await step(first, number)
    second = await desk.journal(attempt=2, every_steps=3)
    assert second.state.step == 3
    assert [message["role"] for message in second.state.conversation] == [
        "user",
        *["assistant", "tool"] * 2,
        "assistant",
    ]


@pytest.mark.parametrize("every_steps", [1, 4])
async def test_a_long_run_resumes_from_a_snapshot_of_its_state(every_steps: int) -> None:
    desk = Desk()
    journal = await desk.journal(every_steps=every_steps, snapshot_every=7)
    await journal.commit(STARTED)
    for number in range(90):
        await step(journal, number)
    await journal.commit(Reconfigured(system_prompt="s"))
    assert [key for key in desk.memory.objects if "/snapshot/" in key]
    assert "p/log/000000000002" not in desk.memory.objects
    assert await desk.stored() == journal.state


async def test_what_a_rewind_leaves_behind_is_charged_once_and_for_good() -> None:
    desk = Desk()
    journal = await desk.journal()
    await journal.commit(STARTED)
    for number in range(3):
        await step(journal, number)
    desk.memory.objects["p/log/000000000005"] = b"?"
    second = await desk.journal(attempt=2)
    assert (second.state.step, second.state.abandoned_model_calls) == (1, 1), "the reply in record 7 was read"
    # paid: replies 1 and 3, and the call in flight that may have been lost
    assert (second.state.completion_tokens, second.state.tool_calls) == (2, 2)
    await second.commit(Reconfigured(system_prompt="s"))
    third = await desk.journal(attempt=3, snapshot_every=1)
    assert third.state.abandoned_model_calls == 1
    await third.commit(Reconfigured(system_prompt="t"))
    assert (await desk.journal(attempt=4)).state.abandoned_model_calls == 1
