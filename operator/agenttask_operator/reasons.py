"""Every reason and condition type the operator writes, once, with its meaning and what to do about it.

Pure. `docs/states.md` is rendered from here, so the table a person reads cannot drift from what the operator says. A
runner's own reasons (`contract.RunnerReason`) pass through as they stand and are explained here too.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from agenttask.contract import RunnerReason

from agenttask_operator.observed import Phase


class Kind(StrEnum):
    """Condition types."""

    ACCEPTED = "Accepted"
    RUNNING = "Running"
    CHECKPOINTED = "Checkpointed"
    DISRUPTED = "Disrupted"
    DAMAGED = "Damaged"
    SUSPENDED = "Suspended"
    STALLED = "Stalled"
    COMPLETE = "Complete"
    FAILED = "Failed"
    FINISHED = "Finished"


class Reason(StrEnum):
    """Reasons of the operator's own finding."""

    ACCEPTED = "Accepted"
    CHANGE_PENDING = "ChangePending"
    NOTHING_RECORDED = "NothingRecorded"
    RECORDED = "Recorded"
    RECOVERED = "Recovered"
    STARTING = "Starting"
    WORKING = "Working"
    STOPPING = "Stopping"
    PURGING = "Purging"
    PURGE_ABANDONED = "PurgeAbandoned"
    TERMINATING = "Terminating"
    BACKING_OFF = "BackingOff"
    RECORDS_LOST = "RecordsLost"
    DAMAGE_FOUND = "DamageFound"
    SUSPENDED = "Suspended"
    NOT_SUSPENDED = "NotSuspended"
    CANCELLED = "Cancelled"
    DELETED = "Deleted"
    EVICTED = "Evicted"
    PREEMPTED = "Preempted"
    NODE_PRESSURE = "NodePressure"
    NODE_SHUTDOWN = "NodeShutdown"
    NODE_TAINTED = "NodeTainted"
    NODE_LOST = "NodeLost"
    NODE_REFUSED = "NodeRefused"
    VANISHED = "Vanished"
    NAME_TAKEN = "NameTaken"
    SPEC_CHANGED = "SpecChanged"
    OOM_KILLED = "OOMKilled"
    CRASHED = "Crashed"
    NO_MESSAGE = "NoMessage"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    START_TIMED_OUT = "StartTimedOut"
    RETRIES_EXHAUSTED = "RetriesExhausted"
    POISON_CHECKPOINT = "PoisonCheckpoint"
    SPEC_INVALID = "SpecInvalid"
    FINALIZER_LOST = "FinalizerLost"
    SOURCE_NOT_FOUND = "SourceNotFound"
    NO_CHECKPOINT = "NoCheckpoint"
    OTHER_STORE = "OtherStore"
    SECRET_MISSING = "SecretMissing"  # noqa: S105 - a reason
    IMAGE_UNAVAILABLE = "ImageUnavailable"
    CONTAINER_REFUSED = "ContainerRefused"
    VOLUME_UNAVAILABLE = "VolumeUnavailable"
    POD_REFUSED = "PodRefused"
    UNSCHEDULABLE = "Unschedulable"
    SCHEDULING_GATED = "SchedulingGated"


PHASES: Final[dict[Phase, str]] = {
    Phase.PENDING: "No progress is recorded yet and no runner works.",
    Phase.RUNNING: "A runner holds the checkpoint log and works.",
    Phase.CHECKPOINTED: "No runner works; all progress is safe in the store.",
    Phase.RESUMING: "A new runner is on its way to go on from the recorded checkpoint.",
    Phase.COMPLETED: "The final record holds the answer. Final.",
    Phase.FAILED: "The task ended without an answer. Final.",
    Phase.CANCELLED: "The user cancelled the task. Final.",
}

CONDITIONS: Final[dict[Kind, str]] = {
    Kind.ACCEPTED: "The spec can be carried out. `ChangePending`: an edit waits for the next attempt.",
    Kind.RUNNING: "A runner holds the log and works.",
    Kind.CHECKPOINTED: "At least one record is in the store.",
    Kind.DISRUPTED: "The cluster took the last pod away and no new runner works yet; the reason is the cause.",
    Kind.DAMAGED: "The store had lost or damaged part of the checkpoint log; the message says what, and what it cost.",
    Kind.SUSPENDED: "`spec.suspend` is set and no runner works.",
    Kind.STALLED: "Someone is needed; the task goes on by itself once the trouble is fixed.",
    Kind.COMPLETE: "The task completed.",
    Kind.FAILED: "The task failed for good.",
    Kind.FINISHED: "The task ended, in whichever way: `kubectl wait --for=condition=Finished`.",
}

REASONS: Final[dict[str, str]] = {
    Reason.ACCEPTED: "The spec can be carried out.",
    Reason.CHANGE_PENDING: "The spec was edited while an attempt runs; the edit applies at the next attempt.",
    Reason.NOTHING_RECORDED: "No checkpoint has been recorded yet.",
    Reason.RECORDED: "`status.checkpoint` names the newest record.",
    Reason.RECOVERED: "What was wrong is over.",
    Reason.STARTING: "The pod of this attempt is on its way, or its runner is opening the log.",
    Reason.WORKING: "The runner holds the log and works.",
    Reason.STOPPING: "The pod was told to stop, for suspend or cancel; what it finishes meanwhile is recorded.",
    Reason.PURGING: "The task is being deleted, and its last pod removes its checkpoint log (`checkpoint.onDelete`).",
    Reason.PURGE_ABANDONED: "The task went, and its log, which the message names, is left. An Event's reason only.",
    Reason.TERMINATING: "The pod is being deleted; the next attempt starts once its runner has ended.",
    Reason.BACKING_OFF: "The last attempt failed, or was disrupted again; `status.retry.notBefore` says until when.",
    Reason.RECORDS_LOST: "Records could not be read; the task went on from the state before them.",
    Reason.DAMAGE_FOUND: "Part of the checkpoint log could not be read; nothing was lost by it.",
    Reason.SUSPENDED: "`spec.suspend` is set. Unset it to go on from the checkpoint.",
    Reason.NOT_SUSPENDED: "`spec.suspend` is not set.",
    Reason.CANCELLED: "`spec.cancel` was set.",
    Reason.DELETED: "Someone deleted the pod.",
    Reason.EVICTED: "The pod was evicted: a drain, or a queue that took its quota back.",
    Reason.PREEMPTED: "The pod gave way to one of higher priority, on its node or in its queue.",
    Reason.NODE_PRESSURE: "The node ran short of memory, disk or processes and evicted the pod.",
    Reason.NODE_SHUTDOWN: "The node was shut down.",
    Reason.NODE_TAINTED: "The node got a taint the pod does not tolerate: not ready or unreachable, most often.",
    Reason.NODE_LOST: "The control plane lost sight of the node. Its runner, if it lives, can write nothing any more.",
    Reason.NODE_REFUSED: "The node's kubelet did not admit the pod.",
    Reason.VANISHED: "The pod is gone and nothing says why.",
    Reason.NAME_TAKEN: "Another pod has this attempt's name; the next number is used.",
    Reason.SPEC_CHANGED: "The spec was edited before the runner started; the pod is replaced by one of the new spec.",
    Reason.OOM_KILLED: "The container went over its memory limit. Raise it, or set `spec.retry.oomMemoryLimit`.",
    Reason.CRASHED: "The container ended by itself; the message has its exit code and last log lines.",
    Reason.NO_MESSAGE: "The container ended with code 0 but without a runner's message. Is the image a runner image?",
    Reason.DEADLINE_EXCEEDED: "Runners have worked for all of `spec.activeDeadlineSeconds`. Final.",
    Reason.START_TIMED_OUT: "No runner worked within `spec.retry.startDeadlineSeconds`; the message says why. Final.",
    Reason.RETRIES_EXHAUSTED: "More failures than `spec.retry.maxFailures`, and no step was ever recorded. Final.",
    Reason.POISON_CHECKPOINT: "More failures than `spec.retry.maxFailures` since the last step. Edit the spec.",
    Reason.SPEC_INVALID: "The spec asks for something that cannot be done; the message says what.",
    Reason.FINALIZER_LOST: "Something takes the finalizer of `onDelete: Delete` away. It is set again and again.",
    Reason.SOURCE_NOT_FOUND: "`spec.resumeFrom.task` does not exist. It is looked for again and again.",
    Reason.NO_CHECKPOINT: "`spec.resumeFrom.task` has no checkpoint yet. The fork starts by itself once it has one.",
    Reason.OTHER_STORE: "`spec.resumeFrom` names another store than this task's; a fork copies within one.",
    Reason.SECRET_MISSING: "A Secret, or a key in it, does not exist. Create it: the pod starts by itself.",
    Reason.IMAGE_UNAVAILABLE: "The image cannot be pulled. Fix its name or credentials: an edit applies at once.",
    Reason.CONTAINER_REFUSED: "The node cannot make or start the container; the message is the node's.",
    Reason.VOLUME_UNAVAILABLE: "A volume cannot be attached or mounted; the message is the node's. It is tried again.",
    Reason.POD_REFUSED: "The API server refused the pod: a quota, Pod Security, a webhook, a typo. It is tried again.",
    Reason.UNSCHEDULABLE: "No node fits the pod now; the message is the scheduler's.",
    Reason.SCHEDULING_GATED: "A scheduling gate holds the pod back: a queue's, for one. The message names it.",
    RunnerReason.COMPLETED: "The model gave its final answer, or the program ended with exit code 0.",
    RunnerReason.BUDGET_EXHAUSTED: "What `spec.budget` allows is used up. Raise it: the task goes on by itself.",
    RunnerReason.OUTPUT_INVALID: "The answer had not the form of `spec.agent.output`, asked again or not. Final.",
    RunnerReason.MODEL_REFUSED: "The endpoint calls the request itself bad. Final.",
    RunnerReason.MODEL_DENIED: "The endpoint refused the key, or its right to this model. Fix the Secret.",
    RunnerReason.MODEL_NOT_FOUND: "The endpoint does not know the model, or nothing is served under the base URL.",
    RunnerReason.MODEL_QUOTA_EXHAUSTED: "The account's quota or spend limit is used up. It is tried again by itself.",
    RunnerReason.MODEL_RATE_LIMITED: "The endpoint asks for slower requests, through every retry or for too long.",
    RunnerReason.MODEL_UNAVAILABLE: "Endpoint and fallbacks stayed unreachable or overloaded through every retry.",
    RunnerReason.COST_UNKNOWN: "Nobody knows what the model costs, and `spec.budget.costUSD` is set. Give it a price.",
    RunnerReason.CONTEXT_TOO_LONG: "The conversation no longer fits into the model. Final.",
    RunnerReason.STORE_UNAVAILABLE: "The checkpoint store did not answer. The task goes on when it does.",
    RunnerReason.STORE_FULL: "The checkpoint store has no space left. The task goes on when it has.",
    RunnerReason.STORE_NOT_FOUND: "The bucket does not exist, or the log that was in the store is gone.",
    RunnerReason.STORE_DENIED: "The store refused the credentials.",
    RunnerReason.STORE_MISCONFIGURED: "The store cannot hold a checkpoint log: it ignores conditional writes, for one.",
    RunnerReason.CHECKPOINT_LOST: "The recorded checkpoint is above every record in the store, or the log is empty.",
    RunnerReason.CHECKPOINT_GONE: "The checkpoint to fork is not in the store (any more); nothing was written.",
    RunnerReason.CHECKPOINT_CORRUPT: "A record that is needed does not verify.",
    RunnerReason.FORMAT_TOO_NEW: "The log was written in a format this runner cannot read. Use a newer runner image.",
    RunnerReason.TOOLS_UNAVAILABLE: "An MCP server does not answer. The task goes on when it does.",
    RunnerReason.FOLDER_UNUSABLE: "The command's folder cannot be restored or stored; the message says why.",
    RunnerReason.IN_DOUBT: "A call that must not run twice was lost; find out, then set its tool's `onDoubt`.",
    RunnerReason.SLEEPING: "The model called a sleep tool. The task goes on by itself at `status.wake.notBefore`.",
    RunnerReason.STOPPED: "The runner got SIGTERM and recorded its work.",
    RunnerReason.FENCED: "The log holds a newer claim, and the next attempt goes above it. In a row: another cluster?",
    RunnerReason.PURGED: "The checkpoint log is removed, and the task goes.",
    RunnerReason.INTERNAL_ERROR: "A defect of the runner; the message and the pod's log say where.",
}


def as_markdown() -> str:
    """`docs/states.md`, whole."""
    return "\n".join(
        (
            "# Phases, conditions and reasons",
            "",
            "Rendered from `operator/agenttask_operator/reasons.py`. `kubectl get agenttasks` shows phase and reason,",
            "`kubectl describe` the conditions and the message, which is the server's own where there is one.",
            "",
            *_table("Phase", PHASES),
            *_table("Condition", CONDITIONS),
            *_table("Reason", REASONS),
        )
    )


def _table(head: str, rows: dict[Phase, str] | dict[Kind, str] | dict[str, str]) -> list[str]:
    lines = (f"| {name} | {meaning} |" for name, meaning in rows.items())
    return [f"| {head} | Meaning |", "| --- | --- |", *lines, ""]
