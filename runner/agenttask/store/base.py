"""What the project asks of an object store. It stands under the checkpoint log and knows nothing of it.

A store must be strongly consistent: what a put has acknowledged, every later get, stream and list shows; what a delete
has acknowledged, none does. Nothing ever overwrites. Calls may overlap.

Keys are slash-separated paths without a leading slash: `<log>/<folder>/<name>`, where everything up to the last two
parts is *the log*, all of whose objects live and end together. A store that needs a container per log (a Redis hash, a
folder) makes it of that.

`agenttask.store.conformance` says the same as tests, for any store.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    """One object of a listing; `size` in bytes."""

    key: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Source:
    """A large body to put, whose length and digest are known before the first byte is sent."""

    size: int
    """In bytes."""
    sha256: str
    """SHA-256 of the whole, hex; a store that can verify it does."""
    open: Callable[[], AsyncIterator[bytes]]
    """The body from its start, in pieces. Called once per try, and again for each further one."""


class Store(Protocol):
    """An object store.

    Every call raises `StoreError`s and nothing else of its own; `Unavailable` alone is worth repeating.
    """

    async def get(self, key: str, *, max_bytes: int) -> bytes:
        """The object, whole. `Absent` if there is none, `TooLarge` if it has more than `max_bytes`."""
        ...

    def stream(self, key: str, *, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """The object from byte `offset` on, in pieces of at most a few MiB. `Absent` if there is none.

        A body that ends early raises `Unavailable`; `offset` lets the caller go on where it broke off. Close it
        (`contextlib.aclosing`) when it is left before its end.
        """
        ...

    async def put_if_absent(self, key: str, body: bytes, *, first: bool, last: bool = False) -> None:
        """Store `body`, durably, if nothing is stored under `key`; else raise `Exists`.

        Whoever is told `Exists` may take what stands there for durable. `first` says that this log has no record yet
        (record 1, and what a fork copies before it), so that a store that needs a container per log makes it then, and
        does not mistake one that vanished for a new one: without it, a log that is gone is `NotFound`. `last` says that
        the log is over with this object: a store that lets finished logs expire starts their time now.
        """
        ...

    async def put_stream_if_absent(self, key: str, source: Source, *, first: bool) -> None:
        """As `put_if_absent`, for a body that need not be in memory: readers see all of it or nothing.

        `ValueError` if the source does not give the bytes it said it would; nothing is stored then.
        """
        ...

    async def delete(self, key: str) -> None:
        """Remove the object; one that is not there is no error."""
        ...

    async def list(self, prefix: str, *, after: str | None) -> Sequence[Entry]:
        """All objects directly in the folder `prefix` (ends with a slash), in key order; only those after key `after`.

        A folder that does not exist is empty.
        """
        ...

    async def folders(self, prefix: str) -> Sequence[str]:
        """The folders directly in the folder `prefix` (ends with a slash, or is empty), each ending with a slash.

        In order; a folder is there as long as something lies below it (an emptied one may still show). For people's
        tools, which look for logs: it may be slow.
        """
        ...

    async def close(self) -> None:
        """Let go of threads and connections; never fails."""
        ...
