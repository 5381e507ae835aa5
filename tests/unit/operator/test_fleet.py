"""What metrics say of the tasks that exist, as long as they do, and count of what they use: once, whoever looks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from agenttask_operator.fleet import FORGET_SECONDS, Fleet
from agenttask_operator.metrics import Metrics
from agenttask_operator.observed import Task, read_task

from tests.unit.operator.builders import raw_task
from tests.unit.operator.scraped import scraped

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC).timestamp()


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


def shown(name: str = "triage", *, namespace: str = "agents", **status: Any) -> Task:
    return read_task(raw_task(name, namespace=namespace, **status))


def used(**usage: Any) -> dict[str, Any]:
    return {"usage": usage, "progress": {"step": 1, "model": "small"}}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def fleet(metrics: Metrics, clock: Clock) -> Fleet:
    made = Fleet(metrics=metrics, clock=clock)
    made.leading = True
    return made


def test_tasks_are_there_by_phase_and_reason_as_long_as_they_are(fleet: Fleet, metrics: Metrics) -> None:
    fleet.show(shown("a", phase="Running", reason="Working"))
    fleet.show(shown("b", phase="Running", reason="Working"))
    fleet.show(shown("c"))
    working, new = ("agents", "Running", "Working"), ("agents", "Pending", "other")
    assert scraped(metrics, "agenttask_tasks") == {working: 2, new: 1}
    fleet.show(shown("a", phase="Completed", reason="Completed"))
    fleet.forget("uid-agents-b")
    assert scraped(metrics, "agenttask_tasks") == {("agents", "Completed", "Completed"): 1, new: 1}


def test_a_standby_tells_of_no_task_and_counts_nothing(fleet: Fleet, metrics: Metrics) -> None:
    fleet.leading = False
    fleet.show(shown("a", phase="Running", **used(promptTokens=5, completionTokens=1)))
    fleet.show(shown("a", phase="Running", **used(promptTokens=9, completionTokens=1)))
    assert scraped(metrics, "agenttask_tasks") == {}
    assert scraped(metrics, "agenttask_tokens_total") == {}
    fleet.leading = True
    fleet.show(shown("a", phase="Running", **used(promptTokens=10, completionTokens=1)))
    assert scraped(metrics, "agenttask_tokens_total") == {("agents", "small", "prompt"): 1}


def test_what_a_task_uses_is_counted_by_namespace_and_model(fleet: Fleet, metrics: Metrics) -> None:
    fleet.show(shown())
    fleet.show(shown(**used(promptTokens=100, cachedTokens=60, completionTokens=7, costUSD="0.25")))
    fleet.show(shown(**used(promptTokens=100, cachedTokens=60, completionTokens=7, costUSD="0.25")))
    fleet.show(shown(**used(promptTokens=150, cachedTokens=60, completionTokens=8, costUSD="0.375")))
    assert scraped(metrics, "agenttask_tokens_total") == {
        ("agents", "small", "prompt"): 90,
        ("agents", "small", "cached"): 60,
        ("agents", "small", "completion"): 8,
    }
    assert scraped(metrics, "agenttask_cost_usd_total") == {("agents", "small"): 0.375}


def test_a_restarted_operator_counts_nothing_again(fleet: Fleet, metrics: Metrics) -> None:
    fleet.show(shown(**used(promptTokens=100, costUSD="3")))
    assert scraped(metrics, "agenttask_tokens_total") == {}
    fleet.show(shown(**used(promptTokens=101, costUSD="3")))
    assert scraped(metrics, "agenttask_tokens_total") == {("agents", "small", "prompt"): 1}


def test_a_status_that_is_wiped_and_written_again_is_no_new_use(fleet: Fleet, metrics: Metrics) -> None:
    fleet.show(shown())
    fleet.show(shown(**used(promptTokens=100)))
    fleet.show(shown())
    fleet.show(shown(**used(promptTokens=110)))
    assert scraped(metrics, "agenttask_tokens_total") == {("agents", "small", "prompt"): 110}


def test_a_status_that_is_wiped_is_no_lost_work(fleet: Fleet, metrics: Metrics) -> None:
    point = {"key": "log/1", "seq": 5, "attempt": 1}
    fleet.show(shown(checkpoint=point, progress={"step": 7}))
    fleet.show(shown())
    fleet.show(shown(checkpoint=point, progress={"step": 7}))
    fleet.show(shown(checkpoint=point, progress={"step": 6}))
    assert scraped(metrics, "agenttask_repeated_steps_total") == {}


def test_a_cost_that_is_no_number_counts_as_none(fleet: Fleet, metrics: Metrics) -> None:
    fleet.show(shown())
    fleet.show(shown(**used(costUSD="much")))
    assert scraped(metrics, "agenttask_cost_usd_total") == {}


def test_work_that_is_lost_and_done_again_is_counted(fleet: Fleet, metrics: Metrics) -> None:
    point = {"key": "log/1", "seq": 5, "attempt": 1, "sizeBytes": 10, "time": "2026-03-01T11:59:00Z"}
    fleet.show(shown(checkpoint=point, progress={"step": 7}))
    again = {**point, "seq": 6, "attempt": 2}
    lost = {"promptTokens": 30, "completionTokens": 12}
    fleet.show(shown(checkpoint=again, progress={"step": 4}, usage={"repeatedModelCalls": 1, "lost": lost}))
    fleet.show(shown(checkpoint={**again, "seq": 9}, progress={"step": 5}, usage={"repeatedModelCalls": 1}))
    assert scraped(metrics, "agenttask_repeated_steps_total") == {("agents",): 3}
    assert scraped(metrics, "agenttask_repeated_model_calls_total") == {("agents",): 1}
    assert scraped(metrics, "agenttask_lost_tokens_total") == {("agents",): 42}
    assert scraped(metrics, "agenttask_checkpoint_records_total") == {("agents",): 4}


def test_of_checkpoints_the_oldest_and_the_largest_are_told(fleet: Fleet, metrics: Metrics, clock: Clock) -> None:
    def point(time: str, size: int) -> dict[str, Any]:
        return {"key": "log/1", "seq": 1, "attempt": 1, "sizeBytes": size, "time": time}

    fleet.show(shown("a", phase="Running", checkpoint=point("2026-03-01T11:59:00Z", 10)))
    fleet.show(shown("b", phase="Running", checkpoint=point("2026-03-01T11:58:00Z", 30)))
    fleet.show(shown("c", phase="Checkpointed", checkpoint=point("2026-03-01T10:00:00Z", 40)))
    fleet.show(shown("d", phase="Completed", checkpoint=point("2026-02-01T10:00:00Z", 90)))
    assert scraped(metrics, "agenttask_checkpoint_age_seconds") == {("agents",): 120}
    assert scraped(metrics, "agenttask_checkpoint_record_bytes") == {("agents",): 40}
    clock.now += 5
    assert scraped(metrics, "agenttask_checkpoint_age_seconds") == {("agents",): 125}


def test_a_namespace_that_has_had_no_task_for_long_is_forgotten(fleet: Fleet, metrics: Metrics, clock: Clock) -> None:
    for namespace in ("blue", "red", "green"):
        fleet.show(shown(namespace=namespace))
        fleet.show(shown(namespace=namespace, **used(costUSD="1")))
        fleet.forget(f"uid-{namespace}-triage")
    clock.now += FORGET_SECONDS
    fleet.show(shown(namespace="green"))
    assert set(scraped(metrics, "agenttask_cost_usd_total")) == {
        ("blue", "small"),
        ("red", "small"),
        ("green", "small"),
    }
    clock.now += 1
    fleet.show(shown("back", namespace="red"))
    scraped(metrics, "agenttask_tasks")
    assert set(scraped(metrics, "agenttask_cost_usd_total")) == {("red", "small"), ("green", "small")}


def test_a_namespace_that_still_has_a_task_is_not_forgotten_for_one_that_went(
    fleet: Fleet, metrics: Metrics, clock: Clock
) -> None:
    for name in ("gone", "idle"):
        fleet.show(shown(name))
        fleet.show(shown(name, **used(costUSD="1")))
    fleet.forget("uid-agents-gone")
    clock.now += FORGET_SECONDS + 1
    scraped(metrics, "agenttask_tasks")
    assert scraped(metrics, "agenttask_cost_usd_total") == {("agents", "small"): 2}
