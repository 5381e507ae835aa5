"""The checkpoint log on real S3 servers, over a wire that fails."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from agenttask.clock import SystemClock
from agenttask.errors import CheckpointCorrupt, Fenced, NotFound, Unavailable
from agenttask.log import Holder, Kind, Log, OnCorruption, Opened, Patience, Policy, Recorded
from agenttask.store import Store

from tests.api.store.conftest import Server
from tests.api.store.relay import Wire, relay
from tests.e2e.harness.wait import PATIENCE_SECONDS


@pytest.fixture(params=["versitygw", "moto"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each S3 server in turn."""
    found: Server = request.getfixturevalue(request.param)
    return found


async def open_log(
    store: Store,
    folder: str,
    *,
    attempt: int,
    pod: str = "pod",
    recorded: Recorded | None = None,
    seconds: float = PATIENCE_SECONDS,
    policy: Policy = Policy(),  # noqa: B008 - frozen
) -> Opened:
    return await Log.open(
        store=store,
        prefix=folder,
        task="ns/task",
        attempt=attempt,
        holder=Holder(pod_uid=f"{pod}-{attempt}", process="p"),
        recorded=recorded,
        clock=SystemClock(),
        patience=Patience(claim_seconds=seconds, append_seconds=seconds),
        policy=policy,
    )


async def commit(log: Log | None, step: int, *, kind: Kind = Kind.EVENTS) -> Recorded:
    assert log is not None
    ref = await log.append(kind=kind, events=[{"step": step}], step=step, max_steps=9)
    return Recorded(key=ref.key, seq=ref.seq)


def steps(opened: Opened) -> list[int]:
    return [event["step"] for record in opened.records for event in record.events]


async def test_a_new_attempt_resumes_and_its_predecessor_is_fenced(server: Server, folder: str) -> None:
    first = await open_log(server.store(), folder, attempt=1)
    for step in range(1, 41):
        recorded = await commit(first.log, step)
    second = await open_log(server.store(), folder, attempt=2, recorded=recorded)
    assert steps(second) == list(range(1, 41))
    with pytest.raises(Fenced) as fenced:
        await commit(first.log, 41)
    assert fenced.value.newest_attempt == 2
    await commit(second.log, 41, kind=Kind.FINAL)
    third = await open_log(server.store(), folder, attempt=3, recorded=recorded)
    assert (third.log, steps(third)[-1]) == (None, 41)


async def test_of_pods_that_claim_the_same_attempt_at_once_exactly_one_wins(versitygw: Server, folder: str) -> None:
    stores = [versitygw.store() for _ in range(6)]
    await asyncio.gather(*(store.list("warm/", after=None) for store in stores))
    outcomes = await asyncio.gather(
        *(open_log(store, folder, attempt=1, pod=str(number)) for number, store in enumerate(stores)),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Fenced"] * 5 + ["Opened"]


async def test_of_attempts_that_claim_at_once_the_newest_ends_up_with_the_log(versitygw: Server, folder: str) -> None:
    stores = [versitygw.store() for _ in range(4)]
    await asyncio.gather(*(store.list("warm/", after=None) for store in stores))
    outcomes = await asyncio.gather(
        *(open_log(store, folder, attempt=attempt) for attempt, store in enumerate(stores, 1)), return_exceptions=True
    )
    newest = outcomes[-1]
    assert isinstance(newest, Opened)
    await commit(newest.log, 1)
    for older in outcomes[:-1]:
        if isinstance(older, Opened):
            with pytest.raises(Fenced):
                await commit(older.log, 1)
        else:
            assert isinstance(older, Fenced)


async def test_an_append_whose_answer_was_lost_on_the_wire_is_recognised(server: Server, folder: str) -> None:
    async with relay(server.endpoint) as wire:
        store = dataclasses.replace(server, endpoint=wire.endpoint).store()
        opened = await open_log(store, folder, attempt=1)
        wire.wire = Wire.ANSWERS_LOST
        append = asyncio.create_task(commit(opened.log, 1))
        await wire.lost.wait()
        wire.wire = Wire.WHOLE
        assert (await append).seq == 2
        assert (await commit(opened.log, 2)).seq == 3
    again = await open_log(server.store(), folder, attempt=2)
    assert steps(again) == [1, 2]


async def test_an_append_outlasts_a_store_that_goes_and_comes_back(versitygw: Server, folder: str) -> None:
    async with relay(versitygw.endpoint) as wire:
        store = dataclasses.replace(versitygw, endpoint=wire.endpoint).store()
        opened = await open_log(store, folder, attempt=1)
        wire.cut()
        append = asyncio.create_task(commit(opened.log, 1))
        done, _ = await asyncio.wait([append], timeout=0.5)
        assert not done, "the work is held"
        wire.wire = Wire.WHOLE
        assert (await append).seq == 2


async def test_a_store_that_stays_away_is_given_up(versitygw: Server, folder: str) -> None:
    async with relay(versitygw.endpoint) as wire:
        store = dataclasses.replace(versitygw, endpoint=wire.endpoint).store()
        opened = await open_log(store, folder, attempt=1, seconds=0.5)
        wire.cut()
        with pytest.raises(Unavailable, match="no answer"):
            await commit(opened.log, 1)
        with pytest.raises(Unavailable, match="no answer"):
            await open_log(store, folder, attempt=2, seconds=0.5)


async def test_a_record_changed_in_the_bucket_is_named(server: Server, folder: str) -> None:
    store = server.store()
    opened = await open_log(store, folder, attempt=1)
    recorded = [await commit(opened.log, step) for step in (1, 2, 3)]
    key = recorded[1].key
    body = await store.get(key, max_bytes=1 << 20)
    store._client.result().put_object(Bucket=server.bucket, Key=key, Body=body.replace(b'"step":2', b'"step":9'))
    stall = Policy(on_corruption=OnCorruption.STALL)
    with pytest.raises(CheckpointCorrupt, match=key):
        await open_log(store, folder, attempt=2, recorded=recorded[-1], policy=stall)
    rewound = await open_log(store, folder, attempt=2, recorded=recorded[-1])
    assert steps(rewound) == [1]
    assert rewound.claim is not None
    assert rewound.claim.abandoned is not None
    assert key in rewound.claim.abandoned.why


async def test_a_missing_bucket_is_not_found_before_anything_is_written(versitygw: Server, folder: str) -> None:
    with pytest.raises(NotFound):
        await open_log(versitygw.store(bucket="no-such-bucket"), folder, attempt=1)
