"""How an attempt says that it ended: exit code, outcome, reason, termination message."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from agenttask.contract.park import Parked
from agenttask.contract.wire import Wire


class Exit(IntEnum):
    """Exit codes of the runner."""

    FINAL = 0
    """The final record is durable and the last status write was accepted (or the task is gone); or all is purged."""
    UNAVAILABLE = 69
    """The store gave no answer for 10 s before the claim was confirmed, or for 60 s after."""
    INTERNAL = 70
    """A defect of the runner: the only code of its own that counts as a failure."""
    STOPPED = 75
    """Stopped by SIGTERM; resume me."""
    PARKED = 76
    """There is something to wait for, and no pod needed meanwhile: the termination message says for what."""
    FENCED = 77
    """A newer attempt, or another pod of this one, has claimed the log."""
    STALLED = 78
    """Someone is needed: the termination message says for what."""


class Outcome(StrEnum):
    """How a runner says its attempt ended."""

    COMPLETED = "Completed"
    FAILED = "Failed"
    UNAVAILABLE = "Unavailable"
    INTERNAL = "Internal"
    STOPPED = "Stopped"
    PARKED = "Parked"
    FENCED = "Fenced"
    STALLED = "Stalled"
    PURGED = "Purged"


class RunnerReason(StrEnum):
    """Reasons a runner gives beside its outcome; each is a `status.reason` as it stands."""

    COMPLETED = "Completed"
    """The model gave its final answer, or the program ended with exit code 0."""
    BUDGET_EXHAUSTED = "BudgetExhausted"
    """What `budget` allows was used before a final answer."""
    OUTPUT_INVALID = "OutputInvalid"
    """The model's answer has not the form that `agent.output` asks for, however often it is asked again."""
    MODEL_REFUSED = "ModelRefused"
    """The endpoint calls the request itself bad; sending it again cannot help."""
    MODEL_DENIED = "ModelDenied"
    """The model's endpoint refused the key, or the key's right to this model."""
    MODEL_NOT_FOUND = "ModelNotFound"
    """The endpoint does not know the model, or nothing is served under the base URL."""
    MODEL_QUOTA_EXHAUSTED = "ModelQuotaExhausted"
    """The account's quota or spend limit is used up."""
    MODEL_RATE_LIMITED = "ModelRateLimited"
    """The endpoint asks for slower requests, through every retry or for longer than a pod should wait."""
    MODEL_UNAVAILABLE = "ModelUnavailable"
    """The endpoint stayed unreachable or overloaded through every retry, and every fallback likewise."""
    COST_UNKNOWN = "CostUnknown"
    """The task's money is limited, and nobody knows what its model costs."""
    CONTEXT_TOO_LONG = "ContextTooLong"
    """The conversation no longer fits into the model."""
    STORE_UNAVAILABLE = "StoreUnavailable"
    """The checkpoint store did not answer."""
    STORE_NOT_FOUND = "StoreNotFound"
    """The bucket does not exist."""
    STORE_DENIED = "StoreDenied"
    """The store refused the credentials."""
    STORE_FULL = "StoreFull"
    """The checkpoint store has no space left, or a quota is used up."""
    STORE_MISCONFIGURED = "StoreMisconfigured"
    """The store cannot hold a checkpoint log: put-if-absent is not honoured, for one."""
    CHECKPOINT_LOST = "CheckpointLost"
    """The recorded checkpoint is above every record in the store, or the log is empty."""
    CHECKPOINT_GONE = "CheckpointGone"
    """The checkpoint to resume from is not in the store any more."""
    CHECKPOINT_CORRUPT = "CheckpointCorrupt"
    """A record that is needed does not verify."""
    FORMAT_TOO_NEW = "FormatTooNew"
    """The log was written in a format this runner cannot read."""
    IN_DOUBT = "InDoubt"
    """A call that must not run twice was lost with its attempt, and nothing says whether it took effect."""
    TOOLS_UNAVAILABLE = "ToolsUnavailable"
    """An MCP server does not answer, so that what the model could call is not known."""
    FOLDER_UNUSABLE = "FolderUnusable"
    """The folder of a command cannot be restored or stored as it is: no room on the disk, or too much in it."""
    SPEC_INVALID = "SpecInvalid"
    """The assignment says something this runner cannot do."""
    SLEEPING = "Sleeping"
    """The model called a sleep tool."""
    STOPPED = "Stopped"
    """SIGTERM came; the work is in the store."""
    FENCED = "Fenced"
    """A newer claim was met in the log."""
    PURGED = "Purged"
    """The log is removed, but for its claims."""
    INTERNAL_ERROR = "InternalError"
    """A defect; the message and the last log lines say where."""


class Termination(Wire, frozen=True):
    """The termination message: JSON of at most `MAX_TERMINATION_BYTES`."""

    contract: int
    outcome: Outcome
    reason: str
    message: str
    attempt: int
    newest_attempt: int | None = None
    """The newest attempt whose claim the log holds, where that is known."""
    seq: int | None = None
    key: str | None = None
    digest: str | None = None
    parked: Parked | None = None
    """Of the outcome Parked: where, and what for."""
