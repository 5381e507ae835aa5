"""Opening a log: what is restored, who may claim it, and when nothing may be touched."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

import pytest
from agenttask.clock import ManualClock
from agenttask.errors import (
    AgentTaskError,
    CheckpointCorrupt,
    CheckpointLost,
    Denied,
    Fenced,
    FormatTooNew,
    Misconfigured,
    NotFound,
    StoreError,
    Unavailable,
)
from agenttask.log import Kind, Log, OnCorruption, Patience, Policy, Recorded, read
from agenttask.store.faults import Call, Fault, FaultyStore
from agenttask.store.memory import MemoryStore

from tests.unit.log.ledger import OF_A_NEWER_FORMAT

if TYPE_CHECKING:
    from tests.unit.log.conftest import Open

Key = Callable[[int], str]


async def commit(log: Log | None, step: int, *, kind: Kind = Kind.EVENTS) -> str:
    """Append one event; the record's id."""
    assert log is not None
    return (await log.append(kind=kind, events=[{"step": step}], step=step, max_steps=9)).id


async def test_a_new_log_begins_with_its_first_claim(open_log: Open, key: Key) -> None:
    store = MemoryStore()
    opened = await open_log(store)
    assert (opened.resumed_from, opened.final) == (None, None)
    assert [(r.seq, r.kind, r.attempt, r.key, r.parent) for r in opened.records] == [(1, "claim", 1, key(1), None)]
    assert list(store.objects) == [key(1)]


async def test_the_next_attempt_resumes_from_the_newest_record(open_log: Open) -> None:
    store = MemoryStore()
    first = (await open_log(store)).log
    ids = [await commit(first, step) for step in (1, 2)]
    second = await open_log(store, attempt=2, recorded=2)
    assert second.resumed_from is not None
    assert second.resumed_from.id == ids[-1]
    assert [event for record in second.records for event in record.events] == [{"step": 1}, {"step": 2}]
    assert second.log is not None
    assert (second.log.head.seq, second.log.head.step, second.log.head.parent_id) == (4, 2, ids[-1])


async def test_a_final_record_is_reported_and_never_claimed_behind(open_log: Open) -> None:
    store = MemoryStore()
    await commit((await open_log(store)).log, 1, kind=Kind.FINAL)
    before = dict(store.objects)
    again = await open_log(store, attempt=2)
    assert again.log is None
    assert again.final is not None
    assert again.final.events == ({"step": 1},)
    assert store.objects == before


async def test_reading_a_log_changes_nothing(open_log: Open, key: Key) -> None:
    store = MemoryStore()
    patience, prefix = Patience(), key(1).removesuffix("/log/000000000001")
    assert (await read(store=store, prefix=prefix, clock=ManualClock(), patience=patience)).records == ()
    opened = await open_log(store)
    before = dict(store.objects)
    assert (await read(store=store, prefix=prefix, clock=ManualClock(), patience=patience)).records == opened.records
    assert store.objects == before


class Who(NamedTuple):
    attempt: int
    pod: str = "pod"
    process: str = "p"


FENCING: dict[str, tuple[Who, Who, int | None]] = {
    "a newer attempt fences an older one": (Who(3), Who(2), 3),
    "another pod of the same attempt is refused": (Who(2, pod="a"), Who(2, pod="b"), 2),
    "within one pod the newest process wins": (Who(2, process="a"), Who(2, process="b"), None),
    "a newer attempt takes over": (Who(2), Who(3), None),
    "numbers that were burnt are no obstacle": (Who(2), Who(9), None),
}


@pytest.mark.parametrize(("holder", "comer", "newest"), FENCING.values(), ids=FENCING.keys())
async def test_who_may_claim(open_log: Open, holder: Who, comer: Who, newest: int | None) -> None:
    store = MemoryStore()
    held = (await open_log(store, **holder._asdict())).log
    before = dict(store.objects)
    if newest is None:
        await open_log(store, **comer._asdict())
        with pytest.raises(Fenced):
            await commit(held, 1)
    else:
        with pytest.raises(Fenced) as refused:
            await open_log(store, **comer._asdict())
        assert refused.value.newest_attempt == newest
        assert store.objects == before
        await commit(held, 1)


@pytest.mark.parametrize(("attempt", "pod"), [(1, "late"), (2, "other")], ids=["an older attempt", "another pod"])
async def test_who_comes_late_is_fenced_by_whatever_a_newer_one_wrote_though_its_claim_is_damaged(
    open_log: Open, key: Key, attempt: int, pod: str
) -> None:
    store = MemoryStore()
    await commit((await open_log(store)).log, 1)
    newer = (await open_log(store, attempt=2, pod="newer")).log
    await commit(newer, 2)
    store.objects[key(3)] = b"damaged"
    before = dict(store.objects)
    with pytest.raises(Fenced) as fenced:
        await open_log(store, attempt=attempt, pod=pod)
    assert fenced.value.newest_attempt == 2
    assert store.objects == before
    await commit(newer, 3)


Damage = Callable[[dict[str, bytes], str, dict[str, bytes]], None]


def flip(objects: dict[str, bytes], at: str, _: dict[str, bytes]) -> None:
    objects[at] = objects[at][:-1] + bytes([objects[at][-1] ^ 1])


def drop(objects: dict[str, bytes], at: str, _: dict[str, bytes]) -> None:
    del objects[at]


def swap(objects: dict[str, bytes], at: str, other: dict[str, bytes]) -> None:
    objects[at] = other[at]


def modernise(objects: dict[str, bytes], at: str, _: dict[str, bytes]) -> None:
    objects[at] = OF_A_NEWER_FORMAT


def clear(objects: dict[str, bytes], _: str, __: dict[str, bytes]) -> None:
    objects.clear()


DAMAGE: dict[str, tuple[Damage, int, type[AgentTaskError]]] = {
    "a damaged record stalls and is named": (flip, 3, CheckpointCorrupt),
    "a damaged head stalls and is named": (flip, 5, CheckpointCorrupt),
    "a damaged claim stalls and is named": (flip, 1, CheckpointCorrupt),
    "a missing record stalls and is named": (drop, 3, CheckpointCorrupt),
    "a missing first record stalls and is named": (drop, 1, CheckpointCorrupt),
    "a record of another history does not fit the chain": (swap, 3, CheckpointCorrupt),
    "a newer format is refused": (modernise, 3, FormatTooNew),
    "the recorded checkpoint is above every record": (drop, 5, CheckpointLost),
    "the log is empty under a recorded checkpoint": (clear, 5, CheckpointLost),
}


@pytest.mark.parametrize(("damage", "seq", "error"), DAMAGE.values(), ids=DAMAGE.keys())
async def test_a_log_that_may_not_be_rewound_is_named_and_not_touched(
    open_log: Open, key: Key, damage: Damage, seq: int, error: type[AgentTaskError]
) -> None:
    store, other = MemoryStore(), MemoryStore()
    for each, factor in ((store, 1), (other, 100)):
        log = (await open_log(each)).log
        for step in range(1, 5):
            await commit(log, step * factor)
    damage(store.objects, key(seq), other.objects)
    before = dict(store.objects)
    with pytest.raises(error, match=key(seq)):
        await open_log(store, attempt=2, recorded=5, policy=Policy(on_corruption=OnCorruption.STALL))
    assert store.objects == before


async def test_a_checkpoint_recorded_for_another_log_is_lost(open_log: Open, key: Key) -> None:
    store = MemoryStore()
    await open_log(store)
    with pytest.raises(CheckpointLost, match="elsewhere/log"):
        await Log.open(
            store=store,
            prefix="elsewhere",
            task="ns/task",
            attempt=2,
            holder=(await open_log(store)).records[0].holder,
            recorded=Recorded(key=key(1), seq=1),
            clock=ManualClock(),
            patience=Patience(),
        )


def watched(store: MemoryStore, *, when: str, do: Callable[[], Awaitable[object]]) -> FaultyStore:
    """The store, with `do` happening once, right before its first call `when` ("put 1", "list 2" …)."""
    seen: dict[str, int] = {}

    async def before(call: Call) -> Fault:
        seen[call.operation] = seen.get(call.operation, 0) + 1
        if f"{call.operation} {seen[call.operation]}" == when:
            await do()
        return Fault.NONE

    return FaultyStore(store, before=before)


async def test_a_slot_taken_by_a_predecessors_record_is_read_and_the_next_one_claimed(open_log: Open) -> None:
    store = MemoryStore()
    old = (await open_log(store)).log
    opened = await open_log(watched(store, when="put 1", do=lambda: commit(old, 7)), attempt=2)
    assert [record.kind for record in opened.records] == ["claim", "events", "claim"]
    assert opened.records[1].events == ({"step": 7},)
    with pytest.raises(Fenced):
        await commit(old, 8)


async def test_a_final_record_met_at_the_slot_ends_the_claim(open_log: Open) -> None:
    store = MemoryStore()
    old = (await open_log(store)).log
    finish = watched(store, when="put 1", do=lambda: commit(old, 7, kind=Kind.FINAL))
    opened = await open_log(finish, attempt=2)
    assert opened.log is None
    assert opened.final is not None
    assert list(opened.records)[-1].attempt == 1


@pytest.mark.parametrize("when", ["put 1", "put 2", "list 3"])
async def test_a_newer_claim_met_while_claiming_fences(open_log: Open, when: str) -> None:
    store = MemoryStore()
    with pytest.raises(Fenced) as fenced:
        await open_log(watched(store, when=when, do=lambda: open_log(store, attempt=3)), attempt=2)
    assert fenced.value.newest_attempt == 3


@pytest.mark.parametrize(("when", "wins"), [("put 1", True), ("put 2", False), ("list 3", False)])
async def test_of_two_processes_of_one_pod_the_one_that_claims_last_wins(open_log: Open, when: str, wins: bool) -> None:
    store = MemoryStore()
    other = []

    async def claim() -> None:
        other.append(await open_log(store, process="other"))

    mine = open_log(watched(store, when=when, do=claim), process="mine")
    if wins:
        await commit((await mine).log, 1)
        with pytest.raises(Fenced):
            await commit(other[0].log, 1)
    else:
        with pytest.raises(Fenced):
            await mine
        await commit(other[0].log, 1)


class Overwriting(MemoryStore):
    """A store that ignores the condition of a put."""

    async def put_if_absent(self, key: str, body: bytes, *, first: bool, last: bool = False) -> None:
        self.objects[key] = body


async def test_a_store_that_does_not_honour_put_if_absent_is_refused_by_name(open_log: Open) -> None:
    with pytest.raises(Misconfigured, match="does not honour put-if-absent"):
        await open_log(Overwriting())


async def test_a_claim_whose_answer_was_lost_counts_once(open_log: Open) -> None:
    store = MemoryStore()

    async def before(call: Call) -> Fault:
        return Fault.LOST_ANSWER if call.number == 3 else Fault.NONE

    opened = await open_log(FaultyStore(store, before=before))
    assert len(opened.records) == len(store.objects) == 1


@pytest.mark.parametrize("error", [Denied, NotFound, Misconfigured])
async def test_what_asking_again_cannot_cure_is_not_asked_again(open_log: Open, error: type[StoreError]) -> None:
    async def before(call: Call) -> Fault:
        raise error("no")

    store, clock = FaultyStore(MemoryStore(), before=before), ManualClock()
    with pytest.raises(error):
        await open_log(store, clock=clock)
    assert (store.calls, clock.monotonic()) == (2, 0), "the two listings, once"


async def test_a_store_without_an_answer_is_given_up_after_10_s_before_the_claim(open_log: Open) -> None:
    async def before(call: Call) -> Fault:
        return Fault.LOST_REQUEST

    clock = ManualClock()
    with pytest.raises(Unavailable, match="no answer for"):
        await open_log(FaultyStore(MemoryStore(), before=before), clock=clock)
    assert 5 < clock.monotonic() <= 10
