"""Conditions keep their times while they hold; Events are told once."""

from __future__ import annotations

from typing import Any

from agenttask_operator import status as told
from agenttask_operator.observed import Condition, Counts, Outcome, Phase, Status
from agenttask_operator.status import Facts, Saying, Weight
from msgspec.structs import replace

from tests.unit.operator.builders import NOW, ago, entry, status

FACTS = Facts(generation=4, recorded=False)


def conditions(of: Status, **facts: Any) -> dict[str, Condition]:
    made = told.conditions(status=of, facts=replace(FACTS, **facts), now=NOW)
    return {one.type: one for one in made}


def test_a_new_task_has_the_three_conditions_that_are_always_there() -> None:
    made = conditions(status(phase=Phase.PENDING, reason="Starting", message="Attempt 1 starts."))
    assert {kind: (one.status, one.reason) for kind, one in made.items()} == {
        "Accepted": ("True", "Accepted"),
        "Running": ("False", "Starting"),
        "Checkpointed": ("False", "NothingRecorded"),
    }
    assert {one.observed_generation for one in made.values()} == {4}


def test_a_condition_keeps_its_time_until_it_turns() -> None:
    old = Condition(
        type="Running", status="True", observed_generation=1, last_transition_time=ago(99), reason="r", message="m"
    )
    running = status(phase=Phase.RUNNING, reason="Working", message="Works.", conditions=(old,))
    assert conditions(running)["Running"] == replace(old, observed_generation=4, reason="Working", message="Works.")
    assert conditions(replace(running, phase=Phase.CHECKPOINTED))["Running"].last_transition_time == NOW


def test_a_stall_that_is_over_stays_as_false() -> None:
    stalled = status(conditions=tuple(conditions(status(), stalled=Saying("StoreDenied", "403")).values()))
    assert conditions(stalled, stalled=Saying("StoreDenied", "403"))["Stalled"].status == "True"
    over = conditions(stalled)["Stalled"]
    assert (over.status, over.reason) == ("False", "Recovered")


def test_disrupted_names_the_cause_until_a_new_runner_works() -> None:
    lost = status(entry(1, outcome=Outcome.DISRUPTED, reason="NodeLost", message="node1 is gone"), entry(2))
    made = conditions(replace(lost, phase=Phase.RESUMING))["Disrupted"]
    assert (made.status, made.reason, made.message) == ("True", "NodeLost", "Attempt 1: node1 is gone")
    recovered = conditions(replace(lost, phase=Phase.RUNNING, conditions=(made,)))["Disrupted"]
    assert (recovered.status, recovered.reason) == ("False", "Recovered")


def test_each_end_has_its_conditions() -> None:
    def ends(phase: Phase) -> set[str]:
        return {kind for kind, one in conditions(status(phase=phase)).items() if one.status == "True"} - {"Accepted"}

    assert ends(Phase.COMPLETED) == {"Complete", "Finished"}
    assert ends(Phase.FAILED) == {"Failed", "Finished"}
    assert ends(Phase.CANCELLED) == {"Finished"}


def test_events_tell_what_happened_between_two_statuses_and_tell_it_once() -> None:
    before = status(entry(1))
    after = status(entry(1, outcome=Outcome.DISRUPTED, reason="Evicted", message="drained"), entry(2))
    assert [(one.weight, one.reason, one.note) for one in told.events(before=before, after=after)] == [
        (Weight.WARNING, "Evicted", "Attempt 1 ended (Disrupted): drained"),
        (Weight.NORMAL, "AttemptStarted", "Attempt 2 starts in pod triage-2."),
    ]
    assert told.events(before=after, after=after) == ()


def test_a_stall_is_an_event_when_it_comes_and_when_its_reason_changes() -> None:
    calm = status(entry(1))
    denied = replace(calm, conditions=tuple(conditions(calm, stalled=Saying("StoreDenied", "403")).values()))
    gone = replace(calm, conditions=tuple(conditions(denied, stalled=Saying("StoreNotFound", "404")).values()))
    assert [one.reason for one in told.events(before=calm, after=denied)] == ["StoreDenied"]
    assert [one.reason for one in told.events(before=denied, after=gone)] == ["StoreNotFound"]
    assert told.events(before=denied, after=denied) == ()


def test_a_stall_that_ended_an_attempt_is_one_event() -> None:
    calm = status(entry(1))
    ended = status(entry(1, outcome=Outcome.STALLED, reason="StoreDenied", message="403"))
    stalled = replace(ended, conditions=tuple(conditions(ended, stalled=Saying("StoreDenied", "403")).values()))
    poisoned = replace(ended, conditions=tuple(conditions(ended, stalled=Saying("InDoubt", "why")).values()))
    assert [one.note for one in told.events(before=calm, after=stalled)] == ["Attempt 1 ended (Stalled): 403"]
    assert [one.reason for one in told.events(before=calm, after=poisoned)] == ["StoreDenied", "InDoubt"]


def test_damage_of_the_log_is_a_condition_that_stays_and_an_event_told_once() -> None:
    before = status(entry(1), counts=Counts())
    found = status(entry(1, damage="snapshot s is damaged"), counts=Counts())
    lost = status(entry(1, damage="record r is missing"), counts=Counts(lost_records=2))
    assert "Damaged" not in conditions(before)
    assert conditions(found)["Damaged"].reason == "DamageFound"
    made = conditions(lost)["Damaged"]
    assert (made.status, made.reason, made.message) == ("True", "RecordsLost", "Attempt 1: record r is missing")
    later = status(entry(12), counts=Counts(lost_records=2), conditions=(made,))
    assert conditions(later)["Damaged"] == made
    assert [(one.weight, one.reason, one.note) for one in told.events(before=before, after=lost)] == [
        (Weight.WARNING, "RecordsLost", "Attempt 1: record r is missing")
    ]
    assert [one.reason for one in told.events(before=before, after=found)] == ["DamageFound"]
    assert told.events(before=lost, after=lost) == ()
    assert [one.note for one in told.events(before=found, after=lost)] == ["Attempt 1: record r is missing"]


def test_ends_and_suspension_are_events() -> None:
    calm = status(entry(1), phase=Phase.RUNNING)
    failed = replace(calm, phase=Phase.FAILED, reason="BudgetExhausted", message="50 steps")
    suspended = replace(calm, conditions=tuple(conditions(calm, suspended=True).values()))
    assert [(one.weight, one.reason, one.note) for one in told.events(before=calm, after=failed)] == [
        (Weight.WARNING, "Failed", "50 steps")
    ]
    assert [one.reason for one in told.events(before=calm, after=suspended)] == ["Suspended"]


def test_a_task_that_completes_is_one_event_and_its_attempt_none() -> None:
    calm = status(entry(1), phase=Phase.RUNNING)
    done = replace(calm, phase=Phase.COMPLETED, message="Done.", attempts=(entry(1, outcome=Outcome.COMPLETED),))
    assert [(one.reason, one.note) for one in told.events(before=calm, after=done)] == [("Completed", "Done.")]
    cancelled = replace(done, phase=Phase.CANCELLED, reason="Cancelled", message="By you.")
    assert [one.action for one in told.events(before=calm, after=cancelled)] == ["End", "Finish"]


def test_messages_fit_their_fields() -> None:
    long = status(entry(1, outcome=Outcome.CRASHED, message="ü" * 9999), phase=Phase.PENDING, message="y" * 9999)
    assert max(len(one.message) for one in conditions(long).values()) == told.CONDITION_CHARACTERS
    assert max(len(one.note.encode()) for one in told.events(before=status(), after=long)) in {1023, told.EVENT_BYTES}
