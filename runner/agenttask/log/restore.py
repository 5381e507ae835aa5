"""Restoring a state: list, take the newest snapshot that verifies, fetch what follows, verify, put it together.

    newest snapshot listed ──not named on the chain──▶ an orphan: the one before
            │              ──does not verify─────────▶ noted, nothing lost: the one before
            │ good
            ▼
    records behind it ──a claim continues one before the snapshot──▶ the newest snapshot at or before that one
            │         ──one is bad, and nothing leads around it──▶ what lies before it is the state; the rest is lost
            ▼
    the head

Changes nothing. Where the log starts over from record 1, that is the last "snapshot" to try.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

import msgspec

from agenttask.errors import Absent, CheckpointCorrupt, TooLarge
from agenttask.log import snapshot as snapshots
from agenttask.log.blob import put_back
from agenttask.log.chain import GENESIS, Bad, Base, Chain, Found, assemble
from agenttask.log.fetch import all_of
from agenttask.log.keys import Keys
from agenttask.log.record import MAX_RECORD_BYTES, BlobRef, Content, Kind, Record, SnapshotRef, parse
from agenttask.log.snapshot import Manifest, Snapshot
from agenttask.store.base import Store

MOST_LOST: Final = 100_000
"""More records than this are not left behind: the highest is a stray rather."""


@dataclass(frozen=True, kw_only=True)
class Lost:
    """What a restored state is without: records `first` to `last`."""

    first: int
    last: int
    why: str
    """What is wrong with the first, as a sentence."""
    unreadable: tuple[int, ...]
    """Those of them that are missing or damaged."""


@dataclass(frozen=True, kw_only=True)
class Restored:
    """The newest state a log can give."""

    base: Snapshot | None
    """Where it begins; None: with record 1."""
    records: tuple[Record, ...]
    """What follows, in order, verified, with all texts in place."""
    head: int
    """The highest record there is, readable or not; 0 for an empty log."""
    damage: tuple[str, ...]
    """What was found broken without anything being lost by it, as sentences."""
    lost: Lost | None
    newest_attempt: int
    """The newest attempt that has written anything, on the chain or not; 0 for an empty log."""

    @property
    def tip(self) -> Record | None:
        """The newest record of the state."""
        return self.records[-1] if self.records else None

    @property
    def final(self) -> Record | None:
        """The record that ended the run, if it is over."""
        return self.tip if self.tip is not None and self.tip.kind is Kind.FINAL else None

    @property
    def counted(self) -> tuple[SnapshotRef, ...]:
        """The snapshots that count, oldest first.

        One that is named behind the base could not be read, or it would be the base.
        """
        return (*self.base.manifest.snapshots, self.base.ref) if self.base else ()


class Listing(NamedTuple):
    """Numbers of what lies in the store, ascending."""

    records: tuple[int, ...]
    snapshots: tuple[int, ...]


class _Candidate(NamedTuple):
    ref: SnapshotRef | None
    manifest: Manifest | None
    chain: Chain


@dataclass(kw_only=True)
class Reader:
    """Reads one log. Whole records are kept, so that looking again costs little."""

    store: Store
    keys: Keys
    task: str | None = None
    """Whose log it must be; None: whosever."""
    upto: int | None = None
    """Look at nothing behind this record."""
    corrupt: Collection[str] = ()
    """Keys of attached content that is known to be damaged; it is not read here."""
    found: dict[int, Found] = field(default_factory=dict)
    _damage: dict[str, None] = field(default_factory=dict)
    _whole: dict[int, Record] = field(default_factory=dict)
    """Records with their large texts in place."""

    async def list(self) -> Listing:
        """What there is."""
        records, names = await all_of(
            partial(self._numbers, folder) for folder in (self.keys.records, self.keys.snapshots)
        )
        limit = self.upto
        if limit is not None:
            records, names = [tuple(seq for seq in each if seq <= limit) for each in (records, names)]
        return Listing(records=records, snapshots=names)

    async def newest(self) -> Restored:
        """The newest state there is, as `restore`.

        Trouble is believed only when a second listing shows the same: a live writer's retention may have removed, in
        between, what was listed.
        """
        listing = await self.list()
        while True:
            restored, error = await self._attempted(listing)
            if restored is not None and restored.lost is None and not restored.damage:
                return restored
            before, listing = listing, await self.list()
            if listing != before:
                continue
            if restored is None:
                raise error or AssertionError
            return restored

    async def _attempted(self, listing: Listing) -> tuple[Restored | None, CheckpointCorrupt | None]:
        try:
            return await self.restore(listing), None
        except CheckpointCorrupt as error:
            return None, error

    async def restore(self, listing: Listing) -> Restored:
        """The newest state of what was listed.

        Raises `CheckpointCorrupt` if there is none but the empty one, `FormatTooNew` and store errors.
        """
        self._damage.clear()
        head = listing.records[-1] if listing.records else 0
        # What was missing or unreadable before may have been retention's work, or the network's: looked at again.
        self.found = {seq: each for seq, each in self.found.items() if isinstance(each, Record)}
        for seq in listing.snapshots:
            if seq > head:
                self._note(f"snapshot {self.keys.snapshot(seq)} is newer than the log, which ends with {head}")
        best: tuple[_Candidate, Snapshot | None] | None = None
        limit = head
        for seq in (*sorted((each for each in listing.snapshots if each <= head), reverse=True), 0):
            if seq > limit:
                continue
            candidate, base = await self._try(seq, listing=listing, head=head)
            if candidate is None:
                continue
            if best is None or candidate.chain.tip > best[0].chain.tip:
                best = candidate, base
            if candidate.chain.tip == head or candidate.chain.below is None:
                break
            limit = candidate.chain.below
        if best is None:
            raise self._nothing(head)
        return self._result(best[0].chain, base=best[1], head=head)

    async def _try(self, seq: int, *, listing: Listing, head: int) -> tuple[_Candidate | None, Snapshot | None]:
        """What can be had from the snapshot `seq`, or from record 1."""
        await self._fetch([each for each in listing.records if each > seq])
        try:
            while (candidate := await self._candidate(seq, head=head)) is not None:
                bad = await self._put_back(candidate.chain)
                if bad is None:
                    return candidate, await self._base(candidate)
                self.found[bad.seq] = bad
        except CheckpointCorrupt as error:
            self._note(str(error))
        return None, None

    async def _base(self, candidate: _Candidate) -> Snapshot | None:
        if candidate.ref is None or candidate.manifest is None:
            return None
        return await snapshots.restore(candidate.ref, candidate.manifest, store=self.store, keys=self.keys)

    async def _candidate(self, seq: int, *, head: int) -> _Candidate | None:
        """The chain from snapshot `seq`; None if that does not count."""
        ref = self._named(seq)
        if ref is None:
            if seq > 0:
                return None
            return _Candidate(None, None, self._chain(GENESIS, head=head))
        manifest = await snapshots.load(ref, store=self.store, keys=self.keys)
        if (corrupt := self._corrupt(manifest.attached)) is not None:
            key = self.keys.snapshot(seq)
            raise CheckpointCorrupt(f"snapshot {key} lacks its content {corrupt}", key=key)
        chain = self._chain(snapshots.start(manifest), head=head)
        return _Candidate(ref, manifest, chain) if chain.names(ref) else None

    def _chain(self, base: Base, *, head: int) -> Chain:
        return assemble(base=base, head=head, found=self.found, task=self.task)

    def _named(self, seq: int) -> SnapshotRef | None:
        """How a record found names snapshot `seq`."""
        records = (self.found[each] for each in sorted(self.found) if each > seq)
        for record in records:
            if isinstance(record, Record) and record.snapshot is not None and record.snapshot.seq == seq:
                return record.snapshot
        return None

    async def _put_back(self, chain: Chain) -> Bad | None:
        """Fetch the large texts of the chain's records; the first record that lacks one."""
        wanted = [record for record in chain.records if record.seq not in self._whole]
        for each in await all_of(partial(self._completed, record) for record in wanted):
            if isinstance(each, Bad):
                return each
            self._whole[each.seq] = each
        return None

    async def _completed(self, record: Record) -> Found:
        if (key := self._corrupt(record.attached)) is not None:
            return Bad(record.seq, record.key, f"record {record.key} lacks its content {key}")
        if not record.blobs:
            return record
        events = msgspec.to_builtins(record.events)
        try:
            await put_back(events, record.blobs, store=self.store, keys=self.keys)
        except CheckpointCorrupt as error:
            return Bad(record.seq, record.key, f"record {record.key} lacks a value: {error}")
        return msgspec.structs.replace(record, events=tuple(events))

    def _corrupt(self, attached: Sequence[BlobRef]) -> str | None:
        """The key of what of this is known to be damaged."""
        keys = (self.keys.named(ref.name) for ref in attached)
        return next((key for key in keys if key in self.corrupt), None)

    def _result(self, chain: Chain, *, base: Snapshot | None, head: int) -> Restored:
        lost = None
        if chain.tip < head and (not chain.records or chain.records[-1].kind is not Kind.FINAL):
            lost = self._lost(chain, head=head)
            if base is None and all(record.kind is Kind.CLAIM for record in chain.records):
                why = "; ".join([*self._damage, lost.why])
                raise CheckpointCorrupt(f"{why}, and there is no state before it", key=self.keys.record(lost.first))
        attempts = [each.attempt for each in self.found.values() if isinstance(each, Record)]
        return Restored(
            base=base,
            records=tuple(self._whole[record.seq] for record in chain.records),
            head=head,
            damage=tuple(self._damage),
            lost=lost,
            newest_attempt=max([chain.base.attempt, *attempts]),
        )

    def _lost(self, chain: Chain, *, head: int) -> Lost:
        first = chain.tip + 1
        if head - first > MOST_LOST:
            raise CheckpointCorrupt(
                f"record {self.keys.record(head)} stands so far behind record {chain.tip} that it may be no record of "
                "this log: remove it if so",
                key=self.keys.record(head),
            )
        misfits = {each.seq: each for each in chain.misfits}
        found = self.found.get(first)
        if isinstance(found, Bad):
            why = found.why
        elif found is None:
            why = f"record {self.keys.record(first)} is missing"
        else:
            why = misfits[first].why if first in misfits else f"record {found.key} does not continue the log"
        unreadable = tuple(seq for seq in range(first, head + 1) if not isinstance(self.found.get(seq), Record))
        return Lost(first=first, last=head, why=why, unreadable=unreadable)

    def _nothing(self, head: int) -> CheckpointCorrupt:
        key = self.keys.record(head)
        return CheckpointCorrupt("; ".join(self._damage) or f"no snapshot leads to record {key}", key=key)

    async def _numbers(self, folder: str) -> tuple[int, ...]:
        entries = await self.store.list(folder, after=None)
        return tuple(seq for entry in entries if (seq := self.keys.seq(entry.key)) is not None)

    async def _fetch(self, seqs: Sequence[int]) -> None:
        missing = [seq for seq in seqs if seq not in self.found]
        for each in await all_of(partial(fetch, seq, store=self.store, keys=self.keys) for seq in missing):
            self.found[each.seq] = each

    def _note(self, sentence: str) -> None:
        self._damage[sentence] = None


def attached_to(restored: Restored) -> dict[Content, BlobRef]:
    """Where the content lies that records have named, since the snapshot the state begins with and in it."""
    base = restored.base.manifest.attached if restored.base is not None else ()
    refs = [*base, *(ref for record in restored.records for ref in record.attached)]
    return {ref.content: ref for ref in refs}


def read_by(restored: Restored) -> set[str]:
    """Names of the blobs that were read, and found good, to restore this."""
    values = restored.base.manifest.values if restored.base is not None else ()
    return {ref.name for ref in values} | {placed.blob.name for each in restored.records for placed in each.blobs}


async def fetch(seq: int, *, store: Store, keys: Keys) -> Found:
    """One record, verified by itself. Raises `FormatTooNew` and store errors."""
    key = keys.record(seq)
    try:
        return parse(key=key, seq=seq, body=await store.get(key, max_bytes=MAX_RECORD_BYTES))
    except Absent:
        return Bad(seq, key, f"record {key} is missing")
    except TooLarge as error:
        return Bad(seq, key, f"record {key} is damaged: {error}")
    except CheckpointCorrupt as error:
        return Bad(seq, key, str(error))
