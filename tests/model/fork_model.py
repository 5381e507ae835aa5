"""A fork of the checkpoint log as a world of small values: copy state and blobs, then record 1, the claim that carries
the origin.

The original is a set of objects that its own retention, or a purge, may delete at any moment, one at a time. Attempts
of the fork may be killed, or sleep, between any two moves; an attempt that owns the fork deletes what older attempts
left behind and nothing names. Late puts are not modelled: `log_model` has them, and claims are never deleted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

from tests.model.explore import Move

SOURCE: Final = 0
"""In place of an attempt: the object lies under the original's prefix."""


class Weakness(StrEnum):
    """A rule left out."""

    CLAIM_FIRST = "the claim is written before what it names is copied"
    SHARE = "the fork names the original's blobs instead of copying them"
    COPY_AGAIN = "an attempt that finds a claim copies again"
    KEEP_OWN_NAMES = "an attempt whose claim was refused goes on with its own copies"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Bounds of a search."""

    attempts: int = 3
    objects: int = 2
    """What there is to copy: snapshot and blobs, without a difference."""
    weak: frozenset[Weakness] = field(default_factory=frozenset)


Name: TypeAlias = tuple[int, int]
"""The attempt that wrote a copy (or SOURCE), and which object it is a copy of."""


class Writer(NamedTuple):
    """One attempt of the fork. `read` are the originals it has in hand, `names` what its state names."""

    attempt: int
    phase: str = "start"
    head: int = -1
    read: int = 0
    names: frozenset[Name] = frozenset()


class Claim(NamedTuple):
    """A record of the fork; the first one names what was copied."""

    attempt: int
    names: frozenset[Name]


class World(NamedTuple):
    """Everything there is."""

    source: frozenset[int]
    copies: frozenset[Name]
    log: tuple[Claim, ...]
    writers: tuple[Writer, ...]


def start(rules: Rules) -> World:
    """A whole original, an empty fork, and every attempt about to begin."""
    writers = tuple(Writer(attempt=number + 1) for number in range(rules.attempts))
    return World(source=frozenset(range(rules.objects)), copies=frozenset(), log=(), writers=writers)


def moves(world: World, *, rules: Rules) -> Iterator[Move[World]]:
    """Everything that can happen next."""
    for move in _moves(world, rules):
        yield move if move.broken is not None else move._replace(broken=_promise(move.world))


def _promise(world: World) -> str | None:
    """A fork that has a claim has all that the claim names, under its own prefix."""
    for name in world.log[0].names if world.log else ():
        if name[0] == SOURCE:
            return f"the fork's record 1 names {name} of the original"
        if name not in world.copies:
            return f"the fork's record 1 names {name}, which is not there"
    return None


def _moves(world: World, rules: Rules) -> Iterator[Move[World]]:
    for item in world.source:
        yield Move(f"the original loses {item}", world._replace(source=world.source - {item}))
    for index, writer in enumerate(world.writers):
        for what, now, after, broken in _turn(world, writer, rules):
            writers = (*world.writers[:index], after, *world.writers[index + 1 :])
            yield Move(f"{writer.attempt}: {what}", now._replace(writers=writers), broken)


def _turn(world: World, writer: Writer, rules: Rules) -> Iterator[tuple[str, World, Writer, str | None]]:
    match writer.phase:
        case "start" if world.log and Weakness.COPY_AGAIN not in rules.weak:
            yield "finds a claim", world, _behind(world, writer), None
        case "start":
            claims_first = Weakness.CLAIM_FIRST in rules.weak
            names = frozenset((writer.attempt, item) for item in range(rules.objects)) if claims_first else frozenset()
            phase = "claiming" if claims_first else "copying"
            found = len(world.log) - 1
            yield "finds an empty log", world, writer._replace(phase=phase, head=found, names=names), None
        case "copying":
            yield _copy(world, writer, rules)
        case "claiming":
            yield _claim(world, writer, rules)
        case "owner":
            orphans = {name for name in world.copies - writer.names if name[0] < writer.attempt}
            for name in orphans:
                yield f"deletes the orphan {name}", world._replace(copies=world.copies - {name}), writer, None
        case _:
            return


def _copy(world: World, writer: Writer, rules: Rules) -> tuple[str, World, Writer, str | None]:
    """Read one object of the original and write it under a name of one's own; once all are there, go and claim."""
    if writer.read == rules.objects:
        return "has copied all", world, writer._replace(phase="claiming"), None
    if writer.read not in world.source:
        broken = None if writer.head == -1 else "an attempt that found a claim needs the original"
        return f"{writer.read} is gone: CheckpointGone", world, writer._replace(phase="gone"), broken
    share = Weakness.SHARE in rules.weak
    name = (SOURCE if share else writer.attempt, writer.read)
    now = world if share else world._replace(copies=world.copies | {name})
    return f"copies {writer.read}", now, writer._replace(read=writer.read + 1, names=writer.names | {name}), None


def _claim(world: World, writer: Writer, rules: Rules) -> tuple[str, World, Writer, str | None]:
    slot = writer.head + 1
    if slot < len(world.log):  # taken
        after = _behind(world, writer)
        if Weakness.KEEP_OWN_NAMES in rules.weak:
            after = after._replace(names=writer.names)
        return f"refused at {slot}", world, after, None
    now = world._replace(log=(*world.log, Claim(writer.attempt, writer.names)))
    after = writer._replace(phase="owner", head=slot)
    broken = None
    if any(name not in now.copies for name in writer.names):
        broken = f"attempt {writer.attempt} holds a fork that lacks some of {sorted(writer.names)}"
    return f"claims {slot}", now, after, broken


def _behind(world: World, writer: Writer) -> Writer:
    """Go on from the newest record, with what the first one names."""
    if any(claim.attempt > writer.attempt for claim in world.log):
        return writer._replace(phase="fenced")
    return writer._replace(phase="claiming", head=len(world.log) - 1, names=world.log[0].names)
