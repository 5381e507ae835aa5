"""Restoring what is left of a damaged log: what is not needed costs nothing, what is needed is lost by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from agenttask.clock import ManualClock
from agenttask.errors import CheckpointCorrupt, CheckpointLost, Fenced, FormatTooNew
from agenttask.log import Abandoned, Keys, Kind, Left, OnCorruption, Patience, Policy, read
from agenttask.log import snapshot as snapshots
from agenttask.log.blob import LARGE_BYTES
from agenttask.store.faults import Call, Fault, FaultyStore
from agenttask.store.memory import MemoryStore

from tests.unit.log.ledger import PREFIX, Ledger, claim, look

KEYS = Keys(prefix=PREFIX)
STALL = Policy(snapshot_every=5, keep_last=3, on_corruption=OnCorruption.STALL)
LARGE = "y" * (LARGE_BYTES + 1)


async def written(count: int = 18, *, factor: int = 1, large: int | None = None) -> tuple[MemoryStore, Ledger]:
    """A log with records 1 (the claim) to count+1, and snapshots after 6, 11 and 16; record n+2 holds the text n."""
    store = MemoryStore()
    ledger = await claim(store, keep=3)
    for number in range(count):
        await ledger.write(LARGE if number == large else str(number * factor))
    return store, ledger


def flip(store: MemoryStore, key: str) -> None:
    body = store.objects[key]
    store.objects[key] = body[: len(body) // 2] + bytes([body[len(body) // 2] ^ 1]) + body[len(body) // 2 + 1 :]


def cut(store: MemoryStore, key: str) -> None:
    store.objects[key] = store.objects[key][:-7]


def drop(store: MemoryStore, key: str) -> None:
    del store.objects[key]


def double(store: MemoryStore, key: str) -> None:
    number = int(key[-12:])
    store.objects[key] = store.objects[key[:-12] + f"{number - 1:012d}"] if "/log/" in key else b"doubled"


def empty(store: MemoryStore, key: str) -> None:
    store.objects[key] = b""


HARM = {"bit-flipped": flip, "truncated": cut, "missing": drop, "duplicated": double, "emptied": empty}
Harm = Callable[[MemoryStore, str], None]


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM.keys())
async def test_a_bad_snapshot_costs_a_longer_replay_and_nothing_else(harm: Harm) -> None:
    store, ledger = await written()
    for seq, base in ((16, 11), (11, 6)):
        harm(store, KEYS.snapshot(seq))
        opened = (await claim(MemoryStore(dict(store.objects)), attempt=2, keep=3)).opened
        assert opened is not None
        assert opened.restored.base is not None
        assert opened.restored.base.ref.seq == base
        assert opened.restored.lost is None
        assert await look(store) == ledger.texts
        assert opened.claim is not None
        assert opened.claim.abandoned is None
        # A missing one is no longer listed, and so nothing is tried that could fail.
        assert (opened.claim.damage == ()) == (harm is drop)


async def test_without_any_good_snapshot_the_whole_log_is_replayed_if_it_is_there() -> None:
    store, ledger = await written()
    for seq in (6, 11, 16):
        flip(store, KEYS.snapshot(seq))
    # Three are kept, so the records up to the oldest are gone: nothing to begin with.
    with pytest.raises(CheckpointCorrupt, match="no state before it"):
        await look(store)
    store, ledger = await written(13)
    for seq in (6, 11):
        flip(store, KEYS.snapshot(seq))
    assert await look(store) == ledger.texts


@pytest.mark.parametrize("harm", [flip, cut, drop, empty])
async def test_a_bad_record_below_a_good_snapshot_costs_nothing(harm: Harm) -> None:
    store, ledger = await written()
    for seq in (9, 12, 15, 16):
        harm(store, KEYS.record(seq))
    opened = (await claim(store, attempt=2, policy=STALL)).opened
    assert opened is not None
    assert (opened.restored.lost, opened.restored.damage) == (None, ())
    assert await look(store) == ledger.texts


async def test_a_blob_that_only_an_older_snapshot_needs_costs_nothing() -> None:
    store, _ = await written()
    second = await claim(store, attempt=2, keep=3)
    drop(store, f"{PREFIX}/blob/1-p-1")
    flip(store, KEYS.snapshot(11))
    with pytest.raises(CheckpointCorrupt):
        await look(store)  # the fixed value is in all of them
    assert second.log is not None


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM.keys())
async def test_a_bad_record_that_is_needed_is_where_the_state_ends(harm: Harm) -> None:
    store, ledger = await written()
    harm(store, KEYS.record(18))
    again = await claim(store, attempt=2, keep=3, recorded=19)
    assert again.texts == ledger.texts[:16]
    assert again.opened is not None
    assert again.opened.resumed_from is not None
    assert again.opened.resumed_from.seq == 17
    record = again.opened.claim
    assert record is not None
    assert record.abandoned is not None
    assert (record.seq, record.parent and record.parent.seq) == (20, 17), "seq never falls"
    assert (record.abandoned.first, record.abandoned.last, record.abandoned.unreadable) == (18, 19, (18,))
    assert KEYS.record(18) in record.abandoned.why


@pytest.mark.parametrize("harm", [flip, cut, drop, empty])
async def test_a_missing_value_makes_its_record_a_bad_one(harm: Harm) -> None:
    store, ledger = await written(18, large=17)
    blob = f"{PREFIX}/blob/1-p-2"
    assert blob in store.objects
    harm(store, blob)
    again = await claim(store, attempt=2, keep=3)
    assert again.texts == ledger.texts[:17]
    assert again.opened is not None
    assert again.opened.claim is not None
    assert again.opened.claim.abandoned is not None
    assert blob in again.opened.claim.abandoned.why


async def test_a_log_whose_middle_is_gone_goes_on_from_before_it_and_charges_what_can_be_read() -> None:
    store, ledger = await written(20)
    for seq in (18, 19):
        drop(store, KEYS.record(seq))
    seen: list[Left] = []

    def charge(left: Left) -> dict[str, Any]:
        seen.append(left)
        return {"texts": sum(len(record.events) for record in left.records)}

    again = await claim(store, attempt=2, keep=3, charge=charge)
    assert again.texts == ledger.texts[:16]
    assert [record.seq for record in seen[0].records] == [20, 21]
    assert seen[0].unreadable == (18, 19)
    assert again.opened is not None
    assert again.opened.claim is not None
    why = f"record {KEYS.record(18)} is missing"
    expected = Abandoned(first=18, last=21, why=why, unreadable=(18, 19), charge={"texts": 2})
    assert again.opened.claim.abandoned == expected
    replayed = await claim(store, attempt=3, keep=3)
    assert replayed.texts == ledger.texts[:16]
    assert replayed.opened is not None
    assert [record.abandoned is not None for record in replayed.opened.records] == [False, True, False]


async def test_a_charge_that_refuses_leaves_the_log_untouched() -> None:
    store, _ = await written()
    flip(store, KEYS.record(18))
    before = dict(store.objects)

    def refuse(_: Left) -> dict[str, Any]:
        raise CheckpointCorrupt("somebody must look", key="k")

    with pytest.raises(CheckpointCorrupt, match="must look"):
        await claim(store, attempt=2, keep=3, charge=refuse)
    assert store.objects == before


async def test_stall_names_the_record_and_touches_nothing() -> None:
    store, _ = await written()
    flip(store, KEYS.record(18))
    before = dict(store.objects)
    with pytest.raises(CheckpointCorrupt, match=KEYS.record(18)):
        await claim(store, attempt=2, policy=STALL)
    assert store.objects == before


@pytest.mark.parametrize("seq", [1, 2])
async def test_a_rewind_never_reaches_an_empty_state(seq: int) -> None:
    store, _ = await written(3)
    flip(store, KEYS.record(seq))
    before = dict(store.objects)
    with pytest.raises(CheckpointCorrupt, match="no state before it"):
        await claim(store, attempt=2)
    assert store.objects == before


async def rewound() -> tuple[MemoryStore, Ledger, Ledger]:
    """A log that attempt 2 has rewound to record 17 of attempt 1, which is asleep."""
    store, first = await written(18, large=1)
    flip(store, KEYS.record(18))
    return store, first, await claim(store, attempt=2, keep=3)


async def test_a_rewinding_attempt_snapshots_first_and_leans_on_nothing_its_predecessor_may_delete() -> None:
    store, first, second = await rewound()
    assert second.log is not None
    assert second.log.snapshot_due
    with pytest.raises(ValueError, match="snapshot is due"):
        await second.log.append(kind=Kind.EVENTS, events=[{"text": "new"}], step=1, max_steps=1)
    await second.write("new")
    theirs = [key for key in store.objects if "/blob/1-" in key or ("/snapshot/" in key and int(key[-12:]) < 20)]
    assert theirs
    for key in theirs:
        del store.objects[key]
    for seq in range(1, 20):
        if seq != 1:
            store.objects.pop(KEYS.record(seq), None)
    assert await look(store) == [*first.texts[:16], "new"]
    third = await claim(store, attempt=3)
    assert third.texts == [*first.texts[:16], "new"]
    assert third.opened is not None
    assert third.opened.restored.lost is None


async def test_the_successor_of_an_attempt_that_rewound_and_died_has_the_same_duty() -> None:
    store, first, _ = await rewound()
    third = await claim(store, attempt=3, keep=3)
    assert third.texts == first.texts[:16]
    assert third.log is not None
    assert third.log.snapshot_due
    await third.write("new")
    fourth = await claim(store, attempt=4, keep=3)
    assert fourth.log is not None
    assert not fourth.log.snapshot_due, "a snapshot counts since"


async def test_an_attempt_that_left_a_snapshot_aside_has_it_too() -> None:
    store, ledger = await written()
    flip(store, KEYS.snapshot(16))
    second = await claim(store, attempt=2, keep=3)
    assert second.log is not None
    assert second.log.snapshot_due
    await second.write("new")
    assert [key for key in store.objects if "/snapshot/" in key] == [KEYS.snapshot(seq) for seq in (6, 11, 20)]
    assert await look(store) == [*ledger.texts, "new"]


async def test_a_predecessor_is_fenced_by_a_claim_that_rewound_behind_it() -> None:
    _, first, second = await rewound()
    with pytest.raises(Fenced):
        await first.write("late")
    await second.write("new")


async def test_a_replay_that_meets_a_rewind_before_its_snapshot_takes_the_snapshot_before_that() -> None:
    store, first = await written(18)
    good = dict(store.objects)
    # Attempt 2 cannot read record 12, nor anything behind it. Without the record that names it, the snapshot at 11 does
    # not count either.
    for seq in range(12, 20):
        flip(store, KEYS.record(seq))
    second = await claim(store, attempt=2, keep=3)
    assert second.opened is not None
    assert second.opened.restored.lost is not None
    assert second.opened.restored.lost.first == 12
    # Then all of it can be read again, the snapshot at 16 included.
    for seq in range(12, 20):
        store.objects[KEYS.record(seq)] = good[KEYS.record(seq)]
    assert KEYS.snapshot(16) in store.objects
    found = await read(store=store, prefix=PREFIX, clock=ManualClock(), patience=Patience())
    assert found.base is not None
    assert found.base.ref.seq == 6, "what names the one at 11 lies off the chain now"
    assert await look(store) == second.texts
    await second.write("new")
    assert await look(store) == [*second.texts]
    assert first.texts[: len(second.texts) - 1] == second.texts[:-1]


async def test_a_snapshot_newer_than_the_log_is_reported_and_not_used() -> None:
    store, ledger = await written()
    store.objects[KEYS.snapshot(900)] = store.objects[KEYS.snapshot(16)]
    again = await claim(store, attempt=2, keep=3)
    assert again.texts == ledger.texts
    assert again.opened is not None
    assert again.opened.claim is not None
    assert "newer than the log" in again.opened.claim.damage[0]


async def test_a_foreign_snapshot_under_the_right_name_is_not_taken() -> None:
    store, ledger = await written()
    other, _ = await written(factor=100)
    store.objects[KEYS.snapshot(16)] = other.objects[KEYS.snapshot(16)]
    assert await look(store) == ledger.texts


async def test_a_foreign_record_is_not_taken() -> None:
    store, ledger = await written()
    other, _ = await written(factor=100)
    store.objects[KEYS.record(18)] = other.objects[KEYS.record(18)]
    assert await look(store) == ledger.texts[:16]


async def test_a_foreign_claim_at_the_head_is_abandoned() -> None:
    store, ledger = await written()
    other, _ = await written(factor=100)
    await claim(other, attempt=2, keep=3)
    store.objects[KEYS.record(20)] = other.objects[KEYS.record(20)]
    again = await claim(store, attempt=3, keep=3)
    assert again.texts == ledger.texts
    assert again.opened is not None
    assert again.opened.claim is not None
    assert again.opened.claim.abandoned is not None
    assert again.opened.claim.abandoned.first == again.opened.claim.abandoned.last == 20


async def test_the_next_attempts_number_lies_above_whatever_was_written_on_the_chain_or_not() -> None:
    store, _ = await written()
    other, _ = await written(factor=100)
    await claim(other, attempt=7, keep=3)
    store.objects[KEYS.record(20)] = other.objects[KEYS.record(20)]
    found = await read(store=store, prefix=PREFIX, clock=ManualClock(), patience=Patience())
    assert found.newest_attempt == 7
    with pytest.raises(Fenced) as fenced:
        await claim(store, attempt=2, keep=3)
    assert fenced.value.newest_attempt == 7
    await claim(store, attempt=8, keep=3)


async def test_behind_a_damaged_claim_and_nothing_else_an_older_attempt_takes_nothing_from_the_newer_one() -> None:
    store, ledger = await written(3)
    newer = await claim(store, attempt=3)
    flip(store, KEYS.record(5))
    late = await claim(store, attempt=2)
    assert late.texts == ledger.texts
    with pytest.raises(Fenced) as fenced:
        await newer.write("newer")
    assert fenced.value.newest_attempt == 3, "so the operator goes on with attempt 4"
    await late.write("late")
    assert (await claim(store, attempt=4)).texts == [*ledger.texts, "late"]
    with pytest.raises(Fenced):
        await late.write("too late")


async def test_a_stray_far_behind_the_log_stalls_and_is_named() -> None:
    store, _ = await written()
    stray = KEYS.record(999_999_999_999)
    store.objects[stray] = b"?"
    with pytest.raises(CheckpointCorrupt, match=stray):
        await claim(store, attempt=2, keep=3)


async def test_the_recorded_key_may_lag_and_may_be_gone_below_a_kept_snapshot() -> None:
    store, ledger = await written()
    assert KEYS.record(3) not in store.objects
    for recorded in (3, 17, 19):
        objects = MemoryStore(dict(store.objects))
        assert (await claim(objects, attempt=2, keep=3, recorded=recorded)).texts == ledger.texts


@pytest.mark.parametrize("recorded", [20, 10**11])
async def test_a_recorded_key_above_every_record_is_a_lost_checkpoint(recorded: int) -> None:
    store, _ = await written()
    before = dict(store.objects)
    with pytest.raises(CheckpointLost):
        await claim(store, attempt=2, recorded=recorded)
    assert store.objects == before


async def test_a_snapshot_of_a_newer_format_is_refused_and_nothing_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = await written(9)
    ledger = await claim(store, attempt=2, keep=3)
    monkeypatch.setattr(snapshots, "FORMAT", 2)
    for number in range(4):
        await ledger.write(str(number))
    monkeypatch.undo()
    before = dict(store.objects)
    with pytest.raises(FormatTooNew, match="format 2"):
        await claim(store, attempt=3)
    assert store.objects == before


async def test_a_live_predecessors_retention_is_not_taken_for_damage() -> None:
    store, first = await written(18)
    moved = False

    async def before(call: Call) -> Fault:
        nonlocal moved
        if call.operation == "get" and not moved:
            moved = True
            for number in range(30):
                await first.write(f"meanwhile {number}")
        return Fault.NONE

    second = await claim(FaultyStore(store, before=before), attempt=2, policy=STALL)
    assert second.texts == first.texts
    assert second.opened is not None
    assert (second.opened.restored.lost, second.opened.restored.damage) == (None, ())


async def test_two_rewinds_in_a_row_end_where_the_second_says() -> None:
    store, first, second = await rewound()
    await second.write("a", "b")
    await second.write("c")
    flip(store, KEYS.record(22))
    third = await claim(store, attempt=3, keep=3)
    assert third.texts == [*first.texts[:16], "a", "b"]
    await third.write("d")
    assert await look(store) == [*first.texts[:16], "a", "b", "d"]
    with pytest.raises(CheckpointLost):
        await look(store, at=22)
