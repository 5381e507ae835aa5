"""A record with one very large file attached, in a process of its own, which says how much memory it took.

python -m tests.api.store.large_attachment write|read LOCATION MEGABYTES        LOCATION: JSON, as in the contract
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import sys
from collections.abc import Iterator
from contextlib import aclosing

import msgspec
from agenttask.clock import SystemClock
from agenttask.contract import Location
from agenttask.log import Content, Holder, Kind, Log, Patience
from agenttask.store import open_store

from tests.api.store.large_value import PIECE_BYTES, peak_megabytes


async def attempt(*, location: Location, number: int, megabytes: int) -> str:
    """Attempt 1 writes the file, any later one reads it; the file's SHA-256 as it was given or came back."""
    store = open_store(location)
    opened = await Log.open(
        store=store,
        prefix=f"{location.prefix}/ns/task/uid",
        task="ns/task",
        attempt=number,
        holder=Holder(pod_uid=f"pod-{number}", process="p"),
        recorded=None,
        clock=SystemClock(),
        patience=Patience(),
    )
    assert opened.log is not None
    if number == 1:
        content = await opened.log.attach(lambda: pieces(megabytes))
        events = [{"file": list(content)}]
        await opened.log.append(kind=Kind.EVENTS, events=events, step=1, max_steps=1, attached=[content])
        digest = content.digest
    else:
        [stored] = [Content(*event["file"]) for record in opened.records for event in record.events]
        digest = await digest_of(opened.log, stored)
    await store.close()
    return digest


def pieces(megabytes: int) -> Iterator[bytes]:
    """So many megabytes that do not compress, the same each time."""
    source = random.Random(megabytes)
    for _ in range(megabytes):
        yield source.randbytes(PIECE_BYTES)


async def digest_of(log: Log, content: Content) -> str:
    """SHA-256 of what is attached."""
    digest = hashlib.sha256()
    async with aclosing(log.read(content)) as body:
        async for piece in body:
            digest.update(piece)
    return digest.hexdigest()


if __name__ == "__main__":
    words = sys.argv[1:]
    where, size = msgspec.json.decode(words[1], type=Location), int(words[2])
    before = peak_megabytes()
    found = asyncio.run(attempt(location=where, number=1 if words[0] == "write" else os.getpid(), megabytes=size))
    sys.stdout.write(json.dumps({"digest": found, "before": before, "peak": peak_megabytes()}))
