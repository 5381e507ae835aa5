"""A log opened and written once at a place that may be no good, and what that came to.

python -m tests.api.store.trying LOCATION        LOCATION: JSON, as in the contract; answers in JSON
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass

import msgspec
from agenttask.clock import SystemClock
from agenttask.contract import Location
from agenttask.endings import of_error
from agenttask.errors import AgentTaskError
from agenttask.log import Holder, Kind, Log, Patience
from agenttask.store import Store, open_store


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What a task would show, and its runner exit with."""

    reason: str
    exit: int
    message: str


async def refusal_of(location: Location, *, seconds: float = 0.5) -> Refusal | None:
    """None if nothing was wrong. `seconds`: how long a store may give no answer."""
    try:
        store = open_store(location)
        try:
            await _write(store=store, prefix=f"{location.prefix}/ns/task/uid".lstrip("/"), seconds=seconds)
        finally:
            await store.close()
    except AgentTaskError as error:
        ending = of_error(error)
        return Refusal(reason=str(ending.reason), exit=int(ending.exit), message=ending.message)
    return None


async def _write(*, store: Store, prefix: str, seconds: float) -> None:
    found = await Log.open(
        store=store,
        prefix=prefix,
        task="ns/task",
        attempt=1,
        holder=Holder(pod_uid="pod", process="p"),
        recorded=None,
        clock=SystemClock(),
        patience=Patience(claim_seconds=seconds, append_seconds=seconds),
    )
    assert found.log is not None
    events = [{"text": "word " * (1 << 14)}]
    await found.log.append(kind=Kind.FINAL, events=events, step=1, max_steps=1)


if __name__ == "__main__":
    refusal = asyncio.run(refusal_of(msgspec.json.decode(sys.argv[1], type=Location)))
    sys.stdout.write(json.dumps(None if refusal is None else asdict(refusal)))
