"""The order of the rules, and what a decision records beside phase and reason."""

from __future__ import annotations

import pytest
from agenttask_operator.decide import decide
from agenttask_operator.observed import Outcome, Phase
from agenttask_operator.reasons import Reason
from agenttask_operator.rules import RULES
from msgspec.structs import replace

from tests.unit.operator.builders import LOCATION, NOW, RUNNING, ago, digest_of, entry, pod, snapshot, status, task
from tests.unit.operator.decisions import CLAIMED, FIRST, failed_before


def test_the_order_of_the_rules() -> None:
    assert [rule.__name__ for rule in RULES] == [
        "settled",
        "cancelled",
        "timed_out",
        "suspended",
        "never_started",
        "refused",
        "creating",
        "terminating",
        "waiting_container",
        "held_up",
        "unscheduled",
        "starting",
        "running",
        "exhausted",
        "invalid",
        "parked",
        "waiting",
        "start",
    ]


@pytest.mark.parametrize(("cancel", "reason"), [(False, Reason.CHANGE_PENDING), (True, Reason.ACCEPTED)])
def test_an_edit_of_a_running_task_shows_as_pending_unless_it_is_its_last_attempt(cancel: bool, reason: Reason) -> None:
    given = snapshot(
        task(status=FIRST, spec={"pod": {"image": "other:2"}, "cancel": cancel}, generation=2, checkpoint=CLAIMED),
        pod(state=RUNNING, made_from=digest_of(task())),
    )
    made = decide(snapshot=given, now=NOW).status
    assert made is not None
    accepted = next(one for one in made.conditions if one.type == "Accepted")
    assert (accepted.status, accepted.reason) == ("True", reason)


def test_an_edit_of_a_finished_task_is_seen_and_changes_nothing_else() -> None:
    """Who waits for `observedGeneration`, as `kubectl wait` and GitOps tools do, would wait for ever."""
    ended = status(entry(1, outcome=Outcome.COMPLETED), phase=Phase.COMPLETED, reason="Completed")
    edited = decide(snapshot=snapshot(task(status=ended, spec={"ttlSecondsAfterFinished": 9}, generation=2)), now=NOW)
    assert edited.status == replace(ended, observed_generation=2)
    assert not decide(snapshot=snapshot(task(status=edited.status, generation=2)), now=NOW).writes


def test_an_attempt_whose_reason_somebody_took_away_shows_its_outcome() -> None:
    """An empty reason is none that the API takes."""
    edited = replace(entry(1, outcome=Outcome.COMPLETED), reason=None)
    made = decide(snapshot=snapshot(task(status=status(edited))), now=NOW).status
    assert made is not None
    assert (made.phase, made.reason) == (Phase.COMPLETED, "Completed")


def test_a_task_whose_attempts_somebody_took_away_is_purged_when_it_is_deleted() -> None:
    """It never went: how long its log may keep it could not be told."""
    emptied = replace(status(entry(1), phase=Phase.COMPLETED, reason="Completed"), attempts=())
    spec = {"checkpoint": {"onDelete": "Delete"}}
    made = decide(snapshot=snapshot(task(status=emptied, spec=spec, deleted=ago(60), guarded=True)), now=NOW)
    assert (made.rule, made.create) == ("purge", True)


def test_the_place_is_recorded_with_the_first_attempt_and_never_moves() -> None:
    made = decide(snapshot=snapshot(task()), now=NOW).status
    assert made is not None
    assert made.location == LOCATION
    later = decide(
        snapshot=snapshot(
            task(
                status=status(entry(1, outcome=Outcome.STOPPED)),
                spec={"checkpoint": {"s3": {"bucket": "elsewhere", "credentialsSecretRef": {"name": "new"}}}},
            )
        ),
        now=NOW,
    ).status
    assert later is not None
    assert later.location == LOCATION


def test_a_failed_task_says_why_and_shows_the_last_log_lines() -> None:
    made = decide(snapshot=snapshot(task(status=failed_before(4))), now=NOW).status
    assert made is not None
    assert made.message == "4 failures and no step recorded; the last, attempt 1: Crashed: boom"


def test_of_the_attempts_the_last_ten_are_kept() -> None:
    entries = [entry(number, outcome=Outcome.DISRUPTED) for number in range(5, 15)]
    made = decide(snapshot=snapshot(task(status=status(*entries))), now=NOW).status
    assert made is not None
    assert [one.attempt for one in made.attempts] == list(range(6, 16))
