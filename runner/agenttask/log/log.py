"""The checkpoint log as its holder sees it: open, then append."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from agenttask.clock import Clock
from agenttask.errors import AgentTaskError, Fenced, Unavailable
from agenttask.log.chain import Chain, Keys
from agenttask.log.claim import Claimant, Recorded, put_or_read
from agenttask.log.patience import Patience, PatientStore
from agenttask.log.record import Draft, Event, Holder, Kind, Record, RecordRef, build
from agenttask.store.base import Store


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What opening a log gave."""

    log: Log | None
    """To append to; None if the run is over."""
    records: tuple[Record, ...]
    """All of the log from record 1, in order, verified; the new claim is the last."""
    final: Record | None
    """The record that ended the run, if it is over: nothing was claimed."""
    resumed_from: RecordRef | None
    """The record this attempt goes on from: its claim's parent. None for a new log, or one that is over."""


class Log:
    """A claimed log. Appends may be asked for concurrently; they are written one by one, in the order asked.

    An append that fails otherwise than by `ValueError` or `RecordTooLarge` leaves open whether its record stands in the
    log. Nothing may be written behind it then, so every later append raises the same error again (`Unavailable` if the
    one in flight was cancelled).
    """

    def __init__(
        self,
        *,
        store: Store,
        keys: Keys,
        claim: Record,
        clock: Clock,
    ) -> None:
        self._store = store
        self._keys = keys
        self._head = claim
        self._attempt = claim.attempt
        self._holder = claim.holder
        self._clock = clock
        self._turn = asyncio.Lock()
        self._ended_by: AgentTaskError | None = None

    @classmethod
    async def open(
        cls,
        *,
        store: Store,
        prefix: str,
        attempt: int,
        holder: Holder,
        recorded: Recorded | None,
        clock: Clock,
        patience: Patience,
    ) -> Opened:
        """Restore the log under `prefix` and claim it for `attempt`.

        `recorded` is a lower bound of what the log must hold. Raises `Fenced` (someone newer has it), `CheckpointLost`,
        `CheckpointCorrupt`, `FormatTooNew`, `Misconfigured` (the store takes the same key twice) and store errors;
        `Unavailable` once the store gave no answer for `patience.claim_seconds`.
        """
        patient = PatientStore(store, clock=clock, seconds=patience.claim_seconds, jitter=patience.jitter)
        keys, chain = Keys(prefix=prefix), Chain()
        claimant = Claimant(store=patient, keys=keys, attempt=attempt, holder=holder, clock=clock, chain=chain)
        claim = await claimant.claim(recorded=recorded)
        records = tuple(chain.records)
        if claim is None:
            return Opened(log=None, records=records, final=chain.final, resumed_from=None)
        patient.seconds = patience.append_seconds
        parent = records[-2].ref if len(records) > 1 else None
        log = cls(store=patient, keys=keys, claim=claim, clock=clock)
        return Opened(log=log, records=records, final=None, resumed_from=parent)

    @property
    def head(self) -> RecordRef:
        """The newest durable record: the checkpoint."""
        return self._head.ref

    async def append(
        self, *, kind: Kind, events: Sequence[Event], step: int, max_steps: int, retry: int = 0
    ) -> RecordRef:
        """Write one record behind the head; on return it is durable.

        `events` are JSON objects; what is under their key `volatile` stays out of the progress digest. `retry` counts
        tries that failed before the work recorded. After `Kind.FINAL` nothing can be appended. Raises `Fenced`,
        `Unavailable` (no answer for `patience.append_seconds`), other store errors, and `RecordTooLarge` or
        `ValueError` with nothing written.
        """
        if kind is Kind.CLAIM:
            raise ValueError("a claim is made by opening the log")
        async with self._turn:
            if self._ended_by is not None:
                raise self._ended_by
            if self._head.kind is Kind.FINAL:
                raise ValueError("the log is final")
            draft = build(
                key=self._keys.key(self._head.seq + 1),
                parent=self._head,
                kind=kind,
                attempt=self._attempt,
                holder=self._holder,
                now=self._clock.now(),
                step=step,
                max_steps=max_steps,
                retry=retry,
                events=events,
            )
            self._ended_by = Unavailable(f"whether {draft.record.key} was written is not known")
            try:
                await self._commit(draft)
            except AgentTaskError as error:
                self._ended_by = error
                raise
            self._ended_by = None
            self._head = draft.record
            return self.head

    async def _commit(self, draft: Draft) -> None:
        if (other := await put_or_read(draft, store=self._store)) is not None:
            raise Fenced(
                f"attempt {other.attempt} holds the log: {other.key} is its record", newest_attempt=other.attempt
            )
