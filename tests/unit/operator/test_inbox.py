"""Which watch events become work, and how a silent watch is noticed."""

from __future__ import annotations

from typing import Any

import pytest
from agenttask import contract
from agenttask_operator.handlers import Inbox
from agenttask_operator.queue import Queue
from agenttask_operator.reconcile import Departed, Key

KEY = Key("agents", "triage")


def raw_task(*, version: int = 5, generation: int = 1, attempt: int | None = None, **status: Any) -> dict[str, Any]:
    if attempt is not None:
        status["checkpoint"] = {
            "key": "log/1", "id": "1-a", "seq": 1, "step": 1, "attempt": attempt, "digest": "d",
            "progressDigest": "p", "time": "2026-03-01T12:00:00Z", "sizeBytes": 1,
        }  # fmt: skip
    return {
        "metadata": {
            "name": "triage",
            "namespace": "agents",
            "uid": "uid",
            "generation": generation,
            "resourceVersion": str(version),
        },
        "spec": {"prompt": "x"},
        "status": status,
    }


RAW_POD = {
    "metadata": {
        "name": "triage-1",
        "namespace": "agents",
        "uid": "pod-1",
        "resourceVersion": "5",
        "labels": {contract.LABEL_TASK: "triage", contract.LABEL_ATTEMPT: "1"},
    }
}


class Recorder(Queue[Key]):
    """Counts what is added."""

    def __init__(self) -> None:
        self.added: list[Key] = []

    def add(self, key: Key) -> None:
        self.added.append(key)


@pytest.fixture
def queue() -> Recorder:
    return Recorder()


@pytest.fixture
def departed() -> Departed:
    return Departed()


@pytest.fixture
def inbox(queue: Recorder, departed: Departed) -> Inbox:
    made = Inbox(queue=queue, departed=departed)
    made.leading = True
    return made


def test_a_task_that_comes_or_is_edited_is_work(inbox: Inbox, queue: Recorder) -> None:
    inbox.task(kind="ADDED", raw=raw_task())
    inbox.task(kind="MODIFIED", raw=raw_task(generation=2))
    assert queue.added == [KEY, KEY]


def test_progress_is_no_work_and_a_claim_is(inbox: Inbox, queue: Recorder) -> None:
    inbox.task(kind="ADDED", raw=raw_task())
    inbox.task(kind="MODIFIED", raw=raw_task(version=6, attempt=1))
    queue.added.clear()
    inbox.task(kind="MODIFIED", raw=raw_task(version=7, attempt=1, progress={"step": 2}))
    assert queue.added == []
    inbox.task(kind="MODIFIED", raw=raw_task(version=8, attempt=2))
    assert queue.added == [KEY]


def test_the_first_new_step_after_a_stall_is_work_and_no_later_one(inbox: Inbox, queue: Recorder) -> None:
    def stalled(progress: str, version: int) -> dict[str, Any]:
        raw = raw_task(version=version, attempt=2, retry={"stalls": 2, "progressDigest": "p"})
        raw["status"]["checkpoint"]["progressDigest"] = progress
        return raw

    inbox.task(kind="ADDED", raw=stalled("p", 5))
    queue.added.clear()
    inbox.task(kind="MODIFIED", raw=stalled("q", 6))
    assert queue.added == [KEY]
    inbox.task(kind="MODIFIED", raw=stalled("r", 7))
    assert queue.added == [KEY]


def test_of_what_a_listing_finds_only_the_unfinished_is_work(inbox: Inbox, queue: Recorder) -> None:
    inbox.task(kind=None, raw=raw_task(phase="Completed"))
    assert queue.added == []
    inbox.task(kind=None, raw=raw_task(generation=2, phase="Running"))
    assert queue.added == [KEY]


def test_a_finished_task_that_was_deleted_unseen_and_waits_for_its_purge_is_work(inbox: Inbox, queue: Recorder) -> None:
    inbox.task(kind=None, raw=raw_task(phase="Completed"))
    deleted = raw_task(version=6, generation=2, phase="Completed")
    deleted["metadata"] |= {"deletionTimestamp": "2026-03-01T12:00:00Z", "finalizers": [contract.FINALIZER]}
    inbox.task(kind=None, raw=deleted)
    assert queue.added == [KEY]


def test_a_task_that_lost_its_guard_is_work(inbox: Inbox, queue: Recorder) -> None:
    guarded = raw_task()
    guarded["metadata"]["finalizers"] = [contract.FINALIZER]
    inbox.task(kind="ADDED", raw=guarded)
    queue.added.clear()
    inbox.task(kind="MODIFIED", raw=raw_task(version=6))
    assert queue.added == [KEY]


def test_every_pod_event_is_work_and_a_deleted_pod_is_remembered(
    inbox: Inbox, queue: Recorder, departed: Departed
) -> None:
    inbox.pod(kind="MODIFIED", raw=RAW_POD)
    assert departed.get("pod-1") is None
    inbox.pod(kind="DELETED", raw=RAW_POD)
    assert queue.added == [KEY, KEY]
    found = departed.get("pod-1")
    assert found is not None
    assert found.metadata.name == "triage-1"


def test_a_standby_queues_nothing_and_remembers(inbox: Inbox, queue: Recorder, departed: Departed) -> None:
    inbox.leading = False
    inbox.task(kind="ADDED", raw=raw_task())
    inbox.pod(kind="DELETED", raw=RAW_POD)
    assert queue.added == []
    assert departed.get("pod-1") is not None


def tasks_silent(inbox: Inbox, **listed: int) -> bool:
    return inbox.silent(tasks=listed, pods={}) is not None


def test_a_watch_is_silent_when_it_has_not_shown_what_the_listing_before_saw(inbox: Inbox) -> None:
    inbox.task(kind="ADDED", raw=raw_task(version=5))
    assert not tasks_silent(inbox, uid=9)
    assert tasks_silent(inbox, uid=9)
    inbox.task(kind="MODIFIED", raw=raw_task(version=9))
    assert not tasks_silent(inbox, uid=9)


def test_the_watch_of_pods_is_held_to_the_same(inbox: Inbox) -> None:
    def raw(version: int) -> dict[str, Any]:
        return {"metadata": {**RAW_POD["metadata"], "resourceVersion": str(version)}}

    def silent(**pods: int) -> str | None:
        return inbox.silent(tasks={}, pods=pods)

    inbox.pod(kind="ADDED", raw=raw(5))
    assert silent(**{"pod-1": 9}) is None
    assert silent(**{"pod-1": 9}) == "pods"
    inbox.pod(kind="MODIFIED", raw=raw(9))
    assert silent(**{"pod-1": 9}) is None
    inbox.pod(kind="DELETED", raw=raw(10))
    assert silent() is None


def test_a_task_that_came_while_the_tasks_were_listed_is_not_missed_later(inbox: Inbox) -> None:
    inbox.task(kind="ADDED", raw=raw_task(version=9))
    assert not tasks_silent(inbox)
    assert not tasks_silent(inbox, uid=9)
    assert not tasks_silent(inbox, uid=9)


def test_a_task_whose_deletion_was_missed_is_forgotten(inbox: Inbox, queue: Recorder) -> None:
    inbox.task(kind="ADDED", raw=raw_task(version=9))
    tasks_silent(inbox, uid=9)
    tasks_silent(inbox)
    queue.added.clear()
    inbox.task(kind="ADDED", raw=raw_task(version=9))
    assert queue.added == [KEY]


def test_a_task_that_is_gone_is_nothing_to_be_behind_of(inbox: Inbox) -> None:
    assert not tasks_silent(inbox, uid=9)
    assert not tasks_silent(inbox)


def test_deleted_pods_are_forgotten_from_the_oldest_on(departed: Departed) -> None:
    from agenttask_operator.observed import read_pod
    from agenttask_operator.reconcile import KEPT_DEPARTED

    for number in range(KEPT_DEPARTED + 1):
        meta = {**RAW_POD["metadata"], "uid": f"pod-{number}"}
        departed.keep(read_pod({"metadata": meta}))
    assert departed.get("pod-0") is None
    assert departed.get("pod-1") is not None
