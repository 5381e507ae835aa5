"""A log that was removed: what tells so is its newest record, the claim of whoever removed it. Changes nothing."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from agenttask.clock import Clock
from agenttask.log import Bad, Keys, Kind, Patience, Record, each_record
from agenttask.log.fetch import all_of
from agenttask.log.restore import fetch
from agenttask.log.survey import Progress
from agenttask.store import Store


@dataclass(frozen=True, kw_only=True)
class Remains:
    """What is left of a log that was purged."""

    claims: tuple[Record, ...]
    unreadable: tuple[Bad, ...]
    """Records that may be claims."""
    doomed: tuple[str, ...]
    """Keys of what the purge has not removed, or a late writer has left since."""
    sizes: dict[str, int]
    """Bytes of all objects, by key."""


def purge_in(newest: Record | Bad) -> Record | None:
    """The claim of a purge, if a log's newest record is one: nothing comes behind it but another."""
    return newest if isinstance(newest, Record) and newest.purges else None


async def purge_of(log: str, *, store: Store) -> Record | None:
    """The claim with which a log was purged; None if it was not."""
    keys = Keys(prefix=log)
    seqs = [keys.seq(entry.key) or 0 for entry in await store.list(keys.records, after=None)]
    newest = max(seqs, default=0)
    return purge_in(await fetch(newest, store=store, keys=keys)) if newest else None


async def remains_of(log: str, *, store: Store, clock: Clock, patience: Patience, progress: Progress) -> Remains:
    """Look at everything that is left of a purged log. Raises `FormatTooNew` and store errors."""
    keys = Keys(prefix=log)
    claims: list[Record] = []
    unreadable: list[Bad] = []
    doomed: list[str] = []
    reading = each_record(store=store, prefix=log, clock=clock, patience=patience, progress=progress)
    async with aclosing(reading) as records:
        async for each in records:
            if isinstance(each, Bad):
                unreadable.append(each)
            elif each.kind is Kind.CLAIM:
                claims.append(each)
            else:
                doomed.append(each.key)
    patient = patience.over(store, clock=clock)
    folders = (keys.records, keys.snapshots, keys.blobs, keys.lates)
    first, *others = await all_of(partial(patient.list, folder, after=None) for folder in folders)
    doomed += [entry.key for entries in others for entry in entries]
    sizes = {entry.key: entry.size for entries in (first, *others) for entry in entries}
    return Remains(claims=tuple(claims), unreadable=tuple(unreadable), doomed=tuple(doomed), sizes=sizes)


def words(purge: Record) -> str:
    """Whose log it was, when it was purged, and by whom."""
    return f"the log of {purge.task} was purged by attempt {purge.attempt} at {purge.time}"
