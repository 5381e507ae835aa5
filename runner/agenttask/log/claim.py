"""Claiming a log: the one moment at which a writer becomes the writer.

catch up ──► newer claim? ── Fenced
    ▲        final?       ── nothing to claim, its result stands
    │        put a claim at head+1
    │           ├─ taken by another ──► apply it ─┐
    │           └─ mine: put it again, which must │be refused
    │                    list behind it ──────────┤
    └──────────── something there ◄───────────────┘
                  nothing there ──► the claim counts
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from agenttask.clock import Clock
from agenttask.errors import Absent, CheckpointLost, Exists, Misconfigured
from agenttask.log.chain import Chain, Keys
from agenttask.log.reader import catch_up
from agenttask.log.record import MAX_RECORD_BYTES, Draft, Holder, Kind, Record, build, parse
from agenttask.store.base import Store


class Recorded(NamedTuple):
    """The checkpoint a task's status names: the log holds at least this."""

    key: str
    seq: int


@dataclass(frozen=True, kw_only=True)
class Claimant:
    """An attempt that wants the log. After `claim`, `chain` holds all records, its own claim included."""

    store: Store
    keys: Keys
    attempt: int
    holder: Holder
    clock: Clock
    chain: Chain

    async def claim(self, *, recorded: Recorded | None) -> Record | None:
        """The confirmed claim, or None if the run is over (`chain.final`).

        Raises `Fenced`, `CheckpointLost`, `CheckpointCorrupt`, `FormatTooNew` and store errors.
        """
        await self._catch_up()
        self._require(recorded)
        while True:
            self.chain.refuse_if_fenced(attempt=self.attempt, holder=self.holder)
            if self.chain.final is not None:
                return None
            draft = self._draft()
            if (taken := await put_or_read(draft, store=self.store)) is not None:
                self.chain.extend(taken)
                continue
            self.chain.extend(draft.record)
            await self._prove_put_if_absent(draft)
            if not await self._catch_up():
                return draft.record

    async def _catch_up(self) -> bool:
        return await catch_up(self.chain, store=self.store, keys=self.keys)

    def _require(self, recorded: Recorded | None) -> None:
        if recorded is None:
            return
        if recorded.key != self.keys.key(recorded.seq):
            raise CheckpointLost(f"the recorded checkpoint {recorded.key} does not lie in the log {self.keys.folder}")
        if recorded.seq >= self.chain.next_seq:
            head = self.chain.head
            last = "the log is empty" if head is None else f"the log ends with {head.key}"
            raise CheckpointLost(f"the recorded checkpoint {recorded.key} is not in the store: {last}")

    def _draft(self) -> Draft:
        head = self.chain.head
        return build(
            key=self.keys.key(self.chain.next_seq),
            parent=head,
            kind=Kind.CLAIM,
            attempt=self.attempt,
            holder=self.holder,
            now=self.clock.now(),
            step=0 if head is None else head.step,
            max_steps=0 if head is None else head.max_steps,
            retry=0,
            events=(),
        )

    async def _prove_put_if_absent(self, draft: Draft) -> None:
        """Put the claim again: a store that takes it would also let two attempts write the same record."""
        try:
            await self.store.put_if_absent(draft.record.key, draft.body, first=draft.record.parent is None)
        except Exists:
            return
        raise Misconfigured(
            f"the store does not honour put-if-absent (If-None-Match: *): it took {draft.record.key} twice"
        )


async def put_or_read(draft: Draft, *, store: Store) -> Record | None:
    """Put a record. None if it is durable; the other record if its slot was taken by one."""
    record = draft.record
    try:
        await store.put_if_absent(record.key, draft.body, first=record.parent is None)
    except Exists:
        try:
            found = await store.get(record.key, max_bytes=MAX_RECORD_BYTES)
        except Absent as error:
            raise Misconfigured(f"the store refused {record.key} as existing, then had nothing there") from error
        if found == draft.body:
            return None  # an earlier try of ours had landed, though its answer was lost
        return parse(key=record.key, seq=record.seq, body=found)
    return None
