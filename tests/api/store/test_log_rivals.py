"""Rival writers of one log on real servers, behind a proxy that drops, delays, reorders, truncates and refuses: what
the witness of `tests/unit/log/rivals.py` is promised holds.

`SEED=n` repeats the choices; the servers and the machine decide about the interleaving.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest
from agenttask.clock import SystemClock
from agenttask.errors import Fenced, Unavailable
from agenttask.log import Holder, Patience
from agenttask.store import Store

from tests.api.store import servers
from tests.api.store.conftest import REDISES, Server
from tests.api.store.proxy import HTTP_ONLY, Misfortune, Proxy
from tests.api.store.reached import before, reached
from tests.e2e.harness.wait import PATIENCE_SECONDS
from tests.unit.log.rivals import Rival, Witness

SEED = int(os.environ.get("SEED") or random.randrange(2**32))
ROUNDS = 20 if os.environ.get("DEEP") else 1
ATTEMPTS = 6
FAULTY_ONE_IN = 8


class Hurried(SystemClock):
    """Between two tries a rival waits a tenth of what it means to."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 10)


@pytest.mark.parametrize("name", ["versitygw", "moto", *REDISES])
async def test_rivals_on_a_real_server_keep_the_promises_of_the_log_on_a_bad_wire(
    request: pytest.FixtureRequest, folder: str, name: str
) -> None:
    print(f"SEED={SEED}")  # noqa: T201 - shown when it fails
    server: Server | servers.RedisProcess = request.getfixturevalue(name)
    http = isinstance(server, Server)
    misfortunes = [each for each in Misfortune if each is not Misfortune.NONE and (http or each not in HTTP_ONLY)]
    chance = random.Random(SEED)
    befallen = Counter[Misfortune]()
    deck: list[Misfortune] = []

    def plan(_: bytes) -> Misfortune:
        if chance.randrange(FAULTY_ONE_IN):
            return Misfortune.NONE
        if not deck:
            deck.extend(chance.sample(misfortunes, len(misfortunes)))
        return deck.pop()

    async with before(server, plan=plan).listening() as proxy:
        for number in range(ROUNDS):
            await play(
                f"{folder}-{number}",
                partial(reached, server, proxy.endpoint),
                partial(reached, server, None),
                proxy,
                chance,
            )
        befallen.update(proxy.befallen)
    assert befallen[Misfortune.NONE] > 100 * ROUNDS
    assert all(befallen[each] for each in misfortunes)


async def play(
    prefix: str, through: Callable[[], Store], beside: Callable[[], Store], proxy: Proxy, chance: random.Random
) -> None:
    """Attempts that come while others write; some are cut off in the middle of a call."""
    witness = Witness(prefix=prefix)
    rivals: list[Rival] = []
    tasks: list[asyncio.Task[None]] = []
    stores = [through() for _ in range(ATTEMPTS)]
    for attempt, store in enumerate(stores, start=1):
        rivals.append(rival(attempt, store, witness, steps=None if attempt < ATTEMPTS else 12))
        tasks.append(asyncio.create_task(rivals[-1].run()))
        # Wait for the work, not for the time: until somebody has written a little more.
        wanted = len(witness.acknowledged) + chance.randint(1, 8)
        while len(witness.acknowledged) < wanted and not tasks[-1].done():
            await asyncio.wait(tasks, timeout=0.02)
        if attempt < ATTEMPTS and chance.randrange(3) == 0:
            tasks[-1].cancel()
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), timeout=PATIENCE_SECONDS)
    for task, each in zip(tasks, rivals, strict=True):
        if not task.cancelled():
            task.result()
            assert each.error is None or isinstance(each.error, Fenced | Unavailable)
    await proxy.settled()
    straight = beside()
    last = rival(ATTEMPTS + 1, straight, witness, steps=3)
    await last.run()
    assert last.error is None, "whatever happened, an undisturbed attempt can go on"
    await witness.look(straight, clock=SystemClock())
    assert len(witness.acknowledged) >= 12
    for store in (straight, *stores):
        await store.close()


def rival(attempt: int, store: Store, witness: Witness, *, steps: int | None) -> Rival:
    """An attempt that is patient enough for the wire."""
    return Rival(
        attempt=attempt,
        holder=Holder(pod_uid=f"pod-{attempt}", process="p1"),
        store=store,
        witness=witness,
        clock=Hurried(),
        first_number=1000 * attempt,
        patience=Patience(claim_seconds=30, append_seconds=30),
        steps=steps,
    )
