"""The checkpoint log as its holder sees it: open, then append, and now and then a snapshot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

import msgspec

from agenttask.clock import Clock
from agenttask.errors import (
    Absent,
    AgentTaskError,
    CheckpointCorrupt,
    ContentCorrupt,
    Exists,
    TooLarge,
)
from agenttask.log.blob import BlobWriter, Pieces, read_blob
from agenttask.log.claim import Charge, Claimant, Claimed, OnCorruption, Recorded
from agenttask.log.head import Head
from agenttask.log.keys import Keys
from agenttask.log.patience import Patience
from agenttask.log.record import (
    MAX_RECORD_BYTES,
    Content,
    Event,
    Holder,
    Kind,
    Record,
    RecordRef,
    Remarks,
    SnapshotRef,
    build,
    timestamp,
)
from agenttask.log.restore import Reader, Restored, attached_to, read_by
from agenttask.log.retention import Retention, Warn
from agenttask.log.seed import Seed, plant
from agenttask.log.snapshot import Frozen, Manifest, Sealer, pack, reference
from agenttask.log.table import Table
from agenttask.store.base import Store


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How a log is kept."""

    snapshot_every: int = 200
    """Records between two snapshots: bounds what a restore replays."""
    keep_last: int = 3
    """Snapshots kept; records before the oldest of them go, but for claims."""
    on_corruption: OnCorruption = OnCorruption.REWIND


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What opening a log gave."""

    log: Log | None
    """To append to; None if the run is over."""
    restored: Restored
    """The state the claim goes on from; of a fork's first attempt, its seed."""
    claim: Record | None
    """This attempt's claim; what was lost stands in it. None if the run is over."""

    @property
    def records(self) -> tuple[Record, ...]:
        """What follows the snapshot the state begins with, this attempt's claim included."""
        return self.restored.records if self.claim is None else (*self.restored.records, self.claim)

    @property
    def final(self) -> Record | None:
        """The record that ended the run, if it is over: nothing was claimed."""
        return self.restored.final

    @property
    def resumed_from(self) -> RecordRef | None:
        """The record this attempt goes on from. None for a new log, or one that is over."""
        tip = self.restored.tip
        return None if tip is None or self.claim is None else tip.ref


def _stands_on_what_others_may_delete(restored: Restored) -> bool:
    """Whether a predecessor that still sleeps, behind its last append, may delete what this state is restored from.

    To that predecessor its newest snapshot is good, and what lies before it needless. It is not so after a rewind, by
    this attempt or by one that came to no snapshot since, nor where a snapshot had to be left aside.
    """
    base = restored.base.ref.seq if restored.base is not None else 0
    left_aside = any(record.snapshot is not None and record.snapshot.seq > base for record in restored.records)
    return restored.lost is not None or left_aside or any(record.abandoned for record in restored.records)


def charge_nothing(_: object) -> dict[str, object]:
    """What abandoned work costs, unless somebody says otherwise."""
    return {}


def ignore(_: str) -> None:
    """Hear a warning and do nothing."""


class Log:
    """A claimed log. Appends may be asked for concurrently; they are written one by one, in the order asked.

    An append that fails while its record is written leaves open whether that stands in the log. Nothing may be written
    behind it then, so every later call raises the same error again (`Unavailable` if it was cancelled).
    """

    def __init__(
        self,
        *,
        store: Store,
        keys: Keys,
        task: str,
        claimed: Claimed,
        clock: Clock,
        policy: Policy,
        warn: Warn,
        blobs: BlobWriter,
        table: Table,
        retention: Retention,
    ) -> None:
        restored = claimed.restored
        self._store = store
        self._keys = keys
        self._task = task
        self._head = Head(store=store, keys=keys, claim=claimed.claim)
        self._claim = claimed.claim
        self._clock = clock
        self._policy = policy
        self._warn = warn
        self._turn = asyncio.Lock()
        self._blobs = blobs
        self._table = table
        self._retention = retention
        self._counted = restored.counted
        self._pending: SnapshotRef | None = None
        self._exposed = _stands_on_what_others_may_delete(restored)
        self._since = len(restored.records)
        self._named = {ref.name for ref in attached_to(restored).values()}
        """Blobs that a record or the snapshot before it names as attached."""
        blobs.inherited = table.live
        blobs.unread = {ref.name for ref in table.live.values()} - read_by(restored)
        chunks = restored.base.manifest.chunks if restored.base is not None and not self._exposed else ()
        if self._exposed:
            table.disown()  # everything is written anew, under names of our own
        self._sealer = Sealer(blobs=blobs, chunks=chunks)

    @classmethod
    async def open(
        cls,
        *,
        store: Store,
        prefix: str,
        task: str,
        attempt: int,
        holder: Holder,
        recorded: Recorded | None,
        clock: Clock,
        patience: Patience,
        max_steps: int = 0,
        policy: Policy = Policy(),
        charge: Charge = charge_nothing,
        seed: Callable[[], Awaitable[Seed]] | None = None,
        corrupt: Collection[str] = (),
        warn: Warn = ignore,
    ) -> Opened:
        """Restore the log of `task` under `prefix` and claim it for `attempt`.

        `recorded` is a lower bound of what the log must hold, `max_steps` the budget for the claim to show. `seed` is
        asked for what the log begins with, if it is empty; `corrupt` are keys of attached content that is known to be
        damaged: records and snapshots that name it count as damaged too. Raises `Fenced` (someone newer has it),
        `CheckpointLost`, `CheckpointCorrupt`, `FormatTooNew`, `Misconfigured` (the store takes the same key twice),
        what `charge` and `seed` raise, and store errors; `Unavailable` once the store gave no answer for
        `patience.claim_seconds`.
        """
        patient = patience.over(store, clock=clock)
        keys, table = Keys(prefix=prefix), Table()
        blobs = BlobWriter(store=patient, keys=keys, attempt=attempt, process=holder.process, table=table)
        reader = Reader(store=patient, keys=keys, task=task, corrupt=corrupt)
        claimant = Claimant(
            reader=reader,
            task=task,
            attempt=attempt,
            holder=holder,
            clock=clock,
            on_corruption=policy.on_corruption,
            charge=charge,
            max_steps=max_steps,
        )
        planted = None
        if seed is not None and recorded is None and not (await reader.list()).records:
            planted = await plant(await seed(), claimant=claimant, blobs=blobs, table=table)
        claimed = await claimant.claim(recorded=recorded, beginning=planted.beginning if planted else None)
        if isinstance(claimed, Restored):
            return Opened(log=None, restored=claimed, claim=None)
        blobs.first = False
        patient.seconds = patience.append_seconds
        if planted is not None and claimed.claim.seq == 1:
            claimed = replace(claimed, restored=replace(claimed.restored, base=planted.base))
        table.load(claimed.restored.base.manifest.blobs if claimed.restored.base else ())
        for record in claimed.restored.records:
            for blob in record.needed:
                table.add(blob)
        retention = Retention(store=patient, keys=keys, attempt=attempt, keep_last=policy.keep_last, table=table)
        retention.met(reader.found.values())
        retention.met([claimed.claim])
        log = cls(
            store=patient,
            keys=keys,
            task=task,
            claimed=claimed,
            clock=clock,
            policy=policy,
            warn=warn,
            blobs=blobs,
            table=table,
            retention=retention,
        )
        return Opened(log=log, restored=claimed.restored, claim=claimed.claim)

    @property
    def head(self) -> RecordRef:
        """The newest durable record: the checkpoint."""
        return self._head.record.ref

    @property
    def snapshot_due(self) -> bool:
        """Whether `snapshot` is to be called before the next append, which after a rewind is refused without it."""
        return self._pending is None and (self._exposed or self._since >= self._policy.snapshot_every)

    async def snapshot(self, state: Frozen) -> None:
        """Write the state after the head. It counts once the next append has named it.

        Raises `RecordTooLarge`, store errors, and `CheckpointCorrupt` if it reads back wrong after a rewind; the log
        stays usable.
        """
        async with self._turn:
            self._head.refuse_if_ended()
            head = self._head.record
            manifest = await self._sealer.seal(
                state,
                manifest=Manifest(
                    seq=head.seq,
                    digest=head.digest,
                    attempt=head.attempt,
                    holder=head.holder,
                    task=self._task,
                    time=timestamp(self._clock.now()),
                    step=head.step,
                    max_steps=head.max_steps,
                    snapshots=self._retention.beside(self._counted),
                ),
            )
            self._table.retire(live=manifest.live, at=head.seq)
            body = pack(msgspec.structs.replace(manifest, blobs=self._table.kept))
            key = self._keys.snapshot(head.seq)
            if await self._put_snapshot(key, body):
                self._pending = reference(body, seq=head.seq, name=self._keys.name(key))
                self._named = {ref.name for ref in manifest.attached}
                self._exposed = False
            elif self._exposed:
                raise CheckpointCorrupt(f"snapshot {key} is not what was written", key=key)
            else:
                self._warn(f"snapshot {key} is not what was written; the next one will do")
            self._since = 0

    async def attach(self, open_: Pieces) -> Content:
        """Make durable what `open_` gives, once or twice, in a thread; an append that refers to it must follow.

        Of a source that changes meanwhile, what the last reading gave is stored, and returned. Content the log has is
        not written again. Raises store errors, `Full` (no room to put it aside) and what reading raises; the log stays
        usable.
        """
        async with self._turn:
            self._head.refuse_if_ended()
            ref = await self._blobs.write_content(open_)
            self._table.pin(ref)
            return ref.content

    async def read(self, content: Content) -> AsyncGenerator[bytes, None]:
        """Content attached to a record of the state. Close it if it is left early.

        Raises `ValueError` if it is not attached, `ContentCorrupt` if it cannot be read, and store errors.
        """
        ref = self._table.find(content) or self._blobs.inherited.get(content)
        if ref is None:
            raise ValueError(f"content {content.digest} is not attached")
        try:
            async with aclosing(read_blob(ref, store=self._store, keys=self._keys)) as pieces:
                async for piece in pieces:
                    yield piece
        except CheckpointCorrupt as error:
            raise ContentCorrupt(str(error), keys=[error.key]) from error
        self._blobs.unread.discard(ref.name)

    async def append(
        self,
        *,
        kind: Kind,
        events: Sequence[Event],
        step: int,
        max_steps: int,
        retry: int = 0,
        attached: Sequence[Content] = (),
    ) -> RecordRef:
        """Write one record behind the head; on return it is durable.

        `events` are JSON objects; what is under their key `volatile` stays out of the progress digest; their large
        texts become blobs. `retry` counts tries that failed before the work recorded, `attached` is the content that
        the events refer to. After `Kind.FINAL` nothing can be appended. Raises `Fenced`, `Unavailable` (no answer for
        `patience.append_seconds`), other store errors, and `RecordTooLarge` or `ValueError` with nothing written.
        """
        if kind is Kind.CLAIM:
            raise ValueError("a claim is made by opening the log")
        async with self._turn:
            self._head.refuse_if_ended()
            if self._head.record.kind is Kind.FINAL:
                raise ValueError("the log is final")
            if self._exposed:
                raise ValueError("a snapshot is due: this state still stands on what others may delete")
            refs = [await self._blobs.keep(content) for content in attached]
            bare, placed = await self._blobs.take_out(list(events))
            new = tuple({ref.name: ref for ref in refs if ref.name not in self._named}.values())
            draft = build(
                key=self._keys.record(self._head.next),
                seq=self._head.next,
                parent=self._head.record,
                kind=kind,
                attempt=self._claim.attempt,
                holder=self._claim.holder,
                now=self._clock.now(),
                step=step,
                max_steps=max_steps,
                retry=retry,
                events=bare,
                remarks=Remarks(blobs=placed, attached=new, snapshot=self._pending),
            )
            await self._head.put(draft)
            self._since += 1
            self._retention.met([draft.record])
            self._named.update(ref.name for ref in new)
            self._table.unpin(refs)
            await self._retain()
            return self.head

    async def confirm(self) -> None:
        """Return if the log is still this holder's: one GET, for long silences. Raises `Fenced` and store errors."""
        async with self._turn:
            self._head.refuse_if_ended()
            await self._head.confirm()

    async def leave(self, name: str, body: bytes) -> None:
        """Leave something for the holder to find, whoever that is by now: a writer that has lost the log may still.

        What stands under the name already stays. Raises store errors.
        """
        with suppress(Exists):
            await self._store.put_if_absent(self._keys.late(name), body, first=False)

    async def left(self, name: str) -> bytes | None:
        """What somebody has left under this name. Raises store errors."""
        try:
            return await self._store.get(self._keys.late(name), max_bytes=MAX_RECORD_BYTES)
        except Absent:
            return None

    async def _retain(self) -> None:
        """Count the snapshot just named, and let go of what is not needed any more."""
        if self._pending is None:
            return
        self._counted, self._pending = (*self._counted, self._pending), None
        try:
            await self._retention.run(counted=self._counted, head=self._head.record.seq)
        except AgentTaskError as error:
            # The record is durable, whatever happens here. What stays behind costs room; the next retention finds it.
            self._warn(f"old records and snapshots could not be deleted: {error}")

    async def _put_snapshot(self, key: str, body: bytes) -> bool:
        """Whether the store has this snapshot, by what it gives back."""
        with suppress(Exists):
            await self._store.put_if_absent(key, body, first=False)
        try:
            return await self._store.get(key, max_bytes=len(body)) == body
        except (Absent, TooLarge):
            return False
