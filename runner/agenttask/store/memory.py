"""A store in memory, for tests: the same promises as the real ones, none of the durability."""

from __future__ import annotations

from collections.abc import Sequence

from agenttask.errors import Absent, Exists, TooLarge
from agenttask.store.base import Entry


class MemoryStore:
    """Objects in a dict. Hand the same `objects` to several stores to let them share one bucket."""

    def __init__(self, objects: dict[str, bytes] | None = None) -> None:
        self.objects: dict[str, bytes] = {} if objects is None else objects

    async def get(self, key: str, *, max_bytes: int) -> bytes:
        try:
            body = self.objects[key]
        except KeyError:
            raise Absent(key) from None
        if len(body) > max_bytes:
            raise TooLarge(f"{key} has {len(body)} bytes, more than {max_bytes}")
        return body

    async def put_if_absent(self, key: str, body: bytes, *, first: bool) -> None:
        if key in self.objects:
            raise Exists(key)
        self.objects[key] = body

    async def list(self, prefix: str, *, after: str | None) -> Sequence[Entry]:
        return [
            Entry(key=key, size=len(body))
            for key, body in sorted(self.objects.items())
            if key.startswith(prefix) and "/" not in key[len(prefix) :] and (after is None or key > after)
        ]

    async def close(self) -> None:
        return None
