"""What the project asks of an object store: four calls. It stands under the checkpoint log and knows nothing of it.

A store must be strongly consistent: what a put has acknowledged, every later get and list shows. Calls may overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    """One object of a listing; `size` in bytes."""

    key: str
    size: int


class Store(Protocol):
    """An object store. Keys are slash-separated paths without a leading slash.

    Every call raises `StoreError`s and nothing else of its own; `Unavailable` alone is worth repeating.
    """

    async def get(self, key: str, *, max_bytes: int) -> bytes:
        """The object, whole. `Absent` if there is none, `TooLarge` if it has more than `max_bytes`."""
        ...

    async def put_if_absent(self, key: str, body: bytes, *, first: bool) -> None:
        """Store `body`, durably, if nothing is stored under `key`; else raise `Exists`.

        `first` says that nothing else lies in this key's folder yet, so that a store that needs the folder makes it
        then, and does not mistake one that vanished later for a new one.
        """
        ...

    async def list(self, prefix: str, *, after: str | None) -> Sequence[Entry]:
        """All objects directly in the folder `prefix` (ends with a slash), in key order; only those after key `after`.

        A folder that does not exist is empty.
        """
        ...

    async def close(self) -> None:
        """Let go of threads and connections; never fails."""
        ...
