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
class Run:
    """A log by what its listing and its newest record say."""

    path: str
    records: int
    size: int
    """Bytes of all its objects."""
    newest: Record | Bad


async def logs_below(path: str, *, store: Store) -> list[str]:
    """The prefixes of the logs at or below a path, in order. A log is a folder whose `log` has numbered records."""
    found: list[str] = []
    level = [path]
    for _ in range(MOST_DEEP + 1):
        below = await all_of(partial(_folders, each, store=store) for each in level)
        pairs = [(each, folders) for each, folders in zip(level, below, strict=True)]
        maybe = [each for each, folders in pairs if each and f"{each}/log" in folders]
        numbered = await all_of(partial(_has_records, each, store=store) for each in maybe)
        logs = {each for each, is_log in zip(maybe, numbered, strict=True) if is_log}
        found += logs
        level = [folder for each, folders in pairs if each not in logs for folder in folders]
    return sorted(found)


async def glance(path: str, *, store: Store) -> Run:
    """What one log is."""
    keys = Keys(prefix=path)
    folders = (keys.records, keys.snapshots, keys.blobs, keys.lates)
    listed = await all_of(partial(store.list, each, after=None) for each in folders)
    seqs = [seq for entry in listed[0] if (seq := keys.seq(entry.key)) is not None]
    return Run(
        path=path,
        records=len(seqs),
        size=sum(entry.size for entries in listed for entry in entries),
        newest=await fetch(max(seqs, default=0), store=store, keys=keys),
    )


async def _folders(path: str, *, store: Store) -> list[str]:
    return [each.rstrip("/") for each in await store.folders(f"{path}/" if path else "")]


async def _has_records(path: str, *, store: Store) -> bool:
    keys = Keys(prefix=path)
    return any(keys.seq(entry.key) is not None for entry in await store.list(keys.records, after=None))
