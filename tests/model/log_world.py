"""What there is in the model of the checkpoint log: how it is read, and what it promises. `log_model` moves it.

- A record is a `Content` in its slot; a snapshot is the number of the record it stands for, and the blob it names.
- Every plain record brings one value in a blob of its own and lets the value before it go, so that each state names
  exactly one blob, and each blob loses its last reference at the next plain record.
- Damage makes a record or a snapshot unreadable; its place stays taken.

`Weakness` names rules that can be left out. Each must lead to a broken promise: a model that cannot fail shows nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

NONE: Final = -1


class Weakness(StrEnum):
    """A rule left out."""

    DELETE_CLAIMS = "retention deletes claims like other records"
    NO_CONFIRM = "a claim counts without the listing behind it"
    PURGE_CLAIMS = "a purge deletes claims too"
    IGNORE_FINAL = "a log that is over is claimed again"
    IGNORE_PARK = "a park met on restore does not hold the attempt back"
    WAKE_WITHOUT_ID = "the operator says that a park is met, but not which"
    PARK_SEEN_EARLY = "the park is looked for before the claim, not after it"
    SHARE_BLOBS = "a rewinding attempt goes on naming the blobs of older ones"
    NO_REWIND_SNAPSHOT = "a rewinding attempt writes no snapshot of its own"
    REWIND_FORGOTTEN = "an attempt that did not rewind itself writes no snapshot, whatever its chain stands on"
    BLOBS_GO_EARLY = "a blob goes with its last reference, though a kept snapshot names it"
    DELETE_NEWER = "retention deletes what its own state does not name, whoever wrote it"
    CLAIMS_ALONE = "an attempt asks only for claims whether it has been replaced, and not for other records"
    CLAIM_IN_GAP = "a rewinding attempt claims the damaged record's slot instead of head+1"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Bounds of a search, and what can happen in it."""

    attempts: int = 2
    slots: int = 5
    appends: int = 1
    """How often each attempt appends before it finishes."""
    finishes: bool = True
    late: bool = True
    """Whether a PUT may arrive once more."""
    purge: bool = False
    """Whether the newest attempt is a purge."""
    parks: bool = False
    damages: int = 0
    """How many objects go bad; only while attempt 1 alone has written."""
    claims_damaged: int = 0
    """How many claims go bad, at any time."""
    snapshots: bool = False
    weak: frozenset[Weakness] = field(default_factory=frozenset)

    @property
    def purger(self) -> int:
        """The attempt that purges, or NONE."""
        return self.attempts + 1 if self.purge else NONE


class Content(NamedTuple):
    """A record. `names` is the snapshot it makes count."""

    kind: str
    attempt: int
    seq: int
    parent: int
    names: int = NONE


class Writer(NamedTuple):
    """One attempt. `head` is the newest record it knows of, `parent` the one its state continues."""

    attempt: int
    phase: str = "start"
    head: int = NONE
    parent: int = NONE
    appends: int = 0
    wake: int = NONE
    """The park the operator told it is met."""
    early_park: int = NONE
    """The park it restored into at its first listing; for PARK_SEEN_EARLY alone."""
    must_name: bool = False
    """It restored past something bad, so its first record has to name a snapshot of its own."""
    names: int = NONE
    """The snapshot the append under way names."""


Blob: TypeAlias = tuple[int, int]
"""The attempt that wrote it, and the record it came with."""
Slots: TypeAlias = tuple[Content | None, ...]


class World(NamedTuple):
    """Everything there is."""

    store: Slots
    first: Slots
    """The first content each slot ever had."""
    writers: tuple[Writer, ...]
    network: frozenset[Content] = frozenset()
    """PUTs that may still arrive."""
    bad: frozenset[tuple[str, int]] = frozenset()
    snapshots: frozenset[tuple[int, Blob]] = frozenset()
    blobs: frozenset[Blob] = frozenset()
    met: frozenset[int] = frozenset()
    """Parks somebody has told the operator of, each of whose conditions may be met by now."""


CONFIRMED: Final = frozenset({"owner", "appending", "finishing", "parking", "ended", "parked", "purged"})
PUTS: Final = {"claiming": "claim", "appending": "record", "finishing": "final", "parking": "park"}


def start(rules: Rules) -> World:
    """An empty store, and every attempt about to begin."""
    empty: Slots = (None,) * rules.slots
    count = rules.attempts + (1 if rules.purge else 0)
    return World(store=empty, first=empty, writers=tuple(Writer(attempt=n + 1) for n in range(count)))


def put(world: World, content: Content) -> tuple[World, bool]:
    """A conditional PUT: the world after it, and whether the slot was free."""
    seq = content.seq
    if world.store[seq] is not None:
        return world, False
    store = (*world.store[:seq], content, *world.store[seq + 1 :])
    first = world.first
    if first[seq] is None:
        first = (*first[:seq], content, *first[seq + 1 :])
    blobs = world.blobs | {(content.attempt, seq)} if content.kind == "record" else world.blobs
    return world._replace(store=store, first=first, blobs=blobs), True


def top(world: World) -> int:
    """The head: the highest slot taken, readable or not."""
    return max((seq for seq, content in enumerate(world.store) if content is not None), default=NONE)


class Walk(NamedTuple):
    """The chain of parents from a record back to what a restore starts from."""

    seqs: tuple[int, ...]
    """Newest first; those a replay reads."""
    broken_at: int
    """The record that is needed and cannot be read, or NONE."""
    exposed: bool
    """Whether an older writer may think that what is read here can go: a snapshot the chain names was left aside, or a
    rewind has no snapshot behind it yet."""
    missing: str | None
    """A needed object that is gone though nothing damaged it."""


def walk(world: World, head: int) -> Walk:
    """Restore from `head`: back to the newest snapshot named on the chain that verifies, else to the log's start."""
    seqs: list[int] = []
    at, base, exposed = head, NONE, False
    snapshots = dict(world.snapshots)
    while at > base:
        content = world.store[at]
        if content is None or ("record", at) in world.bad:
            gone = None if content is not None else f"record {at} is gone"
            return Walk(tuple(seqs), at, exposed, gone)
        seqs.append(at)
        if content.names != NONE and base == NONE:
            if content.names in snapshots and ("snapshot", content.names) not in world.bad:
                base = content.names
            else:
                exposed = True
        exposed |= content.parent != at - 1
        at = content.parent
    needed = [(content.attempt, at) for at in seqs if (content := world.store[at]) and content.kind == "record"]
    needed += [snapshots[base]] if base != NONE else []
    lost = [blob for blob in needed if blob not in world.blobs]
    return Walk(tuple(seqs), NONE, exposed, f"blob {lost[0]} is gone" if lost else None)


def holds_work(world: World, seqs: tuple[int, ...]) -> bool:
    """Whether a state is more than claims: rewind never reaches an empty one."""
    return any((content := world.store[seq]) and (content.kind != "claim" or content.names != NONE) for seq in seqs)


def restored(world: World, writer: Writer, head: int) -> Writer | None:
    """The writer with the state it found under `head`, or None if it stalls. Records are not lost without damage."""
    found = walk(world, head)
    if found.broken_at == NONE and found.missing is None:
        return writer._replace(head=head, parent=head, must_name=found.exposed)
    for parent in range((found.broken_at if found.broken_at != NONE else head) - 1, NONE, -1):
        before = walk(world, parent)
        if before.broken_at == NONE and before.missing is None and holds_work(world, before.seqs):
            return writer._replace(head=head, parent=parent, must_name=True)
    return None


def value(world: World, seq: int) -> Blob | None:
    """The blob that the state after record `seq` names."""
    snapshots = dict(world.snapshots)
    while seq != NONE:
        if seq in snapshots:
            return snapshots[seq]
        content = world.store[seq]
        if content is None or content.kind == "record":
            return None if content is None else (content.attempt, seq)
        seq = content.parent
    return None


def park_before(world: World, seq: int) -> int:
    """The park a state is in: the newest record on the chain but claims, if that is one."""
    while seq != NONE and (content := world.store[seq]) is not None:
        if content.kind != "claim":
            return seq if content.kind == "park" else NONE
        seq = content.parent
    return NONE


def acknowledged(world: World, writer: Writer, content: Content) -> str | None:
    """The promise that acknowledging this record breaks, if it breaks one.

    A claim that nobody can read any more fences nobody by itself; what was acknowledged behind it does.
    """
    for seq, other in enumerate(world.first[: content.seq]):
        if other is None or other.attempt <= writer.attempt or ("record", seq) in world.bad:
            continue
        if confirmed(world, other):
            return f"attempt {writer.attempt} acknowledged record {content.seq} behind attempt {other.attempt}'s {seq}"
    if world.first[content.seq] not in (None, content):
        return f"{content} acknowledged where {world.first[content.seq]} was"
    if content.kind in ("record", "final") and (park := park_before(world, content.parent)) not in (NONE, writer.wake):
        return f"attempt {writer.attempt} worked on in park {park}, told of {writer.wake}"
    return None


def confirmed(world: World, record: Content) -> bool:
    """Whether this record's attempt has learnt that it holds the log, and that the record is in it."""
    return any(
        writer.attempt == record.attempt and writer.phase in CONFIRMED and writer.head >= record.seq
        for writer in world.writers
    )


def promise(world: World, rules: Rules) -> str | None:
    """What the newest attempt that wrote anything was promised: its state can be restored, blobs included."""
    if not rules.snapshots:
        return None
    newest = max((writer for writer in world.writers if writer.appends), default=None)
    if newest is None or (newest.attempt == 1 and world.bad):
        return None  # what was damaged under attempt 1 may cost it; nothing is damaged later
    found = walk(world, newest.head)
    if found.broken_at != NONE and found.missing is None and rules.claims_damaged:
        return None  # its own claim is what was damaged
    if found.broken_at != NONE or found.missing is not None:
        why = found.missing or f"record {found.broken_at} is bad"
        return f"attempt {newest.attempt} acknowledged record {newest.head}, which is not restorable: {why}"
    return None
