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
    model: str | None = None
    """The model in use; None before the first reply."""


class AttemptUsage(Wire, frozen=True):
    """Model calls of one attempt: replies recorded, and calls of its predecessor that it had to repeat."""

    attempt: int
    model_calls: int
    repeated_model_calls: int


class LostUsage(Wire, frozen=True):
    """What calls cost whose reply never came, though they were probably paid for; estimated."""

    prompt_tokens: int
    completion_tokens: int
    cost_usd: str | None = msgspec.field(name="costUSD", default=None)


class InheritedUsage(Wire, frozen=True):
    """What the original of a fork had used up to where it was forked."""

    model_calls: int
    tool_calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: str | None = msgspec.field(name="costUSD", default=None)


class UsageStatus(Wire, frozen=True):
    """`status.usage`: totals over the whole task, and the last 10 attempts one by one."""

    model_calls: int
    repeated_model_calls: int
    failed_model_calls: int
    """Tries that gave no reply."""
    unpriced_model_calls: int
    """Those that `cost_usd` does not know of."""
    tool_calls: int
    prompt_tokens: int
    cached_tokens: int
    """Of `prompt_tokens`."""
    completion_tokens: int
    reasoning_tokens: int
    """Of `completion_tokens`."""
    total_tokens: int
    attempts: tuple[AttemptUsage, ...]
    cost_usd: str | None = msgspec.field(name="costUSD", default=None)
    """None if no call has a price."""
    lost: LostUsage | None = None
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
