"""The checkpoint log, as the runner uses it: every reply and every result is one append through the journal."""

from __future__ import annotations

import asyncio
import gc
import json
import secrets
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import botocore.session
from agenttask import journal
from agenttask.agent.events import Replied, Started, Tokens, ToolReturned
from agenttask.agent.state import State
from agenttask.clock import SystemClock
from agenttask.journal import Journal
from agenttask.log import Holder, Log, Patience, read
from agenttask.store import Store
from agenttask.store.base import Entry, Source
from agenttask.store.filesystem import FilesystemStore
from agenttask.store.s3 import S3Store, Server
from botocore.config import Config

from benchmarks.savers.case import Case, median, peak_mib, percentile, times
from benchmarks.savers.conversation import PROMPT, SYSTEM, Step

RAW_PUTS: Final = 400
"""How many appends are compared with the PUT of the same bytes."""
FOLDERS: Final = ("log", "snapshot", "blob")


class CountingStore:
    """Any store, with an account of what goes in and out."""

    def __init__(self, store: Store) -> None:
        self.put_bytes = 0
        self.bodies: list[bytes] = []
        """What has been put since somebody last cleared it; a streamed body as an empty one."""
        self.read: list[str] = []
        """Keys that were fetched, in order."""
        self.listed: list[str] = []
        """Folders that were listed."""
        self._store = store

    async def get(self, key: str, *, max_bytes: int) -> bytes:
        self.read.append(key)
        return await self._store.get(key, max_bytes=max_bytes)

    async def stream(self, key: str, *, offset: int = 0) -> AsyncGenerator[bytes, None]:
        self.read.append(key)
        async for piece in self._store.stream(key, offset=offset):
            yield piece

    async def put_if_absent(self, key: str, body: bytes, *, first: bool, last: bool = False) -> None:
        self.put_bytes += len(body)
        self.bodies.append(body)
        await self._store.put_if_absent(key, body, first=first, last=last)

    async def put_stream_if_absent(self, key: str, source: Source, *, first: bool) -> None:
        self.put_bytes += source.size
        self.bodies.append(b"")
        await self._store.put_stream_if_absent(key, source, first=first)

    async def delete(self, key: str) -> None:
        await self._store.delete(key)

    async def list(self, prefix: str, *, after: str | None) -> Sequence[Entry]:
        self.listed.append(prefix)
        return await self._store.list(prefix, after=after)

    async def folders(self, prefix: str) -> Sequence[str]:
        return await self._store.folders(prefix)

    async def close(self) -> None:
        await self._store.close()


class RawPuts:
    """The PUT that an append cannot do without, made by botocore alone."""

    def __init__(self, *, bucket: str, endpoint: str, region: str) -> None:
        self._bucket = bucket
        self._client: Any = botocore.session.get_session().create_client(
            "s3", endpoint_url=endpoint, region_name=region, config=Config(request_checksum_calculation="when_required")
        )

    def put(self, body: bytes) -> float:
        """Milliseconds of one conditional PUT."""
        began = time.perf_counter()
        self._client.put_object(Bucket=self._bucket, Key=f"raw/{secrets.token_hex(8)}", Body=body, IfNoneMatch="*")
        return 1000 * (time.perf_counter() - began)


def on_s3(*, steps: Iterable[Step], count: int, bucket: str, endpoint: str, region: str) -> Case:
    """Measure on an S3 server, beside raw PUTs."""
    raw = RawPuts(bucket=bucket, endpoint=endpoint, region=region)
    stores = [S3Store(bucket=bucket, server=Server(endpoint=endpoint, region=region)) for _ in "wr"]
    return asyncio.run(_measure("AgentTask log, S3", *stores, raw=raw, steps=steps, count=count))


def in_folder(*, steps: Iterable[Step], count: int, root: Path) -> Case:
    """Measure in a folder of this machine."""
    stores = [FilesystemStore(root=root) for _ in "wr"]
    return asyncio.run(_measure("AgentTask log, folder", *stores, raw=None, steps=steps, count=count))


async def _measure(
    name: str, writes: Store, reads: Store, *, raw: RawPuts | None, steps: Iterable[Step], count: int
) -> Case:
    store = CountingStore(writes)
    prefix = f"bench/task/{secrets.token_hex(8)}"
    opened = await Log.open(
        store=store,
        prefix=prefix,
        task="task",
        attempt=1,
        holder=Holder(pod_uid="pod", process="p1"),
        recorded=None,
        clock=SystemClock(),
        patience=Patience(),
    )
    assert opened.log is not None
    before_mib = peak_mib()
    work = Journal(log=opened.log, state=State(), max_steps=count, witnesses=())
    await work.commit(Started(prompt=PROMPT, system_prompt=SYSTEM))
    appends, raws, over = await _write(work, store, raw, steps, every=max(1, 2 * count // RAW_PUTS))
    used_mib = peak_mib() - before_mib
    state_bytes = len(json.dumps(work.state.messages).encode())
    kept = [entry for folder in FOLDERS for entry in await store.list(f"{prefix}/{folder}/", after=None)]
    restoring = await _restore(reads, prefix, expected=work.state)
    await store.close()
    await reads.close()
    return Case(
        contender=name,
        steps=count,
        state_bytes=state_bytes,
        written_bytes=store.put_bytes,
        kept_bytes=sum(entry.size for entry in kept),
        objects=len(kept),
        **times(appends, per_step=2),
        raw_p50_ms=median(raws) if raws else None,
        raw_p99_ms=percentile(raws, 0.99) if raws else None,
        over_raw_p50_ms=median(over) if over else None,
        **restoring,
        peak_mib=round(used_mib, 1),
    )


async def _write(
    work: Journal, store: CountingStore, raw: RawPuts | None, steps: Iterable[Step], *, every: int
) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds of each append; of the raw PUTs; and by how much each append compared took longer."""
    appends: list[float] = []
    raws: list[float] = []
    over: list[float] = []
    for number, step in enumerate(steps):
        for event in _reply(step, number), None:
            made = event or _result(step, work.state)
            store.bodies.clear()
            began = time.perf_counter()
            await work.commit(made)
            appends.append(1000 * (time.perf_counter() - began))
            if raw is not None and len(appends) % every == 0 and len(store.bodies) == 1:
                raws.append(await asyncio.to_thread(raw.put, store.bodies[0]))
                over.append(appends[-1] - raws[-1])
    return appends, raws, over


async def _restore(store: Store, prefix: str, *, expected: State) -> dict[str, Any]:
    """Milliseconds of a whole restore in a warm process, of its GETs alone, and of its listings alone."""
    counting = CountingStore(store)
    await counting.list(f"{prefix}/log/", after=None)
    took = []
    for _ in range(3):
        gc.collect()
        counting.read.clear()
        counting.listed.clear()
        began = time.perf_counter()
        restored = await read(store=counting, prefix=prefix, clock=SystemClock(), patience=Patience())
        state = journal.restore(base=restored.base, records=restored.records)
        took.append(1000 * (time.perf_counter() - began))
        assert state.messages == expected.messages
    keys, folders = list(counting.read), list(counting.listed)
    gets, lists = [], []
    for _ in range(3):
        began = time.perf_counter()
        await asyncio.gather(*(store.list(folder, after=None) for folder in folders))
        lists.append(1000 * (time.perf_counter() - began))
        began = time.perf_counter()
        for start in range(0, len(keys), 16):
            await asyncio.gather(*(store.get(key, max_bytes=1 << 30) for key in keys[start : start + 16]))
        gets.append(1000 * (time.perf_counter() - began))
    return {"restore_ms": median(took), "restore_gets_ms": median(gets), "restore_lists_ms": median(lists)}


def _reply(step: Step, number: int) -> Replied:
    function = {"name": step.tool, "arguments": step.arguments}
    calls = [{"id": f"call_{number:024d}", "type": "function", "function": function}]
    return Replied(
        message={"role": "assistant", "content": step.thought, "tool_calls": calls},
        finish_reason="tool_calls",
        tokens=Tokens(prompt=1000, completion=200),
        model="model",
        asked="model",
        ms=900,
        first_ms=300,
    )


def _result(step: Step, state: State) -> ToolReturned:
    return ToolReturned(call=state.open_calls[0].id, tool=step.tool, text=step.result, ok=True, ms=12)
