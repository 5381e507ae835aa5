"""Durable steps on the log: an event is in the store before it is in the state, and nothing else changes the state.

Stands between the log, which knows nothing of agents, and the loop, which knows nothing of records.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from agenttask.agent.accounts import charge_for
from agenttask.agent.events import (
    Charge,
    Claimed,
    Ended,
    Event,
    Intended,
    Item,
    ModelSwitched,
    Parked,
    Replied,
    Stored,
    ToolReturned,
    decode,
    encode,
)
from agenttask.agent.frozen import freeze, thaw
from agenttask.agent.reducer import fold
from agenttask.agent.state import State
from agenttask.errors import FormatTooNew, InDoubt
from agenttask.log import Content, Frozen, Kind, Left, Log, Pieces, Record, RecordRef, Snapshot

REWIND_ADVICE: Final = (
    "find out which took effect, then start a new task that resumes from an older checkpoint, or start afresh"
)


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


def restore(*, base: Snapshot | None, records: Iterable[Record]) -> State:
    """The state after a log's records. Raises `FormatTooNew` for an event or a state this version does not know."""
    events = ((record.seq, event) for record in records for event in events_of(record))
    return fold(events, State() if base is None else _thawed(base))


def frozen(state: State) -> Frozen:
    """The state as the log takes it."""
    items = state.program.items if state.program is not None else ()
    return Frozen(**freeze(state)._asdict(), attached=attached_by(items))


def attached_by(items: Iterable[Item]) -> tuple[Content, ...]:
    """The content that these refer to, and do not hold."""
    return tuple(dict.fromkeys(content_of(item) for item in items if item.is_attached))


def content_of(item: Item) -> Content:
    """What a file of a program's folder holds, as the log names it."""
    return Content(digest=item.digest, size=item.size)


def charge(left: Left, *, guarded: bool) -> dict[str, Any]:
    """What the replies in abandoned records cost.

    Raises `InDoubt` if calls that must not run twice were begun there, or may have been: with `guarded`, the task has
    tools of that kind, and one unreadable record is enough.
    """
    events = [event for record in left.records for event in _known(record)]
    if begun := [call for event in events if isinstance(event, Intended) for call in event.calls]:
        raise InDoubt(f"{', '.join(begun)} were begun in records that cannot be gone on from; {REWIND_ADVICE}")
    if guarded and left.unreadable:
        numbers = ", ".join(map(str, left.unreadable))
        raise InDoubt(f"calls that must not run twice may have been begun in records {numbers}; {REWIND_ADVICE}")
    plain: dict[str, Any] = msgspec.to_builtins(charge_for(events))
    return plain


def _thawed(base: Snapshot) -> State:
    try:
        return thaw(small=base.small, fixed=base.fixed, items=base.items)
    except msgspec.ValidationError as error:
        raise FormatTooNew(
            f"snapshot {base.ref.name} has a state this version does not know: {error}", key=base.ref.name
        ) from error


def events_of(record: Record) -> list[Event]:
    """What a record says to the reducer, a claim being an event too. Raises `FormatTooNew`."""
    if record.kind is Kind.CLAIM:
        paid = msgspec.convert(record.abandoned.charge, Charge) if record.abandoned is not None else None
        return [Claimed(attempt=record.attempt, charge=paid)]
    try:
        return [decode(event) for event in record.events]
    except msgspec.ValidationError as error:
        raise FormatTooNew(
            f"record {record.key} has an event this version does not know: {error}", key=record.key
        ) from error


def _known(record: Record) -> list[Event]:
    """The events of a record that nobody needs any more."""
    try:
        return events_of(record)
    except FormatTooNew:
        return []


def _kind(events: Iterable[Event]) -> Kind:
    last = {Ended: Kind.FINAL, Parked: Kind.PARK}
    return next((last[type(event)] for event in events if type(event) in last), Kind.EVENTS)


class Journal:
    """The state of a claimed log, and the way to move it on.

    With `every_steps` above 1 replies and results wait in memory until so many replies are there: the state is ahead of
    the log then, and a kill repeats what waited. Nothing else ever waits.
    """

    def __init__(
        self, *, log: Log, state: State, max_steps: int, witnesses: tuple[Witness, ...], every_steps: int = 1
    ) -> None:
        """`max_steps` is the budget as it stands for this attempt; record headers show it."""
        self.state = state
        self._durable = state
        self._log = log
        self._max_steps = max_steps
        self._every_steps = every_steps
        self._witnesses = witnesses
        self._waiting: list[_Waiting] = []
        self._turn = asyncio.Lock()
        self._attached: dict[Content, None] = {}
        """What no record has named since it was attached: the log holds on to it until one does."""

    @property
    def head(self) -> RecordRef:
        """The newest durable record."""
        return self._log.head

    async def commit(self, *events: Event) -> None:
        """Append the events, in one record; on return they are in the state, and durable unless they may wait.

        Events that come while an append is under way share the next record, so that results of parallel calls cost one
        write and not eight. A caller that is cancelled leaves its append to finish: one cut in half would end the log.
        Raises what `Log.append` raises.
        """
        mine = [_Waiting(event=event) for event in events]
        self._waiting += mine
        if self._may_wait():
            self.state = self._folded()
            return
        await asyncio.shield(asyncio.ensure_future(self._make_durable(mine[-1])))

    async def attach(self, source: Pieces) -> Content:
        """Make content durable that a later event refers to; what the source gives, as it was then."""
        content = await self._log.attach(source)
        self._attached[content] = None
        return content

    async def confirm(self) -> None:
        """Return if the log is still held by this attempt. Raises `Fenced` and store errors."""
        await self._log.confirm()

    def read(self, content: Content) -> AsyncGenerator[bytes, None]:
        """Content that the state refers to, verified at its end. `ContentCorrupt` if it cannot be had."""
        return self._log.read(content)

    async def leave(self, event: ToolReturned) -> None:
        """Leave the result of a call to whoever has the log now."""
        await self._log.leave(event.call, msgspec.json.encode(encode(event)))

    async def left(self, call: str) -> ToolReturned | None:
        """The result of a call that a runner has left which had lost the log; None also for what is none."""
        body = await self._log.left(call)
        try:
            event = None if body is None else decode(msgspec.json.decode(body))
        except (msgspec.MsgspecError, TypeError, UnicodeError):
            return None
        return event if isinstance(event, ToolReturned) and event.call == call else None

    def _may_wait(self) -> bool:
        """Whether losing all that waits would cost calls and nothing else, and few enough of them."""
        events = [waiting.event for waiting in self._waiting]
        replies = sum(isinstance(event, Replied) for event in events)
        return (
            self._every_steps > 1
            and replies < self._every_steps
            and not self._turn.locked()
            and all(self._is_repeatable(event) for event in events)
        )

    def _is_repeatable(self, event: Event) -> bool:
        if not isinstance(event, ToolReturned):
            return isinstance(event, Replied)
        return all(call.intent is None for call in self.state.calls if call.id == event.call)

    def _folded(self) -> State:
        """The state with all that waits in it, as it will be in the next record."""
        return fold(((self.head.seq + 1, waiting.event) for waiting in self._waiting), self._durable)

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
        after = fold(((self._log.head.seq + 1, event) for event in events), self._durable)
        program = after.program
        items = (item for event in events if isinstance(event, Stored) for item in event.changed)
        attached = tuple(dict.fromkeys((*self._attached, *attached_by(items))))
        if self._log.snapshot_due:
            await self._log.snapshot(frozen(self._durable))
        ref = await self._log.append(
            kind=_kind(events),
            events=[encode(event) for event in events],
            step=after.step if program is None else program.step,
            max_steps=self._max_steps if program is None else program.total,
            retry=sum(len(event.failed) for event in events if isinstance(event, Replied | ModelSwitched)),
            attached=attached,
        )
        for content in attached:
            self._attached.pop(content, None)
        for waiting in batch:
            waiting.durable = True
        self.state = self._durable = after
        for witness in self._witnesses:
            witness.recorded(events=events, state=self.state, head=ref)
