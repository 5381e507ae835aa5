"""What each command works with: a place, its store, a screen, and which log and which state of it are meant."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from agenttask.agent.state import State
from agenttask.clock import Clock
from agenttask.errors import CheckpointCorrupt, CheckpointLost, NotFound
from agenttask.journal import restore
from agenttask.log import Keys, Kind, Patience, Restored, Survey, read, survey
from agenttask.logtool import purged
from agenttask.logtool.place import Place
from agenttask.logtool.runs import Listed, logs_below
from agenttask.logtool.screen import Screen
from agenttask.store import Store

NAMED: Final = 10
"""Runs that an error names."""


class UsageError(Exception):
    """The command line does not say what is to be done."""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What a command works with."""

    place: Place
    store: Store
    """The place's."""
    patient: Store
    """The same, for calls of one's own: the log has patience itself."""
    screen: Screen
    clock: Clock
    patience: Patience
    output: str
    at: int | None = None
    full: bool = False
    keep_last: int | None = None
    yes: bool = False
    files: Path | None = None

    async def log(self) -> str:
        """The prefix of the one log that is meant. `NotFound`, or `UsageError` if there are several."""
        logs = await self.logs()
        if len(logs) == 1 or self.place.path in logs:
            return self.place.path if self.place.path in logs else next(iter(logs))
        if not logs:
            raise NotFound(f"there is no log at or below {self.place.address(self.place.path)}")
        named = "".join(f"\n  {self.place.address(each)}" for each in islice(logs, NAMED))
        more = f"\n  and {len(logs) - NAMED} more: agenttask log ls" if len(logs) > NAMED else ""
        raise UsageError(f"there are {len(logs)} logs; name one:{named}{more}")

    async def logs(self) -> dict[str, Listed]:
        """All logs of the place, by their prefixes."""
        return await logs_below(self.place.path, store=self.patient)

    async def read(self, log: str) -> tuple[Restored, State]:
        """The state that is asked for, put together. Raises what reading a log raises."""
        found = await self.restored(log)
        return found, restore(base=found.base, records=found.records)

    async def restored(self, log: str) -> Restored:
        """The state that is asked for, as what makes it up. Raises what reading a log raises."""
        purge = await purged.purge_of(log, store=self.patient)
        try:
            found = await self._read(log, at=self.at)
        except (CheckpointLost, CheckpointCorrupt) as error:
            if purge is not None:
                raise CheckpointLost(f"{purged.words(purge)}: nothing is left to read") from error
            if self.at is None:
                raise
            raise CheckpointLost(await self._reach(log)) from error
        if purge is None:
            return found
        if found.base is None and all(record.kind is Kind.CLAIM for record in found.records):
            raise CheckpointLost(f"{purged.words(purge)}: nothing is left to read")
        self.screen.warn(f"{purged.words(purge)}, and what is shown here is still to be removed")
        return found

    async def _read(self, log: str, *, at: int | None) -> Restored:
        return await read(store=self.store, prefix=log, clock=self.clock, patience=self.patience, at=at)

    async def _reach(self, log: str) -> str:
        """Why the state asked for cannot be had, and which can."""
        newest, keys = await self._read(log, at=None), Keys(prefix=log)
        there = {entry.key for entry in await self.patient.list(keys.snapshots, after=None)}
        first = 1 + next((ref.seq for ref in newest.counted if keys.named(ref.name) in there), 0)
        last = newest.tip.seq if newest.tip else 0
        return f"the state after record {self.at} cannot be had; those after records {first} to {last} can"

    async def survey(self, log: str) -> Survey:
        """Everything there is."""
        return await survey(
            store=self.store, prefix=log, clock=self.clock, patience=self.patience, progress=self.screen.count
        )

    def lost(self, found: Restored) -> int:
        """Say what a state is without; the exit code."""
        for sentence in found.damage:
            self.screen.warn(f"damaged, with nothing lost: {sentence}")
        if found.lost is None:
            return 0
        self.screen.warn(f"records {found.lost.first} to {found.lost.last} are not in it: {found.lost.why}")
        return 1
