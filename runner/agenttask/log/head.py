"""The head of a log that is ours: the newest record, behind which nobody but its holder writes, until a newer claim."""

from __future__ import annotations

from agenttask.errors import (
    Absent,
    AgentTaskError,
    CheckpointCorrupt,
    Fenced,
    FormatTooNew,
    Misconfigured,
    StoreError,
    Unavailable,
)
from agenttask.log.claim import Taken, put_or_read
from agenttask.log.keys import Keys
from agenttask.log.record import MAX_RECORD_BYTES, Draft, Record, parse
from agenttask.store.base import Store


class Head:
    """Moves on with each record that has become durable.

    While one is put it is open whether it stands in the log, and nothing may be written behind it: unless the store
    says that it does, every later call raises what ended it (`Unavailable` if the put was cancelled).
    """

    def __init__(self, *, store: Store, keys: Keys, claim: Record) -> None:
        self.record = claim
        """The newest record that is known to be durable."""
        self._store = store
        self._keys = keys
        self._attempt = claim.attempt
        self._ended_by: AgentTaskError | None = None

    @property
    def next(self) -> int:
        """Number of the slot behind the head."""
        return self.record.seq + 1

    def refuse_if_ended(self) -> None:
        """Raise what has ended it, if anything has."""
        if self._ended_by is not None:
            raise self._ended_by

    async def put(self, draft: Draft) -> None:
        """Write the record behind the head. Raises `Fenced` and store errors, then and from then on."""
        self._ended_by = Unavailable(f"whether {draft.record.key} was written is not known")
        try:
            await put_or_read(draft, store=self._store)
        except Taken as taken:
            self._ended_by = await self._fenced(draft.record.key, taken)
            raise self._ended_by from taken
        except AgentTaskError as error:
            self._ended_by = error
            raise
        self._ended_by = None
        self.record = draft.record

    async def confirm(self) -> None:
        """Return if the slot behind the head is free: one GET. Raises `Fenced` and store errors."""
        key = self._keys.record(self.next)
        try:
            body = await self._store.get(key, max_bytes=MAX_RECORD_BYTES)
        except Absent:
            return  # the slot behind a replaced holder's last record is a claim's, for ever
        self._ended_by = await self._fenced(key, Taken(body))
        raise self._ended_by

    async def _fenced(self, key: str, taken: Taken) -> AgentTaskError:
        """What it means that another record stands where the next of ours should."""
        try:
            if taken.body is not None:
                other = parse(key=key, seq=self.next, body=taken.body)
                words = f"attempt {other.attempt} holds the log: {key} is its record"
                return Fenced(words, newest_attempt=max(other.attempt, self._attempt))
            if await self._store.list(self._keys.records, after=key):
                words = f"someone else holds the log: {key} has come and gone, and there are records behind it"
                return Fenced(words, newest_attempt=self._attempt)
        except (CheckpointCorrupt, FormatTooNew, StoreError) as error:
            return error
        return Misconfigured(f"the store refused {key} as existing, then had nothing there")
