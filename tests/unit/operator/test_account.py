"""What an end costs: which numbers move, when they start anew, and how long the next attempt waits."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from agenttask import contract
from agenttask_operator import account
from agenttask_operator.exits import End
from agenttask_operator.observed import Counts, Outcome, Retry, Task

from tests.unit.operator.builders import NOW, checkpoint, entry, status, task

POLICY = contract.Retry(max_failures=3, max_backoff_seconds=40)


@dataclass(frozen=True, kw_only=True)
class Row:
    outcome: Outcome
    before: Retry | None = None
    task: Task = field(default_factory=task)
    counts: Counts
    retry: Retry
    waits: tuple[float, float] = (0, 0)
    """Least and most seconds; the difference is jitter."""
    recorded: Outcome | None = None
    """The outcome in the entry, where it is not the one told."""


ROWS = {
    "the first disruption is replaced at once": Row(
        outcome=Outcome.DISRUPTED, counts=Counts(disruptions=1), retry=Retry(generation=1, disruptions=1)
    ),
    "the second in a row waits": Row(
        outcome=Outcome.DISRUPTED,
        before=Retry(generation=1, disruptions=1),
        counts=Counts(disruptions=1),
        retry=Retry(generation=1, disruptions=2),
        waits=(3, 4),
    ),
    "the third in a row waits longer": Row(
        outcome=Outcome.DISRUPTED,
        before=Retry(generation=1, disruptions=2),
        counts=Counts(disruptions=1),
        retry=Retry(generation=1, disruptions=3),
        waits=(6, 8),
    ),
    "the hundredth in a row waits a minute": Row(
        outcome=Outcome.DISRUPTED,
        before=Retry(generation=1, disruptions=99),
        counts=Counts(disruptions=1),
        retry=Retry(generation=1, disruptions=100),
        waits=(45, 60),
    ),
    "a disruption after a new step is the first again": Row(
        outcome=Outcome.DISRUPTED,
        before=Retry(generation=1, disruptions=5, failures=2, progress_digest="progress-2"),
        task=task(checkpoint=checkpoint(step=3)),
        counts=Counts(disruptions=1),
        retry=Retry(generation=1, disruptions=1, progress_digest="progress-3"),
    ),
    "a disruption is no failure": Row(
        outcome=Outcome.DISRUPTED,
        before=Retry(generation=1, failures=2),
        counts=Counts(disruptions=1),
        retry=Retry(generation=1, failures=2, disruptions=1),
    ),
    "a crash backs off": Row(
        outcome=Outcome.CRASHED, counts=Counts(failures=1), retry=Retry(generation=1, failures=1), waits=(1.5, 2)
    ),
    "crashes back off up to spec.retry.maxBackoffSeconds": Row(
        outcome=Outcome.CRASHED,
        before=Retry(generation=1, failures=30),
        counts=Counts(failures=1),
        retry=Retry(generation=1, failures=31),
        waits=(30, 40),
    ),
    "an edit starts the numbers anew": Row(
        outcome=Outcome.CRASHED,
        before=Retry(generation=1, failures=3, stalls=4),
        task=task(generation=2),
        counts=Counts(failures=1),
        retry=Retry(generation=2, failures=1),
        waits=(1.5, 2),
    ),
    "an OOM is a failure, and counted beside": Row(
        outcome=Outcome.OOM_KILLED,
        counts=Counts(failures=1, ooms=1),
        retry=Retry(generation=1, failures=1),
        waits=(1.5, 2),
    ),
    "a stall is no failure and waits": Row(
        outcome=Outcome.STALLED, counts=Counts(), retry=Retry(generation=1, stalls=1), waits=(3.75, 5)
    ),
    "stalls wait up to five minutes": Row(
        outcome=Outcome.UNAVAILABLE,
        before=Retry(generation=1, stalls=40),
        counts=Counts(),
        retry=Retry(generation=1, stalls=41),
        waits=(225, 300),
    ),
    "a silent exit is believed": Row(
        outcome=Outcome.SILENT, counts=Counts(), retry=Retry(generation=1, silent_exits=1), waits=(1.5, 2)
    ),
    "the fourth silent exit is a crash": Row(
        outcome=Outcome.SILENT,
        before=Retry(generation=1, silent_exits=3),
        counts=Counts(failures=1),
        retry=Retry(generation=1, silent_exits=3, failures=1),
        waits=(1.5, 2),
        recorded=Outcome.CRASHED,
    ),
    "the first to be fenced goes on at once": Row(
        outcome=Outcome.FENCED, counts=Counts(), retry=Retry(generation=1, fences=1)
    ),
    "two clusters on one log do not chase each other: the second in a row waits": Row(
        outcome=Outcome.FENCED,
        before=Retry(generation=1, fences=1),
        counts=Counts(),
        retry=Retry(generation=1, fences=2),
        waits=(3, 4),
    ),
    "a row of fenced attempts waits up to five minutes, though each came a step further": Row(
        outcome=Outcome.FENCED,
        before=Retry(generation=1, fences=40, failures=2, progress_digest="progress-2"),
        task=task(checkpoint=checkpoint(step=3)),
        counts=Counts(),
        retry=Retry(generation=1, fences=41, progress_digest="progress-3"),
        waits=(225, 300),
    ),
    "any other end ends the row": Row(
        outcome=Outcome.DISRUPTED,
        before=Retry(generation=1, fences=3),
        counts=Counts(disruptions=1),
        retry=Retry(generation=1, disruptions=1),
    ),
    "a number that was given up does not": Row(
        outcome=Outcome.REPLACED,
        before=Retry(generation=1, fences=3),
        counts=Counts(),
        retry=Retry(generation=1, fences=3),
    ),
    "a runner that says it has purged what it was to work on has crashed": Row(
        outcome=Outcome.PURGED,
        counts=Counts(failures=1),
        retry=Retry(generation=1, failures=1),
        waits=(1.5, 2),
        recorded=Outcome.CRASHED,
    ),
    "being replaced costs nothing": Row(outcome=Outcome.REPLACED, counts=Counts(), retry=Retry(generation=1)),
    "being stopped costs nothing": Row(outcome=Outcome.STOPPED, counts=Counts(), retry=Retry(generation=1)),
}


@pytest.mark.parametrize("row", ROWS)
def test_what_an_end_costs(row: str) -> None:
    given = ROWS[row]
    before = status(entry(7), pod_uid="pod-7", retry=given.before)
    after = account.close(
        status=before,
        end=End(outcome=given.outcome, reason="Because", message="so"),
        node="node2",
        task=given.task,
        policy=POLICY,
        now=NOW,
    )
    assert after.counts == given.counts
    assert after.retry is not None
    waits = (after.retry.not_before - NOW).total_seconds() if after.retry.not_before else 0
    least, most = given.waits
    assert least <= waits <= most
    assert Retry(**{name: getattr(after.retry, name) for name in Retry.__struct_fields__} | {"not_before": None}) == (
        given.retry
    )
    closed = after.current
    assert closed is not None
    assert (closed.end, closed.outcome, closed.reason, closed.message, closed.node) == (
        NOW,
        given.recorded or given.outcome,
        "Because",
        "so",
        "node2",
    )


def test_the_jitter_of_an_attempt_is_always_the_same_and_differs_between_attempts() -> None:
    def waits(attempt: int) -> float:
        after = account.close(
            status=status(entry(attempt), retry=Retry(generation=1, stalls=40)),
            end=End(outcome=Outcome.STALLED, reason="Because", message="so"),
            node=None,
            task=task(),
            policy=POLICY,
            now=NOW,
        )
        assert after.retry is not None
        assert after.retry.not_before is not None
        return (after.retry.not_before - NOW).total_seconds()

    assert waits(3) == waits(3)
    assert len({waits(attempt) for attempt in range(1, 20)}) > 5


def test_however_often_a_purge_was_raised_its_first_stays_recorded() -> None:
    after = status(entry(1), entry(2, purge=True))
    for attempt in range(3, 30):
        after = account.opened(status=after, attempt=attempt, pod=f"triage-{attempt}", now=NOW, purge=True)
    assert [one.attempt for one in after.attempts] == [2, *range(21, 30)]
