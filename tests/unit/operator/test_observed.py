"""Objects as they may come: the least the API requires reads, and what is not known is ignored."""

from __future__ import annotations

import msgspec
from agenttask import contract
from agenttask_operator.observed import ANNOTATION_DIGEST, Checkpoint, Phase, read_pod, read_task

from tests.unit.operator.builders import UID, raw_pod

META = {"name": "triage", "namespace": "agents", "uid": UID}


def test_a_task_nobody_has_looked_at() -> None:
    task = read_task({"metadata": META, "spec": {"prompt": "x"}})
    assert (task.status.attempt, task.status.phase, task.checkpoint) == (0, None, None)


def test_the_least_of_everything_the_api_requires() -> None:
    task = read_task(
        {
            "apiVersion": "agenttask.dev/v1alpha1",
            "metadata": META,
            "spec": {"prompt": "x"},
            "status": {
                "phase": "Running",
                "checkpoint": {"key": "log/000000000001", "seq": 1},
                "retry": {},
                "counts": {},
                "attempts": [{"attempt": 1, "pod": "triage-1", "start": "2026-03-01T12:00:00Z"}],
                "conditions": [
                    {
                        "type": "Mine",
                        "status": "True",
                        "reason": "Mine",
                        "message": "",
                        "lastTransitionTime": "2026-03-01T12:00:00Z",
                    }
                ],
                "fieldOfTheFuture": {"a": 1},
            },
        }
    )
    assert task.status.phase is Phase.RUNNING
    assert task.checkpoint == Checkpoint(key="log/000000000001", seq=1)


def test_a_pod_without_a_status_is_pending_and_has_no_attempt() -> None:
    pod = read_pod({"metadata": META})
    assert (pod.status.phase, pod.attempt, pod.started, pod.ended) == ("Pending", None, False, False)


def test_of_a_pod_s_annotations_only_the_digest_is_held() -> None:
    """Thousands of deleted pods are remembered, and a listing has every pod at once: an assignment may have 200 KiB."""
    annotations = {ANNOTATION_DIGEST: "0123", contract.ANNOTATION_ASSIGNMENT: "x" * contract.MAX_ASSIGNMENT_BYTES}
    pod = read_pod(raw_pod(meta={"annotations": annotations}))
    assert pod.metadata.annotations.digest == "0123"
    assert len(msgspec.json.encode(pod)) < 1024
