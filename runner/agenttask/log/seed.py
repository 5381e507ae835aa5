"""Beginning a log with a state that comes from elsewhere: a fork copies first, and claims then.

The copy lies in blobs and in a manifest that only record 1, the claim, names. So an attempt that finds an empty log
copies again, and one that finds a claim never does; nothing refers outside the log.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from agenttask.log import snapshot as snapshots
from agenttask.log.blob import BlobWriter
from agenttask.log.claim import Beginning, Claimant
from agenttask.log.record import Origin
from agenttask.log.snapshot import Frozen, Manifest, Sealer, Snapshot, pack, reference
from agenttask.log.table import Table


@dataclass(frozen=True, kw_only=True)
class Seed:
    """What a log begins with, in place of nothing."""

    origin: Origin
    state: Frozen
    step: int = 0
    max_steps: int = 0


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A seed in the store, read back; it counts once record 1 names it."""

    beginning: Beginning
    base: Snapshot


async def plant(seed: Seed, *, claimant: Claimant, blobs: BlobWriter, table: Table) -> Planted:
    """Write the seed's state into an empty log. Raises store errors, and `CheckpointCorrupt` if it reads back wrong."""
    blobs.first = True
    manifest = await Sealer(blobs=blobs).seal(
        seed.state,
        manifest=Manifest(
            seq=0,
            digest="",
            attempt=claimant.attempt,
            holder=claimant.holder,
            task=claimant.task,
            time=claimant.time(),
            step=seed.step,
            max_steps=seed.max_steps,
        ),
    )
    body = pack(msgspec.structs.replace(manifest, blobs=table.kept))
    ref = reference(body, seq=0, name=await blobs.write_object(body))
    manifest = await snapshots.load(ref, store=claimant.store, keys=claimant.keys)
    base = await snapshots.restore(ref, manifest, store=claimant.store, keys=claimant.keys)
    return Planted(beginning=Beginning(origin=seed.origin, snapshot=ref), base=base)
