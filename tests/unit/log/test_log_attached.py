"""Content attached to records: streamed, kept as long as the state refers to it, copied by a rewind, never by forks."""

from __future__ import annotations

import hashlib
import itertools
import os
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass

import pytest
from agenttask.clock import ManualClock
from agenttask.errors import CheckpointCorrupt, Unavailable
from agenttask.log import (
    Content,
    Frozen,
    Holder,
    Keys,
    Kind,
    Log,
    Opened,
    Patience,
    Policy,
    Restored,
    attached_to,
    prunable,
    read,
    read_blob,
    survey,
)
from agenttask.log.blob import WHOLE_BYTES
from agenttask.store.faults import Call, Fault, FaultyStore
from agenttask.store.memory import MemoryStore

from tests.unit.log.ledger import PREFIX

KEYS = Keys(prefix=PREFIX)

Files = dict[str, Content]
"""What this test's state is: names, and what they hold. An event is all of it."""


def of(body: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: iter([body[at : at + 1000] for at in range(0, len(body), 1000)])


def frozen(files: Files) -> Frozen:
    small = {"files": {name: list(content) for name, content in files.items()}}
    return Frozen(small=small, fixed={}, items=[], attached=list(files.values()))


def thawed(restored: Restored) -> Files:
    last = dict(restored.base.small) if restored.base is not None else {"files": {}}
    for record in restored.records:
        for event in record.events:
            last = event
    return {name: Content(*content) for name, content in last["files"].items()}


@dataclass
class Folder:
    """A writer whose state is some files."""

    opened: Opened
    files: Files

    @property
    def log(self) -> Log:
        assert self.opened.log is not None
        return self.opened.log

    async def store(self, **bodies: bytes) -> None:
        """Make these all the files there are."""
        files = {name: await self.log.attach(of(body)) for name, body in bodies.items()}
        await self.commit(files)

    async def commit(self, files: Files, *, kind: Kind = Kind.EVENTS) -> None:
        if self.log.snapshot_due:
            await self.log.snapshot(frozen(self.files))
        event = {"files": {name: list(content) for name, content in files.items()}}
        await self.log.append(kind=kind, events=[event], step=1, max_steps=9, attached=list(files.values()))
        self.files = files

    async def bodies(self) -> dict[str, bytes]:
        return {name: await whole(self.log, content) for name, content in self.files.items()}


async def whole(log: Log, content: Content) -> bytes:
    async with aclosing(log.read(content)) as pieces:
        return b"".join([piece async for piece in pieces])


async def claim(store: MemoryStore | FaultyStore, *, attempt: int = 1, every: int = 5, keep: int = 2) -> Folder:
    opened = await Log.open(
        store=store,
        prefix=PREFIX,
        task="ns/task",
        attempt=attempt,
        holder=Holder(pod_uid=f"pod-{attempt}", process="p"),
        recorded=None,
        clock=ManualClock(),
        patience=Patience(jitter=lambda: 0.0),
        policy=Policy(snapshot_every=every, keep_last=keep),
        charge=lambda _: {},
    )
    return Folder(opened=opened, files=thawed(opened.restored))


def blobs(store: MemoryStore) -> list[str]:
    return sorted(key for key in store.objects if key.startswith(f"{PREFIX}/blob/"))


async def test_the_next_attempt_reads_what_the_last_record_refers_to() -> None:
    store = MemoryStore()
    await (await claim(store)).store(a=b"first", b=b"second" * 1000, empty=b"")
    again = await claim(store, attempt=2)
    assert await again.bodies() == {"a": b"first", "b": b"second" * 1000, "empty": b""}


async def test_content_the_log_has_is_not_written_again() -> None:
    store = MemoryStore()
    first = await claim(store)
    await first.store(a=b"same")
    await first.store(a=b"same", b=b"same")
    again = await claim(store, attempt=2)
    await again.store(a=b"same", c=b"new")
    assert len(blobs(store)) == 2
    assert await again.bodies() == {"a": b"same", "c": b"new"}


async def test_snapshots_keep_what_the_state_refers_to_and_retention_takes_the_rest() -> None:
    store = MemoryStore()
    folder = await claim(store)
    for number in range(40):
        await folder.store(lasting=b"lasting", changing=str(number).encode())
    assert len(blobs(store)) < 20, "old versions have gone"
    again = await claim(store, attempt=2)
    assert again.opened.restored.base is not None
    assert await again.bodies() == {"lasting": b"lasting", "changing": b"39"}
    assert (await survey(store=store, prefix=PREFIX, clock=ManualClock(), patience=Patience())).problems == ()


async def test_what_is_attached_outlives_the_snapshots_before_the_record_that_names_it() -> None:
    store = MemoryStore()
    folder = await claim(store, keep=1)
    await folder.store(a=b"old")
    await folder.store()
    early = await folder.log.attach(of(b"early"))
    reused = await folder.log.attach(of(b"old"))
    for _ in range(20):
        await folder.commit({})
    await folder.commit({"early": early, "reused": reused})
    again = await claim(store, attempt=2)
    assert await again.bodies() == {"early": b"early", "reused": b"old"}
    assert {early, reused} <= attached_to(again.opened.restored).keys(), "readers without a claim find it too"


async def test_content_that_came_back_after_it_was_let_go_is_there() -> None:
    store = MemoryStore()
    folder = await claim(store, keep=1)
    for number in range(60):
        await folder.store(**({"a": b"now and then"} if number % 7 < 2 else {}))
    await folder.store(a=b"now and then")
    again = await claim(store, attempt=2)
    assert await again.bodies() == {"a": b"now and then"}


async def test_a_rewind_copies_what_its_state_refers_to() -> None:
    store = MemoryStore()
    first = await claim(store)
    await first.store(a=b"kept" * 5000)
    await first.store(a=b"kept" * 5000, b=b"lost")
    store.objects[KEYS.record(3)] = b"damaged"
    second = await claim(store, attempt=2)
    assert second.opened.claim is not None
    assert second.opened.claim.abandoned is not None
    assert await second.bodies() == {"a": b"kept" * 5000}, "before its first snapshot"
    await second.store(a=b"kept" * 5000, c=b"new")
    for key in blobs(store):
        if "/1-" in key:
            del store.objects[key]  # as the first writer may, when it wakes
    third = await claim(store, attempt=3)
    assert await third.bodies() == {"a": b"kept" * 5000, "c": b"new"}


@pytest.mark.parametrize("harm", ["gone", "flipped", "cut"])
async def test_damaged_content_is_named_when_it_is_read(harm: str) -> None:
    store = MemoryStore()
    await (await claim(store)).store(a=os.urandom(5000), b=b"good")
    key = next(key for key in blobs(store) if len(store.objects[key]) > 4000)
    body = store.objects.pop(key)
    if harm != "gone":
        store.objects[key] = body[:-1] if harm == "cut" else body[:2000] + bytes([body[2000] ^ 1]) + body[2001:]
    again = await claim(store, attempt=2)
    assert await whole(again.log, again.files["b"]) == b"good"
    with pytest.raises(CheckpointCorrupt, match=key):
        await whole(again.log, again.files["a"])
    found = await survey(store=store, prefix=PREFIX, clock=ManualClock(), patience=Patience())
    assert any(key in problem for problem in found.problems)


def flip(store: MemoryStore, key: str) -> None:
    store.objects[key] = store.objects[key][:-1] + bytes([store.objects[key][-1] ^ 1])


async def test_damaged_content_that_comes_again_is_written_anew_and_found_there() -> None:
    store = MemoryStore()
    await (await claim(store)).store(a=b"same")
    [old] = blobs(store)
    flip(store, old)
    again = await claim(store, attempt=2)
    await again.store(a=b"same", b=b"same")
    assert await again.bodies() == {"a": b"same", "b": b"same"}
    third = await claim(store, attempt=3)
    assert await third.bodies() == {"a": b"same", "b": b"same"}
    for number in range(20):
        await third.store(a=b"same", b=str(number).encode())
    assert old not in store.objects, "it goes as whatever the state does not refer to"
    assert (await survey(store=store, prefix=PREFIX, clock=ManualClock(), patience=Patience())).problems == ()


async def test_content_of_an_earlier_attempt_is_read_once_before_it_is_relied_on() -> None:
    memory, calls = MemoryStore(), list[Call]()

    async def before(call: Call) -> Fault:
        calls.append(call)
        return Fault.NONE

    await (await claim(memory)).store(a=b"same")
    again = await claim(FaultyStore(memory, before=before), attempt=2)
    calls.clear()
    for _ in range(3):
        await again.store(a=b"same")
    assert [call.operation for call in calls] == ["get", "put", "put", "put"]


async def test_a_snapshot_that_reads_back_wrong_does_not_stand_for_what_it_names() -> None:
    class Rotting(MemoryStore):
        async def put_if_absent(self, key: str, body: bytes, *, first: bool, last: bool = False) -> None:
            await super().put_if_absent(key, body, first=first, last=last)
            if "/snapshot/" in key:
                flip(self, key)

    store = Rotting()
    folder = await claim(store, every=1)
    early = {"a": await folder.log.attach(of(b"early"))}
    await folder.log.snapshot(frozen(early))
    await folder.commit(early)
    assert await (await claim(store, attempt=2)).bodies() == {"a": b"early"}


async def test_of_a_source_that_changes_what_was_read_last_is_stored() -> None:
    store = MemoryStore()
    folder = await claim(store)
    versions = itertools.count()
    content = await folder.log.attach(lambda: iter([f"version {next(versions)}".encode()]))
    assert await whole(folder.log, content) == b"version 1"
    assert content == (hashlib.sha256(b"version 1").hexdigest(), 9)


async def test_what_was_never_attached_cannot_be_named() -> None:
    folder = await claim(MemoryStore())
    never = Content("0" * 64, 5)
    with pytest.raises(ValueError, match="is not attached"):
        await folder.commit({"a": never})
    with pytest.raises(ValueError, match="is not attached"):
        await whole(folder.log, never)
    await folder.store(a=b"and the log goes on")


async def test_a_source_that_cannot_be_read_leaves_the_log_usable() -> None:
    def broken() -> Iterator[bytes]:
        yield b"some"
        raise PermissionError("no")

    folder = await claim(MemoryStore())
    with pytest.raises(PermissionError):
        await folder.log.attach(broken)
    await folder.store(a=b"goes on")
    assert await folder.bodies() == {"a": b"goes on"}


@pytest.mark.parametrize("fault", [Fault.LOST_REQUEST, Fault.LOST_ANSWER])
async def test_killed_at_every_call_what_was_acknowledged_is_there_and_orphans_go(fault: Fault) -> None:
    for fatal in itertools.count(1):
        store = MemoryStore()

        async def killed(call: Call, fatal: int = fatal) -> Fault:
            return Fault.NONE if call.number < fatal else fault if call.number == fatal else Fault.LOST_REQUEST

        done = 0
        with suppress(Unavailable):
            folder = await claim(FaultyStore(store, before=killed), every=2, keep=1)
            for number in range(6):
                await folder.store(lasting=b"lasting", changing=str(number).encode())
                done = number + 1
        again = await claim(store, attempt=2, every=2, keep=1)
        bodies = await again.bodies()
        possible = [{"lasting": b"lasting", "changing": str(number).encode()} for number in range(6)]
        assert bodies in [{}, *possible][done : done + 2]
        for number in range(8):
            await again.store(now=str(number).encode())
        assert not [key for key in blobs(store) if "/1-" in key], "nobody needs them any more"
        if done == 6:
            return


async def test_readers_without_a_claim_find_it() -> None:
    store = MemoryStore()
    folder = await claim(store)
    for number in range(9):
        await folder.store(a=str(number).encode(), b=b"same")
    found = await read(store=store, prefix=PREFIX, clock=ManualClock(), patience=Patience())
    refs = attached_to(found)
    for name, body in {"a": b"8", "b": b"same"}.items():
        async with aclosing(read_blob(refs[thawed(found)[name]], store=store, keys=KEYS)) as pieces:
            assert b"".join([piece async for piece in pieces]) == body


async def test_prune_leaves_what_the_final_state_refers_to() -> None:
    store = MemoryStore()
    folder = await claim(store)
    for number in range(30):
        await folder.store(a=str(number).encode(), b=b"same")
    await folder.commit(folder.files, kind=Kind.FINAL)
    found = await survey(store=store, prefix=PREFIX, clock=ManualClock(), patience=Patience())
    for key in prunable(found, keep_last=1):
        del store.objects[key]
    restored = await read(store=store, prefix=PREFIX, clock=ManualClock(), patience=Patience())
    refs = attached_to(restored)
    files = thawed(restored)
    assert set(files) == {"a", "b"}
    for content in files.values():
        async with aclosing(read_blob(refs[content], store=store, keys=KEYS)) as pieces:
            assert [piece async for piece in pieces]
    assert len(blobs(store)) <= 3


async def test_large_content_is_never_wholly_in_memory() -> None:
    size = 3 * WHOLE_BYTES
    seed = os.urandom(1 << 16)

    def pieces() -> Iterator[bytes]:
        for number in range(size >> 16):
            yield hashlib.shake_128(seed + number.to_bytes(4, "big")).digest(1 << 16)

    store = MemoryStore()
    folder = await claim(store)
    tracemalloc.start()
    content = await folder.log.attach(pieces)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert content.size == size
    assert peak < 3.2 * size, "a store in memory keeps one copy, and makes it of one more; nobody else has another"
    await folder.commit({"large": content})
    digest = hashlib.sha256()
    async with aclosing((await claim(store, attempt=2)).log.read(content)) as read_back:
        async for piece in read_back:
            digest.update(piece)
    assert digest.hexdigest() == content.digest
