"""What holds of every decision, on snapshots put together at random: those of a cluster in trouble and of edited ones.

Another choice of them: `SEED=… pytest`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

import msgspec
import pytest
import yaml
from agenttask import contract
from agenttask_operator.decide import decide
from agenttask_operator.fold import Snapshot
from agenttask_operator.observed import Attempt, Counts, Outcome, Phase, Pod, Retry, Status, Task, Waking
from jsonschema import Draft7Validator
from msgspec.structs import replace

from tests.unit.operator.builders import (
    LOCATION,
    NOW,
    RUNNING,
    ago,
    ahead,
    checkpoint,
    exited,
    pod,
    refusal,
    said,
    snapshot,
    task,
)

SEED: Final = int(os.environ.get("SEED") or 1)
SEEDS: Final = 10
SNAPSHOTS: Final = 40
"""By seed."""
SECONDS: Final = (0, 1, 9, 10, 29, 30, 31, 300, 10**6)
CONDITIONS: Final = ("Ready", "ContainersReady", "PodScheduled", "PodReadyToStartContainers", "DisruptionTarget")
WHY: Final = ("", "Unschedulable", "SchedulingGated", "EvictionByEvictionAPI", "DeletionByPodGC")
SPEC: Final[dict[str, tuple[Any, ...]]] = {
    "cancel": (True, False, False),
    "suspend": (True, False),
    "activeDeadlineSeconds": (1, 2**31 - 1),
    "ttlSecondsAfterFinished": (60, 2**31 - 1),
    "retry": ({"startDeadlineSeconds": 60}, {"maxFailures": 0}, {"maxBackoffSeconds": 3600, "maxFailures": 1000}),
    "checkpoint": ({"onDelete": "Delete"}, {"onDelete": "Retain"}),
    "budget": ({"steps": 1}, {"steps": 100000}),
}

T = TypeVar("T")


@dataclass(frozen=True)
class Chance:
    """Makes objects as they may come."""

    source: Random

    def one_of(self, *these: T) -> T:
        return self.source.choice(these)

    def maybe(self, odds: float, make: Callable[[], T]) -> T | None:
        return make() if self.source.random() < odds else None

    def past(self) -> datetime:
        return ago(self.one_of(*SECONDS))

    def time(self) -> datetime:
        return self.one_of(ago, ahead)(self.one_of(*SECONDS))

    def wake(self) -> contract.Wake:
        above = self.maybe(0.5, lambda: contract.Above(steps=self.one_of(0, 50)))
        return contract.Wake(not_before=self.maybe(0.6, self.time), budget_above=above)

    def ended(self, attempt: int) -> Any:
        outcome = self.one_of(*contract.Outcome)
        message = said(
            outcome,
            attempt=self.one_of(attempt, attempt, attempt, attempt + 1),
            reason=self.one_of(outcome, "", "no reason", "R" * 64, "R" * 65),
            message=self.one_of("It is so.", "", "\0", "ü" * 9000),
            newest_attempt=self.one_of(None, 0, attempt, attempt + 3, 2**31 - 2, 2**40),
            parked=self.maybe(0.8, lambda: contract.Parked(park=self.one_of(13, 10**12 - 1), wake=self.wake())),
        )
        reason = self.one_of("", "", "OOMKilled", "StartError", "ContainerStatusUnknown")
        return exited(self.one_of(0, 1, 76, 77, 137, 143), message=self.one_of(message, message, "boom"), reason=reason)

    def pod(self, attempt: int) -> Pod:
        waits = {"waiting": {"reason": self.one_of("", "ErrImagePull", "Odd"), "message": self.one_of("", "z" * 40000)}}
        conditions = {
            kind: (self.one_of("True", "False"), self.one_of(*WHY), self.past())
            for kind in CONDITIONS
            if self.source.random() < 0.3
        }
        return pod(
            attempt,
            uid=self.one_of(f"pod-{attempt}", f"pod-{attempt}", "late"),
            phase=self.one_of("Pending", "Running", "Running", "Failed", "Succeeded", "Unknown"),
            state=self.one_of(None, RUNNING, self.ended(attempt), waits),
            sidecar=self.maybe(0.1, lambda: {"running": {}}),
            before=self.maybe(0.1, lambda: self.one_of(exited(1), waits)),
            conditions=conditions,
            deleted=self.maybe(0.25, self.time),
            reason=self.one_of("", "", "Evicted", "OutOfcpu"),
            made_from=self.maybe(0.2, lambda: "other"),
            node=self.one_of(None, "node1", "n" * 253),
        )

    def entry(self, attempt: int, *, open_: bool) -> Attempt:
        made = Attempt(
            attempt=attempt,
            pod=f"triage-{attempt}",
            start=self.past(),
            claimed=self.maybe(0.5, self.past),
            memory_limit=self.maybe(0.1, lambda: "1Gi"),
            purge=self.source.random() < 0.1,
        )
        if open_:
            return made
        outcome = self.one_of(*Outcome)
        return replace(
            made, end=self.past(), outcome=outcome, reason=self.one_of(outcome, None), newest_attempt=attempt + 1
        )

    def status(self) -> Status:
        newest = self.one_of(0, 1, 2, 12)
        numbers = range(max(1, newest - 9), newest + 1)
        entries = [self.entry(one, open_=one == newest and self.source.random() < 0.6) for one in numbers]
        retry = Retry(
            generation=self.one_of(1, 2),
            progress_digest=self.one_of(None, "progress-3"),
            failures=self.one_of(0, 3, 9),
            disruptions=self.one_of(0, 1, 10**6),
            stalls=self.one_of(0, 10**6),
            fences=self.one_of(0, 10**6),
            not_before=self.maybe(0.5, self.time),
        )
        waits = self.wake()
        return Status(
            phase=self.one_of(None, *Phase),
            reason=self.one_of("Working", "PodRefused", "ImageUnavailable"),
            attempt=newest,
            pod_uid=self.maybe(0.6, lambda: f"pod-{newest}") if newest else None,
            active_seconds=self.one_of(0, 10**6),
            starting_since=self.maybe(0.4, self.past),
            location=LOCATION if newest else None,
            wake=self.maybe(0.5, lambda: Waking(park=13, not_before=waits.not_before, budget_above=waits.budget_above)),
            unreported=tuple(one for one in numbers if self.source.random() < 0.3),
            attempts=self.one_of(tuple(entries), tuple(entries), tuple(entries), ()),
            counts=self.one_of(None, Counts(failures=9)),
            retry=self.one_of(None, retry),
        )

    def snapshot(self) -> Snapshot:
        recorded = self.status()
        newest = max(recorded.attempt, 1)
        spec = {name: self.one_of(*values) for name, values in SPEC.items() if self.source.random() < 0.25}
        point = checkpoint(attempt=self.one_of(newest, 1), step=self.one_of(0, 3), seq=self.one_of(1, 13))
        given = task(
            spec=spec,
            status=recorded,
            checkpoint=self.one_of(point, None),
            generation=self.one_of(1, 2),
            deleted=self.maybe(0.2, self.past),
            guarded=spec.get("checkpoint") == {"onDelete": "Delete"} if self.source.random() < 0.8 else True,
        )
        refused = refusal(
            attempt=newest, retry_at=self.time(), name_taken=self.one_of(True, False), message="e" * 60000
        )
        return snapshot(
            given,
            *(self.pod(one) for one in {newest, self.one_of(newest, newest + 1)} if self.source.random() < 0.6),
            departed=self.maybe(0.2, lambda: self.pod(newest)),
            refused=self.one_of(None, None, refused),
        )


@pytest.fixture(scope="module")
def schema() -> Draft7Validator:
    """What the API server takes for a status, but for its rules and formats."""
    crd = yaml.safe_load((Path(__file__).parents[3] / "crds/agenttask.yaml").read_text())
    return Draft7Validator(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"])


def after(given: Snapshot, made: Status) -> Task:
    """The task once this status was written."""
    return replace(given.task, status=msgspec.json.decode(msgspec.json.encode(made), type=Status))


@pytest.mark.parametrize("seed", range(SEED, SEED + SEEDS))
def test_whatever_comes_a_decision_can_be_written_is_taken_once_and_loses_nothing(
    seed: int, schema: Draft7Validator
) -> None:
    chance = Chance(Random(seed))
    for number in range(SNAPSHOTS):
        given = chance.snapshot()
        where, was = f"SEED={seed}, snapshot {number}", given.task.status
        made = decide(snapshot=given, now=NOW)
        if (now := made.status) is None:
            assert made.writes or made.after_seconds != 0, where
            continue
        assert not [error.message for error in schema.iter_errors(msgspec.json.decode(msgspec.json.encode(now)))], where
        assert now.attempt >= was.attempt, where
        assert now.reason, where
        assert was.phase is None or not was.phase.terminal or now.phase is was.phase, where
        if made.create:
            wanted = given.task.spec
            assert given.task.metadata.deletion_timestamp or not (wanted.get("cancel") or wanted.get("suspend")), where
        elif not made.delete and now.phase is not None and not now.phase.terminal:
            again = decide(snapshot=replace(given, task=after(given, now)), now=NOW)
            assert not again.writes, where
            assert again.after_seconds != 0, where
