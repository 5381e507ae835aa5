"""What a runner reports into the status of its task."""

from __future__ import annotations

import msgspec

from agenttask.contract.wire import Wire


class DamageStatus(Wire, frozen=True):
    """What this attempt found broken in the checkpoint log."""

    message: str
    lost_records: int
    """How many records it had to leave behind; 0: nothing was lost."""


class CheckpointStatus(Wire, frozen=True):
    """`status.checkpoint`: the newest durable record."""

    key: str
    id: str
    seq: int
    step: int
    attempt: int
    digest: str
    progress_digest: str
    time: str
    size_bytes: int
    parent_id: str | None = msgspec.field(name="parentID", default=None)
    resumed_from: str | None = None
    """Key of the record this attempt really went on from; the operator copies it into `status.attempts`."""
    damage: DamageStatus | None = None
    """The operator copies its message into `status.attempts`, and counts what was lost."""


class ProgressStatus(Wire, frozen=True):
    """`status.progress`: `display` is `step/maxSteps`, since a printer column is a single path."""

    step: int
    max_steps: int
    display: str
    message: str


class AttemptUsage(Wire, frozen=True):
    """Model calls of one attempt: replies recorded, and calls of its predecessor that it had to repeat."""

    attempt: int
    model_calls: int
    repeated_model_calls: int


class InheritedUsage(Wire, frozen=True):
    """What the original of a fork had used up to where it was forked."""

    model_calls: int
    tool_calls: int
    prompt_tokens: int
    completion_tokens: int


class UsageStatus(Wire, frozen=True):
    """`status.usage`: totals over the whole task, and the last 10 attempts one by one."""

    model_calls: int
    repeated_model_calls: int
    tool_calls: int
    prompt_tokens: int
    completion_tokens: int
    attempts: tuple[AttemptUsage, ...]
    inherited: InheritedUsage | None = None
    """Of a fork; in none of the totals."""


class ResultStatus(Wire, frozen=True):
    """`status.result`: the answer, cut at `ANSWER_BYTES`, and the key of the final record, which holds all of it."""

    answer: str
    key: str
    partial: bool | None = None
    """The run ended without an answer, and this is the last that the model said."""


class RunnerStatus(Wire, frozen=True):
    """All a runner may write; it applies the whole of it each time."""

    checkpoint: CheckpointStatus
    progress: ProgressStatus
    usage: UsageStatus
    result: ResultStatus | None = None
