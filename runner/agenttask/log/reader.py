"""Reading a log without claiming it. Changes nothing."""

from __future__ import annotations

from agenttask.clock import Clock
from agenttask.errors import CheckpointLost
from agenttask.log.keys import Keys
from agenttask.log.patience import Patience, PatientStore
from agenttask.log.restore import Reader, Restored
from agenttask.store.base import Store


async def read(*, store: Store, prefix: str, clock: Clock, patience: Patience, at: int | None = None) -> Restored:
    """The newest state of the log under `prefix`, or its state after record `at`.

    What a broken log cannot give is named in `lost`. Raises `CheckpointCorrupt` if nothing but the empty state is left,
    `CheckpointLost` if there is no way to record `at` any more, `FormatTooNew` and store errors.
    """
    patient = PatientStore(store, clock=clock, seconds=patience.claim_seconds, jitter=patience.jitter)
    keys = Keys(prefix=prefix)
    restored = await Reader(store=patient, keys=keys, upto=at).newest()
    if at is not None and (restored.tip is None or restored.tip.seq != at):
        why = restored.lost.why if restored.lost else "the log does not hold it"
        raise CheckpointLost(f"the state after record {keys.record(at)} cannot be had: {why}")
    return restored
