"""Small builders with good defaults: a task called `triage`, its pods, the operator's settings, a clock that stands."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from agenttask import contract
from agenttask_operator import pods
from agenttask_operator.fold import Refusal, Snapshot
from agenttask_operator.guarding import Guarding
from agenttask_operator.observed import (
    ANNOTATION_DIGEST,
    Attempt,
    Checkpoint,
    Complaint,
    Counts,
    Outcome,
    Pod,
    Retry,
    Status,
    Task,
    read_pod,
    read_task,
)
from agenttask_operator.settings import Settings

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
UID = "11111111-aaaa-4aaa-8aaa-111111111111"

SETTINGS = msgspec.convert(
    {
        "runner": {"image": "registry.example/runner:1"},
        "model": {"baseURL": "https://model.example/v1", "name": "small", "apiKeySecretRef": {"name": "model-key"}},
        "store": {"s3": {"bucket": "default-bucket", "credentialsSecretRef": {"name": "store-key"}}},
    },
    Settings,
)
BARE = msgspec.convert({"runner": {"image": "registry.example/runner:1"}}, Settings)

LOCATION = contract.Location(type="s3", bucket="default-bucket", credentials_secret="store-key")


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def ahead(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def wire(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


def raw_task(
    name: str = "triage",
    *,
    namespace: str = "agents",
    uid: str | None = None,
    version: int = 7,
    generation: int = 1,
    spec: Mapping[str, Any] | None = None,
    meta: Mapping[str, Any] | None = None,
    **status: Any,
) -> dict[str, Any]:
    """A task as the API server sends it; `meta` is what else its metadata has."""
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid or f"uid-{namespace}-{name}",
            "generation": generation,
            "resourceVersion": str(version),
            **(meta or {}),
        },
        "spec": {"prompt": "Summarise.", **(spec or {})},
        "status": status,
    }


def task(
    *,
    spec: Mapping[str, Any] | None = None,
    status: Status | None = None,
    checkpoint: contract.CheckpointStatus | Checkpoint | None = None,
    generation: int = 1,
    deleted: datetime | None = None,
    guarded: bool = False,
) -> Task:
    meta: dict[str, Any] = {}
    if deleted is not None:
        meta["deletionTimestamp"] = wire(deleted)
    if guarded:
        meta["finalizers"] = ["somebody.example/else", contract.FINALIZER]
    found = msgspec.to_builtins(status) if status is not None else {}
    if checkpoint is not None:
        found["checkpoint"] = msgspec.to_builtins(checkpoint)
    return read_task(raw_task(uid=UID, generation=generation, spec=spec, meta=meta, **found))


def checkpoint(
    *, attempt: int = 1, step: int = 3, seq: int = 9, resumed_from: str | None = None
) -> contract.CheckpointStatus:
    return contract.CheckpointStatus(
        key=f"agents/triage/{UID}/log/{seq:012d}",
        id=f"{seq}-abc",
        seq=seq,
        step=step,
        attempt=attempt,
        digest="d",
        progress_digest=f"progress-{step}",
        time=wire(NOW),
        size_bytes=100,
        resumed_from=resumed_from,
    )


def entry(
    attempt: int = 1, *, outcome: Outcome | None = None, reason: str = "", message: str = "", **more: Any
) -> Attempt:
    """An entry of `status.attempts`; one with an outcome ended a minute ago."""
    made = Attempt(attempt=attempt, pod=f"triage-{attempt}", start=ago(600), **more)
    if outcome is None:
        return made
    return msgspec.structs.replace(
        made, end=ago(60), outcome=outcome, reason=reason or outcome, message=message or None
    )


def status(
    *entries: Attempt, pod_uid: str | None = None, retry: Retry | None = None, counts: Counts | None = None, **more: Any
) -> Status:
    """A status whose newest attempt is the last entry."""
    return Status(
        observed_generation=1,
        attempt=entries[-1].attempt if entries else 0,
        attempts=entries,
        pod_uid=pod_uid,
        location=LOCATION if entries else None,
        counts=counts or (Counts() if entries else None),
        retry=retry,
        **more,
    )


def digest_of(owner: Task) -> str:
    made = pods.plan(task=owner, settings=SETTINGS)
    return pods.digest(task=owner, plan=made, settings=SETTINGS)


def raw_pod(
    attempt: int = 1,
    *,
    name: str | None = None,
    of: str = "triage",
    namespace: str = "agents",
    uid: str | None = None,
    owner: str = UID,
    version: int = 7,
    meta: Mapping[str, Any] | None = None,
    **rest: Any,
) -> dict[str, Any]:
    """A pod as the API server sends it, of the task `of`; `meta` is what else its metadata has."""
    name = name or f"{of}-{attempt}"
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid or f"uid-{name}",
            "resourceVersion": str(version),
            "labels": {contract.LABEL_TASK: of, contract.LABEL_ATTEMPT: str(attempt)},
            "ownerReferences": [{"uid": owner, "controller": True}],
            **(meta or {}),
        },
        **rest,
    }


def pod(
    attempt: int = 1,
    *,
    owner: Task | None = None,
    uid: str | None = None,
    phase: str = "Running",
    state: Mapping[str, Any] | None = None,
    sidecar: Mapping[str, Any] | None = None,
    before: Mapping[str, Any] | None = None,
    conditions: Mapping[str, tuple[str, str, datetime]] | None = None,
    deleted: datetime | None = None,
    reason: str = "",
    message: str = "",
    made_from: str | None = None,
    node: str | None = "node1",
) -> Pod:
    """A pod of the task: running unless said otherwise. Conditions are type → (status, reason, since)."""
    meta: dict[str, Any] = {"annotations": {ANNOTATION_DIGEST: made_from or digest_of(owner or task())}}
    if deleted is not None:
        meta["deletionTimestamp"] = wire(deleted)
    statuses = [{"name": contract.CONTAINER, "state": state}] if state is not None else []
    if sidecar is not None:
        statuses.append({"name": "mesh", "state": sidecar})
    found = {
        "phase": phase,
        "reason": reason,
        "message": message,
        "containerStatuses": statuses,
        "initContainerStatuses": [{"name": "net", "state": before}] if before is not None else [],
        "conditions": [
            {"type": kind, "status": state, "reason": why, "lastTransitionTime": wire(since)}
            for kind, (state, why, since) in (conditions or {}).items()
        ],
    }
    spec = {"nodeName": node} if node else {}
    return read_pod(raw_pod(attempt, uid=uid or f"pod-{attempt}", meta=meta, spec=spec, status=found))


RUNNING: Mapping[str, Any] = {"running": {"startedAt": wire(ago(300))}}


def exited(code: int, *, message: str = "", reason: str = "") -> Mapping[str, Any]:
    return {
        "terminated": {
            "exitCode": code,
            "message": message,
            "reason": reason or ("Completed" if code == 0 else "Error"),
        }
    }


def said(
    outcome: contract.Outcome, *, attempt: int = 1, reason: str = "", message: str = "It is so.", **more: Any
) -> str:
    """A termination message."""
    made = contract.Termination(
        contract=contract.CONTRACT, outcome=outcome, reason=reason or outcome, message=message, attempt=attempt, **more
    )
    return msgspec.json.encode(made).decode()


def told(outcome: contract.Outcome, code: int = 0, **more: Any) -> Mapping[str, Any]:
    """A runner that ended with a message."""
    return exited(code, message=said(outcome, **more))


def refusal(**more: Any) -> Refusal:
    return Refusal(
        **{"attempt": 1, "generation": 1, "message": "exceeded quota", "times": 1, "retry_at": ahead(2), **more}
    )


def snapshot(
    of: Task,
    *found: Pod,
    departed: Pod | None = None,
    refused: Refusal | None = None,
    complaint: Complaint | None = None,
    settings: Settings = SETTINGS,
    gone: tuple[Pod, ...] = (),
    guarding: Guarding | None = None,
) -> Snapshot:
    return Snapshot(
        task=of,
        pods=found,
        settings=settings,
        departed=departed,
        refusal=refused,
        complaint=complaint,
        gone=gone,
        guarding=guarding,
    )
