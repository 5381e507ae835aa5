"""A store that reads back what it has put finds one that keeps something else, and changes nothing else."""

from __future__ import annotations

import pytest
from agenttask.errors import Exists, Misconfigured, NotFound, Unavailable
from agenttask.store import Source
from agenttask.store.conformance import CHECKS, Check, Subject
from agenttask.store.faults import Call, Fault, FaultyStore
from agenttask.store.memory import MemoryStore
from agenttask.store.readback import ReadBackStore
from agenttask.store.source import of_bytes


class _Damages(MemoryStore):
    """Keeps the body otherwise than it came."""

    def __init__(self, kept: bytes | None) -> None:
        super().__init__()
        self._kept = kept

    async def put_if_absent(self, key: str, body: bytes, *, first: bool, last: bool = False) -> None:
        if self._kept is not None:
            self.objects[key] = self._kept

    async def put_stream_if_absent(self, key: str, source: Source, *, first: bool) -> None:
        await self.put_if_absent(key, b"", first=first)


KEPT: dict[str, bytes | None] = {
    "with a bit flipped": b"bodz",
    "cut": b"bod",
    "with something behind it": b"body!",
    "empty": b"",
    "not at all": None,
}


@pytest.mark.parametrize("kept", KEPT.values(), ids=KEPT.keys())
async def test_a_body_is_misconfigured_that_was_acknowledged_and_is_kept(kept: bytes | None) -> None:
    store = ReadBackStore(_Damages(kept))
    with pytest.raises(Misconfigured, match="damages what it keeps"):
        await store.put_if_absent("a/log/1", b"body", first=True)
    with pytest.raises(Misconfigured, match="a/log/2"):
        await store.put_stream_if_absent("a/log/2", of_bytes(b"body"), first=True)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
async def test_it_keeps_every_promise_of_the_store_below(check: Check) -> None:
    objects: dict[str, bytes] = {}
    await check(Subject(open=lambda: ReadBackStore(MemoryStore(objects)), log="x"))


async def test_refusals_come_from_the_put_and_nothing_is_read_for_them() -> None:
    calls: list[str] = []

    async def watch(call: Call) -> Fault:
        calls.append(call.operation)
        return Fault.NONE

    store = ReadBackStore(FaultyStore(MemoryStore(), before=watch))
    with pytest.raises(NotFound):
        await store.put_if_absent("a/log/1", b"one", first=False)
    await store.put_if_absent("a/log/1", b"one", first=True)
    with pytest.raises(Exists):
        await store.put_if_absent("a/log/1", b"two", first=False)
    assert calls == ["put", "put", "get", "put"]


async def test_a_put_that_cannot_be_read_back_is_not_acknowledged() -> None:
    async def lose(call: Call) -> Fault:
        return Fault.LOST_ANSWER if call.operation in ("get", "stream") else Fault.NONE

    store = ReadBackStore(FaultyStore(MemoryStore(), before=lose))
    with pytest.raises(Unavailable):
        await store.put_if_absent("a/log/1", b"one", first=True)
    with pytest.raises(Unavailable):
        await store.put_stream_if_absent("a/blob/1", of_bytes(b"one"), first=False)
