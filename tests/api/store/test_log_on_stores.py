"""A long log on every kind of store: snapshots, large values, retention, and what comes back."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from agenttask.clock import SystemClock
from agenttask.errors import Fenced
from agenttask.log import Frozen, Holder, Kind, Log, Opened, Patience, Policy, survey
from agenttask.log.blob import LARGE_BYTES, WHOLE_BYTES
from agenttask.store import Store


async def opened(store: Store, folder: str, *, attempt: int) -> Opened:
    return await Log.open(
        store=store,
        prefix=folder,
        task="ns/task",
        attempt=attempt,
        holder=Holder(pod_uid=f"pod-{attempt}", process="p"),
        recorded=None,
        clock=SystemClock(),
        patience=Patience(),
        policy=Policy(snapshot_every=10, keep_last=2),
    )


def restored(opened: Opened) -> list[str]:
    base = opened.restored.base
    texts = [] if base is None else list(base.items)
    return texts + [event["text"] for record in opened.records for event in record.events]


async def write(log: Log | None, texts: list[str], text: str, *, kind: Kind = Kind.EVENTS) -> None:
    assert log is not None
    if log.snapshot_due:
        await log.snapshot(Frozen(small={"count": len(texts)}, fixed={"prompt": "p" * 2000}, items=texts))
    await log.append(kind=kind, events=[{"text": text}], step=len(texts), max_steps=99)
    texts.append(text)


def incompressible(size: int) -> str:
    """A text that stays large when it is compressed, so that it goes as a stream."""
    return random.Random(size).randbytes(size * 3 // 4).hex()


async def test_what_a_fenced_writer_leaves_is_found_by_whoever_has_the_log(
    open_any: Callable[[], Store], folder: str
) -> None:
    slow, quick = open_any(), open_any()
    first = (await opened(slow, folder, attempt=1)).log
    second = (await opened(quick, folder, attempt=2)).log
    assert first is not None
    assert second is not None
    assert await second.left("3.0") is None
    with pytest.raises(Fenced):
        await first.append(kind=Kind.EVENTS, events=[{"text": "x"}], step=1, max_steps=9)
    await first.leave("3.0", b"paid")
    await first.leave("3.0", b"something else")
    assert await second.left("3.0") == b"paid"
    await second.append(kind=Kind.EVENTS, events=[{"text": "y"}], step=1, max_steps=9)
    for store in (slow, quick):
        await store.close()


@pytest.mark.parametrize("large", [LARGE_BYTES + 1, 2 * WHOLE_BYTES], ids=["64 KiB", "16 MiB"])
async def test_a_long_log_comes_back_whole_and_keeps_little(
    open_any: Callable[[], Store], folder: str, large: int
) -> None:
    texts: list[str] = []
    value = incompressible(large)
    for attempt in (1, 2, 3):
        store = open_any()
        found = await opened(store, folder, attempt=attempt)
        assert restored(found) == texts
        for number in range(17):
            await write(found.log, texts, value if number == 5 and attempt == 2 else f"{attempt}: {number}")
        await store.close()
    store = open_any()
    found = await opened(store, folder, attempt=4)
    assert restored(found) == texts
    await write(found.log, texts, "the end", kind=Kind.FINAL)
    seen = await survey(store=store, prefix=folder, clock=SystemClock(), patience=Patience())
    assert seen.problems == ()
    assert seen.unnamed == ()
    assert len(seen.snapshots) == 2
    assert len(seen.records) < 40
    await store.close()
