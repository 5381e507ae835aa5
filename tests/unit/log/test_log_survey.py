"""Looking at all of a log: what is there, what is wrong, and where."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from agenttask.clock import ManualClock
from agenttask.log import Holder, Keys, Kind, Origin, Patience, Record, Seed, Survey, prunable, survey
from agenttask.log.blob import LARGE_BYTES
from agenttask.store.memory import MemoryStore

from tests.unit.log.ledger import PREFIX, claim, frozen, look
from tests.unit.log.rivals import Rival, Witness

KEYS = Keys(prefix=PREFIX)


async def looked(store: MemoryStore, progress: list[tuple[int, int]] | None = None) -> Survey:
    seen: list[tuple[int, int]] = [] if progress is None else progress
    before = dict(store.objects)
    found = await survey(
        store=store,
        prefix=PREFIX,
        clock=ManualClock(),
        patience=Patience(),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert store.objects == before
    return found


async def written() -> MemoryStore:
    """Records 1 and 12 to 25, snapshots at 11, 16 and 21; a large value in record 24."""
    store = MemoryStore()
    ledger = await claim(store, keep=3)
    for number in range(24):
        await ledger.write("y" * (LARGE_BYTES + 1) if number == 22 else str(number))
    return store


async def test_a_whole_log_has_no_problems() -> None:
    store, progress = await written(), list[tuple[int, int]]()
    found = await looked(store, progress)
    assert found.problems == ()
    assert [each.seq for each in found.records] == [1, *range(12, 26)]
    assert [(shot.seq, shot.named_by, shot.why) for shot in found.snapshots] == [
        (11, 12, None),
        (16, 17, None),
        (21, 22, None),
    ]
    assert (len(found.blobs), found.unnamed) == (2, ())
    assert progress[-1][0] == progress[-1][1] == 15 + 3 + 2


async def test_an_empty_log_has_none_either() -> None:
    found = await looked(MemoryStore())
    assert (found.records, found.problems) == ((), ())


def flip(store: MemoryStore, key: str) -> None:
    store.objects[key] = store.objects[key][:-1] + bytes([store.objects[key][-1] ^ 1])


def drop(store: MemoryStore, key: str) -> None:
    del store.objects[key]


PROBLEMS = {
    "a needed record is damaged": (flip, KEYS.record(23), "damaged"),
    "a needed record is missing": (drop, KEYS.record(23), "missing"),
    "a record nobody needs at the moment is damaged": (flip, KEYS.record(13), "damaged"),
    "a record nobody needs at the moment is missing": (drop, KEYS.record(14), "missing"),
    "the newest snapshot is damaged": (flip, KEYS.snapshot(21), "damaged"),
    "an older snapshot is damaged": (flip, KEYS.snapshot(16), "damaged"),
    "a large value is missing": (drop, f"{PREFIX}/blob/1-p-2", "cannot be read"),
    "a large value is damaged": (flip, f"{PREFIX}/blob/1-p-2", ""),
    "the first claim is damaged": (flip, KEYS.record(1), "damaged"),
}


@pytest.mark.parametrize(("harm", "key", "word"), PROBLEMS.values(), ids=PROBLEMS.keys())
async def test_what_is_wrong_is_named(harm: Callable[[MemoryStore, str], None], key: str, word: str) -> None:
    store = await written()
    harm(store, key)
    found = await looked(store)
    assert any(key in problem and word in problem for problem in found.problems), found.problems


async def test_a_record_of_another_history_is_named_though_it_is_whole_and_nobody_needs_it() -> None:
    store, other = await written(), MemoryStore()
    ledger = await claim(other, keep=3)
    for number in range(24):
        await ledger.write(f"another {number}")
    store.objects[KEYS.record(14)] = other.objects[KEYS.record(14)]
    assert (await looked(store)).problems == (
        f"record {KEYS.record(14)} does not continue record 13",
        f"record {KEYS.record(15)} does not continue record 14",
    )


async def test_what_a_claim_has_abandoned_is_no_problem_any_more() -> None:
    store = await written()
    flip(store, KEYS.record(24))
    assert len((await looked(store)).problems) == 1
    ledger = await claim(store, attempt=2, keep=3)
    await ledger.write("new")
    assert (await looked(store)).problems == ()


async def test_what_a_killed_writer_left_is_told_apart() -> None:
    store = await written()
    store.objects[f"{PREFIX}/blob/1-p-9"] = b"?"
    store.objects[KEYS.snapshot(24)] = b"?"
    found = await looked(store)
    assert found.unnamed == (f"{PREFIX}/blob/1-p-9",)
    assert found.problems == ()
    assert found.snapshots[-1].why is not None
    assert "does not count" in found.snapshots[-1].why


async def finished() -> MemoryStore:
    """As `written`, and over; with an orphan of its last attempt."""
    store = await written()
    store.objects[f"{PREFIX}/blob/2-p-9"] = b"?"
    store.objects[f"{PREFIX}/late/3.0"] = b"a result"
    ledger = await claim(store, attempt=2, keep=3)
    await ledger.write("the end", kind=Kind.FINAL)
    return store


@pytest.mark.parametrize("keep_last", [1, 2, 3])
async def test_a_finished_log_can_be_pruned_to_what_its_newest_snapshots_need(keep_last: int) -> None:
    store = await finished()
    texts = await look(store)
    keys = prunable(await looked(store), keep_last=keep_last)
    assert {f"{PREFIX}/blob/2-p-9", f"{PREFIX}/late/3.0"} <= set(keys)
    for key in keys:
        del store.objects[key]
    assert await look(store) == texts
    found = await looked(store)
    assert (found.problems, found.unnamed, len(found.snapshots)) == ((), (), keep_last)
    assert [each.seq for each in found.records if isinstance(each, Record) and each.kind is Kind.CLAIM] == [1, 26]
    assert prunable(found, keep_last=keep_last) == ()


async def forked(*, final: bool) -> MemoryStore:
    """A fork that has come to snapshots of its own."""
    store = MemoryStore()
    texts = ["from elsewhere"]
    seed = Seed(origin=Origin(log="elsewhere", seq=3, digest="d"), state=frozen(texts))
    ledger = await claim(store, keep=2, seed=seed)
    ledger.texts = texts
    for number in range(24):
        await ledger.write(str(number))
    if final:
        await ledger.write("the end", kind=Kind.FINAL)
    return store


@pytest.mark.parametrize("final", [True, False])
async def test_what_a_fork_began_with_is_a_blob_to_prune_too_and_not_missed_once_it_is_gone(final: bool) -> None:
    store = await forked(final=final)
    texts, begun_with = await look(store), f"{PREFIX}/blob/1-p-2"
    keys = prunable(await looked(store), keep_last=1)
    assert len(set(keys)) == len(keys)
    assert (begun_with in keys) == final, "of a log that is not final no blob is touched"
    for key in keys:
        del store.objects[key]
    found = await looked(store)
    assert (found.problems, found.unnamed, await look(store)) == ((), (), texts)


async def test_what_a_fork_began_with_is_missed_as_long_as_it_is_needed() -> None:
    store = MemoryStore()
    seed = Seed(origin=Origin(log="elsewhere", seq=3, digest="d"), state=frozen(["from elsewhere"]))
    await claim(store, seed=seed)
    drop(store, f"{PREFIX}/blob/1-p-2")
    found = await looked(store)
    assert found.restored is None
    assert any("blob/1-p-2" in problem for problem in found.problems)


async def test_of_a_log_that_is_not_final_no_blob_is_pruned_and_no_new_snapshot() -> None:
    store = await written()
    store.objects[f"{PREFIX}/blob/1-p-9"] = b"?"
    store.objects[KEYS.snapshot(25)] = b"about to be named"
    store.objects[f"{PREFIX}/late/3.0"] = b"a result"
    keys = prunable(await looked(store), keep_last=1)
    assert keys == (*(KEYS.record(seq) for seq in range(12, 22)), KEYS.snapshot(11), KEYS.snapshot(16))


async def test_nothing_of_a_damaged_log_is_pruned() -> None:
    store = await finished()
    flip(store, KEYS.record(13))
    assert prunable(await looked(store), keep_last=1) == ()


class Remembering(MemoryStore):
    """A store that has everything it was ever given in `given`."""

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, bytes] = {}

    async def put_if_absent(self, key: str, body: bytes, *, first: bool, last: bool = False) -> None:
        await super().put_if_absent(key, body, first=first, last=last)
        self.given[key] = body


async def kept_for_long() -> Remembering:
    """A log of thirty records that has let go of its beginning."""
    store, witness = Remembering(), Witness(prefix=PREFIX)
    holder = Holder(pod_uid="pod", process="p1")
    rival = Rival(
        attempt=1, holder=holder, store=store, witness=witness, clock=ManualClock(), first_number=1000, steps=30
    )
    await rival.run()
    return store


async def test_a_record_that_comes_back_after_retention_has_let_its_value_go_is_no_problem() -> None:
    store = await kept_for_long()
    assert KEYS.record(3) not in store.objects
    store.objects[KEYS.record(3)] = store.given[KEYS.record(3)]  # its put was sent twice, and the second came late
    found = await looked(store)
    stray = next(each for each in found.records if each.seq == 3)
    assert isinstance(stray, Record)
    assert stray.blobs
    assert all(KEYS.named(placed.blob.name) not in store.objects for placed in stray.blobs), "its value is gone"
    assert found.problems == ()


@pytest.mark.parametrize("by_record", [False, True], ids=["alone", "with the record that names it"])
async def test_any_snapshot_that_comes_back_after_retention_has_let_go_of_what_it_needs_is_no_problem(
    by_record: bool,
) -> None:
    store = await kept_for_long()
    gone = [key for key in store.given if "/snapshot/" in key and key not in store.objects]
    assert len(gone) > 5
    for key in gone:
        store.objects[key] = store.given[key]  # its put was sent twice, and the second came late
        if by_record:
            record = KEYS.record(int(key[-12:]) + 1)
            store.objects[record] = store.given[record]
        found = await looked(store)
        assert found.problems == ()
        assert found.restored is not None
        assert {ref.seq for ref in found.restored.counted} < {shot.seq for shot in found.snapshots}
        del store.objects[key]
