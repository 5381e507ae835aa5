"""Snapshots, large values and retention: a long log restores from its newest snapshot, and keeps what that needs."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from agenttask.errors import CheckpointLost, Fenced, RecordTooLarge, Unavailable
from agenttask.log import Keys, Kind, Origin, Seed
from agenttask.log import snapshot as snapshots
from agenttask.log.blob import LARGE_BYTES, WHOLE_BYTES
from agenttask.log.record import parse
from agenttask.store.faults import Call, Fault, FaultyStore
from agenttask.store.memory import MemoryStore

from tests.unit.log.ledger import OF_A_NEWER_FORMAT, PREFIX, Ledger, claim, frozen, look

KEYS = Keys(prefix=PREFIX)


def names(store: MemoryStore, folder: str) -> list[str]:
    """What lies in a folder of the log."""
    start = f"{PREFIX}/{folder}/"
    return sorted(key.removeprefix(start) for key in store.objects if key.startswith(start))


def seqs(store: MemoryStore, folder: str = "log") -> list[int]:
    return [int(name) for name in names(store, folder)]


def named(store: MemoryStore) -> dict[int, int]:
    """Snapshots by the record that makes each count."""
    records = [parse(key=KEYS.record(seq), seq=seq, body=store.objects[KEYS.record(seq)]) for seq in seqs(store)]
    return {record.snapshot.seq: record.seq for record in records if record.snapshot is not None}


async def write(ledger: Ledger, count: int, *, size: int = 1) -> None:
    for number in range(count):
        await ledger.write(f"{len(ledger.texts)}:{number}:".ljust(size, "x"))


async def test_a_long_log_restores_from_its_newest_snapshot_and_what_follows() -> None:
    store = MemoryStore()
    ledger = await claim(store)
    await write(ledger, 23)
    again = await claim(store, attempt=2)
    assert again.texts == ledger.texts
    assert again.opened is not None
    base = again.opened.restored.base
    assert base is not None
    assert base.ref.seq == 21
    assert [record.seq for record in again.opened.records] == [22, 23, 24, 25]


async def test_a_snapshot_counts_only_once_a_record_names_it() -> None:
    store = MemoryStore()
    ledger = await claim(store)
    await write(ledger, 5)
    assert ledger.log is not None
    assert ledger.log.snapshot_due
    await ledger.log.snapshot(frozen(ledger.texts))
    assert names(store, "snapshot") == ["000000000006"]
    again = await claim(store, attempt=2)
    assert again.opened is not None
    assert again.opened.restored.base is None, "nobody has named it"
    assert again.opened.restored.damage == ()
    assert again.texts == ledger.texts


async def test_retention_keeps_the_newest_snapshots_what_follows_them_and_all_claims() -> None:
    store = MemoryStore()
    for attempt in (1, 2, 3):
        ledger = await claim(store, attempt=attempt)
        await write(ledger, 13)
    kept = seqs(store, "snapshot")
    assert len(kept) == 2
    claims = [1, 15, 29]
    assert seqs(store) == [seq for seq in claims if seq <= kept[0]] + list(range(kept[0] + 1, 43))
    assert await look(store) == ledger.texts
    for seq in range(kept[0] + 2, 43):
        assert await look(store, at=seq) == ledger.texts[: len(await look(store, at=seq))]


async def test_what_retention_has_dropped_can_not_be_had_any_more() -> None:
    store = MemoryStore()
    await write(await claim(store), 30)
    with pytest.raises(CheckpointLost, match="cannot be had"):
        await look(store, at=7)


async def test_an_append_without_a_snapshot_deletes_and_lists_nothing() -> None:
    calls: list[str] = []

    async def before(call: Call) -> Fault:
        calls.append(call.operation)
        return Fault.NONE

    ledger = await claim(FaultyStore(MemoryStore(), before=before), every=200)
    calls.clear()
    await write(ledger, 20)
    assert calls == ["put"] * 20


async def test_sealed_items_are_written_once_however_many_snapshots_name_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "CHUNK_BYTES", 4096)
    monkeypatch.setattr(snapshots, "TAIL_BYTES", 3000)
    store = MemoryStore()
    ledger = await claim(store)
    await write(ledger, 100, size=1000)
    manifests = [
        snapshots.unpack(store.objects[KEYS.snapshot(seq)], key=KEYS.snapshot(seq)) for seq in seqs(store, "snapshot")
    ]
    older, newer = ([chunk.blob.name for chunk in manifest.chunks] for manifest in manifests)
    assert newer[: len(older)] == older
    assert len(newer) == len(set(newer))
    assert len(names(store, "blob")) == len(newer) + 1, "and the fixed value, once"
    assert await look(store) == ledger.texts


async def test_what_is_written_stays_proportional_to_the_state() -> None:
    written = 0

    class Counting(MemoryStore):
        async def put_if_absent(self, key: str, body: bytes, *, first: bool, last: bool = False) -> None:
            nonlocal written
            written += len(body)
            await super().put_if_absent(key, body, first=first, last=last)

    shares = []
    for steps in (1000, 4000):
        written = 0
        ledger = await claim(Counting(), every=200)
        for number in range(steps):
            await ledger.write(json.dumps([number, "some words of an answer " * 60]))
        shares.append(written / sum(map(len, ledger.texts)))
    assert shares[1] < 1.1 * shares[0]
    assert shares[1] < 1.5


TEXTS: dict[str, Callable[[], str]] = {
    "plain": lambda: "x" * (LARGE_BYTES + 1),
    "characters of several bytes": lambda: "Ω€😀" * LARGE_BYTES,
    "lone surrogates, which models do produce": lambda: "a\ud800b😀" * LARGE_BYTES,
    "larger than one call": lambda: "".join(f"{n:07d}," for n in range(WHOLE_BYTES // 8 + 1000)),
    "larger than one call, and of several bytes": lambda: "é😀\udfff" * (WHOLE_BYTES // 3 + 7),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
async def test_a_large_text_stands_in_a_blob_and_reads_back(text: Callable[[], str]) -> None:
    store = MemoryStore()
    ledger = await claim(store)
    await ledger.write("small", text())
    assert len(store.objects[KEYS.record(2)]) < 2000
    assert names(store, "blob") == ["1-p-1"]
    assert (await claim(store, attempt=2)).texts == ["small", text()]


async def test_the_same_large_text_is_stored_once_as_long_as_the_state_holds_it() -> None:
    store = MemoryStore()
    large = "y" * (LARGE_BYTES + 1)
    ledger = await claim(store)
    for _ in range(12):
        await ledger.write(large)
    assert len(names(store, "blob")) == 2, "the text, and the fixed value"
    again = await claim(store, attempt=2)
    for _ in range(12):
        await again.write(large)
    assert len(names(store, "blob")) == 2
    assert await look(store) == [large] * 24


async def test_a_blob_goes_once_no_kept_snapshot_and_no_record_behind_one_needs_it() -> None:
    store = MemoryStore()
    large = "y" * (LARGE_BYTES + 1)
    ledger = await claim(store)
    await ledger.write(large)
    ledger.texts[:] = ["forgotten"]
    seen = []
    for number in range(30):
        await ledger.write(str(number))
        assert (await claim_free(store)) is None
        seen.append(f"{PREFIX}/blob/1-p-1" in store.objects)
    assert seen[0]
    assert not seen[-1]
    assert seen == sorted(seen, reverse=True)
    # Lost at snapshot 6, which is the oldest kept once the one at 11 counts.
    assert seen.index(False) == 9


async def claim_free(store: MemoryStore) -> str | None:
    """What keeps the log, as it lies there, from being restored by someone else."""
    try:
        await look(MemoryStore(dict(store.objects)))
    except Exception as error:
        return str(error)
    return None


async def test_200_mb_do_not_cost_400() -> None:
    size = 200 * 2**20
    store = Forgetful()
    ledger = await claim(store)
    text = "0123456789abcdef" * (size // 16)
    tracemalloc.start()
    try:
        await ledger.write(text)
        written = tracemalloc.get_traced_memory()[1]
        del text
        ledger.texts.clear()
        tracemalloc.reset_peak()
        await look(store)
        read_back = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert written < 30 * 2**20, "beside the text itself"
    assert read_back < size + 100 * 2**20


class Forgetful(MemoryStore):
    """A store whose own memory does not count: bodies of this test compress to next to nothing."""


async def test_orphans_of_older_attempts_go_and_nothing_of_a_newer_one() -> None:
    store = MemoryStore()
    first = await claim(store)
    await write(first, 3)
    orphan, newer = f"{PREFIX}/blob/1-p-77", f"{PREFIX}/blob/9-q-1"
    own, foreign = f"{PREFIX}/blob/2-p-77", f"{PREFIX}/blob/readme"
    for key in (orphan, newer, own, foreign):
        store.objects[key] = b"?"
    await write(await claim(store, attempt=2), 8)
    assert orphan not in store.objects
    assert {newer, own, foreign} <= set(store.objects)


async def test_a_stray_record_below_the_oldest_kept_snapshot_is_ignored_and_deleted() -> None:
    store = MemoryStore()
    ledger = await claim(store)
    await ledger.write("first")
    late = dict(store.objects)
    await write(ledger, 20)
    assert KEYS.record(2) not in store.objects
    store.objects[KEYS.record(2)] = late[KEYS.record(2)]
    store.objects[KEYS.record(3)] = b"what cannot be read may be a claim"
    again = await claim(store, attempt=2)
    assert again.texts == ledger.texts
    assert again.opened is not None
    assert again.opened.restored.damage == ()
    await write(again, 10)
    assert KEYS.record(2) not in store.objects
    assert KEYS.record(3) in store.objects


async def test_a_writer_that_wakes_after_any_retention_is_fenced_and_deletes_nothing_newer() -> None:
    store = MemoryStore()
    old = await claim(store)
    await write(old, 7)
    new = await claim(store, attempt=2)
    await write(new, 40)
    before = dict(store.objects)
    with pytest.raises(Fenced):
        await old.write("late")
    assert store.objects == before


async def test_a_claim_below_the_snapshot_fences_like_any_other() -> None:
    store = MemoryStore()
    ledger = await claim(store, attempt=2)
    await write(ledger, 40)
    before = dict(store.objects)
    for attempt, pod in ((2, "another"), (1, "pod-1")):
        with pytest.raises(Fenced) as fenced:
            await claim(store, attempt=attempt, pod=pod)
        assert fenced.value.newest_attempt == 2
    assert store.objects == before
    assert (await claim(store, attempt=2, process="q")).texts == ledger.texts, "a new process of the same pod may"


async def test_retention_that_fails_is_told_and_costs_no_append() -> None:
    memory, told = MemoryStore(), list[str]()

    async def before(call: Call) -> Fault:
        return Fault.LOST_REQUEST if call.operation == "delete" else Fault.NONE

    ledger = await claim(FaultyStore(memory, before=before), warn=told.append)
    await write(ledger, 12)
    assert "could not be deleted" in told[0]
    assert await look(memory) == ledger.texts
    again = await claim(memory, attempt=2)
    await write(again, 12)
    assert len(seqs(memory, "snapshot")) == 2, "the next one finds what was left"


async def test_retention_that_meets_a_newer_format_is_told_and_costs_no_append() -> None:
    store, told = MemoryStore(), list[str]()
    await write(await claim(store), 20)
    ledger = await claim(store, attempt=2, warn=told.append)
    store.objects[KEYS.record(2)] = OF_A_NEWER_FORMAT
    await write(ledger, 12)
    assert "could not be deleted" in told[0]
    assert await look(store) == ledger.texts


async def test_a_snapshot_that_reads_back_wrong_is_never_named() -> None:
    class Rotting(MemoryStore):
        async def put_if_absent(self, key: str, body: bytes, *, first: bool, last: bool = False) -> None:
            rotten = body[:-1] + bytes([body[-1] ^ 1]) if "/snapshot/" in key else body
            await super().put_if_absent(key, rotten, first=first, last=last)

    store, told = Rotting(), list[str]()
    ledger = await claim(store, warn=told.append)
    await write(ledger, 12)
    assert named(store) == {}
    assert "is not what was written" in told[0]
    assert await look(store) == ledger.texts


async def test_a_cancelled_snapshot_leaves_the_log_usable() -> None:
    memory, reached = MemoryStore(), asyncio.Event()

    async def before(call: Call) -> Fault:
        if "/snapshot/" in call.key and call.operation == "put" and not reached.is_set():
            reached.set()
            await asyncio.Event().wait()
        return Fault.NONE

    ledger = await claim(FaultyStore(memory, before=before))
    task = asyncio.create_task(write(ledger, 6))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await write(ledger, 3)
    assert await look(memory) == ledger.texts


async def test_a_value_that_cannot_be_stored_leaves_the_log_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    down = False

    async def before(call: Call) -> Fault:
        return Fault.LOST_REQUEST if down and "/blob/" in call.key else Fault.NONE

    memory = MemoryStore()
    ledger = await claim(FaultyStore(memory, before=before), every=200)
    down = True
    with pytest.raises(Unavailable):
        await ledger.write("x" * (LARGE_BYTES + 1))
    down = False
    await ledger.write("small")
    monkeypatch.setattr(snapshots, "MAX_MANIFEST_BYTES", 100)
    assert ledger.log is not None
    with pytest.raises(RecordTooLarge):
        await ledger.log.snapshot(frozen(ledger.texts))
    monkeypatch.undo()
    await ledger.write("more")
    assert await look(memory) == ["small", "more"]


async def test_the_progress_digest_does_not_depend_on_who_stored_a_value() -> None:
    digests = []
    for process in ("p", "q"):
        ledger = await claim(MemoryStore(), process=process)
        digests.append((await ledger.write("x" * (LARGE_BYTES + 1))).progress_digest)
    assert digests[0] == digests[1]


async def test_a_final_record_may_follow_a_snapshot() -> None:
    store = MemoryStore()
    ledger = await claim(store)
    await write(ledger, 9)
    await ledger.write("the answer", kind=Kind.FINAL)
    again = await claim(store, attempt=2)
    assert again.log is None
    assert again.texts[-1] == "the answer"


async def test_a_manifest_is_readable_json_with_the_articles_metadata() -> None:
    store = MemoryStore()
    ledger = await claim(store)
    await write(ledger, 6)
    body = store.objects[KEYS.snapshot(6)]
    assert body.partition(b"\n")[0] == b'{"format":1,"seq":6}'
    manifest: dict[str, Any] = msgspec.to_builtins(snapshots.unpack(body, key="k"))
    assert {"task": "ns/task", "seq": 6, "step": 5, "maxSteps": 99, "attempt": 1}.items() <= manifest.items()


async def test_a_fork_begins_with_a_copied_state_and_says_where_it_comes_from() -> None:
    store = MemoryStore()
    texts = ["first", "y" * (LARGE_BYTES + 1)]
    seed = Seed(origin=Origin(log="ns/other/uid", seq=7, digest="d", about={"uid": "u"}), state=frozen(texts), step=2)
    ledger = await claim(store, seed=seed)
    assert ledger.texts == texts
    assert ledger.opened is not None
    assert ledger.opened.claim is not None
    assert ledger.opened.claim.origin == seed.origin
    await write(ledger, 2)
    again = await claim(store, attempt=2, seed=seed)
    assert again.texts == ledger.texts
    assert again.opened is not None
    assert again.opened.claim is not None
    assert (again.opened.claim.seq, again.opened.claim.origin) == (4, None), "a claim is found: nothing is copied again"
    await write(again, 30)
    assert await look(store) == again.texts


async def test_a_fork_that_dies_between_copy_and_claim_copies_again() -> None:
    store = MemoryStore()
    seed = Seed(origin=Origin(log="o", seq=7, digest="d"), state=frozen(["a"]))

    async def before(call: Call) -> Fault:
        if "/log/" in call.key and call.operation == "put":
            raise asyncio.CancelledError
        return Fault.NONE

    with pytest.raises(asyncio.CancelledError):
        await claim(FaultyStore(store, before=before), seed=seed)
    assert names(store, "log") == []
    again = await claim(store, attempt=2, seed=seed)
    assert again.texts == ["a"]
    await write(again, 30)
    assert [name for name in names(store, "blob") if name.startswith("1-")] == [], "the first copy was an orphan"
