"""A store in memory, for tests: the same promises as the real ones, none of the durability."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Final

from agenttask.errors import Absent, Exists, NotFound, TooLarge
from agenttask.store.base import Entry, Source
from agenttask.store.source import pieces

PIECE_BYTES: Final = 1 << 20


class MemoryStore:
    """Objects in a dict. Hand the same `objects` to several stores to let them share one bucket."""

    def __init__(self, objects: dict[str, bytes] | None = None) -> None:
        self.objects: dict[str, bytes] = {} if objects is None else objects

    async def get(self, key: str, *, max_bytes: int) -> bytes:
        body = self._body(key)
        if len(body) > max_bytes:
            raise TooLarge(f"{key} has {len(body)} bytes, more than {max_bytes}")
        return body

    async def stream(self, key: str, *, offset: int = 0) -> AsyncGenerator[bytes, None]:
        body = self._body(key)
        for start in range(offset, len(body), PIECE_BYTES):
            yield body[start : start + PIECE_BYTES]

    async def put_if_absent(self, key: str, body: bytes, *, first: bool, last: bool = False) -> None:
        if key in self.objects:
            raise Exists(key)
        log = key.rsplit("/", 2)[0] + "/"
        if not first and not any(other.startswith(log) for other in self.objects):
            raise NotFound(f"the log {log} is gone")
        self.objects[key] = body

    async def put_stream_if_absent(self, key: str, source: Source, *, first: bool) -> None:
        body = b"".join([piece async for piece in pieces(source)])
        await self.put_if_absent(key, body, first=first)

    async def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    async def list(self, prefix: str, *, after: str | None) -> Sequence[Entry]:
        return [
            Entry(key=key, size=len(body))
            for key, body in sorted(self.objects.items())
            if key.startswith(prefix) and "/" not in key[len(prefix) :] and (after is None or key > after)
        ]

    async def folders(self, prefix: str) -> Sequence[str]:
        below = (key[len(prefix) :] for key in self.objects if key.startswith(prefix))
        return sorted({prefix + rest.partition("/")[0] + "/" for rest in below if "/" in rest})

    async def close(self) -> None:
        return None

    def _body(self, key: str) -> bytes:
        try:
            return self.objects[key]
        except KeyError:
            raise Absent(key) from None
