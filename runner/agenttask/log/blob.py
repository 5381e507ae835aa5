"""Large values, each an object of its own: written once, found again by their content, and streamed.

A text above `LARGE_BYTES` anywhere in a JSON value is taken out (its SHA-256 stands in its place) and put back when the
value is read. Neither the text as bytes nor its compressed form is ever wholly in memory beside the text itself.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import zstandard

from agenttask.errors import Absent, CheckpointCorrupt, Exists, TooLarge
from agenttask.log.keys import Keys, blob_name
from agenttask.log.record import BlobRef, Placed
from agenttask.log.table import Table
from agenttask.store.base import Source, Store

LARGE_BYTES: Final = 64 * 1024
PIECE: Final = 1 << 20
"""Characters or bytes handled at a time."""
WHOLE_BYTES: Final = 8 << 20
"""Up to here a value is written and read in one call; beyond, as a stream."""
SLICE_BYTES: Final = 1024
"""Compressed bytes decompressed at a time: zstd can make 32 MiB of them, but not more."""

Pieces = Callable[[], Iterator[bytes]]


@dataclass(frozen=True, kw_only=True)
class _Measured:
    digest: str
    size: int


class BlobWriter:
    """Writes the blobs of one holder, and none whose content a live one has."""

    def __init__(self, *, store: Store, keys: Keys, attempt: int, process: str, table: Table) -> None:
        self.first = False
        """Whether the log has no record yet."""
        self._store = store
        self._keys = keys
        self._attempt = attempt
        self._process = process
        self._table = table
        self._number = 0

    async def write_text(self, text: str) -> BlobRef:
        """A blob with this text, durable."""
        return await self._write(lambda: _encoded(text), large=len(text) > WHOLE_BYTES)

    async def write_bytes(self, body: bytes) -> BlobRef:
        """A blob with these bytes, durable."""
        return await self._write(lambda: _cut(body), large=len(body) > WHOLE_BYTES)

    async def take_out(self, value: Any) -> tuple[Any, tuple[Placed, ...]]:
        """A JSON value without its large texts, which are durable then, and where they belong."""
        placed: list[Placed] = []
        for at, text in list(_large(value, at=())):
            ref = await self.write_text(text)
            placed.append(Placed(at=at, blob=ref))
            value = _replaced(value, at=at, by=ref.digest)
        return value, tuple(placed)

    async def write_object(self, body: bytes) -> str:
        """An object under a blob's name, as it is; the name."""
        while True:
            name = self._next_name()
            key = self._keys.named(name)
            try:
                await self._store.put_if_absent(key, body, first=self.first)
            except Exists:
                if await _found(key, store=self._store) != _measure(iter([body])):
                    continue
            return name

    def _next_name(self) -> str:
        self._number += 1
        return blob_name(attempt=self._attempt, process=self._process, number=self._number)

    async def _write(self, pieces: Pieces, *, large: bool) -> BlobRef:
        measured = await asyncio.to_thread(_measure, pieces()) if large else _measure(pieces())
        if (known := self._table.find(digest=measured.digest, size=measured.size)) is not None:
            return known
        while True:
            name = self._next_name()
            stored = await self._put(pieces, key=self._keys.named(name), size=measured.size)
            if stored is not None:
                ref = BlobRef(name=name, digest=measured.digest, size=measured.size, stored=stored.size)
                self._table.add(ref)
                return ref

    async def _put(self, pieces: Pieces, *, key: str, size: int) -> _Measured | None:
        """Put the pieces, compressed; how they are stored, or None if something else has the key."""
        if size <= WHOLE_BYTES:
            body = b"".join(_compressed(pieces(), size=size))
            stored = _measure(iter([body]))
            putting = self._store.put_if_absent(key, body, first=self.first)
        else:
            stored = await asyncio.to_thread(lambda: _measure(_compressed(pieces(), size=size)))
            source = Source(
                size=stored.size, sha256=stored.digest, open=lambda: _each(_compressed(pieces(), size=size))
            )
            putting = self._store.put_stream_if_absent(key, source, first=self.first)
        try:
            await putting
        except Exists:
            return stored if await _found(key, store=self._store) == stored else None
        return stored


async def read_text(ref: BlobRef, *, store: Store, keys: Keys) -> str:
    """The text of a blob. `CheckpointCorrupt` if it is missing or not what its reference says."""
    text, rest = "", b""
    async with aclosing(_read(ref, store=store, keys=keys)) as pieces:
        async for piece in pieces:
            rest += piece
            whole = _whole_characters(rest)
            # Appended to and not joined: CPython grows a text in place that nobody else holds.
            text += rest[:whole].decode("utf-8", "surrogatepass")
            rest = rest[whole:]
    return text


async def read_bytes(ref: BlobRef, *, store: Store, keys: Keys) -> bytes:
    """The bytes of a blob. `CheckpointCorrupt` if it is missing or not what its reference says."""
    async with aclosing(_read(ref, store=store, keys=keys)) as pieces:
        return b"".join([piece async for piece in pieces])


async def verify(ref: BlobRef, *, store: Store, keys: Keys) -> None:
    """Read a blob and keep nothing of it. `CheckpointCorrupt` if it is missing or not what its reference says."""
    async with aclosing(_read(ref, store=store, keys=keys)) as pieces:
        async for _ in pieces:
            pass


async def put_back(value: Any, placed: Iterable[Placed], *, store: Store, keys: Keys) -> Any:
    """The value with its large texts in place; changes the one given."""
    texts: dict[str, str] = {}
    for each in placed:
        if each.blob.name not in texts:
            texts[each.blob.name] = await read_text(each.blob, store=store, keys=keys)
        try:
            _set(value, at=each.at, to=texts[each.blob.name])
        except (LookupError, TypeError) as error:
            key = keys.named(each.blob.name)
            raise CheckpointCorrupt(f"blob {key} belongs at {list(each.at)}, which is nowhere", key=key) from error
    return value


async def _read(ref: BlobRef, *, store: Store, keys: Keys) -> AsyncGenerator[bytes, None]:
    key = keys.named(ref.name)
    digest, size = hashlib.sha256(), 0
    unpack = zstandard.ZstdDecompressor().decompressobj()
    try:
        async with aclosing(_stored(ref, key=key, store=store)) as packed:
            async for part in packed:
                for start in range(0, len(part), SLICE_BYTES):
                    piece = unpack.decompress(part[start : start + SLICE_BYTES])
                    digest.update(piece)
                    if (size := size + len(piece)) > ref.size:
                        raise CheckpointCorrupt(f"blob {key} is damaged: more than {ref.size} bytes", key=key)
                    if piece:
                        yield piece
    except (Absent, TooLarge, zstandard.ZstdError, EOFError) as error:
        raise CheckpointCorrupt(f"blob {key} cannot be read: {error}", key=key) from error
    if (size, digest.hexdigest()) != (ref.size, ref.digest):
        raise CheckpointCorrupt(f"blob {key} is damaged: it does not match its digest", key=key)


async def _stored(ref: BlobRef, *, key: str, store: Store) -> AsyncGenerator[bytes, None]:
    if ref.stored <= WHOLE_BYTES:
        yield await store.get(key, max_bytes=ref.stored)
        return
    async with aclosing(store.stream(key)) as parts:
        async for part in parts:
            yield part


async def _found(key: str, *, store: Store) -> _Measured | None:
    """What is stored under a key that was refused; None if it is gone again."""
    digest, size = hashlib.sha256(), 0
    try:
        async with aclosing(store.stream(key)) as parts:
            async for part in parts:
                digest.update(part)
                size += len(part)
    except Absent:
        return None
    return _Measured(digest=digest.hexdigest(), size=size)


def _measure(pieces: Iterator[bytes]) -> _Measured:
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
    return _Measured(digest=digest.hexdigest(), size=size)


def _encoded(text: str) -> Iterator[bytes]:
    for start in range(0, len(text), PIECE):
        yield text[start : start + PIECE].encode("utf-8", "surrogatepass")


def _cut(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]


def _compressed(pieces: Iterator[bytes], *, size: int) -> Iterator[bytes]:
    """The same bytes each time: zstd is deterministic for the same pieces."""
    pack = zstandard.ZstdCompressor().compressobj(size=size)
    for piece in pieces:
        if packed := pack.compress(piece):
            yield packed
    yield pack.flush()


async def _each(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def _whole_characters(raw: bytes) -> int:
    """How many of these bytes end with a whole UTF-8 character, lone surrogates being characters too."""
    for back in range(1, min(4, len(raw)) + 1):
        lead = raw[-back]
        if lead & 0xC0 != 0x80:
            length = 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return len(raw) if length <= back else len(raw) - back
    return len(raw)


def _large(value: Any, *, at: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The large texts in a JSON value, and where they are."""
    if isinstance(value, str):
        # A character has at most 4 bytes.
        if len(value) > LARGE_BYTES or (
            4 * len(value) > LARGE_BYTES and len(value.encode("utf-8", "surrogatepass")) > LARGE_BYTES
        ):
            yield at, value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _large(each, at=(*at, key))
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _large(each, at=(*at, index))


def _replaced(value: Any, *, at: tuple[str | int, ...], by: str) -> Any:
    """A copy of the value, as deep as needed, with another text at one place."""
    if not at:
        return by
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[at[0]] = _replaced(copy[at[0]], at=at[1:], by=by)
    return copy


def _set(value: Any, *, at: tuple[str | int, ...], to: str) -> None:
    for key in at[:-1]:
        value = value[key]
    value[at[-1]] = to
