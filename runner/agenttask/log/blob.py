"""Large values, each an object of its own: written once, found again by their content, and streamed.

A text above `LARGE_BYTES` anywhere in a JSON value is taken out (its SHA-256 stands in its place) and put back when the
value is read. Neither the text as bytes nor its compressed form is ever wholly in memory beside the text itself.

Content that is attached, the files of a program say, is compressed into a temporary file on its way.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import IO, Any, Final

import zstandard

from agenttask.errors import Absent, CheckpointCorrupt, Exists, Full, TooLarge
from agenttask.log.keys import Keys, blob_name
from agenttask.log.record import BlobRef, Content, Placed
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
"""Gives content from its beginning, each time it is called; in a thread where it is large."""


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
        self.inherited: Mapping[Content, BlobRef] = {}
        """What a state restored refers to: it may be gone from the table, as all of it is after a rewind."""
        self.unread: set[str] = set()
        """Blobs of others that nobody has read since the log was opened: what is attached is not read then."""

    async def write_text(self, text: str) -> BlobRef:
        """A blob with this text, durable."""
        return await self._write(lambda: _encoded(text), large=len(text) > WHOLE_BYTES)

    async def write_bytes(self, body: bytes) -> BlobRef:
        """A blob with these bytes, durable."""
        return await self._write(lambda: _cut(body), large=len(body) > WHOLE_BYTES)

    async def write_content(self, open_: Pieces) -> BlobRef:
        """A blob with what `open_` gives, durable; of a source that changes, what its last reading gave.

        Raises store errors, `Full` and what reading raises.
        """
        content = _content(await asyncio.to_thread(_measure, open_()))
        if (known := await self._reusable(content)) is not None:
            return known
        with tempfile.SpooledTemporaryFile(max_size=WHOLE_BYTES) as file:
            packer = _Packer(file)
            await asyncio.to_thread(packer.add_all, open_())
            return await self._write_packed(packer)

    async def keep(self, content: Content) -> BlobRef:
        """A blob of this holder's table with content attached before; copied if it lies elsewhere.

        `ValueError` if there is none, `CheckpointCorrupt` if it cannot be read.
        """
        if (known := self._table.find(content)) is not None:
            return known
        if (there := self.inherited.get(content)) is None:
            raise ValueError(f"content {content.digest} is not attached")
        with tempfile.SpooledTemporaryFile(max_size=WHOLE_BYTES) as file:
            packer = _Packer(file)
            async with aclosing(read_blob(there, store=self._store, keys=self._keys)) as pieces:
                async for piece in pieces:
                    await asyncio.to_thread(packer.add_all, iter([piece]))
            return await self._write_packed(packer)

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
        content, size = _content(measured), measured.size
        if (known := await self._reusable(content)) is not None:
            return known
        if size <= WHOLE_BYTES:
            body = b"".join(_compressed(pieces(), size=size))
            return await self._place(content, stored=_measure(iter([body])), packed=lambda: iter([body]))
        stored = await asyncio.to_thread(lambda: _measure(_compressed(pieces(), size=size)))
        return await self._place(content, stored=stored, packed=lambda: _compressed(pieces(), size=size))

    async def _reusable(self, content: Content) -> BlobRef | None:
        """A live blob with this content, known to be good: it is read now if it has not been yet.

        Whoever writes it once more has it at hand; by then is the time to find out that the store has lost it.
        """
        known = self._table.find(content)
        if known is None or known.name not in self.unread:
            return known
        try:
            await verify(known, store=self._store, keys=self._keys)
        except CheckpointCorrupt:
            self._table.give_up(known)
            return None
        self.unread.discard(known.name)
        return known

    async def _write_packed(self, packer: _Packer) -> BlobRef:
        await asyncio.to_thread(packer.finish)
        if (known := await self._reusable(packer.content)) is not None:
            return known
        return await self._place(packer.content, stored=packer.stored, packed=packer.packed)

    async def _place(self, content: Content, *, stored: _Measured, packed: Pieces) -> BlobRef:
        """Put an object under a name of its own."""
        while True:
            name = self._next_name()
            if await self._put(packed, key=self._keys.named(name), stored=stored):
                ref = BlobRef(name=name, digest=content.digest, size=content.size, stored=stored.size)
                self._table.add(ref)
                return ref

    async def _put(self, packed: Pieces, *, key: str, stored: _Measured) -> bool:
        """Put an object; whether it stands under the key, or something else does."""
        if stored.size <= WHOLE_BYTES:
            putting = self._store.put_if_absent(key, b"".join(packed()), first=self.first)
        else:
            source = Source(size=stored.size, sha256=stored.digest, open=lambda: _each(packed()))
            putting = self._store.put_stream_if_absent(key, source, first=self.first)
        try:
            await putting
        except Exists:
            return await _found(key, store=self._store) == stored
        return True


class _Packer:
    """Compresses into a file, and knows what it was given and what has become of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._plain = hashlib.sha256()
        self._size = 0
        self._packed = hashlib.sha256()
        self._packed_size = 0
        self._pack = zstandard.ZstdCompressor().compressobj()

    @property
    def content(self) -> Content:
        return Content(self._plain.hexdigest(), self._size)

    @property
    def stored(self) -> _Measured:
        return _Measured(digest=self._packed.hexdigest(), size=self._packed_size)

    def add_all(self, pieces: Iterator[bytes]) -> None:
        for piece in pieces:
            self._plain.update(piece)
            self._size += len(piece)
            self._keep(self._pack.compress(piece))

    def finish(self) -> None:
        self._keep(self._pack.flush())

    def packed(self) -> Iterator[bytes]:
        self._file.seek(0)
        while piece := self._file.read(PIECE):
            yield piece

    def _keep(self, packed: bytes) -> None:
        self._packed.update(packed)
        self._packed_size += len(packed)
        try:
            self._file.write(packed)
        except OSError as error:
            where = tempfile.gettempdir()
            raise Full(f"no room in {where} for what is to be stored, {self._size} bytes so far: {error}") from error


async def read_text(ref: BlobRef, *, store: Store, keys: Keys) -> str:
    """The text of a blob. `CheckpointCorrupt` if it is missing or not what its reference says."""
    text, rest = "", b""
    async with aclosing(read_blob(ref, store=store, keys=keys)) as pieces:
        async for piece in pieces:
            rest += piece
            whole = _whole_characters(rest)
            # Appended to and not joined: CPython grows a text in place that nobody else holds.
            text += rest[:whole].decode("utf-8", "surrogatepass")
            rest = rest[whole:]
    return text


async def read_bytes(ref: BlobRef, *, store: Store, keys: Keys) -> bytes:
    """The bytes of a blob. `CheckpointCorrupt` if it is missing or not what its reference says."""
    async with aclosing(read_blob(ref, store=store, keys=keys)) as pieces:
        return b"".join([piece async for piece in pieces])


async def verify(ref: BlobRef, *, store: Store, keys: Keys) -> None:
    """Read a blob and keep nothing of it. `CheckpointCorrupt` if it is missing or not what its reference says."""
    async with aclosing(read_blob(ref, store=store, keys=keys)) as pieces:
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


async def read_blob(ref: BlobRef, *, store: Store, keys: Keys) -> AsyncGenerator[bytes, None]:
    """What a blob holds. `CheckpointCorrupt`, at its end at the latest, if it is missing or not what `ref` says."""
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


def _content(measured: _Measured) -> Content:
    return Content(measured.digest, measured.size)


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
