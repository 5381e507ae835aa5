"""Finding logs in a store, and what each of them is at a glance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

from agenttask.log import Bad, Keys, Record
from agenttask.log.fetch import all_of
from agenttask.log.restore import fetch
from agenttask.store import Store

MOST_DEEP: Final = 8
"""Folders between a place and the logs below it, at most."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """The records of a log, as their listing has them."""

    count: int
    newest: int
    """The highest number."""
    size: int
    """Their bytes."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A log by what its listing and its newest record say."""

    path: str
    records: int
    size: int
    """Bytes of all its objects."""
    newest: Record | Bad


async def logs_below(path: str, *, store: Store) -> dict[str, Listed]:
    """The logs at or below a path by their prefixes, in order. A log is a folder whose `log` has numbered records."""
    found: dict[str, Listed] = {}
    level = [path]
    for _ in range(MOST_DEEP + 1):
        below = await all_of(partial(_folders, each, store=store) for each in level)
        pairs = [(each, folders) for each, folders in zip(level, below, strict=True)]
        maybe = [each for each, folders in pairs if each and f"{each}/log" in folders]
        listed = await all_of(partial(_records, each, store=store) for each in maybe)
        found |= {each: records for each, records in zip(maybe, listed, strict=True) if records.count}
        level = [folder for each, folders in pairs if each not in found for folder in folders]
    return dict(sorted(found.items()))


async def glance(path: str, *, records: Listed, store: Store) -> Run:
    """What one log is, beside its records."""
    keys = Keys(prefix=path)
    listed = await all_of(partial(store.list, each, after=None) for each in (keys.snapshots, keys.blobs, keys.lates))
    return Run(
        path=path,
        records=records.count,
        size=records.size + sum(entry.size for entries in listed for entry in entries),
        newest=await fetch(records.newest, store=store, keys=keys),
    )


async def _folders(path: str, *, store: Store) -> list[str]:
    return [each.rstrip("/") for each in await store.folders(f"{path}/" if path else "")]


async def _records(path: str, *, store: Store) -> Listed:
    keys = Keys(prefix=path)
    entries = await store.list(keys.records, after=None)
    seqs = [seq for entry in entries if (seq := keys.seq(entry.key)) is not None]
    return Listed(count=len(seqs), newest=max(seqs, default=0), size=sum(entry.size for entry in entries))
