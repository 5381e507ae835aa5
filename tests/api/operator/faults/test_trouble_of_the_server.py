"""A server that is slow to say yes, shows the past, or is shared by two operators; and all of it at once, by seed."""

from __future__ import annotations

import os
import secrets

import pytest

from tests.api.operator.faults.plans import mixed_plan, storm_plans
from tests.api.operator.faults.report import ALL, Report
from tests.api.operator.faults.runs import Stage
from tests.api.operator.faults.scenarios import SCENARIOS, Scenario

SEEDS = 6 if ALL else 2


@pytest.mark.parametrize("scenario", SCENARIOS if ALL else SCENARIOS[1::4], ids=lambda one: one.__name__)
def test_storms_stale_reads_and_two_operators(stage: Stage, scenario: Scenario, report: Report) -> None:
    outcomes = stage.carry_out(scenario, storm_plans(), undisturbed=stage.learn(scenario))
    assert not report.add(scenario.__name__, outcomes)


@pytest.mark.parametrize("scenario", SCENARIOS if ALL else SCENARIOS[::5], ids=lambda one: one.__name__)
def test_a_random_mix_of_all_by_seed(stage: Stage, scenario: Scenario, report: Report) -> None:
    seed = int(os.environ.get("SEED") or (secrets.randbelow(10**9) if ALL else 1))
    print(f"SEED={seed}")  # noqa: T201 - it repeats the run
    plans = [mixed_plan(seed + number) for number in range(SEEDS)]
    outcomes = stage.carry_out(scenario, plans, undisturbed=stage.learn(scenario))
    assert not report.add(scenario.__name__, outcomes)
