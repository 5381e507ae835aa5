"""Two of the operator's processes at once, with the lease between them: one leads, and is gone for a while or for good.

Each has a proxy of its own. The leader is taken away while its tasks wait for the answer to a write: kept before it is
forwarded, or after it was applied. Whatever was kept goes out, or is answered, once the leader is back, or, of one that
never comes back, once the other leads.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum

from tests.api.operator.faults.container import Container
from tests.api.operator.faults.followed import Followed
from tests.api.operator.faults.plans import Plan
from tests.api.operator.faults.processes import LAST_LISTINGS, ProcessStage
from tests.api.operator.faults.proxy import KEPT, RESYNC, Fate, Proxy
from tests.api.operator.faults.runs import Outcome
from tests.api.operator.faults.scenarios import Scenario
from tests.api.operator.faults.streams import AtWrites


class Absence(StrEnum):
    """For how long the leader is away."""

    NAP = "asleep until the other leads"
    SLEEP = "asleep until all is over"
    LOSS = "killed, and never back"


@dataclass(frozen=True, kw_only=True)
class TwoReplicas(Plan):
    """What becomes of the one that leads."""

    absence: Absence | None = None


def replica_plans() -> Iterator[TwoReplicas]:
    """None away, and each absence at each third write, kept before and after it in turns."""
    yield TwoReplicas(name="two replicas")
    for start, absence in enumerate(Absence, start=1):
        for number in range(start, LAST_WRITE + 1, 3):
            fate = (Fate.HELD, Fate.LATE)[number % 2]
            name = "leader lost" if absence is Absence.LOSS else "leader asleep"
            yield TwoReplicas(
                name=name,
                detail=f"{absence}, write {number} {fate}",
                judge=AtWrites(number, fate=fate),
                late=True,
                absence=absence,
            )


LAST_WRITE = 14
"""Most scenarios have so many."""


class ReplicaStage(ProcessStage):
    """Where such lives take place."""

    async def _live(
        self, plan: Plan, *, lives: dict[Scenario, list[Followed]]
    ) -> tuple[dict[Scenario, list[str]], list[str]]:
        assert isinstance(plan, TwoReplicas)
        copy = self.here.copy
        # Whoever held it has been killed, and would be waited for.
        copy.admin.send("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/{copy.namespace}/leases/{self.lease}")
        async with AsyncExitStack() as stack:
            ways = [await stack.enter_async_context(self._proxy(one)) for one in (plan, Plan(name=plan.name))]
            leading = asyncio.create_task(ways[0].more("create lease"))
            first = await stack.enter_async_context(self._container(ways[0], pod="operator-first"))
            await leading
            await stack.enter_async_context(self._container(ways[1], pod="operator-second"))
            await ways[1].more(RESYNC)
            following = asyncio.create_task(self._follow(lives))
            if plan.absence is not None:
                await _take_away(first, absence=plan.absence, leader=ways[0], other=ways[1])
            written = len(ways[0].writes)
            if plan.absence is Absence.NAP:
                written = await _come_back(first, way=ways[0])
            halts = await following
            if plan.absence is Absence.SLEEP:
                written = await _come_back(first, way=ways[0])
            leads, idle, before = (ways[1], ways[0], written) if plan.absence else (ways[0], ways[1], 0)
            await leads.more(RESYNC, number=LAST_LISTINGS)
            return halts, [f"wrote without the lease: {name}" for name in idle.writes[before:]]


HandedOver = list[dict[str, Outcome]]
"""What came of each plan: of each scenario, by its name."""


def carry_out_at_once(plans: Iterable[TwoReplicas], *, stages: Sequence[ReplicaStage]) -> HandedOver:
    """Carry each plan out on whichever stage is free."""
    free = queue.SimpleQueue[ReplicaStage]()
    for stage in stages:
        free.put(stage)
        # Now, not by all of them at once.
        stage.learn()

    def one(plan: TwoReplicas) -> dict[str, Outcome]:
        stage = free.get()
        try:
            return stage.carry_out(plan)
        finally:
            free.put(stage)

    with ThreadPoolExecutor(len(stages)) as pool:
        return list(pool.map(one, plans))


async def _take_away(first: Container, *, absence: Absence, leader: Proxy, other: Proxy) -> None:
    """Once a write is kept; the next renewal leaves other tasks the time to come to the same."""
    await leader.more(KEPT)
    await leader.more("put lease")
    taking_over = asyncio.create_task(other.more("put lease"))
    if absence is Absence.LOSS:
        await first.lose()
    else:
        first.pause()
    await taking_over
    if absence is Absence.LOSS:
        leader.release()


async def _come_back(first: Container, *, way: Proxy) -> int:
    """Wake it, and wait until it has seen who leads; how much it had written by then."""
    # The first look tells it so, and it looks again only when it stands by.
    noticing = asyncio.create_task(way.more("read lease", number=2))
    first.resume()
    way.release()
    await noticing
    return len(way.writes)
