"""What a fork goes on from: `spec.resumeFrom` → one record of one log, or the reason why not.

Pure. Resolved once, before attempt 1, and recorded as `status.forkedFrom`: from then on the original may go. A fork's
runner has one store and one set of credentials, its own; so what it copies has to lie in the same store, and in the
same namespace, since credentials may reach further than a namespace should.
"""

from __future__ import annotations

import msgspec
from agenttask import contract

from agenttask_operator.observed import Task
from agenttask_operator.reasons import Reason


class ForkRefusedError(Exception):
    """There is nothing to go on from, or it may not be taken; the message is for the user."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def source_of(task: Task) -> str | None:
    """Name of the task that this one is to go on from, as long as that is not recorded; it may be gone."""
    if task.status.forked_from is not None:
        return None
    try:
        resume = msgspec.convert(task.spec.get("resumeFrom"), contract.ResumeFrom | None)
    except msgspec.ValidationError:
        return None
    if resume is None or resume.location is None or resume.key is None:
        return resume.task if resume is not None else None
    found = contract.origin(resume.key, prefix=resume.location.prefix, namespace=task.metadata.namespace)
    return found.task if found is not None else None


def resolve(
    *, resume: contract.ResumeFrom, location: contract.Location, namespace: str, source: Task | None
) -> contract.ForkedFrom:
    """The record to go on from.

    Args:
        resume: `spec.resumeFrom`.
        location: the fork's own.
        namespace: the fork's own.
        source: the task it names, None if there is none; not needed where a location is named.

    Raises:
        ForkRefusedError: `SourceNotFound` and `NoCheckpoint` may pass by themselves; `OtherStore` and `SpecInvalid`
            take an edit.
    """
    if resume.location is not None:
        return _under(place=resume.location, key=resume.key, location=location, namespace=namespace)
    if source is None:
        raise ForkRefusedError(Reason.SOURCE_NOT_FOUND, f"There is no AgentTask {resume.task} in this namespace.")
    place, point = source.status.location, source.checkpoint
    key = resume.key or (point.key if point is not None else None)
    if place is None or key is None:
        raise ForkRefusedError(Reason.NO_CHECKPOINT, f"AgentTask {resume.task} has no checkpoint yet.")
    found = _under(place=place, key=key, location=location, namespace=namespace)
    if (found.task, found.uid) != (source.metadata.name, source.metadata.uid):
        raise ForkRefusedError(
            Reason.SPEC_INVALID,
            f"spec.resumeFrom.key {key} is no record of AgentTask {resume.task} (UID {source.metadata.uid}); to go on "
            "from a task that is gone, give spec.resumeFrom.location in place of task.",
        )
    return found


def _under(
    *, place: contract.Place, key: str | None, location: contract.Location, namespace: str
) -> contract.ForkedFrom:
    if difference := contract.other_store(place, location):
        raise ForkRefusedError(Reason.OTHER_STORE, f"A fork needs its original's store: {difference}.")
    found = contract.origin(key or "", prefix=place.prefix, namespace=namespace)
    if found is None:
        folder = "/".join(part for part in (place.prefix.strip("/"), namespace) if part)
        raise ForkRefusedError(
            Reason.SPEC_INVALID,
            f"spec.resumeFrom.key {key} is no record of this namespace: {folder}/<task>/<uid>/log/<12 digits>.",
        )
    return found
