"""Exhaustive search through every order in which a small world's moves can happen, shortest histories first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

World = TypeVar("World", bound=Hashable)


class Move(NamedTuple, Generic[World]):
    """One thing that can happen: a few words, the world after it, and the rule it breaks, if it breaks one."""

    what: str
    world: World
    broken: str | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a search found: all states without a broken rule, or the shortest history that breaks one."""

    states: int
    moves: int
    broken: str | None = None
    history: tuple[str, ...] = ()

    def __str__(self) -> str:
        size = f"{self.states} states, {self.moves} moves"
        if self.broken is None:
            return f"no rule broken: {size}"
        return "\n".join([f"BROKEN: {self.broken} ({size}), after:", *(f"  {what}" for what in self.history)])


def explore(start: World, moves: Callable[[World], Iterator[Move[World]]], *, at_most: int) -> Outcome:
    """Visit every world that can come of `start`. `OverflowError` beyond `at_most` states: the bounds are too wide."""
    came_by: dict[World, tuple[World, str] | None] = {start: None}
    queue, taken = deque([start]), 0
    while queue:
        world = queue.popleft()
        for move in moves(world):
            taken += 1
            if move.broken is not None:
                told = (*_history(came_by, world), move.what)
                return Outcome(states=len(came_by), moves=taken, broken=move.broken, history=told)
            if move.world not in came_by:
                came_by[move.world] = (world, move.what)
                queue.append(move.world)
        if len(came_by) > at_most:
            raise OverflowError(f"more than {at_most} states")
    return Outcome(states=len(came_by), moves=taken)


def _history(came_by: dict[World, tuple[World, str] | None], world: World) -> list[str]:
    told: list[str] = []
    while (step := came_by[world]) is not None:
        world, what = step
        told.append(what)
    return told[::-1]
