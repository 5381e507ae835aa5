"""The operator's own process, with watches, queue and lease, behind a proxy that lies to it and kills it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.api.operator.faults.plans import Plan
from tests.api.operator.faults.processes import ProcessStage
from tests.api.operator.faults.replicas import HandedOver, ReplicaStage, carry_out_at_once, replica_plans
from tests.api.operator.faults.report import ALL, Report
from tests.api.operator.faults.streams import (
    killed_again_and_again,
    killed_plans,
    mixed_process_plan,
    silent_plans,
    stale_plans,
    stream_plans,
)

SEED = int(os.environ.get("SEED") or (secrets.randbelow(10**9) if ALL else 1))
SEEDS = 6 if ALL else 1


def cases(plans: Iterable[Plan], *, few: Iterable[int]) -> list[object]:
    """All plans, or in a short run these few of them."""
    return [
        pytest.param(plan, id=f"{plan.name}, {plan.detail}")
        for number, plan in enumerate(plans)
        if ALL or number in few
    ]


def carried_out(stage: ProcessStage, plan: Plan, report: Report) -> list[str]:
    """What went wrong."""
    return [f"{name}: {line}" for name, one in stage.carry_out(plan).items() for line in report.add(name, [one])]


@pytest.fixture(scope="module")
def handing_over(process_stage: ProcessStage, replica_stages: list[ReplicaStage]) -> Iterator[Future[HandedOver]]:
    """Plans of two replicas, begun: they wait for a lease to end most of the time, while others run."""
    # Before there is a second thread: msgspec 0.22 crashes where two convert to the same struct for the first time.
    process_stage.learn()
    chosen = [plan for number, plan in enumerate(replica_plans()) if ALL or number in {2, 8, 12}]
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(carry_out_at_once, chosen, stages=replica_stages)


def test_watches_alone_bring_an_undisturbed_process_to_where_the_reconciler_comes(
    process_stage: ProcessStage, report: Report
) -> None:
    assert not carried_out(replace(process_stage, resyncs=False), Plan(name="watches alone"), report)


@pytest.mark.parametrize("plan", cases(silent_plans(), few=[1]))
def test_watches_that_fall_silent(process_stage: ProcessStage, plan: Plan, report: Report) -> None:
    assert not carried_out(process_stage, plan, report)


@pytest.mark.parametrize("plan", cases(stream_plans(), few=[0, 2]))
def test_watches_that_collapse_events_or_break(process_stage: ProcessStage, plan: Plan, report: Report) -> None:
    assert not carried_out(process_stage, plan, report)


@pytest.mark.usefixtures("handing_over")
def test_killed_at_every_write_of_every_task(process_stage: ProcessStage, report: Report) -> None:
    most = process_stage.most_writes
    plans = killed_plans(most=most) if ALL else [killed_again_and_again(most=most)]
    assert not [line for plan in plans for line in carried_out(process_stage, plan, report)]


def test_killed_and_then_shown_the_past(process_stage: ProcessStage, report: Report) -> None:
    plans = list(stale_plans(most=process_stage.most_writes))
    assert not [line for plan in plans[:: 1 if ALL else 6] for line in carried_out(process_stage, plan, report)]


def test_two_replicas_of_which_the_leader_sleeps_or_is_lost(handing_over: Future[HandedOver], report: Report) -> None:
    assert not [
        f"{name}: {line}"
        for outcomes in handing_over.result()
        for name, one in outcomes.items()
        for line in report.add(name, [one])
    ]


@pytest.mark.parametrize("seed", range(SEED, SEED + SEEDS))
def test_a_random_mix_of_all_and_of_watches_by_seed(process_stage: ProcessStage, seed: int, report: Report) -> None:
    assert not carried_out(process_stage, mixed_process_plan(seed), report)
