"""A log that begins with the state of another one, on every kind of store."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from agenttask.clock import SystemClock
from agenttask.errors import CheckpointLost
from agenttask.log import Frozen, Holder, Kind, Log, Origin, Patience, Policy, Seed, read, survey
from agenttask.store import Store
from agenttask.store.faults import Call, Fault, FaultyStore

from tests.api.store.test_log_on_stores import incompressible, opened, restored, write


class KilledError(Exception):
    """The process is gone."""


async def forked(store: Store, *, original: str, fork: str, attempt: int, at: int) -> Log:
    """Open the fork's log, which begins with what the original held after record `at`."""

    async def seed() -> Seed:
        found = await read(store=store, prefix=original, clock=SystemClock(), patience=Patience(), at=at)
        assert found.tip is not None
        texts = [] if found.base is None else list(found.base.items)
        texts += [event["text"] for record in found.records for event in record.events]
        return Seed(
            origin=Origin(log=original, seq=at, digest=found.tip.digest),
            state=Frozen(small={"count": len(texts)}, fixed={"prompt": "p" * 2000}, items=texts),
        )

    found = await Log.open(
        store=store,
        prefix=fork,
        task="ns/fork",
        attempt=attempt,
        holder=Holder(pod_uid=f"pod-{attempt}", process="p"),
        recorded=None,
        clock=SystemClock(),
        patience=Patience(),
        policy=Policy(snapshot_every=10, keep_last=2),
        seed=seed,
    )
    assert found.log is not None
    assert restored(found)[0] == "0"
    return found.log


async def test_a_fork_killed_between_copy_and_claim_copies_again_and_outlives_its_original(
    open_any: Callable[[], Store], folder: str
) -> None:
    store = open_any()
    original, fork = f"{folder}/original", f"{folder}/fork"
    texts: list[str] = []
    log = (await opened(store, original, attempt=1)).log
    for number in range(17):
        await write(log, texts, incompressible(100_000) if number == 5 else str(number))

    async def before(call: Call) -> Fault:
        if call.operation == "put" and call.key.startswith(f"{fork}/log/"):
            raise KilledError
        return Fault.NONE

    with pytest.raises(KilledError):
        await forked(FaultyStore(store, before=before), original=original, fork=fork, attempt=1, at=16)
    again = await forked(store, original=original, fork=fork, attempt=2, at=16)
    there = await survey(store=store, prefix=original, clock=SystemClock(), patience=Patience())
    for key in [*(record.key for record in there.records), *(entry.key for entry in there.blobs)]:
        await store.delete(key)
    with pytest.raises(CheckpointLost):
        await forked(store, original=original, fork=f"{fork}-2", attempt=1, at=16)

    mine = texts[:15]
    for number in range(25):
        await write(again, mine, f"fork {number}")
    await write(again, mine, "the end", kind=Kind.FINAL)
    found = await read(store=store, prefix=fork, clock=SystemClock(), patience=Patience())
    assert [*(found.base.items if found.base else ()), *(e["text"] for r in found.records for e in r.events)] == mine
    seen = await survey(store=store, prefix=fork, clock=SystemClock(), patience=Patience())
    assert (seen.problems, seen.unnamed) == ((), ())
    assert not (await store.list(f"{fork}-2/log/", after=None))
    await store.close()
