"""How an attempt ends: what ended it → exit code and termination message. Pure; every reason is given here once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import msgspec

from agenttask.agent.events import Ended
from agenttask.agent.state import Wait
from agenttask.agent.stop import StopRequested
from agenttask.contract import CONTRACT, MAX_TERMINATION_BYTES, Exit, Outcome, Parked, RunnerReason, Termination
from agenttask.errors import (
    CheckpointCorrupt,
    CheckpointGone,
    CheckpointLost,
    ContentCorrupt,
    Denied,
    Fenced,
    FolderUnusable,
    FormatTooNew,
    Full,
    InDoubt,
    Misconfigured,
    NotFound,
    ProgramFailed,
    SpecInvalid,
    ToolsUnavailable,
    Unavailable,
)
from agenttask.log import Purged, RecordRef
from agenttask.model.failures import ModelError

PROGRAM_FAILED: Final = "ProgramFailed"
"""In logs alone; to the operator the container has crashed."""
STALLS: dict[type[Exception], RunnerReason] = {
    Denied: RunnerReason.STORE_DENIED,
    NotFound: RunnerReason.STORE_NOT_FOUND,
    Misconfigured: RunnerReason.STORE_MISCONFIGURED,
    CheckpointLost: RunnerReason.CHECKPOINT_LOST,
    CheckpointGone: RunnerReason.CHECKPOINT_GONE,
    CheckpointCorrupt: RunnerReason.CHECKPOINT_CORRUPT,
    ContentCorrupt: RunnerReason.CHECKPOINT_CORRUPT,
    FormatTooNew: RunnerReason.FORMAT_TOO_NEW,
    FolderUnusable: RunnerReason.FOLDER_UNUSABLE,
    SpecInvalid: RunnerReason.SPEC_INVALID,
    InDoubt: RunnerReason.IN_DOUBT,
    ToolsUnavailable: RunnerReason.TOOLS_UNAVAILABLE,
}
"""Errors that need someone, each with the reason its task shows."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How an attempt ended. `head` is the newest record known to be durable."""

    exit: int
    """One of `Exit`, or what the task's program ended with."""
    outcome: Outcome
    reason: str
    message: str
    newest_attempt: int | None = None
    head: RecordRef | None = None
    answer: str | None = None
    parked: Parked | None = None
    own_words: bool = True
    """Whether there is a termination message; a program that failed has its last lines of output there instead."""


def of_run(*, ended: Ended, head: RecordRef) -> Ending:
    """The run is over and its final record is `head`."""
    return Ending(
        exit=Exit.FINAL,
        outcome=Outcome(ended.outcome),
        reason=ended.reason,
        message=ended.message,
        head=head,
        newest_attempt=head.attempt,
        answer=ended.answer,
    )


def of_wait(*, wait: Wait, head: RecordRef) -> Ending:
    """The run is parked by record `head`."""
    return Ending(
        exit=Exit.PARKED,
        outcome=Outcome.PARKED,
        reason=wait.parked.reason,
        message=wait.parked.message,
        head=head,
        newest_attempt=head.attempt,
        parked=Parked(park=wait.seq, wake=wait.parked.wake),
    )


def of_purge(purged: Purged) -> Ending:
    """The log is gone, but for what a purge leaves."""
    message = f"{purged.removed} objects removed, {len(purged.claims)} claims kept"
    if purged.unreadable:
        message += f"; left, since they cannot be read and may be claims: {', '.join(purged.unreadable)}"
    return Ending(exit=Exit.FINAL, outcome=Outcome.PURGED, reason=RunnerReason.PURGED, message=f"{message}.")


def of_error(error: Exception) -> Ending:
    """What ended the attempt early."""
    if isinstance(error, StopRequested):
        return Ending(exit=Exit.STOPPED, outcome=Outcome.STOPPED, reason=RunnerReason.STOPPED, message=str(error))
    if isinstance(error, Fenced):
        ending = Ending(exit=Exit.FENCED, outcome=Outcome.FENCED, reason=RunnerReason.FENCED, message=str(error))
        return replace(ending, newest_attempt=error.newest_attempt)
    if isinstance(error, Unavailable):
        reason = RunnerReason.STORE_FULL if isinstance(error, Full) else RunnerReason.STORE_UNAVAILABLE
        return Ending(exit=Exit.UNAVAILABLE, outcome=Outcome.UNAVAILABLE, reason=reason, message=str(error))
    if isinstance(error, ProgramFailed):
        # Neither the message nor the code is the runner's: the operator then reads the container as any other's.
        ending = Ending(exit=error.code, outcome=Outcome.INTERNAL, reason=PROGRAM_FAILED, message=str(error))
        return replace(ending, own_words=False)
    stall = error.reason if isinstance(error, ModelError) else STALLS.get(type(error))
    if stall is not None:
        return Ending(exit=Exit.STALLED, outcome=Outcome.STALLED, reason=stall, message=str(error))
    message = f"{type(error).__name__}: {error}"
    return Ending(exit=Exit.INTERNAL, outcome=Outcome.INTERNAL, reason=RunnerReason.INTERNAL_ERROR, message=message)


def encode_termination(*, ending: Ending, attempt: int) -> bytes:
    """The termination message; its `message` is cut so that all of it fits."""
    head = ending.head
    termination = Termination(
        contract=CONTRACT,
        outcome=ending.outcome,
        reason=ending.reason,
        message=ending.message,
        attempt=attempt,
        newest_attempt=ending.newest_attempt,
        seq=head.seq if head else None,
        key=head.key if head else None,
        digest=head.digest if head else None,
        parked=ending.parked,
    )
    encoded = msgspec.json.encode(termination)
    while len(encoded) > MAX_TERMINATION_BYTES:
        # Halved and not cut to measure: escaping makes the encoded length of a text hard to foretell.
        shorter = termination.message[: len(termination.message) // 2] + "…"
        termination = msgspec.structs.replace(termination, message=shorter)
        encoded = msgspec.json.encode(termination)
    return encoded
