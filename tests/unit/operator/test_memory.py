"""More memory for the attempt after one that had too little."""

from __future__ import annotations

from typing import Any

import pytest
from agenttask_operator import memory, pods
from agenttask_operator.decide import decide
from agenttask_operator.observed import ANNOTATION_DIGEST, Attempt, Counts, Outcome, Retry
from agenttask_operator.reasons import Reason

from tests.unit.operator.builders import NOW, SETTINGS, entry, exited, pod, snapshot, status, task

OOM = exited(137, reason="OOMKilled")


def spec(limit: str | int = "512Mi", *, most: str | None = "2Gi", **requests: str) -> dict[str, Any]:
    resources = {"limits": {"memory": limit, "cpu": "1"}, **({"requests": requests} if requests else {})}
    return {"pod": {"resources": resources}, "retry": {"oomMemoryLimit": most} if most else {}}


def killed(limit: str | None = None) -> Attempt:
    return entry(1, outcome=Outcome.OOM_KILLED, memory_limit=limit)


LIMITS: dict[str, tuple[dict[str, Any], Attempt | None, str | None]] = {
    "the first attempt gets what the task says": (spec(), None, None),
    "twice as much after the first time": (spec(), killed(), "1Gi"),
    "twice as much again after the next": (spec(), killed("1Gi"), "2Gi"),
    "never more than the bound": (spec("1500Mi"), killed(), "2Gi"),
    "at the bound, as much again": (spec(), killed("2Gi"), "2Gi"),
    "what was raised stays, whatever ended the last": (
        spec(),
        entry(1, outcome=Outcome.DISRUPTED, memory_limit="1Gi"),
        "1Gi",
    ),
    "a bound that is no more gives no more": (spec(most="512Mi"), killed(), None),
    "without a bound it stays as the task says": (spec(most=None), killed("1Gi"), None),
    "a task that says more by now gets what it says": (
        spec("1536Mi"),
        entry(1, outcome=Outcome.DISRUPTED, memory_limit="1Gi"),
        None,
    ),
    "decimal units": (spec("500M"), killed(), "1000000000"),
    "plain bytes": (spec(1024), killed(), "2Ki"),
    "an exponent": (spec("1e3"), killed(), "2000"),
    "less than a byte counts as one": (spec("100m"), killed(), "2"),
    "a sign": (spec("+512Mi"), killed(), "1Gi"),
    "a limit that is none": (spec("much"), killed(), None),
    "a limit of 0 limits nothing": (spec("0"), killed(), None),
}


@pytest.mark.parametrize("sentence", LIMITS)
def test_the_next_limit(sentence: str) -> None:
    given, last, want = LIMITS[sentence]
    assert memory.limit(spec=given, status=status(last) if last else status()) == want


def test_an_oom_whose_next_attempt_gets_more_is_no_failure_and_waits_for_nothing() -> None:
    of = task(status=status(entry(1), pod_uid="pod-1"), spec=spec())
    made = decide(snapshot=snapshot(of, pod(owner=of, state=OOM, phase="Failed")), now=NOW)
    after = made.status
    assert after is not None
    assert (made.rule, made.create, after.attempt) == ("start", True, 2)
    assert after.counts == Counts(ooms=1)
    assert after.retry is not None
    assert (after.retry.failures, after.retry.not_before) == (0, None)
    assert [one.memory_limit for one in after.attempts] == [None, "1Gi"]
    assert after.attempts[0].message == (
        "The container went over its memory limit (exit code 137). The next attempt gets 1Gi."
    )


def test_an_oom_of_a_task_that_allows_no_more_is_a_failure_and_waits() -> None:
    of = task(status=status(entry(1), pod_uid="pod-1"), spec=spec(most=None))
    after = decide(snapshot=snapshot(of, pod(owner=of, state=OOM, phase="Failed")), now=NOW).status
    assert after is not None
    assert (after.reason, after.counts) == (Reason.BACKING_OFF, Counts(failures=1, ooms=1))


def test_an_oom_at_the_bound_is_a_failure() -> None:
    last = status(entry(1, memory_limit="2Gi"), pod_uid="pod-1")
    of = task(status=last, spec=spec())
    after = decide(snapshot=snapshot(of, pod(owner=of, state=OOM, phase="Failed")), now=NOW).status
    assert after is not None
    assert (after.reason, after.counts) == (Reason.BACKING_OFF, Counts(failures=1, ooms=1))
    assert after.retry == Retry(generation=1, failures=1, not_before=after.retry.not_before if after.retry else None)


def test_the_pod_gets_what_is_recorded_for_its_attempt_and_a_request_as_high_as_the_limit_stays_so() -> None:
    of = task(status=status(entry(2, memory_limit="1Gi")), spec=spec(memory="0.5Gi", cpu="1"))
    manifest = pods.render(task=of, plan=pods.plan(task=of, settings=SETTINGS), settings=SETTINGS, attempt=2)
    assert manifest["spec"]["containers"][0]["resources"] == {
        "limits": {"memory": "1Gi", "cpu": "1"},
        "requests": {"memory": "1Gi", "cpu": "1"},
    }
    assert of.spec["pod"]["resources"]["limits"]["memory"] == "512Mi"


def test_a_request_below_the_limit_stays() -> None:
    of = task(status=status(entry(2, memory_limit="1Gi")), spec=spec(memory="100Mi"))
    manifest = pods.render(task=of, plan=pods.plan(task=of, settings=SETTINGS), settings=SETTINGS, attempt=2)
    assert manifest["spec"]["containers"][0]["resources"]["requests"] == {"memory": "100Mi"}


def test_a_pod_that_was_made_with_more_memory_is_not_taken_for_one_of_an_older_spec() -> None:
    of = task(status=status(entry(1, memory_limit="1Gi"), pod_uid="pod-1"), spec=spec())
    made = pods.render(task=of, plan=pods.plan(task=of, settings=SETTINGS), settings=SETTINGS, attempt=1)
    found = pod(made_from=made["metadata"]["annotations"][ANNOTATION_DIGEST], phase="Pending")
    assert decide(snapshot=snapshot(of, found), now=NOW).rule == "starting"
