"""Real servers behind a proxy that loses, delays, reorders, truncates and refuses requests: what a store then says is
true, and a caller that asks again ends up with what it wanted.

`SEED=n` repeats a run.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial

import pytest
from agenttask.errors import Absent, Exists, Unavailable
from agenttask.store import Store
from agenttask.store.source import of_bytes

from tests.api.store import servers
from tests.api.store.conftest import REDISES, Server
from tests.api.store.proxy import HTTP_ONLY, Misfortune, Proxy
from tests.api.store.reached import before, reached
from tests.e2e.harness.wait import PATIENCE_SECONDS

SEED = int(os.environ.get("SEED") or random.randrange(2**32))
LARGE = 1 << 30
S3_SERVERS = ["versitygw", "moto"]
SERVERS = [*S3_SERVERS, *REDISES]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wire:
    """A proxy before a server, how to open a store through it, and one beside it."""

    proxy: Proxy
    store: Callable[[], Store]
    beside: Store
    http: bool

    def next(self, misfortune: Misfortune, *, what: bytes) -> None:
        """Let this befall the next request that has `what` in it, and no other."""
        left = [misfortune]

        def plan(request: bytes) -> Misfortune:
            return left.pop() if left and what in request else Misfortune.NONE

        self.proxy.plan = plan


@pytest.fixture(params=SERVERS)
async def wire(request: pytest.FixtureRequest) -> AsyncIterator[Wire]:
    """Each server in turn."""
    server: Server | servers.RedisProcess = request.getfixturevalue(request.param)
    async with before(server, plan=lambda _: Misfortune.NONE).listening() as proxy:
        through, beside = partial(reached, server, proxy.endpoint), reached(server, None)
        yield Wire(proxy=proxy, store=through, beside=beside, http=isinstance(server, Server))
        await beside.close()


def _put(wire: Wire) -> bytes:
    return b"PUT /" if wire.http else b"HSETNX"


def _get(wire: Wire) -> bytes:
    return b"GET /" if wire.http else b"HGET"


LANDS = {
    Misfortune.DROP_BEFORE: False,
    Misfortune.DROP_AFTER: True,
    Misfortune.TRUNCATE: True,
    Misfortune.LATE: True,
    Misfortune.ERROR_500: False,
    Misfortune.ERROR_503: False,
    Misfortune.ERROR_409: False,
}


@pytest.mark.parametrize(
    ("wire", "misfortune"),
    [(name, each) for name in SERVERS for each in LANDS if name in S3_SERVERS or each not in HTTP_ONLY],
    indirect=["wire"],
    ids=lambda each: each.value if isinstance(each, Misfortune) else each,
)
async def test_a_put_without_an_answer_is_unavailable_and_asking_again_settles_it(
    wire: Wire, folder: str, misfortune: Misfortune
) -> None:
    store = wire.store()
    await store.put_if_absent(f"{folder}/0", b"x", first=True)
    wire.next(misfortune, what=_put(wire))
    try:
        await store.put_if_absent(f"{folder}/1", b"mine", first=False)
    except Unavailable:
        pass
    else:
        assert wire.http
        assert misfortune is Misfortune.TRUNCATE, "a status line that says 200 is an answer"
    await wire.proxy.settled()
    assert (len(await wire.beside.list(f"{folder}/", after=f"{folder}/0")) == 1) is LANDS[misfortune]
    if LANDS[misfortune]:
        with pytest.raises(Exists):
            await store.put_if_absent(f"{folder}/1", b"mine", first=False)
    else:
        await store.put_if_absent(f"{folder}/1", b"mine", first=False)
    assert await wire.beside.get(f"{folder}/1", max_bytes=LARGE) == b"mine"
    assert misfortune in wire.proxy.befallen
    await store.close()


@pytest.mark.parametrize("misfortune", [Misfortune.DROP_AFTER, Misfortune.TRUNCATE, Misfortune.DROP_BEFORE])
async def test_a_stream_that_is_cut_can_be_taken_up_where_it_broke_off(
    wire: Wire, folder: str, misfortune: Misfortune
) -> None:
    body = os.urandom(9 << 20)
    store = wire.store()
    await store.put_stream_if_absent(f"{folder}/1", of_bytes(body), first=True)
    wire.next(misfortune, what=_get(wire))
    got = b""
    with pytest.raises(Unavailable):
        async with aclosing(store.stream(f"{folder}/1")) as pieces:
            async for piece in pieces:
                got += piece
    async with aclosing(store.stream(f"{folder}/1", offset=len(got))) as pieces:
        async for piece in pieces:
            got += piece
    assert got == body
    await store.close()


async def test_a_put_that_was_overtaken_is_still_only_one_of_two(wire: Wire, folder: str) -> None:
    store, other = wire.store(), wire.store()
    await store.put_if_absent(f"{folder}/0", b"x", first=True)
    await other.put_if_absent(f"{folder}/00", b"x", first=False)
    wire.proxy.held_seconds = PATIENCE_SECONDS
    wire.next(Misfortune.REORDER, what=_put(wire))
    slow = asyncio.create_task(store.put_if_absent(f"{folder}/1", b"slow", first=False))
    await wire.proxy.holding.wait()
    await other.put_if_absent(f"{folder}/1", b"fast", first=False)
    with pytest.raises(Exists):
        await slow
    assert await wire.beside.get(f"{folder}/1", max_bytes=LARGE) == b"fast"
    await store.close()
    await other.close()


async def test_whatever_befalls_requests_an_acknowledged_put_stands_and_no_key_has_two_bodies(
    wire: Wire, folder: str
) -> None:
    print(f"SEED={SEED}")  # noqa: T201 - to repeat the run
    chance = random.Random(SEED)
    kinds = [one for one in Misfortune if wire.http or one not in HTTP_ONLY]
    await wire.beside.put_if_absent(f"{folder}/0", b"x", first=True)
    wire.proxy.plan = lambda _: chance.choice(kinds) if chance.random() < 0.3 else Misfortune.NONE
    stores = [wire.store() for _ in range(3)]
    acknowledged: dict[str, bytes] = {}

    async def write(store: Store, writer: int) -> None:
        for number in range(1, 26):
            key, body = f"{folder}/{number}", f"{writer}:{number}".encode()
            for _ in range(200):
                try:
                    await store.put_if_absent(key, body, first=False)
                    found = body
                except Exists:
                    found = await _persistently(store, key)
                except Unavailable:
                    continue
                assert acknowledged.setdefault(key, found) == found, f"two bodies under {key}"
                break
            else:
                raise AssertionError("no answer in 200 tries")

    await asyncio.gather(*(write(store, writer) for writer, store in enumerate(stores)))
    await wire.proxy.settled()
    for key, body in acknowledged.items():
        assert await wire.beside.get(key, max_bytes=LARGE) == body
    for store in stores:
        await store.close()


async def _persistently(store: Store, key: str) -> bytes:
    for _ in range(200):
        try:
            return await store.get(key, max_bytes=LARGE)
        except Unavailable:
            continue
        except Absent:
            raise AssertionError(f"{key} was said to exist, and then had nothing there") from None
    raise AssertionError("no answer in 200 tries")
