"""A store that reads back what it has put: for servers whose checksums one does not trust. Twice the calls."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from agenttask.errors import Absent, Misconfigured, TooLarge
from agenttask.store.base import Entry, Source, Store


class ReadBackStore:
    """Wraps another store: a put counts once the same bytes came back, and is `Misconfigured` if others did.

    `Exists` is passed on as it is: who is told so reads what is there.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, key: str, *, max_bytes: int) -> bytes:
        return await self._store.get(key, max_bytes=max_bytes)

    def stream(self, key: str, *, offset: int = 0) -> AsyncGenerator[bytes, None]:
        return self._store.stream(key, offset=offset)

    async def put_if_absent(self, key: str, body: bytes, *, first: bool, last: bool = False) -> None:
        await self._store.put_if_absent(key, body, first=first, last=last)
        try:
            found = await self._store.get(key, max_bytes=len(body))
        except (Absent, TooLarge) as error:
            raise _changed(key) from error
        if found != body:
            raise _changed(key)

    async def put_stream_if_absent(self, key: str, source: Source, *, first: bool) -> None:
        await self._store.put_stream_if_absent(key, source, first=first)
        digest = hashlib.sha256()
        try:
            async with aclosing(self._store.stream(key)) as body:
                async for piece in body:
                    digest.update(piece)
        except Absent as error:
            raise _changed(key) from error
        if digest.hexdigest() != source.sha256:
            raise _changed(key)

    async def delete(self, key: str) -> None:
        await self._store.delete(key)

    async def list(self, prefix: str, *, after: str | None) -> Sequence[Entry]:
        return await self._store.list(prefix, after=after)

    async def folders(self, prefix: str) -> Sequence[str]:
        return await self._store.folders(prefix)

    async def close(self) -> None:
        await self._store.close()


def _changed(key: str) -> Misconfigured:
    return Misconfigured(f"the store acknowledged {key} but gives other bytes back: it damages what it keeps")
