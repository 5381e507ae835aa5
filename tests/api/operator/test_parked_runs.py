"""Operator and runner together on a real API server: what one says of a park, the other understands.

The test is scheduler and kubelet; the runner is the real one, in this process, with a model and a store of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

import httpx
import msgspec
from agenttask.agent.stop import Stop
from agenttask.clock import ManualClock
from agenttask.contract import Exit, RunnerStatus
from agenttask.endings import Ending, encode_termination
from agenttask.log import Holder
from agenttask.run import Surroundings, run_attempt
from agenttask.status_api import Answer
from agenttask.store.memory import MemoryStore

from tests.api.operator.test_parked import assignment
from tests.api.operator.world import RUNNING, World
from tests.unit.agent.conftest import Said
from tests.unit.agent.conftest import World as Model

QUOTA = "ModelQuotaExhausted"
TOOL = {"name": "echo", "recovery": "Idempotent", "http": {"url": "http://tool.test/echo"}}


@dataclass(kw_only=True)
class Status:
    """The task's status, as the runner's own field manager writes it."""

    world: World

    async def apply(self, status: RunnerStatus) -> tuple[Answer, str]:
        self.world.tell(status)
        return Answer.ACCEPTED, ""

    async def close(self) -> None:
        return None


@dataclass(kw_only=True)
class Node:
    """Runs the pods that the operator makes, on one bucket, with one model."""

    world: World
    model: Model = field(default_factory=Model)
    objects: dict[str, bytes] = field(default_factory=dict)

    async def run(self, attempt: int, *, reports: bool = True) -> Ending:
        """One pod, from its start to its end, which the kubelet reports or not."""
        self.world.bind(attempt)
        self.world.report(attempt, state=RUNNING)
        await self.world.settle()
        clock = ManualClock(start=self.world.clock())
        around = Surroundings(
            store=MemoryStore(self.objects),
            holder=Holder(pod_uid=f"pod-{attempt}", process="p"),
            clock=clock,
            random=Random(1),
            stop=Stop(grace_seconds=30, clock=clock),
            lines=Said(),
            status=Status(world=self.world),
            environment={},
            transport=httpx.MockTransport(self.model.handle),
        )
        ending = await run_attempt(assignment=assignment(self.world, attempt), around=around)
        if reports:
            message = encode_termination(ending=ending, attempt=attempt).decode()
            self.world.exit(attempt, code=ending.exit, message=message)
        return ending


def used_up(*, at: int) -> Callable[[httpx.Request], Awaitable[httpx.Response | None]]:
    """A model whose account has nothing left at one call, and has again at the next."""
    calls = 0

    async def answer(_: httpx.Request) -> httpx.Response | None:
        nonlocal calls
        calls += 1
        return httpx.Response(402, json={"error": {"message": "Pay first."}}) if calls == at else None

    return answer


def outcomes(world: World) -> list[str]:
    return [one["outcome"] for one in world.status["attempts"]]


async def test_a_used_up_quota_is_waited_for_without_a_pod_and_nothing_is_paid_twice(world: World) -> None:
    node = Node(world=world)
    node.model.before_model = used_up(at=3)
    world.apply(agent={"tools": [TOOL]})
    await world.settle()
    assert (await node.run(1)).exit == Exit.PARKED
    after = await world.settle()
    assert after is not None
    assert 290 < after < 460  # the clock of the runner goes on by itself
    status = world.status
    assert (status["phase"], status["reason"], status["attempt"]) == ("Checkpointed", QUOTA, 1)
    assert "Pay first." in status["message"]
    assert status["wake"]["park"] == status["checkpoint"]["seq"]
    world.clock.pass_by(after)
    await world.settle()
    assert assignment(world, 2).met_park == status["wake"]["park"]
    assert (await node.run(2)).answer == node.model.answer()
    await world.settle()
    assert (world.status["phase"], outcomes(world)) == ("Completed", ["Parked", "Completed"])
    assert "wake" not in world.status
    usage = world.status["usage"]
    assert (usage["modelCalls"], usage["repeatedModelCalls"], usage["failedModelCalls"]) == (4, 0, 1)


async def test_an_attempt_that_was_raised_because_the_park_was_not_heard_of_waits_for_the_same(world: World) -> None:
    node = Node(world=world)
    node.model.before_model = used_up(at=3)
    world.apply(agent={"tools": [TOOL]})
    await world.settle()
    await node.run(1, reports=False)
    world.delete_pod(1, grace=0)
    await world.settle()
    assert (world.status["attempt"], assignment(world, 2).met_park) == (2, None)
    calls = len(node.model.model_calls)
    assert (await node.run(2)).exit == Exit.PARKED
    assert len(node.model.model_calls) == calls
    after = await world.settle()
    assert after is not None
    assert (world.status["reason"], outcomes(world)) == (QUOTA, ["Disrupted", "Parked"])
    world.clock.pass_by(after)
    await world.settle()
    assert (await node.run(3)).answer == node.model.answer()
    await world.settle()
    assert (world.status["phase"], "wake" in world.status) == ("Completed", False)
    assert world.status["usage"]["repeatedModelCalls"] == 0


async def test_a_pod_lost_behind_the_wait_is_replaced_by_one_that_waits_no_more(world: World) -> None:
    node = Node(world=world)
    world.apply(agent={"tools": [TOOL]}, budget={"steps": 2})
    await world.settle()
    await node.run(1)
    await world.settle()
    assert world.condition("Stalled") == ("True", "BudgetExhausted", world.status["message"])
    world.edit(budget={"steps": 3})
    await world.settle()
    await node.run(2, reports=False)  # it makes one call more, parks again, and nobody hears of it but by its report
    world.delete_pod(2, grace=0)
    world.edit(budget={"steps": 30})
    await world.settle()
    assert (world.status["attempt"], assignment(world, 3).met_park) == (3, None)
    assert (await node.run(3)).exit == Exit.PARKED
    await world.settle()
    assert (world.status["attempt"], assignment(world, 4).met_park) == (4, world.status["checkpoint"]["seq"])
    assert (await node.run(4)).answer == node.model.answer()
    assert msgspec.json.decode(node.model.model_calls[-1])["model"] == "small"
    assert len(node.model.model_calls) == len(set(node.model.model_calls)) == 4
