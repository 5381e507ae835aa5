"""Attached content that goes and comes back, as a world of small values: reuse, snapshots, retention, damage.

There is one content. Each state of the log refers to it or not; it lies in the newest blob that a record or the
snapshot before has named. A writer attaches it (which uses a blob again, or writes one), then appends a record that
refers to it; other records, and a snapshot, may come in between. The next attempt claims at any moment, and the one
before may still be deleting what its last append let go. A blob may go bad while the first attempt alone has begun: the
next has to notice before it relies on it. Kept is one snapshot, the harshest retention there is; nothing is rewound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

from tests.model.explore import Move

LIVE: Final = -1
"""In place of the record at which a blob lost its last reference."""


class Weakness(StrEnum):
    """A rule left out."""

    RETIRED_USED_AGAIN = "a blob that nothing refers to any more is used again as long as it is there"
    UNREAD_USED_AGAIN = "a blob of an earlier attempt is used again without being read"
    NOT_PINNED = "a blob that was attached, and not yet appended, counts as unreferenced in a snapshot"
    ORPHANS_UNLISTED = "a holder deletes as orphans what its state does not refer to, though its table has it"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Bounds of a search."""

    attempts: int = 2
    records: int = 6
    blobs: int = 2
    """How many each attempt may write."""
    damages: int = 1
    weak: frozenset[Weakness] = field(default_factory=frozenset)


Blob: TypeAlias = tuple[int, int]
"""The attempt that wrote it, and its number there."""
Table: TypeAlias = frozenset[tuple[Blob, int]]
"""The blobs a log is known to have, each with the record at which it lost its last reference, or LIVE."""


class Snapshot(NamedTuple):
    """Of the state after record `seq`."""

    seq: int
    table: Table


class Record(NamedTuple):
    """`refers`: whether the state after it refers to the content; `by`: the attempt that has attached it, else 0."""

    attempt: int
    refers: bool = False
    by: int = 0
    names: Blob | None = None
    counts: Snapshot | None = None
    """The snapshot that it makes count."""


class Writer(NamedTuple):
    """One attempt."""

    attempt: int
    phase: str = "start"
    table: Table = frozenset()
    unread: frozenset[Blob] = frozenset()
    given_up: frozenset[Blob] = frozenset()
    """Found bad; not used again, and kept as long as the state refers to it."""
    pinned: Blob | None = None
    pending: Snapshot | None = None
    doomed: frozenset[Blob] = frozenset()
    """What its last append let go, and it has not deleted yet."""
    written: int = 0


class World(NamedTuple):
    """Everything there is."""

    log: tuple[Record, ...]
    blobs: frozenset[Blob]
    bad: frozenset[Blob]
    writers: tuple[Writer, ...]


def start(rules: Rules) -> World:
    """An empty log, and every attempt about to begin."""
    writers = tuple(Writer(attempt=number + 1) for number in range(rules.attempts))
    return World(log=(), blobs=frozenset(), bad=frozenset(), writers=writers)


def moves(world: World, *, rules: Rules) -> Iterator[Move[World]]:
    """Everything that can happen next."""
    for move in _moves(world, rules):
        yield move._replace(broken=_promise(move.world))


def _promise(world: World) -> str | None:
    """What the newest state refers to can be had, unless it went bad under the attempt that attached it."""
    if not world.log or not world.log[-1].refers:
        return None
    blob = _find(_restored(world.log))
    if blob is None or blob not in world.blobs:
        return f"record {len(world.log) - 1} refers to content in {blob}, which is not there"
    if blob in world.bad and world.log[-1].by > blob[0]:
        return f"attempt {world.log[-1].by} relies on {blob}, which had gone bad before"
    return None


def _restored(log: tuple[Record, ...]) -> Table:
    """The table of who restores this log: the newest snapshot's, and what the records behind it name."""
    base = next((record.counts for record in reversed(log) if record.counts is not None), Snapshot(-1, frozenset()))
    table = base.table
    for record in log[base.seq + 1 :]:
        if record.names is not None:
            table = _with(table, record.names)
    return table


def _with(table: Table, blob: Blob) -> Table:
    return frozenset({*(each for each in table if each[0] != blob), (blob, LIVE)})


def _find(table: Table, *, given_up: frozenset[Blob] = frozenset()) -> Blob | None:
    """The blob to use again: of several the newest."""
    return max((blob for blob, lost_at in table if lost_at == LIVE and blob not in given_up), default=None)


def _moves(world: World, rules: Rules) -> Iterator[Move[World]]:
    if len(world.bad) < rules.damages and all(writer.phase == "start" for writer in world.writers[1:]):
        for blob in world.blobs - world.bad:
            yield Move(f"blob {blob} goes bad", world._replace(bad=world.bad | {blob}))
    for index, writer in enumerate(world.writers):
        for what, now, after in _turn(world, writer, rules):
            writers = (*world.writers[:index], after, *world.writers[index + 1 :])
            yield Move(f"{writer.attempt}: {what}", now._replace(writers=writers))


def _turn(world: World, writer: Writer, rules: Rules) -> Iterator[tuple[str, World, Writer]]:
    newest = world.log[-1] if world.log else Record(0)
    if writer.doomed:  # deletes before it does anything else, however long that takes it
        for blob in writer.doomed:
            yield (
                f"deletes blob {blob}",
                world._replace(blobs=world.blobs - {blob}),
                writer._replace(doomed=writer.doomed - {blob}),
            )
    elif writer.phase == "start" and newest.attempt < writer.attempt and len(world.log) < rules.records:
        table = _restored(world.log)
        live = frozenset(blob for blob, lost_at in table if lost_at == LIVE)
        claim = newest._replace(attempt=writer.attempt, names=None, counts=None)
        after = writer._replace(phase="owner", table=table, unread=live)
        yield "claims", world._replace(log=(*world.log, claim)), after
    elif writer.phase == "owner":
        if writer.pinned is None:
            yield from _attach(world, writer, rules)
        if writer.pending is None:
            yield _snapshot(world, writer, rules)
        if newest.attempt != writer.attempt:
            yield "is refused: fenced", world, Writer(writer.attempt, phase="fenced")
        elif len(world.log) < rules.records:
            yield from _append(world, writer, rules)


def _attach(world: World, writer: Writer, rules: Rules) -> Iterator[tuple[str, World, Writer]]:
    """Use a live blob again, read if it was not yet, or write one."""
    known = _find(writer.table, given_up=writer.given_up)
    if known is None and Weakness.RETIRED_USED_AGAIN in rules.weak:
        known = max((blob for blob, _ in writer.table if blob in world.blobs), default=None)
    if known is not None and known in writer.unread and Weakness.UNREAD_USED_AGAIN not in rules.weak:
        writer = writer._replace(unread=writer.unread - {known})
        if known in world.bad or known not in world.blobs:
            writer, known = writer._replace(given_up=writer.given_up | {known}), None
    if known is not None:
        yield f"attaches {known} again", world, writer._replace(table=_with(writer.table, known), pinned=known)
    elif writer.written < rules.blobs:
        blob = (writer.attempt, writer.written)
        after = writer._replace(table=_with(writer.table, blob), pinned=blob, written=writer.written + 1)
        yield f"attaches {blob}", world._replace(blobs=world.blobs | {blob}), after


def _snapshot(world: World, writer: Writer, rules: Rules) -> tuple[str, World, Writer]:
    """Of the state after the newest record it knows: what that does not refer to has lost its last reference."""
    seq = max(seq for seq, record in enumerate(world.log) if record.attempt == writer.attempt)
    used = _find(writer.table, given_up=writer.given_up) if world.log[seq].refers else None
    held = {used, None if Weakness.NOT_PINNED in rules.weak else writer.pinned}
    table = frozenset((blob, seq if at == LIVE and blob not in held else at) for blob, at in writer.table)
    return f"writes snapshot {seq}", world, writer._replace(table=table, pending=Snapshot(seq, table))


def _append(world: World, writer: Writer, rules: Rules) -> Iterator[tuple[str, World, Writer]]:
    """One more record: it refers to what was attached, lets the content go, or does neither."""
    newest = world.log[-1]
    seq, counts = len(world.log), writer.pending
    same = newest._replace(names=None, counts=counts)
    without = Record(writer.attempt, counts=counts)
    made = [("appends", same, writer), ("lets go", without, writer)]
    if writer.pinned is not None:
        record = Record(writer.attempt, refers=True, by=writer.attempt, names=writer.pinned, counts=counts)
        after = writer._replace(pinned=None, table=_with(writer.table, writer.pinned))
        made.append(("refers to it", record, after))
    for what, record, after in made:
        now = world._replace(log=(*_kept(world.log, counts), record))
        yield f"{what} with record {seq}", now, _retain(now, after, rules)


def _kept(log: tuple[Record, ...], counts: Snapshot | None) -> tuple[Record, ...]:
    """What a restore may still read of the log, once this snapshot counts."""
    if counts is None:
        return log
    behind = (record._replace(counts=None) for record in log[counts.seq + 1 :])
    return (*(Record(record.attempt) for record in log[: counts.seq + 1]), *behind)


def _retain(world: World, writer: Writer, rules: Rules) -> Writer:
    """What goes once the snapshot pending counts, which is the only one kept then."""
    kept = writer.pending
    if kept is None:
        return writer
    doomed = {blob for blob, lost_at in writer.table if lost_at != LIVE and lost_at <= kept.seq}
    known = {blob for blob, _ in writer.table}
    if Weakness.ORPHANS_UNLISTED in rules.weak:
        known = {writer.pinned} if writer.pinned is not None else set()
    doomed |= {blob for blob in world.blobs - known if blob[0] < writer.attempt}
    table = frozenset(each for each in writer.table if each[0] not in doomed)
    return writer._replace(pending=None, doomed=frozenset(doomed & world.blobs), table=table)
