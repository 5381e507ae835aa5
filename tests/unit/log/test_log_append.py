"""Appending: one record at a time, its bytes sent until their outcome is known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import pytest
from agenttask.clock import ManualClock
from agenttask.errors import CheckpointCorrupt, Denied, Fenced, FormatTooNew, Misconfigured, RecordTooLarge, Unavailable
from agenttask.log import Kind, Log
from agenttask.log import record as records
from agenttask.store.faults import Call, Fault, FaultyStore
from agenttask.store.memory import MemoryStore

from tests.unit.log.ledger import OF_A_NEWER_FORMAT

if TYPE_CHECKING:
    from tests.unit.log.conftest import Open

Key = Callable[[int], str]
CLAIMING_CALLS = 5
"""list records and snapshots, put, put again, list."""


class Scripted(FaultyStore):
    """Meets the faults given, one per call, once the claim is done."""

    def __init__(self, store: MemoryStore, faults: Iterable[Fault]) -> None:
        super().__init__(store, before=self._next)
        self._faults = iter(faults)
        self.seen: list[str] = []

    async def _next(self, call: Call) -> Fault:
        if call.number <= CLAIMING_CALLS:
            return Fault.NONE
        self.seen.append(call.operation)
        return next(self._faults, Fault.NONE)


async def commit(log: Log | None, step: int, *, kind: Kind = Kind.EVENTS) -> int:
    """Append one event; the record's number."""
    assert log is not None
    return (await log.append(kind=kind, events=[{"step": step}], step=step, max_steps=9)).seq


APPENDS: dict[str, tuple[list[Fault], list[str]]] = {
    "an undisturbed append is one put": ([], ["put"]),
    "a request that was lost is sent again": ([Fault.LOST_REQUEST], ["put", "put"]),
    "a put whose answer was lost is recognised as done": ([Fault.LOST_ANSWER], ["put", "put", "get"]),
    "also when the refusals are lost": ([Fault.LOST_ANSWER] * 3, ["put", "put", "put", "put", "get"]),
    "also when the reading is": ([Fault.LOST_ANSWER, Fault.NONE, Fault.LOST_ANSWER], ["put", "put", "get", "get"]),
}


@pytest.mark.parametrize(("faults", "calls"), APPENDS.values(), ids=APPENDS.keys())
async def test_an_append_is_written_once_whatever_is_lost(
    open_log: Open, faults: list[Fault], calls: list[str]
) -> None:
    memory = MemoryStore()
    store = Scripted(memory, faults)
    log = (await open_log(store)).log
    assert await commit(log, 1) == 2
    assert store.seen == calls
    assert len(memory.objects) == 2
    assert await commit(log, 2) == 3


async def test_a_put_that_lands_late_changes_nothing(open_log: Open) -> None:
    memory = MemoryStore()
    store = Scripted(memory, [Fault.LATE])
    log = (await open_log(store)).log
    await commit(log, 1)
    before = dict(memory.objects)
    await store.deliver()
    assert memory.objects == before
    assert await commit(log, 2) == 3


async def test_a_fenced_attempt_stops_at_once_and_writes_nothing_more(open_log: Open) -> None:
    store = MemoryStore()
    old = (await open_log(store)).log
    new = (await open_log(store, attempt=2)).log
    with pytest.raises(Fenced) as first:
        await commit(old, 1)
    assert first.value.newest_attempt == 2
    await commit(new, 1)
    before = dict(store.objects)
    with pytest.raises(Fenced) as second:
        await commit(old, 1)
    assert second.value is first.value
    assert store.objects == before


async def test_a_holder_that_has_nothing_to_write_can_ask_whether_it_still_holds_the_log(open_log: Open) -> None:
    store = MemoryStore()
    old = (await open_log(store, attempt=1)).log
    assert old is not None
    await old.confirm()
    await open_log(store, attempt=2)
    for _ in range(2):
        with pytest.raises(Fenced) as caught:
            await old.confirm()
        assert caught.value.newest_attempt == 2


async def test_an_unreadable_record_in_the_slot_is_not_taken_for_a_fence(open_log: Open, key: Key) -> None:
    store = MemoryStore()
    log = (await open_log(store)).log
    store.objects[key(2)] = b"?"
    with pytest.raises(CheckpointCorrupt, match=key(2)):
        await commit(log, 1)


async def test_a_record_of_a_newer_format_in_the_slot_ends_the_log_by_name(open_log: Open, key: Key) -> None:
    store = MemoryStore()
    log = (await open_log(store)).log
    store.objects[key(2)] = OF_A_NEWER_FORMAT
    with pytest.raises(FormatTooNew, match=key(2)) as first:
        await commit(log, 1)
    with pytest.raises(FormatTooNew) as second:
        await commit(log, 1)
    assert second.value is first.value


async def test_appends_asked_for_at_once_are_written_in_the_order_asked(open_log: Open) -> None:
    async def before(_: Call) -> Fault:
        await asyncio.sleep(0)
        return Fault.NONE

    store = FaultyStore(MemoryStore(), before=before)
    log = (await open_log(store)).log
    assert await asyncio.gather(*(commit(log, step) for step in range(1, 9))) == list(range(2, 10))
    again = await open_log(store, attempt=2)
    assert [event["step"] for record in again.records for event in record.events] == list(range(1, 9))


async def test_nothing_follows_a_final_record(open_log: Open) -> None:
    log = (await open_log(MemoryStore())).log
    await commit(log, 1, kind=Kind.FINAL)
    with pytest.raises(ValueError, match="final"):
        await commit(log, 2)


async def test_a_claim_is_no_append(open_log: Open) -> None:
    log = (await open_log(MemoryStore())).log
    with pytest.raises(ValueError, match="claim"):
        await commit(log, 1, kind=Kind.CLAIM)


async def test_a_store_without_an_answer_is_given_up_after_60_s_and_the_log_with_it(open_log: Open) -> None:
    memory, clock = MemoryStore(), ManualClock()
    store = Scripted(memory, [Fault.LATE] * 1000)
    log = (await open_log(store, clock=clock)).log
    with pytest.raises(Unavailable, match="no answer for"):
        await commit(log, 1)
    assert 50 < clock.monotonic() <= 60
    calls = store.calls
    with pytest.raises(Unavailable):
        await commit(log, 2)
    assert store.calls == calls, "the outcome of record 2 is open: nothing may be written behind it"
    await store.deliver()
    again = await open_log(memory, attempt=2)
    assert [record.kind for record in again.records] == ["claim", "events", "claim"]


async def test_patience_is_counted_from_the_last_answer_not_from_the_last_append(open_log: Open) -> None:
    clock = ManualClock()
    store = Scripted(MemoryStore(), [Fault.LOST_REQUEST] * 3)
    log = (await open_log(store, clock=clock)).log
    await clock.sleep(3600)  # a long model call
    assert await commit(log, 1) == 2


async def test_a_cancelled_append_ends_the_log(open_log: Open) -> None:
    memory = MemoryStore()
    under_way = asyncio.Event()

    async def before(call: Call) -> Fault:
        assert call.number <= CLAIMING_CALLS + 1, "nothing may be written behind a record whose outcome is open"
        if call.number > CLAIMING_CALLS:
            under_way.set()
            await asyncio.Event().wait()
        return Fault.NONE

    log = (await open_log(FaultyStore(memory, before=before))).log
    task = asyncio.create_task(commit(log, 1))
    await under_way.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(Unavailable, match="not known"):
        await commit(log, 2)


async def test_credentials_refused_in_the_middle_end_the_log_with_their_own_error(open_log: Open) -> None:
    async def before(call: Call) -> Fault:
        if call.number > CLAIMING_CALLS:
            raise Denied("expired")
        return Fault.NONE

    log = (await open_log(FaultyStore(MemoryStore(), before=before))).log
    with pytest.raises(Denied):
        await commit(log, 1)


async def test_an_event_that_cannot_be_written_leaves_the_log_usable(
    open_log: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = (await open_log(MemoryStore())).log
    assert log is not None
    with pytest.raises(ValueError, match="JSON"):
        await log.append(kind=Kind.EVENTS, events=[{"x": float("inf")}], step=1, max_steps=1)
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", 1000)
    with pytest.raises(RecordTooLarge):
        await log.append(kind=Kind.EVENTS, events=[{"x": ["y" * 10] * 100}], step=1, max_steps=1)
    assert await commit(log, 1) == 2


async def test_a_store_that_refuses_what_it_does_not_hold_is_misconfigured(open_log: Open, key: Key) -> None:
    class Forgetful(MemoryStore):
        async def put_if_absent(self, key: str, body: bytes, *, first: bool, last: bool = False) -> None:
            await super().put_if_absent(key, body, first=first, last=last)
            if len(self.objects) > 1:
                await super().put_if_absent(key, body, first=first, last=last)

        async def get(self, key: str, *, max_bytes: int) -> bytes:
            self.objects.pop(key, None)
            return await super().get(key, max_bytes=max_bytes)

    log = (await open_log(Forgetful())).log
    with pytest.raises(Misconfigured, match=key(2)):
        await commit(log, 1)
