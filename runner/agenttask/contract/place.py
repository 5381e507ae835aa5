"""Where logs lie, and how one task names a checkpoint of another."""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from agenttask.contract.wire import Wire


class Place(Wire, frozen=True):
    """Where logs lie: a store, and a path in it."""

    type: Literal["s3", "redis", "filesystem"]
    bucket: str | None = None
    prefix: str = ""
    endpoint: str | None = None
    """Address of the S3 server, or URL of the Redis server."""
    region: str | None = None
    claim_name: str | None = None
    """Of a filesystem store in a cluster: the volume, mounted at `STORE_DIR`."""
    path: str | None = None
    """Folder of a filesystem store: inside the volume, or on this machine in a local run."""


class ResumeFrom(Wire, frozen=True):
    """A checkpoint of another task in the same namespace and store: of a `task`, or under a `location`."""

    task: str | None = None
    location: Place | None = None
    key: str | None = None
    """Key of a record; None: the newest one of `task`."""
    parts: tuple[Literal["Conversation", "Results"], ...] = ("Conversation", "Results")
    """What is taken along: the messages, and what the tool calls in them returned."""


class ForkedFrom(Wire, frozen=True):
    """`status.forkedFrom`: what a fork goes on from, resolved before attempt 1."""

    task: str
    """Name of the original."""
    uid: str
    key: str
    """Key of the record, in the store of the fork itself."""
    seq: int


def log_prefix(*, prefix: str, namespace: str, name: str, uid: str) -> str:
    """Where a task's log lies inside its location, without a trailing slash."""
    return "/".join(part for part in (prefix.strip("/"), namespace, name, uid) if part)


def origin(key: str, *, prefix: str, namespace: str) -> ForkedFrom | None:
    """What the key of a record below `<prefix>/<namespace>/` names, or None if it is no such key."""
    folder = "/".join(part for part in (prefix.strip("/"), namespace) if part)
    found = _RECORD.fullmatch(key.removeprefix(f"{folder}/")) if key.startswith(f"{folder}/") else None
    return None if found is None else ForkedFrom(task=found[1], uid=found[2], key=key, seq=int(found[3]))


def other_store(there: Place, here: Place) -> str | None:
    """How the stores of two places differ, in words, or None if both are in one: only the path in it may differ."""
    for field in msgspec.structs.fields(Place):
        values = [getattr(place, field.name) or None for place in (there, here)]
        if field.name != "prefix" and values[0] != values[1]:
            return f"{field.encode_name} is {values[0] or 'unset'} there and {values[1] or 'unset'} here"
    return None


_RECORD: Final = re.compile(r"([^/]+)/([^/]+)/log/([0-9]{12})")
