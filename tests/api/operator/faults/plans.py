"""What may be done to an operator's requests in the midst of a life: plans, and those that judge each request."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from agenttask_operator.observed import Pod

from tests.api.operator.faults.proxy import Call, Fate, Judge, Lines, passing, straight

MODES: Final = (Fate.BEFORE, Fate.LOST, Fate.AFTER)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is done to the first operator's requests."""

    name: str
    """For the report: plans of one name are counted together."""
    detail: str = ""
    judge: Judge = passing
    lines: Lines = straight
    """What becomes of its watches, where it has any."""
    both: bool = False
    looks: int = 1
    """See `Operators.looks`."""
    once: bool = False
    """Whether it kills or holds the operator exactly once; a whole process, at least once."""
    lists: bool = False
    """Whether no listing of all pods has ended yet: the operator then lists a task's pods, and reads none by name."""
    watch: Callable[[list[Pod]], list[Pod]] = list
    """Of the pods there are, what its watch has shown; where it is not `lists`."""
    late: bool = False
    """Whether a pod may be made late, for an attempt that is over, as long as it is deleted thereupon."""
    past: bool = False
    """Whether reads show the past: an ended pod shown as live may go before its time, and its logs with it;
    and an attempt whose kubelet's word was not seen counts as unreported, which makes the next one more careful."""


def at_write(number: int, fate: Fate) -> Judge:
    """This fate for the write of this number."""
    return lambda call: fate if call.write == number else Fate.PASS


def crash_plans(writes: list[str]) -> Iterator[Plan]:
    """Three for each write."""
    for number, name in enumerate(writes, start=1):
        for fate in MODES:
            yield Plan(name=f"killed {fate}", once=True, detail=f"write {number}, {name}", judge=at_write(number, fate))


def pause_plans(writes: list[str]) -> Iterator[Plan]:
    """One for each write but an Event: held while another operator leads to the end."""
    for number, name in enumerate(writes, start=1):
        if "event" not in name:
            yield Plan(
                name="paused", once=True, late=True, detail=f"write {number}, {name}", judge=at_write(number, Fate.HELD)
            )


def storm_plans() -> Iterator[Plan]:
    """Trouble of the server that kills nobody, all through a life."""
    for fate in (Fate.RESET, Fate.BUSY, Fate.DOWN, Fate.BROKEN):
        yield Plan(name="storms", detail=f"{fate} on two of five requests", judge=storm(fate))
    yield Plan(
        name="stale reads",
        detail="after each write the next two reads",
        judge=Stale(reads=2),
        past=True,
        looks=3,
        lists=True,
    )
    stale = Stale(reads=2, of="read pod")
    yield Plan(
        name="stale reads",
        detail="after each write the next list alone",
        judge=stale,
        past=True,
        looks=3,
        lists=True,
    )
    yield Plan(name="two at once", detail="every reconcile by both", both=True)


def storm(fate: Fate) -> Judge:
    """This fate for two of five requests, always the same ones: in turns, it would find the same call each time."""
    source = random.Random(0)
    return lambda _: fate if source.random() < 0.4 else Fate.PASS


class Stale:
    """After each write, some reads show what was before it. Only then: a past that lasts is no server's."""

    def __init__(self, *, reads: int, of: str | None = None) -> None:
        self._reads = reads
        self._of = of
        self._left = 0
        self._fooled = False

    def __call__(self, call: Call) -> Fate:
        if call.write is not None:
            # A write that follows from the past is refused, and shows nothing new.
            self._left = 0 if self._fooled else self._reads
            self._fooled = False
            return Fate.PASS
        if self._left == 0:
            return Fate.PASS
        self._left -= 1
        self._fooled = True
        return Fate.STALE if self._of in (None, call.name) else Fate.PASS


class Mixed:
    """Anything at any request, by a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def __call__(self, call: Call) -> Fate:
        if self._random.random() < 0.7:
            return Fate.PASS
        fates = _AT_READS if call.write is None else _AT_WRITES
        return self._random.choice(fates)


_AT_READS: Final = (Fate.RESET, Fate.BUSY, Fate.DOWN, Fate.STALE, Fate.STALE, Fate.AFTER)
_AT_WRITES: Final = (Fate.BEFORE, Fate.LOST, Fate.AFTER, Fate.RESET, Fate.BUSY, Fate.DOWN)


class Late:
    """A watch that now and then has not shown yet what is new; the next time it has."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._last: list[Pod] | None = None

    def __call__(self, pods: list[Pod]) -> list[Pod]:
        if self._last is not None and self._random.random() < 0.4:
            shown, self._last = self._last, None
            return shown
        self._last = pods
        return pods


def mixed_plan(seed: int) -> Plan:
    """A mix of everything: for each third seed two operators at once, for each other one before their first listing."""
    return Plan(
        name="random",
        detail=f"SEED={seed}",
        judge=Mixed(seed),
        both=seed % 3 == 0,
        late=True,
        past=True,
        looks=3,
        lists=seed % 2 == 0,
        watch=Late(seed),
    )
