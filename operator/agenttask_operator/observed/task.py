"""An AgentTask: its spec as written, the status the operator writes, and what of the runner's it reads.

`Status` is what this operator, or one before it, wrote: it is both read and applied whole. Of the runner's fields the
operator decides on `checkpoint`, and passes `progress` and `usage` on to metrics and bills.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from agenttask import contract

from agenttask_operator.observed.metadata import Metadata, Read


class Phase(StrEnum):
    """Where a task stands; the last three absorb."""

    PENDING = "Pending"
    RUNNING = "Running"
    CHECKPOINTED = "Checkpointed"
    RESUMING = "Resuming"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"

    @property
    def terminal(self) -> bool:
        """Whether nothing follows."""
        return self in {Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED}


class Outcome(StrEnum):
    """How an attempt ended, as `status.attempts[].outcome` says it."""

    COMPLETED = "Completed"
    """The final record holds an answer."""
    FAILED = "Failed"
    """The final record says that going on cannot help."""
    STOPPED = "Stopped"
    """The user asked: suspend or cancel."""
    DISRUPTED = "Disrupted"
    """The cluster took the pod away. Never counted as a failure."""
    UNAVAILABLE = "Unavailable"
    """The store did not answer."""
    STALLED = "Stalled"
    """The runner says that someone is needed."""
    PARKED = "Parked"
    """The runner waits for something, and needs no pod meanwhile."""
    FENCED = "Fenced"
    """The log holds a newer claim."""
    OOM_KILLED = "OOMKilled"
    """The kernel ended the container for its memory limit. Counted as a failure, unless the next one gets more."""
    CRASHED = "Crashed"
    """The program ended in a way of its own making. Counted as a failure."""
    SILENT = "Silent"
    """Exit code 0 without the runner's message: believed at most three times in a row."""
    PURGED = "Purged"
    """The log is removed: the last attempt of a task that is being deleted."""
    REPLACED = "Replaced"
    """The number was given up before a runner worked under it."""


class Attempt(Read, frozen=True, kw_only=True):
    """One entry of `status.attempts`; open until `end` is set."""

    attempt: int
    pod: str
    start: datetime
    node: str | None = None
    claimed: datetime | None = None
    """When its runner was seen to hold the log."""
    end: datetime | None = None
    outcome: str | None = None
    reason: str | None = None
    message: str | None = None
    resumed_from: str | None = None
    newest_attempt: int | None = None
    """The newest attempt whose claim it met in the log, where it said so; the next number is above it."""
    damage: str | None = None
    """What its runner found broken in the checkpoint log."""
    lost_records: int = 0
    """How many records it had to leave behind for that."""
    memory_limit: str | None = None
    """Its container's limit, where that was raised above the task's own."""
    purge: bool = False
    """It does not work on the task, but removes its log."""


class Counts(Read, frozen=True, kw_only=True, omit_defaults=False):
    """Totals over the whole task; each means one thing."""

    disruptions: int = 0
    failures: int = 0
    ooms: int = 0
    resumes: int = 0
    lost_records: int = 0


class Retry(Read, frozen=True, kw_only=True):
    """What the next attempt waits for: numbers counted under one generation of the spec and one progress digest."""

    generation: int = 0
    progress_digest: str | None = None
    failures: int = 0
    disruptions: int = 0
    stalls: int = 0
    silent_exits: int = 0
    parks: int = 0
    fences: int = 0
    """Fenced attempts in a row, new steps notwithstanding."""
    not_before: datetime | None = None


class Waking(contract.Wake, frozen=True, kw_only=True):
    """`status.wake`: what a parked run waits for, until a record newer than its park is reported."""

    park: int
    """Number of the record that parked it."""
    met: bool = False
    """The wait is over, whatever has come about since."""


class Condition(Read, frozen=True, kw_only=True, omit_defaults=False):
    """A standard condition."""

    type: str
    status: str
    last_transition_time: datetime
    reason: str
    message: str
    observed_generation: int = 0


class Status(Read, frozen=True, kw_only=True):
    """All of `status` the operator owns. It is applied whole, so a field left out here is removed there."""

    observed_generation: int = 0
    phase: Phase | None = None
    reason: str = ""
    message: str = ""
    attempt: int = 0
    pod_uid: str | None = msgspec.field(name="podUID", default=None)
    active_seconds: int = 0
    """For how long runners have held the log, of the attempts that have ended."""
    starting_since: datetime | None = None
    """Since when a runner that works is waited for."""
    location: contract.Location | None = None
    forked_from: contract.ForkedFrom | None = None
    wake: Waking | None = None
    unreported: tuple[int, ...] = ()
    """Attempts whose runner may still run: no kubelet has said that it has ended."""
    attempts: tuple[Attempt, ...] = ()
    counts: Counts | None = None
    retry: Retry | None = None
    conditions: tuple[Condition, ...] = ()

    @property
    def current(self) -> Attempt | None:
        """The entry of the newest attempt."""
        return next((one for one in self.attempts if one.attempt == self.attempt), None)


class Damage(Read, frozen=True, kw_only=True):
    """The part of `status.checkpoint.damage` the operator reads."""

    message: str
    lost_records: int = 0


class Checkpoint(Read, frozen=True, kw_only=True):
    """The part of `status.checkpoint` the operator reads. As in the CRD, only the place of the record is sure."""

    key: str
    seq: int
    step: int = 0
    attempt: int = 0
    progress_digest: str | None = None
    resumed_from: str | None = None
    damage: Damage | None = None
    time: datetime | None = None
    size_bytes: int = 0


class Progress(Read, frozen=True, kw_only=True):
    """`status.progress`, told on and never decided on."""

    step: int = 0
    model: str | None = None


class Lost(Read, frozen=True, kw_only=True):
    """`status.usage.lost`."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: str | None = msgspec.field(name="costUSD", default=None)


class Usage(Read, frozen=True, kw_only=True):
    """`status.usage`, told on and never decided on: totals over the whole task."""

    model_calls: int = 0
    repeated_model_calls: int = 0
    failed_model_calls: int = 0
    unpriced_model_calls: int = 0
    tool_calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: str | None = msgspec.field(name="costUSD", default=None)
    lost: Lost = Lost()

    @property
    def dollars(self) -> float:
        """The cost as a number; 0 where it is none."""
        try:
            return float(self.cost_usd or 0)
        except ValueError:
            return 0.0


class Task(Read, frozen=True, kw_only=True):
    """An AgentTask. `spec` stays as written: what of it this operator can use is decided later, and may be nothing."""

    metadata: Metadata
    spec: dict[str, Any] = msgspec.field(default_factory=dict)
    status: Status = Status()
    checkpoint: Checkpoint | None = None
    """`status.checkpoint`, which the runner writes."""
    progress: Progress = Progress()
    usage: Usage = Usage()

    @property
    def guarded(self) -> bool:
        """Whether its deletion waits for a purge."""
        return contract.FINALIZER in self.metadata.finalizers

    @property
    def to_be_purged(self) -> bool:
        """Whether its log goes with it, even if the rest of the spec cannot be read."""
        checkpoint = self.spec.get("checkpoint")
        return isinstance(checkpoint, Mapping) and checkpoint.get("onDelete") == "Delete"

    @property
    def went_on(self) -> bool:
        """Whether a record newer than the park of `status.wake` is reported: nothing is waited for any more."""
        wake, point = self.status.wake, self.checkpoint
        return wake is not None and point is not None and point.seq > wake.park


class _Told(Read, frozen=True, kw_only=True):
    """The part of a status that runners write."""

    checkpoint: Checkpoint | None = None
    progress: Progress = Progress()
    usage: Usage = Usage()


def read_task(raw: Mapping[str, Any]) -> Task:
    """Parse an AgentTask as the API server sent it."""
    task = msgspec.convert(raw, Task)
    told = msgspec.convert(raw.get("status", {}), _Told)
    return msgspec.structs.replace(task, checkpoint=told.checkpoint, progress=told.progress, usage=told.usage)
