"""Pure: which of the records found make the log, and what a writer may conclude from them.

Only the chain of parents counts. A claim may continue an older record than the one before it: what lies between is
abandoned then, for good. Whatever does not fit is bad, whatever its own digest says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from agenttask.errors import Fenced
from agenttask.log.record import Holder, Kind, Record, SnapshotRef


class Bad(NamedTuple):
    """An object that is missing, damaged, or not of this log; `why` is a sentence that names its key."""

    seq: int
    key: str
    why: str


Found: TypeAlias = Record | Bad


class Base(NamedTuple):
    """What a chain begins with: nothing, or the snapshot taken after record `seq` by the holder of the log then."""

    seq: int
    digest: str
    attempt: int
    holder: Holder | None


GENESIS = Base(seq=0, digest="", attempt=0, holder=None)


@dataclass(frozen=True, kw_only=True)
class Chain:
    """The records after a base that lead from parent to child as far as they go."""

    base: Base
    records: tuple[Record, ...]
    misfits: tuple[Bad, ...]
    """Records that are whole but have no place here, or that lie behind one that is bad."""
    below: int | None
    """A claim goes on from this record, which lies before the base: the chain is another one then."""

    @property
    def tip(self) -> int:
        """Number of the newest record on the chain."""
        return self.records[-1].seq if self.records else self.base.seq

    def names(self, snapshot: SnapshotRef) -> bool:
        """Whether a record on the chain makes this snapshot count."""
        return any(record.snapshot == snapshot for record in self.records)


def assemble(*, base: Base, head: int, found: Mapping[int, Found], task: str | None) -> Chain:
    """The chain from `base` among the records found, up to `head`. `task` None: whosever log it is."""
    links: list[Record] = []
    misfits: list[Bad] = []
    attempt, holder = base.attempt, base.holder
    below: int | None = None
    for seq in sorted(found):
        record = found[seq]
        if isinstance(record, Bad) or not base.seq < seq <= head:
            continue
        if record.kind is Kind.CLAIM:
            if record.parent is not None and record.parent.seq < base.seq:
                below = record.parent.seq if below is None else min(below, record.parent.seq)
                continue
            wrong = _claim_misfit(record, base=base, links=links, attempt=attempt, task=task)
            if wrong is None:
                del links[_length(record, base=base, links=links) :]
                links.append(record)
                attempt, holder = record.attempt, record.holder
        else:
            wrong = _misfit(record, base=base, links=links, attempt=attempt, holder=holder)
            if wrong is None:
                links.append(record)
        if wrong is not None:
            misfits.append(Bad(record.seq, record.key, f"record {record.key} {wrong}"))
    return Chain(base=base, records=tuple(links), misfits=tuple(misfits), below=below)


def refuse_if_fenced(found: Mapping[int, Found], *, attempt: int, holder: Holder, base: Base) -> None:
    """`Fenced` if what others have written leaves this writer no right to write, or to claim.

    A newer attempt, this attempt in another pod, or, once this process has claimed, another process of its own pod.
    Whatever they wrote counts, on the chain or not: their claim may be the one record that cannot be read, and they may
    be alive. Of what lies before `base` it knows the newest.
    """
    records = [each for each in found.values() if isinstance(each, Record)]
    marks = [_Mark(each.attempt, each.seq, each.holder, each.key) for each in records]
    if base.holder is not None:
        marks.append(_Mark(base.attempt, base.seq, base.holder, f"the snapshot after record {base.seq}"))
    if not marks or (last := max(marks, key=lambda mark: (mark.attempt, mark.seq))).attempt < attempt:
        return
    if last.attempt > attempt:
        reason = f"attempt {last.attempt} has claimed the log"
    elif last.holder.pod_uid != holder.pod_uid:
        reason = f"another pod ({last.holder.pod_uid}) has claimed the log for attempt {attempt}"
    elif last.holder != holder and any(mark.holder == holder for mark in marks):
        reason = "a newer process of this pod has claimed the log"
    else:
        return
    raise Fenced(f"{reason}: {last.where} is its work", newest_attempt=last.attempt)


class _Mark(NamedTuple):
    """That somebody has held the log."""

    attempt: int
    seq: int
    holder: Holder
    where: str


def _length(claim: Record, *, base: Base, links: list[Record]) -> int | None:
    """How much of the chain the claim's parent ends, or None if that is not on it."""
    seq, digest = (0, "") if claim.parent is None else (claim.parent.seq, claim.parent.digest)
    if (seq, digest) == (base.seq, base.digest):
        return 0
    for index in range(len(links) - 1, -1, -1):
        if (links[index].seq, links[index].digest) == (seq, digest):
            return index + 1
    return None


def _claim_misfit(record: Record, *, base: Base, links: list[Record], attempt: int, task: str | None) -> str | None:
    if task is not None and record.task is not None and record.task != task:
        return f"belongs to {record.task} and not to {task}"
    if record.attempt < attempt:
        return "claims for an older attempt"
    if record.parent is None and record.seq != 1:
        return "begins a log, but is not its first record"
    if _length(record, base=base, links=links) is None:
        return "continues no record of this log"
    return None


def _misfit(record: Record, *, base: Base, links: list[Record], attempt: int, holder: Holder | None) -> str | None:
    before = (links[-1].seq, links[-1].digest) if links else (base.seq, base.digest)
    behind = (0, "") if record.parent is None else (record.parent.seq, record.parent.digest)
    if behind != before or record.seq != before[0] + 1:
        return f"does not continue record {before[0]}"
    if holder is None or (record.attempt, record.holder) != (attempt, holder):
        return "was not written by the holder of the newest claim"
    return None
