"""What has happened is counted once, at its transition, and a task that ends leaves one line to charge for it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from agenttask_operator.ledger import CHARGEBACK, Ledger
from agenttask_operator.metrics import Metrics
from agenttask_operator.observed import Attempt, Counts, Phase, Status, Task, read_task
from agenttask_operator.status import events, purge_abandoned
from msgspec.structs import replace

from tests.unit.operator.builders import ago, raw_task, task
from tests.unit.operator.scraped import scraped

OPEN = Attempt(attempt=1, pod="triage-1", start=ago(60))
EVICTED = replace(OPEN, end=ago(30), outcome="Disrupted", reason="Evicted")
SECOND = Attempt(attempt=2, pod="triage-2", start=ago(30))
RUNS = Status(phase=Phase.RUNNING, reason="Working", attempt=1, attempts=(OPEN,))


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def ledger(metrics: Metrics) -> Ledger:
    return Ledger(metrics)


def test_an_attempt_that_ends_is_counted_once(ledger: Ledger, metrics: Metrics) -> None:
    after = replace(RUNS, attempt=2, attempts=(EVICTED, SECOND))
    ledger.moved(before=task(status=RUNS), after=after)
    ledger.moved(before=task(status=after), after=replace(after, reason="Starting"))
    assert scraped(metrics, "agenttask_attempts_ended_total") == {("Disrupted", "Evicted"): 1}


def recovered(metrics: Metrics, *, first: Attempt, second: Attempt) -> float | None:
    """Seconds from the end of the first to the claim of the second attempt, as counted; None if they are not."""
    before = replace(RUNS, attempt=2, attempts=(first, SECOND))
    after = replace(RUNS, attempt=2, attempts=(first, second))
    Ledger(metrics).moved(before=task(status=before), after=after)
    Ledger(metrics).moved(before=task(status=after), after=after)
    counted = scraped(metrics, "agenttask_recovery_seconds_count")
    if not counted:
        return None
    assert list(counted.values()) == [1]
    (seconds,) = scraped(metrics, "agenttask_recovery_seconds_sum").values()
    return seconds


def test_seconds_from_a_loss_to_the_next_claim_are_counted_once(metrics: Metrics) -> None:
    assert recovered(metrics, first=EVICTED, second=replace(SECOND, claimed=ago(28))) == 2


def test_a_park_is_no_loss(metrics: Metrics) -> None:
    parked = replace(EVICTED, outcome="Parked", reason="Sleeping")
    assert recovered(metrics, first=parked, second=replace(SECOND, claimed=ago(28))) is None


def test_clocks_that_disagree_make_no_negative_seconds(metrics: Metrics) -> None:
    assert recovered(metrics, first=EVICTED, second=replace(SECOND, claimed=ago(31))) == 0


def test_a_number_that_was_given_up_in_between_is_passed_over(ledger: Ledger, metrics: Metrics) -> None:
    skipped = replace(SECOND, end=ago(29), outcome="Replaced", reason="NameTaken")
    third = Attempt(attempt=3, pod="triage-3", start=ago(29))
    before = replace(RUNS, attempt=3, attempts=(EVICTED, skipped, third))
    ledger.moved(
        before=task(status=before), after=replace(before, attempts=(EVICTED, skipped, replace(third, claimed=ago(27))))
    )
    assert scraped(metrics, "agenttask_recovery_seconds_sum") == {("Disrupted",): 3}


def test_an_attempt_that_cannot_restore_is_counted_by_its_reason(ledger: Ledger, metrics: Metrics) -> None:
    ended = replace(EVICTED, outcome="Stalled", reason="CheckpointCorrupt")
    ledger.moved(before=task(status=RUNS), after=replace(RUNS, attempts=(ended,)))
    assert scraped(metrics, "agenttask_restore_failures_total") == {("CheckpointCorrupt",): 1}


def test_lost_records_are_counted_as_they_are_found(ledger: Ledger, metrics: Metrics) -> None:
    first, more = replace(RUNS, counts=Counts(lost_records=2)), replace(RUNS, counts=Counts(lost_records=5))
    ledger.moved(before=task(status=RUNS), after=first)
    ledger.moved(before=task(status=first), after=more)
    assert scraped(metrics, "agenttask_lost_records_total") == {("agents",): 5}


DONE = replace(RUNS, phase=Phase.COMPLETED, reason="Completed", active_seconds=55, counts=Counts(resumes=1))


def charged(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(one) for one in caplog.records if one.name == CHARGEBACK]


def finished() -> Task:
    return read_task(
        raw_task(
            uid="u",
            meta={"labels": {"team": "blue"}, "creationTimestamp": "2026-03-01T11:00:00Z"},
            phase="Running",
            progress={"step": 12, "model": "small"},
            usage={
                "modelCalls": 13,
                "toolCalls": 4,
                "promptTokens": 1000,
                "cachedTokens": 600,
                "completionTokens": 70,
                "costUSD": "0.0312",
                "lost": {"promptTokens": 90, "completionTokens": 5, "costUSD": "0.001"},
            },
        )
    )


def test_a_task_that_ends_leaves_exactly_one_line_to_charge_for(
    ledger: Ledger, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ledger.moved(before=finished(), after=DONE)
    ledger.moved(before=replace(finished(), status=DONE), after=replace(DONE, message="Again."))
    (line,) = charged(caplog)
    want = {
        "namespace": "agents",
        "task": "triage",
        "uid": "u",
        "labels": {"team": "blue"},
        "phase": "Completed",
        "reason": "Completed",
        "attempt": 1,
        "createdAt": "2026-03-01T11:00:00+00:00",
        "activeSeconds": 55,
        "steps": 12,
        "resumes": 1,
        "disruptions": 0,
        "failures": 0,
        "model": "small",
        "modelCalls": 13,
        "repeatedModelCalls": 0,
        "failedModelCalls": 0,
        "unpricedModelCalls": 0,
        "toolCalls": 4,
        "promptTokens": 1000,
        "cachedTokens": 600,
        "completionTokens": 70,
        "reasoningTokens": 0,
        "costUSD": "0.0312",
        "lostPromptTokens": 90,
        "lostCompletionTokens": 5,
        "lostCostUSD": "0.001",
    }
    assert {key: line[key] for key in want} == want
    assert scraped(metrics, "agenttask_tasks_finished_total") == {("agents", "Completed", "Completed"): 1}


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.CANCELLED])
def test_every_end_leaves_a_line(ledger: Ledger, caplog: pytest.LogCaptureFixture, phase: Phase) -> None:
    caplog.set_level(logging.INFO)
    ledger.moved(before=task(status=RUNS), after=replace(RUNS, phase=phase, reason=str(phase)))
    assert [line["phase"] for line in charged(caplog)] == [phase]


def test_a_task_that_goes_on_leaves_none(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ledger.moved(before=task(status=Status()), after=RUNS)
    assert charged(caplog) == []


def test_a_purge_that_is_given_up_is_counted_once_however_often_it_is_told(ledger: Ledger, metrics: Metrics) -> None:
    left = purge_abandoned(prefix="agents/triage", why="its store is gone")
    ledger.told(task=task(), event=left)
    ledger.told(task=task(), event=left)
    ledger.told(task=task(), event=events(before=Status(), after=RUNS)[0])
    assert scraped(metrics, "agenttask_purges_abandoned_total") == {(): 1}
    ledger.told(task=read_task(raw_task(uid="another")), event=left)
    assert scraped(metrics, "agenttask_purges_abandoned_total") == {(): 2}
