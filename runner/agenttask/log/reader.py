"""Reading a log without claiming it. Changes nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from agenttask.clock import Clock
from agenttask.errors import CheckpointLost
from agenttask.log.chain import Found
from agenttask.log.fetch import in_order
from agenttask.log.keys import Keys
from agenttask.log.patience import Patience
from agenttask.log.restore import Reader, Restored, fetch
from agenttask.log.survey import Progress
from agenttask.store.base import Store


async def read(*, store: Store, prefix: str, clock: Clock, patience: Patience, at: int | None = None) -> Restored:
    """The newest state of the log under `prefix`, or its state after record `at`.

    What a broken log cannot give is named in `lost`. Raises `CheckpointCorrupt` if nothing but the empty state is left,
    `CheckpointLost` if there is no way to record `at` any more, `FormatTooNew` and store errors.
    """
    patient = patience.over(store, clock=clock)
    keys = Keys(prefix=prefix)
    restored = await Reader(store=patient, keys=keys, upto=at).newest()
    if at is not None and (restored.tip is None or restored.tip.seq != at):
        why = restored.lost.why if restored.lost else "the log does not hold it"
        raise CheckpointLost(f"the state after record {keys.record(at)} cannot be had: {why}")
    return restored


async def each_record(
    *,
    store: Store,
    prefix: str,
    clock: Clock,
    patience: Patience,
    upto: int | None = None,
    progress: Progress = lambda *_: None,
) -> AsyncGenerator[Found, None]:
    """Every record there is, in order, on the chain or not, verified by itself alone; large texts are not in place.

    Nothing is read behind record `upto`, if one is named.

    Raises `FormatTooNew` and store errors. Close it if it is left early.
    """
    patient = patience.over(store, clock=clock)
    keys = Keys(prefix=prefix)
    seqs = (await Reader(store=patient, keys=keys, upto=upto).list()).records
    async with aclosing(in_order(partial(fetch, seq, store=patient, keys=keys) for seq in seqs)) as records:
        done = 0
        async for each in records:
            done += 1
            progress(done, len(seqs))
            yield each
