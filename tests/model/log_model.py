"""The checkpoint log's protocol: claim, append, final, park, late puts, retention, purge, damage and rewind.

Attempts share one store. A PUT may be applied late by a duplicate (a try that is still in the network), its answer may
be lost, and a writer may stop for any length of time between any two moves, or for ever. Directly after an acknowledged
append its holder may delete what retention lets go, one object at a time, at any later moment at which no append of its
own is under way. A purge claims (also behind a final record), then deletes everything but the claims.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.explore import Move
from tests.model.log_world import (
    NONE,
    PUTS,
    Blob,
    Content,
    Rules,
    Weakness,
    World,
    Writer,
    acknowledged,
    park_before,
    promise,
    put,
    restored,
    top,
    value,
)


def moves(world: World, *, rules: Rules) -> Iterator[Move[World]]:
    """Everything that can happen next."""
    for move in _moves(world, rules):
        yield move if move.broken is not None else move._replace(broken=promise(move.world, rules))


def _moves(world: World, rules: Rules) -> Iterator[Move[World]]:
    for content in world.network:
        yield Move(f"late: {content}", put(world, content)[0]._replace(network=world.network - {content}))
    if len(world.bad) < rules.damages and all(w.phase == "start" for w in world.writers[1:]):
        yield from _damage(world)
    if len(world.bad) < rules.claims_damaged:
        yield from _claims_go_bad(world)
    for index, writer in enumerate(world.writers):
        yield from _Turn(world, rules, index, writer).moves()


def _damage(world: World) -> Iterator[Move[World]]:
    for seq, content in enumerate(world.store):
        if content is not None and content.kind != "claim" and ("record", seq) not in world.bad:
            yield Move(f"record {seq} goes bad", world._replace(bad=world.bad | {("record", seq)}))
    for seq, _ in world.snapshots:
        if ("snapshot", seq) not in world.bad:
            yield Move(f"snapshot {seq} goes bad", world._replace(bad=world.bad | {("snapshot", seq)}))


def _claims_go_bad(world: World) -> Iterator[Move[World]]:
    for seq, content in enumerate(world.store):
        if content is not None and content.kind == "claim" and ("record", seq) not in world.bad:
            yield Move(f"claim {seq} goes bad", world._replace(bad=world.bad | {("record", seq)}))


class _Turn:
    """What one writer may do next."""

    def __init__(self, world: World, rules: Rules, index: int, writer: Writer) -> None:
        self._world = world
        self._rules = rules
        self._index = index
        self._writer = writer
        self._purging = writer.attempt == rules.purger

    def moves(self) -> Iterator[Move[World]]:
        writer = self._writer
        if writer.phase == "start":
            yield from self._begin()
        elif writer.phase in PUTS and writer.head + 1 < self._rules.slots:
            yield from self._put()
        elif writer.phase == "confirming":
            yield from self._confirm()
        elif writer.phase == "owner":
            yield from self._work()
            if writer.appends or self._purging:
                yield from self._retain()

    def _to(self, what: str, world: World, writer: Writer, broken: str | None = None) -> Move[World]:
        writers = (*world.writers[: self._index], writer, *world.writers[self._index + 1 :])
        return Move(f"{self._writer.attempt}: {what}", world._replace(writers=writers), broken)

    def _over(self, seq: int) -> bool:
        """Whether the log ends with a final record that this writer has to respect."""
        content = self._world.store[seq] if seq != NONE else None
        final = content is not None and content.kind == "final" and ("record", seq) not in self._world.bad
        return final and not self._purging and Weakness.IGNORE_FINAL not in self._rules.weak

    def _newer(self) -> bool:
        """Whether anything that can be read is a newer attempt's."""
        alone = Weakness.CLAIMS_ALONE in self._rules.weak
        return any(
            content is not None and content.attempt > self._writer.attempt and (content.kind == "claim" or not alone)
            for seq, content in enumerate(self._world.store)
            if ("record", seq) not in self._world.bad
        )

    def _begin(self) -> Iterator[Move[World]]:
        for wake in (NONE, *self._world.met):
            yield self._go_on(self._world, self._writer._replace(wake=wake), top(self._world), "lists")

    def _go_on(self, world: World, writer: Writer, head: int, what: str) -> Move[World]:
        """From a listing, or a record met in the slot, to the next claim."""
        if self._newer():
            return self._to(f"{what}: fenced", world, writer._replace(phase="fenced"))
        if self._over(head):
            return self._to(f"{what}: over", world, writer._replace(phase="ended", head=NONE))
        ready: Writer | None = writer._replace(head=head, parent=head)
        if (self._rules.damages or self._rules.claims_damaged) and head != NONE:
            ready = restored(world, writer, head)
            if ready is not None and ready.parent == head and Weakness.REWIND_FORGOTTEN in self._rules.weak:
                ready = ready._replace(must_name=False)
        if ready is None:
            return self._to(f"{what}: stalls", world, writer._replace(phase="stalled"))
        if what == "lists":
            ready = ready._replace(early_park=park_before(world, ready.parent))
        if Weakness.CLAIM_IN_GAP in self._rules.weak and ready.parent < ready.head:
            ready = ready._replace(head=ready.parent)
            slot = ready.head + 1
            if ("record", slot) in world.bad:  # as if the damaged object were not there
                cleared = (*world.store[:slot], None, *world.store[slot + 1 :])
                world = world._replace(store=cleared, bad=world.bad - {("record", slot)})
            return self._to(f"{what}, goes on from {ready.parent}", world, ready._replace(phase="claiming"))
        return self._to(f"{what}, goes on from {ready.parent}", world, ready._replace(phase="claiming"))

    def _content(self) -> Content:
        writer = self._writer
        return Content(PUTS[writer.phase], writer.attempt, writer.head + 1, writer.parent, writer.names)

    def _put(self) -> Iterator[Move[World]]:
        writer, content = self._writer, self._content()
        claiming, seq = writer.phase == "claiming", writer.head + 1
        after, free = put(self._world, content)
        for now in (after, after._replace(network=after.network | {content})) if self._rules.late else (after,):
            if free or now.store[seq] == content:
                yield self._acknowledged(now, content)
                yield Move(f"{writer.attempt}: {content.kind} {seq} lands, answer lost", now)
            else:
                yield self._refused(now, claiming=claiming)

    def _acknowledged(self, now: World, content: Content) -> Move[World]:
        writer, what = self._writer, f"{content.kind} {content.seq} acknowledged"
        done = writer._replace(head=content.seq, parent=content.seq, names=NONE)
        broken = acknowledged(now, writer, content)
        match writer.phase:
            case "claiming" if Weakness.NO_CONFIRM in self._rules.weak:
                return self._to(what, now, done._replace(phase="owner"), broken)
            case "claiming":  # not yet believed, so no promise is made
                return self._to(what, now, writer._replace(phase="confirming", head=content.seq))
            case "appending":
                return self._to(
                    what, now, done._replace(phase="owner", appends=writer.appends + 1, must_name=False), broken
                )
            case "parking":
                return self._to(what, now._replace(met=now.met | {content.seq}), done._replace(phase="parked"), broken)
            case _:
                return self._to(what, now, done._replace(phase="ended", appends=writer.appends + 1), broken)

    def _refused(self, now: World, *, claiming: bool) -> Move[World]:
        writer, seq = self._writer, self._writer.head + 1
        if not claiming:
            return self._to(f"refused at {seq}: fenced", now, writer._replace(phase="fenced"))
        return self._go_on(now, writer, seq, f"refused at {seq}")

    def _confirm(self) -> Iterator[Move[World]]:
        """A listing made after the claim's PUT: nothing may stand behind it."""
        writer, head = self._writer, top(self._world)
        if head != writer.head:
            yield self._go_on(self._world, writer, head, "finds more behind its claim")
            return
        first = self._world.first
        done = [seq for seq, content in enumerate(first) if content is not None and content.kind == "final"]
        behind = [seq for seq in range(head + 1, self._rules.slots) if first[seq] is not None]
        broken = f"claimed {head} before {behind}" if behind else None
        if done and not self._purging and not self._world.bad:
            broken = f"finished at {done}, claimed at {head}"
        yield self._to("holds the log", self._world, writer._replace(phase="owner", parent=head), broken)

    def _work(self) -> Iterator[Move[World]]:
        writer, world, rules = self._writer, self._world, self._rules
        if self._purging:
            return
        if rules.parks and not writer.appends and (park := self._held_by()) != NONE:
            yield self._to(
                f"is in park {park}", world._replace(met=world.met | {park}), writer._replace(phase="parked")
            )
            return
        if writer.must_name and Weakness.NO_REWIND_SNAPSHOT not in rules.weak:
            yield from self._rewound()
            return
        if writer.appends < rules.appends:
            yield self._to("appends", world, writer._replace(phase="appending"))
        elif rules.finishes:
            yield self._to("finishes", world, writer._replace(phase="finishing"))
        if rules.parks:
            yield self._to("parks", world, writer._replace(phase="parking"))
        if rules.snapshots and 0 < writer.appends < rules.appends and (blob := value(world, writer.head)) is not None:
            now = world._replace(snapshots=world.snapshots | {(writer.head, blob)})
            yield self._to(f"writes snapshot {writer.head}", now, writer._replace(phase="appending", names=writer.head))

    def _held_by(self) -> int:
        """The park that holds this attempt back, or NONE."""
        weak, writer = self._rules.weak, self._writer
        if Weakness.IGNORE_PARK in weak:
            return NONE
        park = writer.early_park if Weakness.PARK_SEEN_EARLY in weak else park_before(self._world, writer.head)
        if Weakness.WAKE_WITHOUT_ID in weak and writer.wake != NONE:
            return NONE
        return NONE if park == writer.wake else park

    def _rewound(self) -> Iterator[Move[World]]:
        """Copy what the state names under names of one's own, write a snapshot, and name it in the first record."""
        writer, world = self._writer, self._world
        claim = world.store[writer.head]
        blob = None if claim is None else value(world, claim.parent)
        if blob is None or blob not in world.blobs:
            yield self._to("stalls: a blob is gone", world, writer._replace(phase="stalled"))
            return
        own = blob if Weakness.SHARE_BLOBS in self._rules.weak else (writer.attempt, writer.head)
        now = world._replace(blobs=world.blobs | {own}, snapshots=world.snapshots | {(writer.head, own)})
        yield self._to("copies, writes a snapshot", now, writer._replace(phase="appending", names=writer.head))

    def _retain(self) -> Iterator[Move[World]]:
        """Delete one object that is no longer needed; claims never."""
        writer, world, weak = self._writer, self._world, self._rules.weak
        claims_too = (Weakness.PURGE_CLAIMS if self._purging else Weakness.DELETE_CLAIMS) in weak
        kept = self._oldest_kept()
        for seq in range(writer.head if self._purging else kept):
            content = world.store[seq]
            if content is not None and (content.kind != "claim" or claims_too):
                store = (*world.store[:seq], None, *world.store[seq + 1 :])
                yield Move(f"{writer.attempt}: deletes record {seq}", world._replace(store=store))
        if not self._rules.snapshots or kept == 0:
            return
        base = kept - 1
        for snapshot in (each for each in world.snapshots if each[0] < base):
            left = world.snapshots - {snapshot}
            yield Move(f"{writer.attempt}: deletes snapshot {snapshot[0]}", world._replace(snapshots=left))
        for blob in world.blobs - self._needed(base):
            if blob[0] <= writer.attempt or Weakness.DELETE_NEWER in weak:
                yield Move(f"{writer.attempt}: deletes blob {blob}", world._replace(blobs=world.blobs - {blob}))

    def _oldest_kept(self) -> int:
        """Records below this number may go. Without snapshots: all but the newest two, harsher than any retention."""
        if not self._rules.snapshots:
            return max(self._writer.head - 1, 0)
        at = self._writer.head
        while at != NONE and (content := self._world.store[at]) is not None:
            if content.names != NONE:
                return content.names + 1
            at = content.parent
        return 0

    def _needed(self, base: int) -> frozenset[Blob]:
        """Blobs that this writer's chain still names from the oldest kept snapshot on."""
        world, at = self._world, self._writer.head
        needed = {blob for seq, blob in world.snapshots if seq == base}
        if Weakness.BLOBS_GO_EARLY in self._rules.weak:
            return frozenset({blob for blob in (value(world, at),) if blob is not None})
        while at > base and (content := world.store[at]) is not None:
            needed.add((content.attempt, at))
            at = content.parent
        return frozenset(needed)
