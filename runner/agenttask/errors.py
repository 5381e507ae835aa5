"""Every error of the runner that has a meaning beyond "a defect", in one tree.

    AgentTaskError
    ├── SpecInvalid               the task says something this version cannot do
    ├── InDoubt                   whether a call that must not run twice took effect is not known
    ├── ProgramFailed             the task's program ended, and not well
    ├── FolderUnusable            the program's folder cannot be stored or restored
    ├── ToolsUnavailable          a server that gives the task its tools does not answer
    ├── StoreError                what an object store answered, or that it did not
    │   ├── Absent                nothing under this key (an answer)
    │   ├── Exists                put-if-absent was refused: the key is taken (an answer)
    │   ├── TooLarge              the object is larger than the reader's bound
    │   ├── Unavailable           no usable answer; the only one worth asking again
    │   │   └── Full              the store has no space left, or a quota is used up
    │   ├── Denied                the credentials are missing, wrong or not allowed to
    │   ├── NotFound              the bucket (or folder) itself does not exist
    │   └── Misconfigured         the store cannot do what is asked, or is not the store it is said to be
    └── LogError                  what the checkpoint log says
        ├── Fenced                a newer claim stands in the log: stop at once
        ├── CheckpointLost        the recorded checkpoint is above everything the store holds
        ├── CheckpointGone        what is to be forked is not there (any more)
        ├── CheckpointCorrupt     a record that is needed does not verify
        │   └── ContentCorrupt    content that records name, which a restore does not read, does not verify
        ├── FormatTooNew          the log was written in a format this version cannot read
        └── RecordTooLarge        an append is larger than a restore would accept

Whether asking again can help is in the type (`retryable`). Errors of libraries are translated where they enter, in
`store/`, and nowhere else.
"""
# ruff: noqa: N818 - the words of the field (fenced, absent, denied) say more than a suffix

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class AgentTaskError(Exception):
    """Root of all."""

    retryable: ClassVar[bool] = False
    """Whether the same request may succeed later without anybody changing anything."""


class SpecInvalid(AgentTaskError):
    """The task, or the assignment made of it, says something this version cannot do."""


class InDoubt(AgentTaskError):
    """Whether a call that must not run twice took effect is not known, and somebody has to say."""


class ProgramFailed(AgentTaskError):
    """The task's program ended with this exit code; 128 + n for signal n, as shells say it."""

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


class FolderUnusable(AgentTaskError):
    """The program's folder cannot be stored as it is, or there is no room to restore it."""


class ToolsUnavailable(AgentTaskError):
    """A server that gives the task its tools does not answer."""


class StoreError(AgentTaskError):
    """What an object store answered, or that it did not."""


class Absent(StoreError):
    """Nothing is stored under the key."""


class Exists(StoreError):
    """Put-if-absent was refused: something is stored under the key already."""


class TooLarge(StoreError):
    """The object is larger than the reader said it would take; nothing was read."""


class Unavailable(StoreError):
    """No usable answer: a refused connection, a timeout, a 5xx, a cut body. A write may or may not have happened."""

    retryable = True


class Full(Unavailable):
    """The store has no space left, or a quota is used up. Nothing was written; space may come back."""


class Denied(StoreError):
    """The store refused the credentials, or there are none."""


class NotFound(StoreError):
    """The bucket, or the folder that stands for it, does not exist."""


class Misconfigured(StoreError):
    """The store cannot hold a checkpoint log, or its address, region or name is wrong."""


class LogError(AgentTaskError):
    """What the checkpoint log says."""


class Fenced(LogError):
    """The log belongs to someone newer: `newest_attempt` is the newest attempt met in it."""

    def __init__(self, message: str, *, newest_attempt: int) -> None:
        super().__init__(message)
        self.newest_attempt = newest_attempt


class CheckpointLost(LogError):
    """The recorded checkpoint is above every record the store holds, or the log is empty."""


class CheckpointGone(LogError):
    """The checkpoint of another log that this one is to begin with cannot be had; nothing was written."""


class CheckpointCorrupt(LogError):
    """The record under `key` is needed and does not verify."""

    def __init__(self, message: str, *, key: str) -> None:
        super().__init__(message)
        self.key = key


class ContentCorrupt(CheckpointCorrupt):
    """Content attached to records does not verify: the objects under `keys`. States that refer to it are of no use."""

    def __init__(self, message: str, *, keys: Sequence[str]) -> None:
        super().__init__(message, key=keys[0])
        self.keys = frozenset(keys)


class FormatTooNew(LogError):
    """The record under `key` has a format this version cannot read; nothing was touched."""

    def __init__(self, message: str, *, key: str) -> None:
        super().__init__(message)
        self.key = key


class RecordTooLarge(LogError):
    """An append is larger than a restore would accept; nothing was written, and the log stays usable."""
