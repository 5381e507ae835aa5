"""Parked tasks on a real API server: no pod while they wait, woken by the clock or by an edit, told what is met."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
from agenttask import contract
from agenttask.contract import Above, Parked, Wake
from agenttask_operator.observed import read_pod

from tests.api.operator.world import RUNNING, World

QUOTA = "ModelQuotaExhausted"


def assignment(world: World, attempt: int) -> contract.Assignment:
    pod = world.pod(attempt)
    assert pod is not None
    text = pod["metadata"]["annotations"][contract.ANNOTATION_ASSIGNMENT]
    return msgspec.json.decode(text, type=contract.Assignment)


def park(world: World, attempt: int, *, seq: int, wake: Wake, **said: Any) -> None:
    world.end(attempt, contract.Outcome.PARKED, code=76, parked=Parked(park=seq, wake=wake), **said)


async def test_a_used_up_quota_waits_without_a_pod_and_goes_on_by_itself(world: World) -> None:
    world.apply()
    await world.settle()
    await world.begin(1, step=2)
    until = (world.clock() + timedelta(seconds=300)).replace(microsecond=0)
    park(world, 1, seq=103, wake=Wake(not_before=until), reason=QUOTA, message="The quota is used up.")
    after = await world.settle()
    assert after is not None
    assert 290 < after <= 300
    status = world.status
    assert (status["phase"], status["reason"], status["message"]) == ("Checkpointed", QUOTA, "The quota is used up.")
    assert status["wake"] == {"park": 103, "notBefore": until.strftime("%Y-%m-%dT%H:%M:%SZ")}
    assert status["attempts"][0]["outcome"] == "Parked"
    assert world.condition("Stalled") is None
    world.clock.pass_by(200)
    world.restart()
    await world.settle()
    assert world.pods == [f"{world.name}-1"]  # which has ended, and keeps its logs
    assert world.status["attempt"] == 1
    world.clock.pass_by(100)
    await world.settle()
    assert world.status["wake"]["met"] is True
    assert (assignment(world, 2).met_park, assignment(world, 2).unreported) == (103, ())


async def test_the_park_that_is_met_is_told_to_every_attempt_until_a_newer_record_is_reported(world: World) -> None:
    world.apply()
    await world.settle()
    await world.begin(1, step=2)
    park(world, 1, seq=103, wake=Wake(not_before=world.clock()), reason=QUOTA)
    await world.settle()
    world.bind(2)
    world.report(2, state=RUNNING)
    world.delete_pod(2, grace=0)
    await world.settle()
    assert (assignment(world, 3).met_park, assignment(world, 3).unreported) == (103, (2,))
    await world.begin(3, step=2)
    assert "wake" not in world.status
    world.delete_pod(3, grace=0)
    await world.settle()
    world.clock.pass_by(30)
    await world.settle()
    assert (assignment(world, 4).met_park, assignment(world, 4).unreported) == (None, (2, 3))


async def test_a_used_up_budget_waits_for_someone_and_goes_on_once_it_is_larger(world: World) -> None:
    world.apply(budget={"steps": 2})
    await world.settle()
    await world.begin(1, step=2)
    park(world, 1, seq=103, wake=Wake(budget_above=Above(steps=2, tokens=900)), reason="BudgetExhausted")
    assert await world.settle() is None
    assert world.condition("Stalled") == ("True", "BudgetExhausted", "It is so.")
    assert world.status["wake"] == {"park": 103, "budgetAbove": {"steps": 2, "tokens": 900}}
    world.edit(prompt="Hello.", budget={"steps": 2, "tokens": 2000})
    await world.settle()
    assert world.status["attempt"] == 1
    world.edit(budget={"steps": 3})
    await world.settle()
    assert (world.status["attempt"], assignment(world, 2).met_park) == (2, 103)
    assert world.status["attempts"][0]["outcome"] == "Parked"


async def test_an_attempt_whose_node_comes_back_leaves_the_list_by_its_kubelet_s_word(world: World) -> None:
    world.apply()
    await world.settle()
    await world.begin(1, step=2)
    world.report(1, state=RUNNING, Ready=("False", "", 40), ContainersReady=("True", "", 400))
    await world.settle()
    assert world.status["unreported"] == [1]
    assert assignment(world, 2).unreported == (1,)
    world.end(1, contract.Outcome.FENCED, code=77)
    await world.settle()
    assert "unreported" not in world.status


async def test_its_word_counts_even_if_the_pod_is_gone_before_anybody_looks(world: World) -> None:
    world.apply()
    await world.settle()
    await world.begin(1, step=2)
    world.report(1, state=RUNNING, Ready=("False", "", 40), ContainersReady=("True", "", 400))
    await world.settle()
    world.end(1, contract.Outcome.FENCED, code=77)
    last = world.pod(1)
    assert last is not None
    world.delete_pod(1, grace=0)
    await world.settle()
    assert world.status["unreported"] == [1], "nobody saw it go"
    world.operator.departed.keep(read_pod(last))
    await world.settle()
    assert "unreported" not in world.status
