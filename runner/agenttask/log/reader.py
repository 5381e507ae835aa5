"""Reading a log: list, fetch many at a time, verify in order. Changes nothing."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from agenttask.clock import Clock
from agenttask.errors import Absent, CheckpointCorrupt, TooLarge
from agenttask.log.chain import Chain, Keys
from agenttask.log.patience import Patience, PatientStore
from agenttask.log.record import MAX_RECORD_BYTES, Record, parse
from agenttask.store.base import Store

FETCHES_AT_ONCE: Final = 16


async def read(*, store: Store, prefix: str, clock: Clock, patience: Patience) -> tuple[Record, ...]:
    """All records of the log under `prefix`, verified; none if it was never written.

    Raises `CheckpointCorrupt`, `FormatTooNew` and store errors.
    """
    chain = Chain()
    patient = PatientStore(store, clock=clock, seconds=patience.claim_seconds, jitter=patience.jitter)
    await catch_up(chain, store=patient, keys=Keys(prefix=prefix))
    return tuple(chain.records)


async def catch_up(chain: Chain, *, store: Store, keys: Keys) -> bool:
    """List what stands behind the chain's head and extend the chain by it; whether there was anything."""
    head = chain.head
    entries = await store.list(keys.folder, after=None if head is None else head.key)
    found = [seq for entry in entries if (seq := keys.seq(entry.key)) is not None]
    for seq, expected in zip(found, range(chain.next_seq, chain.next_seq + len(found)), strict=True):
        if seq != expected:
            missing = keys.key(expected)
            raise CheckpointCorrupt(f"record {missing} is missing; {keys.key(seq)} stands behind it", key=missing)
    async with aclosing(_fetch(found, store=store, keys=keys)) as records:
        async for record in records:
            chain.extend(record)
    return bool(found)


async def fetch(seq: int, *, store: Store, keys: Keys) -> Record:
    """One record."""
    key = keys.key(seq)
    try:
        body = await store.get(key, max_bytes=MAX_RECORD_BYTES)
    except (Absent, TooLarge) as error:
        raise CheckpointCorrupt(f"record {key} was listed but cannot be read: {error}", key=key) from error
    return parse(key=key, seq=seq, body=body)


async def _fetch(seqs: Sequence[int], *, store: Store, keys: Keys) -> AsyncGenerator[Record, None]:
    """The records in order, the next ones under way while one is looked at."""
    under_way: deque[asyncio.Task[Record]] = deque()
    try:
        for seq in seqs:
            under_way.append(asyncio.create_task(fetch(seq, store=store, keys=keys)))
            if len(under_way) == FETCHES_AT_ONCE:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
