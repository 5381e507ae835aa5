"""Removing a log for good: claim it once more, be it over or damaged, then delete everything but the claims.

The claims, about 1 KiB each and without any contents, stay: the slot behind a writer's last record is always a claim's,
so that a writer that wakes later finds it taken and stops. A purge that was cut off is begun anew by the next attempt,
so nothing here needs the log to be whole, only its claims.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Final, NamedTuple

from msgspec.structs import replace

from agenttask.clock import Clock
from agenttask.errors import Misconfigured
from agenttask.log.chain import GENESIS, Bad, Found, refuse_if_fenced
from agenttask.log.claim import Stake
from agenttask.log.fetch import all_of, in_order
from agenttask.log.keys import Keys
from agenttask.log.patience import Patience
from agenttask.log.record import Draft, Holder, Kind, Record, Remarks, build
from agenttask.log.restore import fetch
from agenttask.store.base import Store

ROUNDS: Final = 10
"""How often what is left is listed; a writer that has just lost the log adds little."""


class Purged(NamedTuple):
    """What a purge did. Both kinds that stay are keys."""

    removed: int
    """How many objects are gone by it."""
    claims: tuple[str, ...]
    unreadable: tuple[str, ...]
    """Records that may be claims."""


async def purge(
    *, store: Store, prefix: str, task: str, attempt: int, holder: Holder, clock: Clock, patience: Patience
) -> Purged:
    """Claim the log of `task` under `prefix` for `attempt`, and remove all of it but the claims.

    Raises `Fenced` (someone newer has it), `FormatTooNew` (nothing was touched), `Misconfigured` and store errors;
    `Unavailable` once the store gave no answer for `patience.claim_seconds` (`append_seconds` behind the claim).
    """
    patient = patience.over(store, clock=clock)
    work = _Purge(store=patient, keys=Keys(prefix=prefix), task=task, attempt=attempt, holder=holder, clock=clock)
    await work.claim()
    patient.seconds = patience.append_seconds
    return await work.remove()


class _Purge:
    def __init__(self, *, store: Store, keys: Keys, task: str, attempt: int, holder: Holder, clock: Clock) -> None:
        self._store = store
        self._keys = keys
        self._task = task
        self._attempt = attempt
        self._holder = holder
        self._clock = clock
        self._found: dict[int, Found] = {}

    async def claim(self) -> None:
        stake = Stake(store=self._store, keys=self._keys, ends=True)
        while True:
            await self._read()
            refuse_if_fenced(self._found, attempt=self._attempt, holder=self._holder, base=GENESIS)
            if await stake.holds(self._draft()):
                await self._read()
                return

    async def remove(self) -> Purged:
        removed = 0
        for _ in range(ROUNDS):
            doomed = await self._doomed()
            if not doomed:
                return Purged(removed=removed, claims=self._keys_of(Record), unreadable=self._keys_of(Bad))
            await all_of(partial(self._store.delete, key) for key in doomed)
            removed += len(doomed)
        raise Misconfigured(f"the store still lists {doomed[0]} after it was deleted")

    async def _read(self) -> None:
        """Look at the records that are new since the last look."""
        listed = {self._keys.seq(entry.key) for entry in await self._store.list(self._keys.records, after=None)}
        # A record that was not to be read may have been on its way out.
        known = {seq for seq, each in self._found.items() if isinstance(each, Record)}
        unknown: Iterable[int] = sorted(seq for seq in listed if seq is not None and seq not in known)
        self._found = {seq: each for seq, each in self._found.items() if seq in known and seq in listed}
        async for each in in_order(partial(fetch, seq, store=self._store, keys=self._keys) for seq in unknown):
            self._found[each.seq] = replace(each, events=()) if isinstance(each, Record) else each

    async def _doomed(self) -> list[str]:
        await self._read()
        doomed = [each.key for each in self._found.values() if isinstance(each, Record) and each.kind is not Kind.CLAIM]
        for folder in (self._keys.snapshots, self._keys.blobs, self._keys.lates):
            doomed += [entry.key for entry in await self._store.list(folder, after=None)]
        return doomed

    def _keys_of(self, kind: type[Record] | type[Bad]) -> tuple[str, ...]:
        return tuple(each.key for _, each in sorted(self._found.items()) if isinstance(each, kind))

    def _draft(self) -> Draft:
        """The claim. It goes on from the newest record there is, for who looks at what is left."""
        seq = max(self._found, default=0) + 1
        readable = [each for each in self._found.values() if isinstance(each, Record)]
        newest = max(readable, key=lambda each: each.seq, default=None)
        return build(
            key=self._keys.record(seq),
            seq=seq,
            parent=newest,
            kind=Kind.CLAIM,
            attempt=self._attempt,
            holder=self._holder,
            now=self._clock.now(),
            step=newest.step if newest is not None else 0,
            max_steps=newest.max_steps if newest is not None else 0,
            retry=0,
            events=(),
            remarks=Remarks(task=self._task, purges=True),
        )
