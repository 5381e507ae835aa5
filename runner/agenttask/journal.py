"""Durable steps on the log: an event is in the store before it is in the state, and nothing else changes the state.

Stands between the log, which knows nothing of agents, and the loop, which knows nothing of records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from agenttask.agent.events import Claimed, Ended, Event, Replied, decode, encode
from agenttask.agent.reducer import fold, reduce
from agenttask.agent.state import State
from agenttask.errors import FormatTooNew
from agenttask.log import Kind, Log, Record, RecordRef


class Witness(Protocol):
    """Someone who is told what has become durable."""

    def recorded(self, *, events: tuple[Event, ...], state: State, head: RecordRef) -> None:
        """`events` stand in record `head`; `state` holds them. Must return at once."""
        ...


@dataclass(kw_only=True)
class _Waiting:
    event: Event
    durable: bool = False
    error: BaseException | None = None


def restore(records: Iterable[Record]) -> State:
    """The state after a log's records. Raises `FormatTooNew` for an event this version does not know."""
    return fold((record.seq, event) for record in records for event in _events(record))


def _events(record: Record) -> list[Event]:
    if record.kind is Kind.CLAIM:
        return [Claimed(attempt=record.attempt)]
    try:
        return [decode(event) for event in record.events]
    except msgspec.ValidationError as error:
        raise FormatTooNew(
            f"record {record.key} has an event this version does not know: {error}", key=record.key
        ) from error


class Journal:
    """The state of a claimed log, and the way to move it on."""

    def __init__(self, *, log: Log, state: State, max_steps: int, witnesses: tuple[Witness, ...]) -> None:
        """`max_steps` is the budget as it stands for this attempt; record headers show it."""
        self.state = state
        self._log = log
        self._max_steps = max_steps
        self._witnesses = witnesses
        self._waiting: list[_Waiting] = []
        self._turn = asyncio.Lock()

    @property
    def head(self) -> RecordRef:
        """The newest durable record."""
        return self._log.head

    async def commit(self, event: Event) -> None:
        """Append the event; on return it is durable and in the state.

        Events that come while an append is under way share the next record, so that results of parallel calls cost one
        write and not eight. A caller that is cancelled leaves its append to finish: one cut in half would end the log.
        Raises what `Log.append` raises.
        """
        mine = _Waiting(event=event)
        self._waiting.append(mine)
        await asyncio.shield(asyncio.ensure_future(self._make_durable(mine)))

    async def _make_durable(self, mine: _Waiting) -> None:
        async with self._turn:
            if mine.error is not None:
                raise mine.error
            if not mine.durable:
                batch, self._waiting = self._waiting, []
                try:
                    await self._append(batch)
                except BaseException as error:
                    for waiting in batch:
                        waiting.error = error
                    raise

    async def _append(self, batch: list[_Waiting]) -> None:
        events = tuple(waiting.event for waiting in batch)
        replies = [event for event in events if isinstance(event, Replied)]
        ref = await self._log.append(
            kind=Kind.FINAL if any(isinstance(event, Ended) for event in events) else Kind.EVENTS,
            events=[encode(event) for event in events],
            step=self.state.step + len(replies),
            max_steps=self._max_steps,
            retry=sum(len(reply.failed) for reply in replies),
        )
        for waiting in batch:
            self.state = reduce(self.state, waiting.event, seq=ref.seq)
            waiting.durable = True
        for witness in self._witnesses:
            witness.recorded(events=events, state=self.state, head=ref)
