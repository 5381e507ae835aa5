"""A log purged on every kind of store: cut off at any of its calls, with a zombie beside it, and by rival purges."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from agenttask.clock import SystemClock
from agenttask.errors import Fenced, Unavailable
from agenttask.log import Frozen, Holder, Kind, Log, Patience, Policy, Purged, purge
from agenttask.log.blob import LARGE_BYTES
from agenttask.store import Store
from agenttask.store.faults import Call, Fault, FaultyStore

FOLDERS = ("log", "snapshot", "blob", "late")


async def written(store: Store, prefix: str) -> Log:
    """A log with everything in it, whose writer still holds it."""
    opened = await Log.open(
        store=store,
        prefix=prefix,
        task="ns/task",
        attempt=1,
        holder=Holder(pod_uid="pod-1", process="p"),
        recorded=None,
        clock=SystemClock(),
        patience=Patience(),
        policy=Policy(snapshot_every=2, keep_last=2),
    )
    log = opened.log
    assert log is not None
    for number in range(5):
        await append(log, number)
        if number == 2:
            await log.snapshot(Frozen(small={}, fixed={"prompt": "p" * 2000}, items=["x"] * number))
    await log.leave("1.0", b"late")
    return log


async def append(log: Log, number: int) -> None:
    await log.append(kind=Kind.EVENTS, events=[{"text": f"{number}" * (LARGE_BYTES + 1)}], step=number, max_steps=9)


def purged(store: Store, prefix: str, *, attempt: int = 2) -> asyncio.Task[Purged]:
    work = purge(
        store=store,
        prefix=prefix,
        task="ns/task",
        attempt=attempt,
        holder=Holder(pod_uid=f"pod-{attempt}", process="p"),
        clock=SystemClock(),
        patience=Patience(claim_seconds=0, append_seconds=0),
    )
    return asyncio.create_task(work)


async def left(store: Store, prefix: str) -> list[str]:
    """Names of all objects below the prefix."""
    listed = [entry for folder in FOLDERS for entry in await store.list(f"{prefix}/{folder}/", after=None)]
    return [entry.key.removeprefix(f"{prefix}/") for entry in listed]


async def test_only_claims_are_left_and_they_fence_a_zombie(store: Store, folder: str) -> None:
    zombie = await written(store, folder)
    assert {name.partition("/")[0] for name in await left(store, folder)} == {*FOLDERS}
    claims = ["log/000000000001", f"log/{zombie.head.seq + 1:012d}"]
    done = await purged(store, folder)
    assert await left(store, folder) == claims
    assert (len(done.claims), done.unreadable) == (2, ())
    with pytest.raises(Fenced):
        await zombie.append(kind=Kind.EVENTS, events=[{"text": "small"}], step=6, max_steps=9)
    assert await left(store, folder) == claims


async def test_a_zombie_that_wakes_at_any_store_call_of_a_purge_is_fenced_and_what_it_wrote_goes(
    store: Store, folder: str
) -> None:
    number, woken = 0, True
    while woken:
        number += 5 if number else 1
        prefix = f"{folder}-{number}"
        zombie = await written(store, prefix)
        fenced = woken = False

        async def wake(call: Call, at: int = number, zombie: Log = zombie) -> Fault:
            nonlocal fenced, woken
            if call.number == at:
                woken = True
                try:
                    await zombie.append(kind=Kind.EVENTS, events=[{"text": "small"}], step=6, max_steps=9)
                except Fenced:
                    fenced = True
            return Fault.NONE

        done = await purged(FaultyStore(store, before=wake), prefix)
        assert len(done.claims) == 2
        assert await left(store, prefix) == [key.removeprefix(f"{prefix}/") for key in done.claims]
        if not fenced:
            with pytest.raises(Fenced):
                await zombie.append(kind=Kind.EVENTS, events=[{"text": "small"}], step=7, max_steps=9)
    assert number > 10, "it woke beside each of them"


@pytest.mark.parametrize("lands", [False, True], ids=["before it lands", "after it landed"])
async def test_a_purge_cut_off_at_any_store_call_is_done_by_the_next(store: Store, folder: str, *, lands: bool) -> None:
    number, cut = 0, True
    while cut:
        number += 5 if number else 1
        prefix = f"{folder}-{number}"
        zombie = await written(store, prefix)
        fault = partial(_from, number, Fault.LOST_ANSWER if lands else Fault.LOST_REQUEST)
        try:
            await purged(FaultyStore(store, before=fault), prefix)
            cut = False
        except Unavailable:
            pass
        await purged(store, prefix, attempt=3)
        names = await left(store, prefix)
        assert {name.partition("/")[0] for name in names} == {"log"}
        assert 2 <= len(names) <= 3, "one claim of each attempt that came to claim"
        with pytest.raises(Fenced):
            await append(zombie, 6)
    assert number > 10, "it was cut off at each of them"


async def _from(number: int, fault: Fault, call: Call) -> Fault:
    return fault if call.number >= number else Fault.NONE
