"""What of a log may go, and letting it go.

Kept are the newest snapshots that count, every record behind the oldest of them, and all claims: the slot behind a
writer's last record is always a claim's, so that a writer that wakes after any retention still finds it taken.

Only the holder deletes, directly after an append that the store has acknowledged and never beside one. It may be a
zombie by the time it does; so it never touches what an attempt newer than itself may have written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial

from agenttask.log.chain import Found
from agenttask.log.fetch import all_of
from agenttask.log.keys import Keys, attempt_of
from agenttask.log.record import Kind, Record, SnapshotRef
from agenttask.log.restore import fetch
from agenttask.log.table import Table
from agenttask.store.base import Store


class Retention:
    """Deletes what the holder of one log may delete."""

    def __init__(self, *, store: Store, keys: Keys, attempt: int, keep_last: int, table: Table) -> None:
        self._store = store
        self._keys = keys
        self._attempt = attempt
        self._keep_last = keep_last
        self._table = table
        self._kinds: dict[int, bool] = {}
        """Whether each record met is one to keep for ever."""

    def met(self, records: Iterable[Found]) -> None:
        """These records need not be read again to know what they are."""
        for each in records:
            if isinstance(each, Record):
                self._kinds[each.seq] = each.kind is Kind.CLAIM

    def kept(self, counted: Sequence[SnapshotRef]) -> tuple[SnapshotRef, ...]:
        """The newest of the snapshots that count."""
        return tuple(counted[-self._keep_last :])

    def beside(self, counted: Sequence[SnapshotRef]) -> tuple[SnapshotRef, ...]:
        """Those that are still kept once one more counts."""
        return tuple(counted[max(0, len(counted) + 1 - self._keep_last) :])

    async def run(self, *, counted: Sequence[SnapshotRef], head: int) -> None:
        """Delete what nobody needs who restores from one of the snapshots kept. `head` is the newest record."""
        kept = self.kept(counted)
        await self._delete_snapshots({each.seq for each in kept}, head=head)
        if len(kept) == self._keep_last:
            oldest = kept[0].seq
            await self._delete_records(oldest)
            doomed = self._table.doomed(oldest=oldest)
            await self._delete([self._keys.named(name) for name in doomed])
            self._table.drop(doomed)
        await self._delete_orphans(kept)

    async def _delete_snapshots(self, kept: Collection[int], *, head: int) -> None:
        """Those before the oldest kept, and those that never came to count."""
        listed = await self._store.list(self._keys.snapshots, after=None)
        numbers = [seq for entry in listed if (seq := self._keys.seq(entry.key)) is not None]
        await self._delete([self._keys.snapshot(seq) for seq in numbers if seq <= head and seq not in kept])

    async def _delete_records(self, oldest: int) -> None:
        """All up to `oldest` but claims, and but what cannot be read: it may be one."""
        listed = await self._store.list(self._keys.records, after=None)
        numbers = [seq for entry in listed if (seq := self._keys.seq(entry.key)) is not None and seq <= oldest]
        unknown = [seq for seq in numbers if seq not in self._kinds]
        self.met(await all_of(partial(fetch, seq, store=self._store, keys=self._keys) for seq in unknown))
        doomed = [seq for seq in numbers if self._kinds.get(seq) is False]
        await self._delete([self._keys.record(seq) for seq in doomed])
        for seq in doomed:
            del self._kinds[seq]  # what stands there next, a claim that comes too late, is another record

    async def _delete_orphans(self, kept: Iterable[SnapshotRef]) -> None:
        """Blobs of older attempts that no record on the chain has ever named."""
        named = {each.name for each in kept}
        listed = await self._store.list(self._keys.blobs, after=None)
        names = [self._keys.name(entry.key) for entry in listed]
        orphans = [
            name
            for name in names
            if name not in self._table and name not in named and (of := attempt_of(name)) and of < self._attempt
        ]
        await self._delete([self._keys.named(name) for name in orphans])

    async def _delete(self, keys: Sequence[str]) -> None:
        await all_of(partial(self._store.delete, key) for key in keys)


Warn = Callable[[str], None]
"""Hears, as a sentence, what went wrong without stopping anything."""
