"""A run with something very large in its log, in a process of its own, which says how much memory it took.

python -m tests.api.store.large_value WHAT LOCATION MEGABYTES        LOCATION: JSON, as in the contract
    write, resume     one tool result
    attach, read      content attached to a record
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import re
import sys
from collections.abc import Iterator
from contextlib import aclosing
from functools import partial
from pathlib import Path

import msgspec
from agenttask.agent.events import Started, ToolReturned
from agenttask.clock import SystemClock
from agenttask.contract import Location
from agenttask.journal import Journal, charge, restore
from agenttask.log import Content, Holder, Kind, Log, Opened, Patience, Policy
from agenttask.store import Store, open_store

PIECE_BYTES = 1 << 20


async def attempt(*, location: Location, number: int, megabytes: int) -> str:
    """Attempt 1 writes and takes a snapshot, any later one resumes; the result's SHA-256 as the state has it."""
    store = open_store(location)
    opened = await claimed(store, location=location, number=number)
    assert opened.log is not None
    state = restore(base=opened.restored.base, records=opened.records)
    journal = Journal(log=opened.log, state=state, max_steps=9, witnesses=())
    if number == 1:
        await journal.commit(Started(prompt="p"))
        await journal.commit(ToolReturned(call="2.0", tool="t", text=text_of(megabytes << 20), ok=True, ms=1))
        await journal.commit(ToolReturned(call="2.1", tool="t", text="small", ok=True, ms=1))
    await store.close()
    return digest_of(max(_texts(msgspec.to_builtins(journal.state)), key=len))


async def attached(*, location: Location, number: int, megabytes: int) -> str:
    """Attempt 1 attaches, any later one reads; the content's SHA-256."""
    store = open_store(location)
    opened = await claimed(store, location=location, number=number)
    assert opened.log is not None
    if number == 1:
        content = await opened.log.attach(lambda: pieces_of(megabytes))
        event = {"content": list(content)}
        await opened.log.append(kind=Kind.EVENTS, events=[event], step=1, max_steps=1, attached=[content])
    else:
        (content,) = (Content(*event["content"]) for record in opened.records for event in record.events)
    digest = hashlib.sha256()
    async with aclosing(opened.log.read(content)) as pieces:
        async for piece in pieces:
            digest.update(piece)
    await store.close()
    return digest.hexdigest()


async def claimed(store: Store, *, location: Location, number: int) -> Opened:
    """The log, held by this attempt."""
    return await Log.open(
        store=store,
        prefix=f"{location.prefix}/ns/task/uid",
        task="ns/task",
        attempt=number,
        holder=Holder(pod_uid=f"pod-{number}", process="p"),
        recorded=None,
        clock=SystemClock(),
        patience=Patience(),
        policy=Policy(snapshot_every=3),
        charge=partial(charge, guarded=False),
    )


def pieces_of(megabytes: int) -> Iterator[bytes]:
    """Bytes that do not compress, the same ones each time."""
    source = random.Random(megabytes)
    return (source.randbytes(PIECE_BYTES) for _ in range(megabytes))


def text_of(size: int) -> str:
    """That many characters which do not compress to little. What it took to make them is forgotten."""
    text = random.Random(size).randbytes(size // 2).hex()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    return text


def digest_of(text: str) -> str:
    """SHA-256, without a second copy."""
    digest = hashlib.sha256()
    for start in range(0, len(text), PIECE_BYTES):
        digest.update(text[start : start + PIECE_BYTES].encode())
    return digest.hexdigest()


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [text for each in inner for text in _texts(each)]


def peak_megabytes() -> int:
    """The most this process ever had resident. Not ru_maxrss, which remembers the process that started it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) // 1024


if __name__ == "__main__":
    words = sys.argv[1:]
    where, size = msgspec.json.decode(words[1], type=Location), int(words[2])
    before = peak_megabytes()
    play = attempt if words[0] in {"write", "resume"} else attached
    found = asyncio.run(
        play(location=where, number=1 if words[0] in {"write", "attach"} else os.getpid(), megabytes=size)
    )
    sys.stdout.write(json.dumps({"digest": found, "before": before, "peak": peak_megabytes()}))
