"""What a fork goes on from, and what a task shows that has nothing to go on from."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from agenttask import contract
from agenttask_operator import forks, pods
from agenttask_operator.decide import decide
from agenttask_operator.fold import Snapshot
from agenttask_operator.forks import ForkRefusedError
from agenttask_operator.observed import Checkpoint, Outcome, Phase, Task, read_task
from agenttask_operator.reasons import Reason
from agenttask_operator.status import forked

from tests.unit.operator.builders import (
    LOCATION,
    NOW,
    SETTINGS,
    UID,
    checkpoint,
    entry,
    pod,
    raw_task,
    snapshot,
    status,
    task,
    told,
)
from tests.unit.operator.decisions import FIRST

SOURCE_UID = "22222222-bbbb-4bbb-8bbb-222222222222"
FOLDER = f"agents/other/{SOURCE_UID}/log"
KEY = f"{FOLDER}/000000000042"
ORIGIN = contract.ForkedFrom(task="other", uid=SOURCE_UID, key=KEY, seq=42)
PLACE = {"type": "s3", "bucket": "default-bucket"}


def source(*, point: str | None = KEY, location: contract.Location | None = LOCATION) -> Task:
    """The task `other`, with a newest record."""
    status = {} if location is None else {"location": msgspec.to_builtins(location)}
    if point is not None:
        status["checkpoint"] = msgspec.to_builtins(Checkpoint(key=point, seq=42))
    return read_task(raw_task("other", uid=SOURCE_UID, **status))


def fork(*, of: Task | None = None, **resume: Any) -> Snapshot:
    """The task `triage`, which is to go on from something."""
    this = task(spec={"resumeFrom": resume, "prompt": "And now?"})
    return Snapshot(task=this, pods=(), settings=SETTINGS, source=of)


def resolved(*, of: Task | None = None, here: contract.Location = LOCATION, **resume: Any) -> contract.ForkedFrom:
    return forks.resolve(
        resume=msgspec.convert(resume, contract.ResumeFrom), location=here, namespace="agents", source=of
    )


def test_the_newest_record_of_a_task() -> None:
    assert resolved(of=source(), task="other") == ORIGIN


def test_an_older_record_of_a_task() -> None:
    older = f"{FOLDER}/000000000007"
    assert resolved(of=source(), task="other", key=older) == msgspec.structs.replace(ORIGIN, key=older, seq=7)


def test_a_record_under_a_location_needs_no_task() -> None:
    assert resolved(location=PLACE, key=KEY) == ORIGIN


def test_a_record_under_another_prefix_of_the_same_store() -> None:
    there = msgspec.structs.replace(LOCATION, prefix="prod/eu/")
    key = f"prod/eu/{KEY}"
    assert resolved(of=source(location=there, point=key), task="other").key == key


LOCATIONS = {
    "an empty path is the volume's root": (
        {"type": "filesystem", "claimName": "c"},
        contract.Location(type="filesystem", claim_name="c", path=""),
    ),
    "credentials tell no store from another": (
        PLACE,
        msgspec.structs.replace(LOCATION, credentials_secret="rotated", addressing="Virtual"),
    ),
}


@pytest.mark.parametrize(("there", "here"), LOCATIONS.values(), ids=LOCATIONS.keys())
def test_the_same_store(there: dict[str, Any], here: contract.Location) -> None:
    assert resolved(location=there, key=KEY, here=here) == ORIGIN


ELSEWHERE = {
    "another kind": {"type": "redis"},
    "another bucket": {**PLACE, "bucket": "others"},
    "another server": {**PLACE, "endpoint": "https://s3.example.com"},
    "another region": {**PLACE, "region": "eu-west-1"},
    "another volume": {**PLACE, "claimName": "c"},
    "another folder": {**PLACE, "path": "p"},
}


@pytest.mark.parametrize("place", ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_another_store_is_refused_by_what_differs(place: dict[str, Any]) -> None:
    with pytest.raises(ForkRefusedError) as refused:
        resolved(location=place, key=KEY)
    assert refused.value.reason is Reason.OTHER_STORE
    assert next(name for name in reversed(place)) in str(refused.value)


NOT_HERE = {
    "another namespace": f"others/other/{SOURCE_UID}/log/000000000042",
    "another prefix": f"prod/{KEY}",
    "no record": f"agents/other/{SOURCE_UID}/blob/1-a-1",
    "no whole path": "other/log/000000000042",
    "no namespace": f"other/{SOURCE_UID}/log/000000000042",
    "a longer one": f"agents/x/other/{SOURCE_UID}/log/000000000042",
}


@pytest.mark.parametrize("key", NOT_HERE.values(), ids=NOT_HERE.keys())
def test_a_key_outside_the_namespace_is_refused(key: str) -> None:
    for resume, of in (({"location": PLACE}, None), ({"task": "other"}, source())):
        with pytest.raises(ForkRefusedError, match=r"spec\.resumeFrom\.key") as refused:
            resolved(of=of, key=key, **resume)
        assert refused.value.reason is Reason.SPEC_INVALID


def test_a_key_of_another_task_than_the_one_named_is_refused() -> None:
    with pytest.raises(ForkRefusedError, match=r"give spec\.resumeFrom\.location") as refused:
        resolved(of=source(), task="other", key=f"agents/other/{UID}/log/000000000042")
    assert refused.value.reason is Reason.SPEC_INVALID


STALLS = {
    "source not found": (fork(task="other"), Reason.SOURCE_NOT_FOUND, 15.0),
    "no checkpoint yet": (fork(task="other", of=source(point=None)), Reason.NO_CHECKPOINT, 15.0),
    "no place yet": (fork(task="other", of=source(location=None)), Reason.NO_CHECKPOINT, 15.0),
    "another store": (
        fork(task="other", of=source(location=contract.Location(type="s3", bucket="others"))),
        Reason.OTHER_STORE,
        None,
    ),
    "another namespace": (fork(location=PLACE, key=f"others/a/b/log/{1:012d}"), Reason.SPEC_INVALID, None),
}


@pytest.mark.parametrize(("given", "reason", "after"), STALLS.values(), ids=STALLS.keys())
def test_a_refusal_is_a_named_condition_and_nothing_is_started(
    given: Snapshot, reason: Reason, after: float | None
) -> None:
    made = decide(snapshot=given, now=NOW)
    assert (made.rule, made.create, made.after_seconds) == ("invalid", False, after)
    assert made.status is not None
    assert (made.status.attempt, made.status.phase, made.status.reason) == (0, Phase.PENDING, reason)
    held = {one.type: (one.status, one.reason) for one in made.status.conditions}
    assert (held["Stalled"], held["Accepted"]) == (("True", reason), ("False", reason))


def test_the_first_attempt_records_what_it_goes_on_from() -> None:
    made = decide(snapshot=fork(task="other", of=source()), now=NOW)
    assert (made.rule, made.create) == ("start", True)
    assert made.status is not None
    assert (made.status.forked_from, made.status.location) == (ORIGIN, LOCATION)
    assert KEY in made.status.message


def test_once_recorded_the_original_may_be_gone() -> None:
    begun = task(spec={"resumeFrom": {"task": "other"}}, status=status(entry(1), pod_uid="pod-1", forked_from=ORIGIN))
    assert forks.source_of(begun) is None
    made = decide(snapshot=snapshot(begun), now=NOW)
    assert made.status is not None
    assert (made.rule, made.status.attempt, made.status.forked_from) == ("start", 2, ORIGIN)


def test_the_source_is_looked_at_until_then() -> None:
    assert forks.source_of(fork(task="other").task) == "other"
    assert forks.source_of(fork(location=PLACE, key=KEY).task) == "other", "it may still be there"
    assert forks.source_of(fork(location=PLACE, key="others").task) is None
    assert forks.source_of(task()) is None
    assert forks.source_of(task(spec={"resumeFrom": "other"})) is None


def test_the_pod_is_told_what_to_copy_and_which_parts() -> None:
    this = task(
        spec={"resumeFrom": {"task": "other", "parts": ["Conversation"]}}, status=status(entry(1), forked_from=ORIGIN)
    )
    made = pods.render(task=this, plan=pods.plan(task=this, settings=SETTINGS), settings=SETTINGS, attempt=1)
    told = msgspec.json.decode(
        made["metadata"]["annotations"][contract.ANNOTATION_ASSIGNMENT], type=contract.Assignment
    )
    assert told.forked_from == ORIGIN
    assert told.spec.resume_from == contract.ResumeFrom(task="other", parts=("Conversation",))


def test_an_event_tells_the_original_of_its_fork() -> None:
    event = forked(name="triage", origin=ORIGIN)
    assert (event.reason, event.note) == ("Forked", f"AgentTask triage goes on from {KEY}.")


def test_a_failed_message_ends_with_the_stanza_that_continues_the_run() -> None:
    point = checkpoint()
    given = snapshot(
        task(status=FIRST, checkpoint=point), pod(state=told(contract.Outcome.FAILED, reason="BudgetExhausted"))
    )
    made = decide(snapshot=given, now=NOW)
    assert made.status is not None
    assert made.status.message.endswith(f"resumeFrom: {{task: triage, key: {point.key}}}")
    assert made.status.current is not None
    assert made.status.current.outcome == Outcome.FAILED
