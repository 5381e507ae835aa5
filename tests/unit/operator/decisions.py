"""What a row of the decision tables says, and how a decision is compared with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
from agenttask_operator.decide import Decision, decide
from agenttask_operator.fold import Snapshot
from agenttask_operator.observed import Counts, Outcome, Phase, Retry, Status

from tests.unit.operator.builders import NOW, ago, checkpoint, entry, exited, status, task


@dataclass(frozen=True, kw_only=True)
class Want:
    """What of a decision a row speaks about. `reason` and `phase` are of the status after it."""

    rule: str
    phase: Phase | None
    reason: str
    attempt: int = 1
    uid: str | None = None
    create: bool = False
    delete: tuple[str, ...] = ()
    after: float | None = None
    guard: bool | None = None
    true: tuple[str, ...] = ()
    """Conditions that hold, beside Accepted."""
    ends: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Attempt → outcome and reason, of those that ended."""
    counts: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Disruptions, failures, OOMs, resumes."""


def seen(of: Snapshot, made: Decision) -> Want:
    after = made.status or of.task.status
    counts = after.counts or Counts()
    return Want(
        rule=made.rule,
        phase=after.phase,
        reason=after.reason,
        attempt=after.attempt,
        uid=after.pod_uid,
        create=made.create,
        delete=tuple(doomed.name for doomed in made.delete),
        after=made.after_seconds,
        guard=made.guard,
        true=tuple(one.type for one in after.conditions if one.status == "True" and one.type != "Accepted"),
        ends={one.attempt: (str(one.outcome), str(one.reason)) for one in after.attempts if one.end},
        counts=(counts.disruptions, counts.failures, counts.ooms, counts.resumes),
    )


FIRST = status(entry(1), pod_uid="pod-1")
CLAIMED = checkpoint(attempt=1)
CRASHED = exited(1, message="boom")
LOST = {
    "Ready": ("False", "", ago(30)),
    "ContainersReady": ("True", "", ago(300)),
}
WAITS = {"waiting": {"reason": "ContainerCreating"}}


def failed_before(times: int, *, step: int | None = None, generation: int = 1, not_before: Any = None) -> Status:
    digest = f"progress-{step}" if step is not None else None
    retry = Retry(generation=generation, failures=times, progress_digest=digest, not_before=not_before)
    return status(
        entry(1, outcome=Outcome.CRASHED, message="boom"), pod_uid="pod-1", retry=retry, counts=Counts(failures=times)
    )


def check(given: Snapshot, want: Want) -> None:
    """The decision is the one wanted, and is not taken again once it is carried out."""
    first = decide(snapshot=given, now=NOW)
    assert seen(given, first) == want
    if first.status is None or first.create or first.delete:
        return
    after = task(
        spec=given.task.spec,
        status=first.status,
        checkpoint=given.task.checkpoint,
        generation=given.task.metadata.generation,
        deleted=given.task.metadata.deletion_timestamp,
        guarded=given.task.guarded,
    )
    assert not decide(snapshot=msgspec.structs.replace(given, task=after), now=NOW).writes
