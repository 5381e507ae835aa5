"""Claiming a log: the one moment at which a writer becomes the writer.

restore ──► newer claim? ── Fenced
    ▲        final?       ── nothing to claim, its result stands
    │        put a claim at head+1: it names the parent it continues, and what it abandons
    │           ├─ taken by another ──────────┐
    │           └─ mine: put it again, which must be refused
    │                    list behind it ──────┤
    └──────────── something there ◄───────────┘
                  nothing there ──► the claim counts
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeAlias

from agenttask.clock import Clock
from agenttask.errors import Absent, CheckpointCorrupt, CheckpointLost, Exists, Misconfigured
from agenttask.log.chain import GENESIS, refuse_if_fenced
from agenttask.log.keys import Keys
from agenttask.log.record import (
    MAX_RECORD_BYTES,
    Abandoned,
    Draft,
    Holder,
    Kind,
    Origin,
    Record,
    Remarks,
    SnapshotRef,
    build,
    timestamp,
)
from agenttask.log.restore import Reader, Restored
from agenttask.store.base import Store

VANISHED: Final = 10
"""How often a slot may be refused and then be found empty before the store is called broken."""


class Recorded(NamedTuple):
    """The checkpoint a task's status names: the log holds at least this."""

    key: str
    seq: int


class OnCorruption(StrEnum):
    """What to do when a record that is needed cannot be read."""

    REWIND = "Rewind"
    """Go on from the state before it."""
    STALL = "Stall"
    """Touch nothing, and say so."""


class Left(NamedTuple):
    """What a rewind is about to abandon."""

    records: Sequence[Record]
    """Those that can be read; large texts are not in place."""
    unreadable: Sequence[int]


Charge: TypeAlias = Callable[[Left], dict[str, Any]]
"""Says what to charge for abandoned work, in JSON values; the claim keeps it. If it raises, nothing is written."""


class Beginning(NamedTuple):
    """What record 1 of a fork says beside its claim."""

    origin: Origin
    snapshot: SnapshotRef


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """The log is ours: `restored` is what stood before the claim."""

    claim: Record
    restored: Restored


@dataclass(frozen=True, kw_only=True)
class Claimant:
    """An attempt that wants the log."""

    reader: Reader
    task: str
    attempt: int
    holder: Holder
    clock: Clock
    on_corruption: OnCorruption
    charge: Charge
    max_steps: int

    async def claim(self, *, recorded: Recorded | None, beginning: Beginning | None) -> Claimed | Restored:
        """The confirmed claim, or what was restored if the run is over.

        Raises `Fenced`, `CheckpointLost`, `CheckpointCorrupt`, `FormatTooNew` and store errors.
        """
        stake = Stake(store=self.store, keys=self.keys)
        while True:
            restored = await self.reader.newest()
            self._require(recorded, restored)
            self._refuse_if_fenced(restored)
            if restored.final is not None:
                return restored
            draft = self._draft(restored, beginning=beginning if restored.head == 0 else None)
            if await stake.holds(draft):
                return Claimed(claim=draft.record, restored=restored)
            if stake.put:
                self.reader.found[draft.record.seq] = draft.record

    def time(self) -> str:
        """The time of day, as records tell it."""
        return timestamp(self.clock.now())

    @property
    def store(self) -> Store:
        """Where the log lies."""
        return self.reader.store

    @property
    def keys(self) -> Keys:
        """How its objects are called."""
        return self.reader.keys

    def _require(self, recorded: Recorded | None, restored: Restored) -> None:
        if recorded is None:
            return
        if recorded.key != self.keys.record(recorded.seq):
            raise CheckpointLost(f"the recorded checkpoint {recorded.key} does not lie in the log {self.keys.records}")
        if recorded.seq > restored.head:
            last = f"the log ends with {self.keys.record(restored.head)}" if restored.head else "the log is empty"
            raise CheckpointLost(f"the recorded checkpoint {recorded.key} is not in the store: {last}")

    def _refuse_if_fenced(self, restored: Restored) -> None:
        base = GENESIS if restored.base is None else restored.base.start
        refuse_if_fenced(self.reader.found, attempt=self.attempt, holder=self.holder, base=base)

    def _draft(self, restored: Restored, *, beginning: Beginning | None) -> Draft:
        tip = restored.tip
        seq = restored.head + 1
        return build(
            key=self.keys.record(seq),
            seq=seq,
            parent=tip,
            kind=Kind.CLAIM,
            attempt=self.attempt,
            holder=self.holder,
            now=self.clock.now(),
            step=0 if tip is None else tip.step,
            max_steps=self.max_steps,
            retry=0,
            events=(),
            remarks=Remarks(
                task=self.task,
                abandoned=self._abandon(restored),
                damage=restored.damage,
                origin=beginning.origin if beginning else None,
                snapshot=beginning.snapshot if beginning else None,
            ),
        )

    def _abandon(self, restored: Restored) -> Abandoned | None:
        lost = restored.lost
        if lost is None:
            return None
        if self.on_corruption is OnCorruption.STALL:
            raise CheckpointCorrupt(lost.why, key=self.keys.record(lost.first))
        found = [self.reader.found.get(seq) for seq in range(lost.first, lost.last + 1)]
        readable = [each for each in found if isinstance(each, Record)]
        charge = self.charge(Left(records=readable, unreadable=lost.unreadable))
        return Abandoned(first=lost.first, last=lost.last, why=lost.why, unreadable=lost.unreadable, charge=charge)


class Stake:
    """Puts claims until one counts. `ends`: the log is over with it (`Store.put_if_absent`'s `last`)."""

    def __init__(self, *, store: Store, keys: Keys, ends: bool = False) -> None:
        self._store = store
        self._keys = keys
        self._ends = ends
        self._vanished = 0
        self.put = False
        """Whether the last claim is in the log, be it that others are behind it."""

    async def holds(self, draft: Draft) -> bool:
        """Put a claim; whether it counts. Else something is in its slot or behind it: look at the log again.

        `Misconfigured` if the store takes it twice (two attempts could write the same record), and store errors.
        """
        record = draft.record
        self.put = False
        try:
            await put_or_read(draft, store=self._store, last=self._ends)
        except Taken as taken:
            self._vanished += taken.vanished
            if self._vanished > VANISHED:
                raise Misconfigured(f"the store refused {record.key} as existing, then had nothing there") from taken
            return False
        self.put = True
        refused = await self._put_again(draft)
        if await self._store.list(self._keys.records, after=record.key):
            # Taken twice or not: a predecessor's retention may have removed, in between, a claim that came too late.
            return False
        if not refused:
            raise Misconfigured(
                f"the store does not honour put-if-absent (If-None-Match: *): it took {record.key} "
                "twice; use another, or a version of this one that does"
            )
        return True

    async def _put_again(self, draft: Draft) -> bool:
        """Whether the store refuses the claim a second time."""
        try:
            await self._store.put_if_absent(draft.record.key, draft.body, first=draft.record.seq == 1, last=self._ends)
        except Exists:
            return True
        return False


class Taken(Exception):  # noqa: N818 - an answer, and caught by whoever put
    """The slot holds something else: `body`, or nothing any more."""

    def __init__(self, body: bytes | None) -> None:
        super().__init__("the slot is taken")
        self.body = body

    @property
    def vanished(self) -> bool:
        """Whether the slot was found empty after it was refused."""
        return self.body is None


async def put_or_read(draft: Draft, *, store: Store, last: bool = False) -> None:
    """Put a record; on return it is durable. `Taken` if its slot holds something else. A final one is always `last`."""
    record, last = draft.record, last or draft.record.kind is Kind.FINAL
    try:
        await store.put_if_absent(record.key, draft.body, first=record.seq == 1, last=last)
    except Exists:
        try:
            found = await store.get(record.key, max_bytes=MAX_RECORD_BYTES)
        except Absent:
            raise Taken(None) from None
        if found != draft.body:
            raise Taken(found) from None
        # Else an earlier try of ours had landed, though its answer was lost.
