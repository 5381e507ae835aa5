"""Looking at everything a log has, needed or not: for people, and for tools that verify. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial

from agenttask.clock import Clock
from agenttask.errors import CheckpointCorrupt
from agenttask.log import snapshot as snapshots
from agenttask.log.blob import verify
from agenttask.log.chain import Bad, Found
from agenttask.log.fetch import in_order
from agenttask.log.keys import Keys
from agenttask.log.patience import Patience
from agenttask.log.record import BlobRef, Record, SnapshotRef
from agenttask.log.restore import MOST_LOST, Listing, Reader, Restored, fetch
from agenttask.log.snapshot import Manifest
from agenttask.store.base import Entry, Store

Progress = Callable[[int, int], None]
"""Hears how many objects have been looked at, and how many there are."""


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A snapshot that lies in the store, or that a record names."""

    seq: int
    key: str
    named_by: int | None
    """The first record that names it; None: it does not count."""
    manifest: Manifest | None
    """None if it cannot be read, or does not count."""
    why: str | None
    """What is wrong with it, as a sentence."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """All of a log."""

    keys: Keys
    records: tuple[Found, ...]
    """Every record there is, and those that should be, in order; large texts are not in place."""
    snapshots: tuple[Shot, ...]
    blobs: tuple[Entry, ...]
    lates: tuple[Entry, ...]
    """What writers have left that had lost the log."""
    unnamed: tuple[str, ...]
    """Keys of blobs that neither a record nor a snapshot names: what a killed writer left, as a rule."""
    problems: tuple[str, ...]
    """What is wrong, as sentences that name keys; nothing that a claim has abandoned already."""
    restored: Restored | None
    """The newest state; None if there is none."""


async def survey(
    *,
    store: Store,
    prefix: str,
    clock: Clock,
    patience: Patience,
    progress: Progress = lambda *_: None,
) -> Survey:
    """Read the whole log under `prefix`, every blob included. Raises `FormatTooNew` and store errors."""
    patient = patience.over(store, clock=clock)
    surveyor = _Surveyor(store=patient, keys=Keys(prefix=prefix), progress=progress)
    return await surveyor.survey()


class _Surveyor:
    def __init__(self, *, store: Store, keys: Keys, progress: Progress) -> None:
        self._store = store
        self._keys = keys
        self._progress = progress
        self._done = 0
        self._all = 0
        self._problems: dict[str, None] = {}

    async def survey(self) -> Survey:
        reader = Reader(store=self._store, keys=self._keys)
        listing = await reader.list()
        blobs = tuple(await self._store.list(self._keys.blobs, after=None))
        self._all = len(listing.records) + len(listing.snapshots) + len(blobs)
        found = await self._records(listing)
        restored = await self._restore(reader, found)
        there = {self._keys.name(entry.key) for entry in blobs}
        shots = await self._shots(listing, found, there=there)
        refs = {ref.name: ref for ref in _named(found.values(), shots)}
        oldest = _oldest_kept(restored, listing)
        behind = [each for each in found.values() if each.seq > oldest]
        needed = {ref.name for ref in _named(behind, [shot for shot in shots if shot.seq >= oldest])}
        # What no restore reads any more may outlive its blobs: retention was cut short, or a late put came.
        await self._verify([ref for name, ref in refs.items() if name in needed or name in there])
        found |= self._missing(found, restored, listing)
        self._judge(found, oldest=oldest)
        manifests = {self._keys.named(shot.name) for shot in _seeds(found.values())}
        known = {self._keys.named(name) for name in refs} | manifests
        return Survey(
            keys=self._keys,
            records=tuple(found[seq] for seq in sorted(found)),
            snapshots=shots,
            blobs=blobs,
            lates=tuple(await self._store.list(self._keys.lates, after=None)),
            unnamed=tuple(entry.key for entry in blobs if entry.key not in known),
            problems=tuple(self._problems),
            restored=restored,
        )

    async def _records(self, listing: Listing) -> dict[int, Found]:
        found: dict[int, Found] = {}
        calls = (partial(fetch, seq, store=self._store, keys=self._keys) for seq in listing.records)
        async for each in in_order(calls):
            found[each.seq] = each
            self._advance()
        return found

    async def _restore(self, reader: Reader, found: dict[int, Found]) -> Restored | None:
        reader.found = dict(found)
        try:
            restored = await reader.newest()
        except CheckpointCorrupt as error:
            self._problems[str(error)] = None
            return None
        for sentence in restored.damage:
            self._problems[sentence] = None
        if restored.lost is not None:
            self._problems[restored.lost.why] = None
        return restored

    async def _shots(self, listing: Listing, found: dict[int, Found], *, there: Collection[str]) -> tuple[Shot, ...]:
        refs: dict[int, tuple[int, SnapshotRef]] = {}
        for each in found.values():
            if isinstance(each, Record) and each.snapshot is not None:
                refs.setdefault(each.snapshot.seq, (each.seq, each.snapshot))
        shots = []
        # One that a record names and that is not there is retention's work, unless a restore has missed it.
        seeds = {seq for seq, (_, ref) in refs.items() if seq == 0 and ref.name in there}
        for seq in sorted({*listing.snapshots, *seeds}):
            named_by, ref = refs.get(seq, (None, None))
            shots.append(await self._shot(seq, named_by=named_by, ref=ref))
            self._advance()
        return tuple(shots)

    async def _shot(self, seq: int, *, named_by: int | None, ref: SnapshotRef | None) -> Shot:
        key = self._keys.snapshot(seq) if ref is None else self._keys.named(ref.name)
        manifest, why = None, None
        if ref is None:
            why = f"snapshot {key} does not count: no record names it"
        else:
            try:
                manifest = await snapshots.load(ref, store=self._store, keys=self._keys)
            except CheckpointCorrupt as error:
                why = str(error)
                self._problems[why] = None
        return Shot(seq=seq, key=key, named_by=named_by, manifest=manifest, why=why)

    async def _verify(self, refs: Collection[BlobRef]) -> None:
        self._all = max(self._all, self._done + len(refs))
        async for why in in_order(partial(self._broken, ref) for ref in refs):
            self._advance()
            if why is not None:
                self._problems[why] = None

    async def _broken(self, ref: BlobRef) -> str | None:
        try:
            await verify(ref, store=self._store, keys=self._keys)
        except CheckpointCorrupt as error:
            return str(error)
        return None

    def _missing(self, found: dict[int, Found], restored: Restored | None, listing: Listing) -> dict[int, Found]:
        """Records that should be there: those behind the oldest snapshot that counts."""
        if restored is None or not found:
            return {}
        first = _oldest_kept(restored, listing) + 1
        if max(found) - first > MOST_LOST:
            return {}  # the restore has named it
        gaps = (seq for seq in range(first, max(found)) if seq not in found)
        return {seq: Bad(seq, self._keys.record(seq), f"record {self._keys.record(seq)} is missing") for seq in gaps}

    def _judge(self, found: dict[int, Found], *, oldest: int) -> None:
        """Name each bad record, and each that continues another than the one before it, unless a claim has left them.

        The restore has followed the chain from the newest snapshot only.
        """
        claims = [each for each in found.values() if isinstance(each, Record) and each.abandoned is not None]
        left = {
            seq for claim in claims if claim.abandoned for seq in range(claim.abandoned.first, claim.abandoned.last + 1)
        }
        for seq, each in sorted(found.items()):
            if seq in left:
                continue
            if isinstance(each, Bad):
                self._problems[each.why] = None
                continue
            before = found.get(seq - 1)
            if not isinstance(before, Record) or before.seq <= oldest or each.abandoned is not None:
                continue
            if each.parent is None or (each.parent.seq, each.parent.digest) != (before.seq, before.digest):
                self._problems[f"record {each.key} does not continue record {before.seq}"] = None

    def _advance(self) -> None:
        self._done += 1
        self._progress(self._done, max(self._all, self._done))


def _oldest_kept(restored: Restored | None, listing: Listing) -> int:
    """The oldest snapshot that counts and is there: no restore reads records up to it. 0 if there is none."""
    counted = restored.counted if restored is not None else ()
    return next((each.seq for each in counted if each.seq in listing.snapshots), 0)


def _named(found: Iterable[Found], shots: Iterable[Shot]) -> list[BlobRef]:
    """The blobs that records and snapshots need."""
    named = [ref for each in found if isinstance(each, Record) for ref in each.needed]
    for shot in shots:
        if shot.manifest is not None:
            named += shot.manifest.needed
    return named


def _seeds(found: Iterable[Found]) -> list[SnapshotRef]:
    """What forks began with: manifests that lie among the blobs."""
    named = [each.snapshot for each in found if isinstance(each, Record) and each.snapshot is not None]
    return [ref for ref in named if ref.seq == 0]
