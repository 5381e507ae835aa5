"""Pure: the records of a log in order, and what a writer may conclude from them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from agenttask.errors import CheckpointCorrupt, Fenced
from agenttask.log.record import Holder, Kind, Record

_NAME: Final = re.compile(r"[0-9]{12}")


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Where the log of one task lies: `<prefix>/log/<seq, 12 digits>`."""

    prefix: str

    @property
    def folder(self) -> str:
        """With its final slash."""
        return f"{self.prefix}/log/"

    def key(self, seq: int) -> str:
        """Key of record `seq`."""
        return f"{self.folder}{seq:012d}"

    def seq(self, key: str) -> int | None:
        """The record's number, or None if this is no record's key."""
        name = key.removeprefix(self.folder)
        return int(name) if _NAME.fullmatch(name) else None


@dataclass(kw_only=True)
class Chain:
    """Records 1 to head, each verified against the one before it."""

    records: list[Record] = field(default_factory=list)
    _claim: Record | None = None

    @property
    def head(self) -> Record | None:
        """The newest record."""
        return self.records[-1] if self.records else None

    @property
    def next_seq(self) -> int:
        """The slot behind the head."""
        return len(self.records) + 1

    @property
    def final(self) -> Record | None:
        """The head, if the run is over."""
        return self.head if self.head is not None and self.head.kind is Kind.FINAL else None

    def extend(self, record: Record) -> None:
        """Add the next record. `CheckpointCorrupt` if it does not belong there."""
        if (wrong := self._misfit(record)) is not None:
            raise CheckpointCorrupt(f"record {record.key} {wrong}", key=record.key)
        self.records.append(record)
        if record.kind is Kind.CLAIM:
            self._claim = record

    def refuse_if_fenced(self, *, attempt: int, holder: Holder) -> None:
        """`Fenced` if the newest claim leaves this writer no right to write, or to claim.

        Claims only ever grow, so the newest decides: a newer attempt, this attempt in another pod, or, once this
        process has claimed, another process of its own pod.
        """
        claim = self._claim
        if claim is None or claim.attempt < attempt or (claim.attempt, claim.holder) == (attempt, holder):
            return
        mine = any(record.attempt == attempt and record.holder == holder for record in self.records)
        if claim.attempt > attempt:
            reason = f"attempt {claim.attempt} has claimed the log"
        elif claim.holder.pod_uid != holder.pod_uid:
            reason = f"another pod ({claim.holder.pod_uid}) has claimed the log for attempt {attempt}"
        elif mine:
            reason = "a newer process of this pod has claimed the log"
        else:
            return
        raise Fenced(f"{reason}, in {claim.key}", newest_attempt=claim.attempt)

    def _misfit(self, record: Record) -> str | None:
        head, claim = self.head, self._claim
        behind = None if record.parent is None else (record.parent.seq, record.parent.digest)
        if record.seq != self.next_seq or behind != (None if head is None else (head.seq, head.digest)):
            return f"does not continue record {'none' if head is None else head.key}"
        if record.kind is Kind.CLAIM:
            return "claims for an older attempt" if claim is not None and record.attempt < claim.attempt else None
        if claim is None or (record.attempt, record.holder) != (claim.attempt, claim.holder):
            return "was not written by the holder of the newest claim"
        return None
