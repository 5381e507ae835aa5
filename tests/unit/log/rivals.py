"""Rival writers of one log, and a witness of all they are promised. What property tests of the log play with.

A state is a list of labels, and one large value and one file, both of which each record replaces, so that blobs come,
are shared, lose their last reference and go. Which value and file belong to a label is written in the label.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from agenttask.clock import Clock
from agenttask.errors import AgentTaskError, CheckpointCorrupt
from agenttask.log import (
    Content,
    Frozen,
    Holder,
    Keys,
    Kind,
    Log,
    Patience,
    Policy,
    Record,
    RecordRef,
    Snapshot,
    attached_to,
    read,
    read_blob,
    survey,
)
from agenttask.log.blob import LARGE_BYTES
from agenttask.store import Store

POLICY: Final = Policy(snapshot_every=3, keep_last=2)
VALUES: Final = 3
FILES: Final = 2


def value_of(label: str) -> str:
    """The large value that comes with this label; a few labels share each."""
    number = int(label.rpartition(":")[2])
    return f"value {number % VALUES}".ljust(LARGE_BYTES + 1 if number % 2 else 100)


def file_of(label: str) -> bytes:
    """The file that comes with this label; some of them are long the same."""
    number = int(label.rpartition(":")[2])
    return f"file {number // 4 % FILES}".encode() * 100


def content_of(label: str) -> Content:
    """How records name that file."""
    return Content(hashlib.sha256(file_of(label)).hexdigest(), len(file_of(label)))


async def holds_file(pieces: AsyncGenerator[bytes, None], label: str) -> bool:
    """Whether the file of this label can be read; it is damaged if not, and never another."""
    try:
        async with aclosing(pieces) as body:
            found = b"".join([piece async for piece in body])
    except CheckpointCorrupt:
        return False
    assert found == file_of(label)
    return True


def frozen(labels: list[str]) -> Frozen:
    """The state after these labels."""
    return Frozen(
        small={"value": value_of(labels[-1]) if labels else None},
        fixed={"prompt": "p" * 2000},
        items=list(labels),
        attached=[content_of(label) for label in labels[-1:]],
    )


def thawed(*, base: Snapshot | None, records: Iterable[Record]) -> list[str]:
    """The labels of a restored state, whose values are looked at too."""
    labels: list[str] = [] if base is None else list(base.items)
    if base is not None:
        assert base.small["value"] == (value_of(labels[-1]) if labels else None)
    for record in records:
        for event in record.events:
            assert event["value"] == value_of(event["label"])
            labels.append(event["label"])
    return labels


@dataclass(kw_only=True)
class Witness:
    """Hears every acknowledgement, and says whether it keeps the log's promises."""

    prefix: str
    acknowledged: list[tuple[RecordRef, str]] = field(default_factory=list)
    claims: dict[int, int] = field(default_factory=dict)
    """Confirmed claims: number of the record, attempt."""
    pods: dict[int, str] = field(default_factory=dict)
    """Which pod has held the log for each attempt."""
    digests: dict[int, str] = field(default_factory=dict)
    damages: int = 0
    """How often something in the store was damaged."""
    _promises: list[tuple[RecordRef, str]] = field(default_factory=list)
    _unreadable: set[int] = field(default_factory=set)

    def damaged(self, seq: int | None) -> None:
        """Something in the store has been damaged: record `seq`, or another object.

        That may cost whatever was acknowledged before, or is later by somebody who began before. A claim that nobody
        can read fences nobody by itself.
        """
        self.damages += 1
        self._promises.clear()
        if seq is not None:
            self._unreadable.add(seq)
            attempt = self.claims.pop(seq, None)
            if attempt is not None and not any(ref.attempt == attempt for ref, _ in self.acknowledged):
                del self.pods[attempt]

    def claimed(self, claim: Record, labels: list[str], *, promised: list[str]) -> None:
        """An attempt holds the log and has restored `labels`; `promised` was acknowledged before it began."""
        self._at(claim.seq, claim.digest)
        holds_in_order(promised, labels)
        if claim.seq in self._unreadable:
            return
        pod = self.pods.setdefault(claim.attempt, claim.holder.pod_uid)
        assert pod == claim.holder.pod_uid, f"two pods hold the log for attempt {claim.attempt}"
        self.claims[claim.seq] = claim.attempt

    def appended(self, ref: RecordRef, label: str, *, began: int) -> None:
        """An append has been acknowledged to somebody who began after so many damages."""
        self._at(ref.seq, ref.digest)
        newer = [seq for seq, attempt in self.claims.items() if attempt > ref.attempt and seq < ref.seq]
        newer += [other.seq for other, _ in self.acknowledged if other.attempt > ref.attempt and other.seq < ref.seq]
        assert not newer, f"attempt {ref.attempt} was told that {ref.seq} is written, behind the newer {newer}"
        self.acknowledged.append((ref, label))
        if began == self.damages:
            self._promises.append((ref, label))

    @property
    def promised(self) -> list[str]:
        """All labels that must be in the log, in its order."""
        return [label for _, label in sorted(self._promises, key=lambda each: each[0].seq)]

    async def look(self, store: Store, *, clock: Clock) -> list[str]:
        """Read the whole log as it is now, past all faults; the labels of its newest state."""
        promised = self.promised
        try:
            found = await read(store=store, prefix=self.prefix, clock=clock, patience=Patience())
        except CheckpointCorrupt:
            assert self.damages, "nothing is damaged"
            assert not promised, f"acknowledged and lost: {promised}"
            return []
        labels = thawed(base=found.base, records=found.records)
        holds_in_order(promised, labels)
        for label in labels[-1:]:
            ref = attached_to(found)[content_of(label)]
            there = await holds_file(read_blob(ref, store=store, keys=Keys(prefix=self.prefix)), label)
            assert there or label not in promised, f"the file of {label} is lost"
        if self.damages:
            return labels
        assert (found.lost, found.damage) == (None, ())
        first = found.records[0].seq if found.records else 0
        assert [record.seq for record in found.records] == list(range(first, first + len(found.records)))
        for record in found.records:
            assert self.digests.get(record.seq, record.digest) == record.digest
        seen = await survey(store=store, prefix=self.prefix, clock=clock, patience=Patience())
        assert seen.problems == (), f"every snapshot kept restores with every blob it names: {seen.problems}"
        return labels

    def _at(self, seq: int, digest: str) -> None:
        assert self.digests.setdefault(seq, digest) == digest, f"two contents acknowledged at {seq}"


def holds_in_order(promised: list[str], labels: list[str]) -> None:
    """What was promised is there, once each and in order."""
    assert len(set(labels)) == len(labels), "something stands in the log twice"
    missing = set(promised) - set(labels)
    assert not missing, f"acknowledged and lost: {sorted(missing)}"
    places = {label: place for place, label in enumerate(labels)}
    assert sorted(places[label] for label in promised) == [places[label] for label in promised]


@dataclass(kw_only=True)
class Rival:
    """One process that wants the log: claims it, then appends until it is told to finish, or fenced."""

    attempt: int
    holder: Holder
    store: Store
    witness: Witness
    clock: Clock
    first_number: int
    """Of its labels; those of all rivals differ."""
    patience: Patience = field(default_factory=lambda: Patience(jitter=lambda: 0.0))
    policy: Policy = POLICY
    steps: int | None = None
    """How many records it writes before it finishes; None: until `finishing`."""
    finishing: bool = False
    finished: bool = False
    error: AgentTaskError | None = None

    async def run(self) -> None:
        """Its whole life. A broken promise comes out as AssertionError."""
        promised, began = self.witness.promised, self.witness.damages
        try:
            opened = await self._open()
            labels = thawed(base=opened.restored.base, records=opened.records)
            if self.witness.damages != began:
                promised = []
            if opened.log is None:
                holds_in_order(promised, labels)
                return
            assert opened.claim is not None
            self.witness.claimed(opened.claim, labels, promised=promised)
            for label in labels[-1:]:
                there = await holds_file(opened.log.read(content_of(label)), label)
                # What whoever has the log by now refers to no more may be gone while this one reads.
                replaced = max(self.witness.claims, default=0) > opened.claim.seq
                assert there or label not in promised or replaced or self.witness.damages != began
            await self._write(opened.log, labels, began=began)
        except AgentTaskError as error:
            self.error = error

    async def _open(self) -> Any:
        return await Log.open(
            store=self.store,
            prefix=self.witness.prefix,
            task="ns/task",
            attempt=self.attempt,
            holder=self.holder,
            recorded=None,
            clock=self.clock,
            patience=self.patience,
            policy=self.policy,
        )

    async def _write(self, log: Log, labels: list[str], *, began: int) -> None:
        number = self.first_number
        while not self.finished:
            if log.snapshot_due:
                await log.snapshot(frozen(labels))
            last = self.finishing or (self.steps is not None and number - self.first_number + 1 >= self.steps)
            label = f"{self.holder.pod_uid}/{self.holder.process}:{number}"
            event = {"label": label, "value": value_of(label)}
            kind = Kind.FINAL if last else Kind.EVENTS
            file = await log.attach(lambda label=label: iter([file_of(label)]))  # type: ignore[misc]
            ref = await log.append(kind=kind, events=[event], step=len(labels) + 1, max_steps=0, attached=[file])
            labels.append(label)
            self.witness.appended(ref, label, began=began)
            self.finished = last
            number += 1
