"""Pure: one record of the log as bytes.

    {"format":1,"seq":7,…}\\n         the header: one line of JSON
    <sha256 of that line, hex>\\n     the record's digest
    <zstd of a JSON list>            the body: the events, with the SHA-256 of each large value in its place

The header names the digest of its body and of the record before it, so the digest of the newest record vouches for the
whole log. Every later format keeps the first two lines and the header's `format`, so that an older reader can tell
"too new" from "damaged".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec
import zstandard

from agenttask.errors import CheckpointCorrupt, FormatTooNew, RecordTooLarge

FORMAT: Final = 1
MAX_RECORD_BYTES: Final = 16 * 1024 * 1024
"""Bound of a record as stored, and of its body decompressed: what is larger is neither written nor read, so that a
damaged or hostile store cannot exhaust the reader's memory."""
VOLATILE: Final = "volatile"
"""Key of an event for what may differ when the same work is done again, such as latencies: stored, but kept out of the
progress digest. An event that has nothing else is no progress at all."""
NO_PROGRESS: Final = hashlib.sha256(b"").hexdigest()
"""Progress digest of a log without agent events."""

Event = Mapping[str, Any]


class Kind(StrEnum):
    """What a record is."""

    CLAIM = "claim"
    """The first record of an attempt: from here on the log takes no writes of older ones. Has no events."""
    EVENTS = "events"
    PARK = "park"
    """The writer has nothing to do until something comes about; its last record."""
    FINAL = "final"
    """The run is over; nothing follows."""


class Holder(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who writes: the pod, and a random value per process of it."""

    pod_uid: str = msgspec.field(name="podUID")
    process: str


class Parent(msgspec.Struct, frozen=True, kw_only=True):
    """The record before."""

    seq: int
    digest: str


class BlobRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A blob: a large value stored on its own."""

    name: str
    """Relative to the log: `blob/<attempt>-<process>-<number>`."""
    digest: str
    """SHA-256 of the value, hex: of text in UTF-8, of JSON as written."""
    size: int
    """Bytes of the value."""
    stored: int
    """Bytes of the object, which is compressed."""

    @property
    def content(self) -> Content:
        """What it holds."""
        return Content(self.digest, self.size)


class Content(NamedTuple):
    """Bytes attached to a record, as events and states name them: never by where they lie, which may change."""

    digest: str
    """SHA-256, hex."""
    size: int


class Placed(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A text that stands in a blob, and where it belongs: a path of keys and indexes."""

    at: tuple[str | int, ...]
    blob: BlobRef


class SnapshotRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A snapshot as the record that makes it count names it."""

    seq: int
    """The record after which it was taken; 0: what a fork began with."""
    name: str
    """Relative to the log."""
    digest: str
    """SHA-256 of the object, hex."""
    stored: int
    """Bytes of the object."""


class Abandoned(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a claim leaves behind because it could not go on from it."""

    first: int
    last: int
    why: str
    """What is wrong with the first of them, as a sentence."""
    unreadable: tuple[int, ...] = ()
    """Those of them that are missing or damaged."""
    charge: dict[str, Any] = {}
    """What the holder charges for the work in those that could be read; its own words."""


class Origin(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where the first state of a fork comes from."""

    log: str
    """Prefix of the log it was copied from."""
    seq: int
    digest: str
    """Of record `seq` there."""
    about: dict[str, Any] = {}
    """What the forking side adds, in its own words."""


class Remarks(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a header says only where it applies."""

    blobs: tuple[Placed, ...] = ()
    """Large values of the events: paths begin with the event's index."""
    attached: tuple[BlobRef, ...] = ()
    """Content that the events refer to and that no record before has named; read only when it is asked for."""
    snapshot: SnapshotRef | None = None
    """The snapshot this record makes count."""
    task: str | None = None
    """Whose log this is; on claims."""
    abandoned: Abandoned | None = None
    """On a claim that does not continue the record before it."""
    damage: tuple[str, ...] = ()
    """On a claim: what was found broken without anything being lost by it."""
    origin: Origin | None = None
    """On record 1 of a fork."""
    purges: bool = False
    """On a claim: its holder removes the log, and all that stays of it are claims."""


class Header(Remarks, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What stands on a record's first line. Unknown fields are ignored."""

    format: int
    seq: int
    attempt: int
    holder: Holder
    parent: Parent | None
    """None for record 1 alone."""
    time: str
    """When the record was built, RFC 3339 in UTC. Decides nothing."""
    step: int
    max_steps: int
    kind: Kind
    retry: int
    """How many tries failed before the one this record holds."""
    body_digest: str
    """SHA-256 of the body as stored, hex."""
    body_bytes: int
    """Size of the body decompressed."""
    progress_digest: str
    """Hash of the one before and of this record's agent events: equal digests mean equal work, whoever did it."""


class RecordRef(msgspec.Struct, frozen=True, kw_only=True):
    """A record as status and people name it."""

    key: str
    id: str
    seq: int
    digest: str
    progress_digest: str
    step: int
    attempt: int
    time: str
    size_bytes: int
    """Size of the record as stored."""
    parent_id: str | None
    kind: Kind = Kind.EVENTS
    max_steps: int = 0
    retry: int = 0


class Record(Header, frozen=True, kw_only=True):
    """A record read or about to be written: its header, its events, and where it lies."""

    key: str
    digest: str
    size_bytes: int
    events: tuple[dict[str, Any], ...]

    @property
    def needed(self) -> tuple[BlobRef, ...]:
        """The blobs this record is the first to need."""
        return (*(placed.blob for placed in self.blobs), *self.attached)

    @property
    def ref(self) -> RecordRef:
        """How status names it."""
        return RecordRef(
            key=self.key,
            id=_id(self.seq, self.digest),
            seq=self.seq,
            digest=self.digest,
            progress_digest=self.progress_digest,
            step=self.step,
            attempt=self.attempt,
            time=self.time,
            size_bytes=self.size_bytes,
            parent_id=None if self.parent is None else _id(self.parent.seq, self.parent.digest),
            kind=self.kind,
            max_steps=self.max_steps,
            retry=self.retry,
        )


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A record as built for writing: `body` is the object, `record` what a reader will make of it."""

    record: Record
    body: bytes


class _Format(msgspec.Struct):
    format: int


def _id(seq: int, digest: str) -> str:
    return f"{seq}-{digest[:12]}"


def build(
    *,
    key: str,
    seq: int,
    parent: Record | None,
    kind: Kind,
    attempt: int,
    holder: Holder,
    now: datetime,
    step: int,
    max_steps: int,
    retry: int,
    events: Sequence[Event],
    remarks: Remarks = Remarks(),  # noqa: B008 - frozen
) -> Draft:
    """Record `seq`, which continues `parent` (None: it begins the log).

    `ValueError` if an event is not JSON, `RecordTooLarge`.
    """
    # Not msgspec: it writes NaN as null, and refuses the lone surrogates that models do produce.
    plain = json.dumps(list(events), separators=(",", ":"), allow_nan=False).encode()
    packed = zstandard.ZstdCompressor().compress(plain)
    header = Header(
        format=FORMAT,
        seq=seq,
        attempt=attempt,
        holder=holder,
        parent=None if parent is None else Parent(seq=parent.seq, digest=parent.digest),
        time=timestamp(now),
        step=step,
        max_steps=max_steps,
        kind=kind,
        retry=retry,
        body_digest=hashlib.sha256(packed).hexdigest(),
        body_bytes=len(plain),
        progress_digest=_progress(parent, events),
        **{name: getattr(remarks, name) for name in Remarks.__struct_fields__},
    )
    line = msgspec.json.encode(header)
    digest = hashlib.sha256(line).hexdigest()
    body = b"\n".join((line, digest.encode(), packed))
    if (largest := max(len(body), len(plain))) > MAX_RECORD_BYTES:
        raise RecordTooLarge(f"a record of {largest} bytes; at most {MAX_RECORD_BYTES} can be restored")
    return Draft(record=_record(header, key=key, digest=digest, size=len(body), events=json.loads(plain)), body=body)


def timestamp(now: datetime) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse(*, key: str, seq: int, body: bytes) -> Record:
    """The record under `key`, which must be number `seq`. `CheckpointCorrupt` or `FormatTooNew` if it cannot be read.

    Verifies the record by itself; whether it belongs behind the one before it is the chain's question.
    """
    line, _, rest = body.partition(b"\n")
    digest, _, packed = rest.partition(b"\n")
    if hashlib.sha256(line).hexdigest().encode() != digest:
        raise CheckpointCorrupt(f"record {key} is damaged: its header does not match its digest", key=key)
    try:
        if (found := msgspec.json.decode(line, type=_Format).format) > FORMAT:
            raise FormatTooNew(f"record {key} has format {found}; this version reads up to {FORMAT}", key=key)
        header = msgspec.json.decode(line, type=Header)
    except msgspec.MsgspecError as error:
        raise CheckpointCorrupt(f"record {key} is damaged: {error}", key=key) from error
    if header.seq != seq:
        raise CheckpointCorrupt(f"record {key} says it is number {header.seq}", key=key)
    if hashlib.sha256(packed).hexdigest() != header.body_digest:
        raise CheckpointCorrupt(f"record {key} is damaged: its events do not match their digest", key=key)
    return _record(
        header, key=key, digest=digest.decode(), size=len(body), events=_events(header, key=key, packed=packed)
    )


def _events(header: Header, *, key: str, packed: bytes) -> list[dict[str, Any]]:
    try:
        # zstandard allocates whatever size the frame declares, so that is looked at first.
        declared = zstandard.frame_content_size(packed)
        if declared != header.body_bytes or declared > MAX_RECORD_BYTES:
            raise CheckpointCorrupt(f"record {key} declares {declared} bytes of events", key=key)
        events = json.loads(zstandard.ZstdDecompressor().decompress(packed, allow_extra_data=False))
    except (zstandard.ZstdError, ValueError, RecursionError) as error:
        raise CheckpointCorrupt(f"record {key} is damaged: {error}", key=key) from error
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        raise CheckpointCorrupt(f"record {key} holds no list of events", key=key)
    return events


def _record(header: Header, *, key: str, digest: str, size: int, events: list[dict[str, Any]]) -> Record:
    fields = {name: getattr(header, name) for name in Header.__struct_fields__}
    return Record(**fields, key=key, digest=digest, size_bytes=size, events=tuple(events))


def _progress(parent: Record | None, events: Sequence[Event]) -> str:
    before = NO_PROGRESS if parent is None else parent.progress_digest
    lasting = [kept for event in events if (kept := {key: value for key, value in event.items() if key != VOLATILE})]
    if not lasting:
        return before
    return hashlib.sha256((before + json.dumps(lasting, separators=(",", ":"))).encode()).hexdigest()
