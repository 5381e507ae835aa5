"""The operator killed at every write of every scenario: the same end, the same pods, and nothing wrong on the way."""

from __future__ import annotations

import pytest

from tests.api.operator.faults.plans import crash_plans, pause_plans
from tests.api.operator.faults.report import ALL, Report
from tests.api.operator.faults.runs import Stage
from tests.api.operator.faults.scenarios import SCENARIOS, Scenario


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.__name__)
def test_crash_at_every_write(stage: Stage, scenario: Scenario, report: Report) -> None:
    undisturbed = stage.learn(scenario)
    plans = list(crash_plans(undisturbed.writes))
    # Of the three for a write one, and another one for the next; that an Event was written changes nothing.
    third = [plan for number, plan in enumerate(plans) if number % 3 == number // 3 % 3 and "event" not in plan.detail]
    chosen = plans if ALL else third
    outcomes = stage.carry_out(scenario, chosen, undisturbed=undisturbed)
    assert not report.add(scenario.__name__, outcomes)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.__name__)
def test_operator_paused_before_a_write_while_another_leads_to_the_end(
    stage: Stage, scenario: Scenario, report: Report
) -> None:
    undisturbed = stage.learn(scenario)
    chosen = [plan for number, plan in enumerate(pause_plans(undisturbed.writes)) if ALL or number % 3 == 1]
    outcomes = stage.carry_out(scenario, chosen, undisturbed=undisturbed)
    assert not report.add(scenario.__name__, outcomes)
