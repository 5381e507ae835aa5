"""A small state on a log: texts, one after the other, and their number. What tests of the log write and restore."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from agenttask.clock import ManualClock
from agenttask.log import (
    Frozen,
    Holder,
    Kind,
    Log,
    Opened,
    Patience,
    Policy,
    Record,
    Recorded,
    RecordRef,
    Seed,
    Snapshot,
    read,
)
from agenttask.store import Store

PREFIX = "ns/task/uid"
TASK = "ns/task"
_NEWER = b'{"format":2}'
OF_A_NEWER_FORMAT = _NEWER + b"\n" + hashlib.sha256(_NEWER).hexdigest().encode() + b"\n"
"""A record that only a later version can read."""


@dataclass(kw_only=True)
class Ledger:
    """The state, and the log it is in if it was claimed."""

    log: Log | None = None
    opened: Opened | None = None
    texts: list[str] = field(default_factory=list)

    async def write(self, *texts: str, kind: Kind = Kind.EVENTS) -> RecordRef:
        """Append one record with these texts, and whatever is due before."""
        assert self.log is not None
        if self.log.snapshot_due:
            await self.log.snapshot(frozen(self.texts))
        events = [{"text": text} for text in texts]
        ref = await self.log.append(kind=kind, events=events, step=len(self.texts) + len(texts), max_steps=99)
        self.texts.extend(texts)
        return ref


def frozen(texts: Sequence[str]) -> Frozen:
    return Frozen(
        small={"count": len(texts), "last": texts[-1] if texts else None},
        fixed={"prompt": "p" * 3000, "tools": [{"name": "t"}]},
        items=[{"role": "user", "content": text} for text in texts],
    )


def thawed(*, base: Snapshot | None, records: Iterable[Record]) -> list[str]:
    """The texts of a restored state."""
    texts: list[str] = []
    if base is not None:
        texts = [item["content"] for item in base.items]
        assert base.small == {"count": len(texts), "last": texts[-1] if texts else None}
        assert base.fixed == {"prompt": "p" * 3000, "tools": [{"name": "t"}]}
    for record in records:
        texts += [event["text"] for event in record.events]
    return texts


async def claim(
    store: Store,
    *,
    attempt: int = 1,
    every: int = 5,
    keep: int = 2,
    pod: str | None = None,
    process: str = "p",
    recorded: int | None = None,
    seed: Seed | None = None,
    **more: Any,
) -> Ledger:
    """Open the log: snapshots every few records."""
    policy = more.pop("policy", Policy(snapshot_every=every, keep_last=keep))

    async def begin() -> Seed:
        assert seed is not None
        return seed

    opened = await Log.open(
        store=store,
        prefix=PREFIX,
        task=TASK,
        attempt=attempt,
        holder=Holder(pod_uid=pod or f"pod-{attempt}", process=process),
        recorded=None if recorded is None else Recorded(key=f"{PREFIX}/log/{recorded:012d}", seq=recorded),
        clock=ManualClock(),
        patience=Patience(jitter=lambda: 0.0),
        policy=policy,
        seed=None if seed is None else begin,
        **more,
    )
    texts = thawed(base=opened.restored.base, records=opened.records)
    return Ledger(log=opened.log, opened=opened, texts=texts)


async def look(store: Store, *, at: int | None = None) -> list[str]:
    """The texts as a reader finds them."""
    found = await read(store=store, prefix=PREFIX, clock=ManualClock(), patience=Patience(), at=at)
    return thawed(base=found.base, records=found.records)
