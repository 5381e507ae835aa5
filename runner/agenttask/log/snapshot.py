"""A state in the store: a manifest with its small part, and references to what was written before and never changes.

    {"format":1,"seq":200}\\n          one line of JSON
    <zstd of one JSON object>         the manifest

A state's items (a conversation, say) only ever grow, so they are sealed, up to 256 KiB at a time, into blobs that every
later manifest names again: what a log writes stays proportional to what its state holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec
import zstandard

from agenttask.errors import Absent, CheckpointCorrupt, FormatTooNew, RecordTooLarge, TooLarge
from agenttask.log.blob import BlobWriter, put_back, read_bytes
from agenttask.log.chain import GENESIS, Base
from agenttask.log.fetch import all_of
from agenttask.log.keys import Keys
from agenttask.log.record import FORMAT, BlobRef, Content, Holder, Placed, SnapshotRef
from agenttask.log.table import Kept
from agenttask.store.base import Store

CHUNK_BYTES: Final = 256 * 1024
"""Size at which items are sealed, as JSON."""
TAIL_BYTES: Final = 64 * 1024
"""What is left over is sealed too from this size on: less is cheaper to write again with the next snapshot."""
INLINE_BYTES: Final = 1024
"""Up to here a fixed value stays in the manifest."""
MAX_MANIFEST_BYTES: Final = 16 * 1024 * 1024
"""As for records: what is larger is neither written nor read."""


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """A state as its owner hands it over, in JSON values."""

    small: Mapping[str, Any]
    """Written whole with every snapshot."""
    fixed: Mapping[str, Any]
    """Values that seldom change: each is written once, and again when it has changed."""
    items: Sequence[Any]
    """Values that never change, in a sequence that only grows at its end: each is written once."""
    attached: Sequence[Content] = ()
    """What it refers to of the content attached to records."""


class Chunk(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Sealed items: a blob with a JSON list, and the texts that stand in blobs of their own."""

    blob: BlobRef
    count: int
    placed: tuple[Placed, ...] = ()


class Fixed(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A fixed value, here or in a blob."""

    value: Any = None
    blob: BlobRef | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a snapshot's object holds."""

    seq: int
    digest: str
    """Of record `seq`; empty for a fork's first."""
    attempt: int
    holder: Holder
    task: str
    time: str
    step: int
    max_steps: int
    small: dict[str, Any] = {}
    fixed: dict[str, Fixed] = {}
    chunks: tuple[Chunk, ...] = ()
    tail: tuple[Any, ...] = ()
    """Items that are not sealed yet."""
    placed: tuple[Placed, ...] = ()
    """Large texts of the small part and the tail: paths begin with `small` or `tail`."""
    attached: tuple[BlobRef, ...] = ()
    """Content attached to records that the state refers to."""
    blobs: tuple[Kept, ...] = ()
    """All blobs of the log that are not deleted yet."""
    snapshots: tuple[SnapshotRef, ...] = ()
    """Those before this one that are kept beside it, oldest first."""

    @property
    def live(self) -> frozenset[str]:
        """Names of the blobs this state needs."""
        return frozenset(blob.name for blob in self.needed)

    @property
    def values(self) -> tuple[BlobRef, ...]:
        """The blobs that restoring this state reads; some may be there twice."""
        texts = [placed for chunk in self.chunks for placed in chunk.placed] + list(self.placed)
        fixed = [each.blob for each in self.fixed.values() if each.blob is not None]
        return (*(chunk.blob for chunk in self.chunks), *(placed.blob for placed in texts), *fixed)

    @property
    def needed(self) -> tuple[BlobRef, ...]:
        """The blobs this state needs; some may be there twice."""
        return (*self.values, *self.attached)


@dataclass(frozen=True, kw_only=True)
class Snapshot(Frozen):
    """A state as it was read back, all texts in place."""

    ref: SnapshotRef
    manifest: Manifest

    @property
    def start(self) -> Base:
        """What a chain that begins with it goes on from."""
        return start(self.manifest)


def start(manifest: Manifest) -> Base:
    """What a chain goes on from that begins with this state."""
    if manifest.seq == 0:
        return GENESIS
    return Base(seq=manifest.seq, digest=manifest.digest, attempt=manifest.attempt, holder=manifest.holder)


class Sealer:
    """Freezes one state again and again; knows what is sealed already."""

    def __init__(self, *, blobs: BlobWriter, chunks: Sequence[Chunk] = ()) -> None:
        self._blobs = blobs
        self._chunks = list(chunks)

    async def seal(self, state: Frozen, *, manifest: Manifest) -> Manifest:
        """`manifest` with the state in it; every blob it names is durable."""
        tail, tail_placed = await self._seal_items(state.items)
        small, small_placed = await self._blobs.take_out(dict(state.small))
        return msgspec.structs.replace(
            manifest,
            small=small,
            fixed={name: await self._fix(value) for name, value in state.fixed.items()},
            chunks=tuple(self._chunks),
            tail=tuple(tail),
            placed=(*_below("small", small_placed), *_below("tail", tail_placed)),
            attached=tuple([await self._blobs.keep(content) for content in state.attached]),
        )

    async def _seal_items(self, items: Sequence[Any]) -> tuple[list[Any], tuple[Placed, ...]]:
        """Seal what is enough for a chunk; the rest."""
        sealed = sum(chunk.count for chunk in self._chunks)
        if sealed > len(items):
            raise ValueError(f"{sealed} items are sealed, and the state has only {len(items)}")
        bare: list[Any] = []
        placed: tuple[Placed, ...] = ()
        texts: list[bytes] = []
        size = 0
        for item in items[sealed:]:
            value, out = await self._blobs.take_out(item)
            placed += _below(len(bare), out)
            bare.append(value)
            texts.append(encode(value))
            size += len(texts[-1])
            if size >= CHUNK_BYTES:
                await self._seal_chunk(texts, placed)
                bare, placed, texts, size = [], (), [], 0
        if size >= TAIL_BYTES:
            await self._seal_chunk(texts, placed)
            return [], ()
        return bare, placed

    async def _seal_chunk(self, texts: Sequence[bytes], placed: tuple[Placed, ...]) -> None:
        blob = await self._blobs.write_bytes(b"[" + b",".join(texts) + b"]")
        self._chunks.append(Chunk(blob=blob, count=len(texts), placed=placed))

    async def _fix(self, value: Any) -> Fixed:
        text = encode(value)
        return Fixed(value=value) if len(text) <= INLINE_BYTES else Fixed(blob=await self._blobs.write_bytes(text))


def encode(value: Any) -> bytes:
    """JSON as the log writes it. `ValueError` if the value is not JSON."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def pack(manifest: Manifest) -> bytes:
    """The snapshot's object. `RecordTooLarge`."""
    text = encode(msgspec.to_builtins(manifest))
    if len(text) > MAX_MANIFEST_BYTES:
        raise RecordTooLarge(
            f"a snapshot's manifest of {len(text)} bytes; at most {MAX_MANIFEST_BYTES} can be restored"
        )
    line = msgspec.json.encode({"format": FORMAT, "seq": manifest.seq})
    return line + b"\n" + zstandard.ZstdCompressor().compress(text)


def reference(body: bytes, *, seq: int, name: str) -> SnapshotRef:
    """How a record names a snapshot."""
    return SnapshotRef(seq=seq, name=name, digest=hashlib.sha256(body).hexdigest(), stored=len(body))


def unpack(body: bytes, *, key: str) -> Manifest:
    """The manifest in an object. `CheckpointCorrupt`, `FormatTooNew`."""
    line, _, packed = body.partition(b"\n")
    try:
        if (found := msgspec.json.decode(line, type=_First).format) > FORMAT:
            raise FormatTooNew(f"snapshot {key} has format {found}; this version reads up to {FORMAT}", key=key)
        if not 0 <= zstandard.frame_content_size(packed) <= MAX_MANIFEST_BYTES:
            raise CheckpointCorrupt(f"snapshot {key} is larger than can be read", key=key)
        plain = json.loads(zstandard.ZstdDecompressor().decompress(packed, allow_extra_data=False))
        return msgspec.convert(plain, type=Manifest)
    except (msgspec.MsgspecError, zstandard.ZstdError, ValueError, RecursionError) as error:
        raise CheckpointCorrupt(f"snapshot {key} is damaged: {error}", key=key) from error


async def load(ref: SnapshotRef, *, store: Store, keys: Keys) -> Manifest:
    """The manifest a record names. `CheckpointCorrupt` if it is missing or another one."""
    key = keys.named(ref.name)
    try:
        body = await store.get(key, max_bytes=ref.stored)
    except (Absent, TooLarge) as error:
        raise CheckpointCorrupt(f"snapshot {key} cannot be read: {error}", key=key) from error
    if reference(body, seq=ref.seq, name=ref.name) != ref:
        raise CheckpointCorrupt(f"snapshot {key} is damaged: it does not match its digest", key=key)
    manifest = unpack(body, key=key)
    if manifest.seq != ref.seq:
        raise CheckpointCorrupt(f"snapshot {key} says it was taken after record {manifest.seq}", key=key)
    return manifest


async def restore(ref: SnapshotRef, manifest: Manifest, *, store: Store, keys: Keys) -> Snapshot:
    """The state of a manifest. `CheckpointCorrupt` if a blob of it is missing or damaged."""
    sealed = await all_of(partial(_open, chunk, store=store, keys=keys) for chunk in manifest.chunks)
    rest: dict[str, Any] = {"small": manifest.small, "tail": list(manifest.tail)}
    await put_back(rest, manifest.placed, store=store, keys=keys)
    names = [name for name, each in manifest.fixed.items() if each.blob is not None]
    values = await all_of(partial(_value, manifest.fixed[name], store=store, keys=keys) for name in names)
    inline = {name: each.value for name, each in manifest.fixed.items() if each.blob is None}
    return Snapshot(
        ref=ref,
        manifest=manifest,
        small=manifest.small,
        fixed=inline | dict(zip(names, values, strict=True)),
        items=[item for items in sealed for item in items] + rest["tail"],
        attached=[ref.content for ref in manifest.attached],
    )


class _First(msgspec.Struct):
    format: int


async def _open(chunk: Chunk, *, store: Store, keys: Keys) -> list[Any]:
    items = _list(await read_bytes(chunk.blob, store=store, keys=keys), key=keys.named(chunk.blob.name))
    await put_back(items, chunk.placed, store=store, keys=keys)
    if len(items) != chunk.count:
        key = keys.named(chunk.blob.name)
        raise CheckpointCorrupt(f"blob {key} holds {len(items)} items and not {chunk.count}", key=key)
    return items


async def _value(fixed: Fixed, *, store: Store, keys: Keys) -> Any:
    if fixed.blob is None:
        return fixed.value
    return _json(await read_bytes(fixed.blob, store=store, keys=keys), key=keys.named(fixed.blob.name))


def _list(body: bytes, *, key: str) -> list[Any]:
    items = _json(body, key=key)
    if not isinstance(items, list):
        raise CheckpointCorrupt(f"blob {key} holds no list", key=key)
    return items


def _json(body: bytes, *, key: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CheckpointCorrupt(f"blob {key} holds no JSON: {error}", key=key) from error


def _below(where: str | int, placed: Sequence[Placed]) -> tuple[Placed, ...]:
    return tuple(Placed(at=(where, *each.at), blob=each.blob) for each in placed)
