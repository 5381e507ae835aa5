"""The property tests of `tests/unit/log/rivalry.py` on real servers: the same rivals, interleaved call by call, behind
a proxy that drops, delays, reorders, truncates and refuses what they send.

`SEED=n` repeats a run; `make test-deep` plays longer.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import ClassVar, Final

import hypothesis
import pytest
from agenttask.store import Store
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.api.store import servers
from tests.api.store.conftest import STORES, Server
from tests.api.store.proxy import HTTP_ONLY, Misfortune, Proxy
from tests.api.store.reached import before, reached
from tests.unit.log.rivalry import DEEP, AtOnce, Rivalry, play

CALLS_WANTED: Final = {"versitygw": 300, "moto": 200, "valkey": 800, "redis": 800}
"""Store calls to play on each: seconds."""
DEEPER: Final = 10 if DEEP else 1
HELD_SECONDS: Final = 2
ALONE: Final = [each for each in Misfortune if each not in (Misfortune.NONE, Misfortune.REORDER, Misfortune.LATE)]
"""What befalls one request. Reordering takes two; late requests the machine keeps and delivers by itself."""


class OnServer(Rivalry):
    """All examples on one server, each in a folder of its own."""

    proxy: ClassVar[Proxy]
    http: ClassVar[bool]

    def open(self) -> None:
        self.proxy.plan = lambda _: Misfortune.NONE

    def next_request(self, misfortune: Misfortune) -> None:
        """Let this befall the next request, and no other."""
        left = [misfortune]

        def plan(_: bytes) -> Misfortune:
            if not left:
                return Misfortune.NONE
            self.played[misfortune.name] += 1
            return left.pop()

        self.proxy.plan = plan

    @rule(which=st.integers(0, 99), misfortune=st.sampled_from(ALONE))
    @precondition(lambda self: self.awake)
    def suffers(self, *, which: int, misfortune: Misfortune) -> None:
        rival = self.awake[which % len(self.awake)]
        if misfortune not in HTTP_ONLY or self.http:
            self.next_request(misfortune)
        self.loop.run_until_complete(self.let_go(rival))
        self.judge(rival)

    @rule(which=st.integers(0, 99))
    @precondition(lambda self: len(self.awake) > 1)
    def is_overtaken(self, *, which: int) -> None:
        """One rival's request is held back until another's has been answered."""
        awake = self.awake
        first, second = awake[which % len(awake)], awake[(which + 1) % len(awake)]

        async def race() -> None:
            self.proxy.holding.clear()
            self.next_request(Misfortune.REORDER)
            slow = asyncio.create_task(self.let_go(first))
            with suppress(TimeoutError):  # this call had no request to make
                await asyncio.wait_for(self.proxy.holding.wait(), HELD_SECONDS if first.under_way else 0.01)
            await asyncio.gather(slow, self.let_go(second))

        self.loop.run_until_complete(race())
        self.judge(first)
        self.judge(second)


@contextmanager
def machine(server: Server | servers.RedisProcess) -> Iterator[type[OnServer]]:
    """The machine for one server."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(AtOnce())

    async def start(stack: AsyncExitStack) -> tuple[Proxy, Store, Store]:
        proxy = await stack.enter_async_context(before(server, plan=lambda _: Misfortune.NONE).listening())
        stores = reached(server, proxy.endpoint), reached(server, None)
        for store in stores:
            stack.push_async_callback(store.close)
        return proxy, *stores

    stack = AsyncExitStack()
    try:
        proxy, through, straight = loop.run_until_complete(start(stack))
        facts = {"loop": loop, "proxy": proxy, "http": isinstance(server, Server)}
        yield type("OnServer", (OnServer,), facts | {"through": through, "straight": straight})
    finally:
        loop.run_until_complete(stack.aclose())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def is_disturbed_often(played: Counter[str]) -> bool:
    return sum(played[misfortune.name] for misfortune in (*ALONE, Misfortune.REORDER)) > 20


@pytest.mark.parametrize("name", [name for name in CALLS_WANTED if name in STORES])
def test_no_interleaving_of_rivals_on_a_real_server_and_a_bad_wire_breaks_a_promise_of_the_log(
    request: pytest.FixtureRequest, name: str
) -> None:
    settings = hypothesis.settings(
        max_examples=8,
        stateful_step_count=60,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    with machine(request.getfixturevalue(name)) as on_server:
        played = play(on_server, calls=CALLS_WANTED[name] * DEEPER, settings=settings, enough=is_disturbed_often)
    assert is_disturbed_often(played)
    assert played["acknowledged"] > played["calls"] / 100
