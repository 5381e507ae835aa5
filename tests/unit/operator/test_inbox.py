"""Which watch events become work, and how a silent watch is noticed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from agenttask import contract
from agenttask_operator.fleet import Fleet
from agenttask_operator.handlers import LISTED_SECONDS, NEWS_SECONDS, SHOWN_SECONDS, Inbox
from agenttask_operator.metrics import Metrics
from agenttask_operator.observed import read_pod
from agenttask_operator.queue import Queue
from agenttask_operator.reconcile import KEPT_DEPARTED, Departed, Key

from tests.unit.operator.builders import NOW, checkpoint, raw_pod, raw_task, wire
from tests.unit.operator.scraped import scraped

KEY = Key("agents", "triage")


UID = "uid-agents-triage"
RAW_POD = raw_pod(uid="pod-1")
RUNNING: dict[str, Any] = {"containerStatuses": [{"name": contract.CONTAINER, "state": {"running": {}}}]}
ENDED: dict[str, Any] = {"containerStatuses": [{"name": contract.CONTAINER, "state": {"terminated": {"exitCode": 75}}}]}
TARGET = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
DELETED = {"deletionTimestamp": wire(NOW)}


def reported(*, version: int, attempt: int, step: int = 1, **status: Any) -> dict[str, Any]:
    """The task after its runner has told of a record."""
    point = msgspec.to_builtins(checkpoint(attempt=attempt, step=step))
    return raw_task(version=version, checkpoint=point, **status)


class Recorder(Queue[Key]):
    """Remembers what is added, now or later, and for how long each may wait."""

    def __init__(self) -> None:
        self.added: list[Key] = []
        self.later: list[Key] = []
        self.within: list[float] = []

    def add(self, key: Key, *, within: float = 0.0) -> None:
        self.added.append(key)
        self.within.append(within)

    def add_after(self, key: Key, *, seconds: float, within: float = 0.0) -> None:
        if not seconds:
            self.add(key, within=within)
        else:
            assert (seconds, within) == (SHOWN_SECONDS, NEWS_SECONDS)
            self.later.append(key)


@pytest.fixture
def queue() -> Recorder:
    return Recorder()


@pytest.fixture
def departed() -> Departed:
    return Departed()


@pytest.fixture
def inbox(queue: Recorder, departed: Departed) -> Inbox:
    """That of a leader whose first resync is over."""
    made = Inbox(queue=queue, departed=departed)
    made.leading = True
    made.resynced()
    return made


def test_a_task_that_comes_or_is_edited_is_work(inbox: Inbox, queue: Recorder) -> None:
    inbox.task(kind="ADDED", raw=raw_task())
    inbox.task(kind="MODIFIED", raw=raw_task(generation=2))
    assert queue.added == [KEY, KEY]


def test_progress_is_no_work_and_a_claim_is(inbox: Inbox, queue: Recorder) -> None:
    inbox.task(kind="ADDED", raw=raw_task())
    inbox.task(kind="MODIFIED", raw=reported(version=6, attempt=1))
    queue.added.clear()
    inbox.task(kind="MODIFIED", raw=reported(version=7, attempt=1, progress={"step": 2}))
    assert queue.added == []
    inbox.task(kind="MODIFIED", raw=reported(version=8, attempt=2))
    assert queue.added == [KEY]


def test_the_first_new_step_after_a_stall_is_work_and_no_later_one(inbox: Inbox, queue: Recorder) -> None:
    def stalled(*, version: int, step: int) -> dict[str, Any]:
        return reported(version=version, attempt=2, step=step, retry={"stalls": 2, "progressDigest": "progress-1"})

    inbox.task(kind="ADDED", raw=stalled(version=5, step=1))
    queue.added.clear()
    inbox.task(kind="MODIFIED", raw=stalled(version=6, step=2))
    assert queue.added == [KEY]
    inbox.task(kind="MODIFIED", raw=stalled(version=7, step=3))
    assert queue.added == [KEY]


def test_of_what_a_listing_finds_only_the_unfinished_is_work(inbox: Inbox, queue: Recorder) -> None:
    inbox.task(kind=None, raw=raw_task(phase="Completed"))
    assert queue.added == []
    inbox.task(kind=None, raw=raw_task(generation=2, phase="Running"))
    assert queue.added == [KEY]


def test_what_a_listing_finds_may_wait_for_what_events_tell_of(inbox: Inbox, queue: Recorder) -> None:
    inbox.task(kind=None, raw=raw_task())
    inbox.pod(kind=None, raw=RAW_POD)
    assert queue.within == [LISTED_SECONDS] * 2


PODS: dict[str, tuple[str, dict[str, Any], float]] = {
    "made": ("ADDED", raw_pod(), NEWS_SECONDS),
    "running": ("MODIFIED", raw_pod(status=RUNNING), NEWS_SECONDS),
    "ended": ("MODIFIED", raw_pod(status=ENDED), 0),
    "failed": ("MODIFIED", raw_pod(status={"phase": "Failed"}), 0),
    "gone, and its end was not shown": ("DELETED", raw_pod(status=RUNNING, meta=DELETED), 0),
    "gone after its end": ("DELETED", raw_pod(status=ENDED, meta=DELETED), NEWS_SECONDS),
}


@pytest.mark.parametrize(("kind", "pod", "within"), PODS.values(), ids=PODS.keys())
def test_what_wants_another_pod_goes_before_what_is_only_to_be_recorded(
    inbox: Inbox, queue: Recorder, kind: str, pod: dict[str, Any], within: float
) -> None:
    inbox.pod(kind=kind, raw=pod)
    assert queue.within == [within]


def test_a_new_task_and_an_edit_go_before_what_a_runner_reports(inbox: Inbox, queue: Recorder) -> None:
    inbox.task(kind="ADDED", raw=raw_task())
    inbox.task(kind="MODIFIED", raw=reported(version=8, attempt=1))
    inbox.task(kind="MODIFIED", raw=raw_task(version=9, generation=2))
    inbox.task(kind="DELETED", raw=raw_task(version=10, generation=2))
    assert queue.within == [0, NEWS_SECONDS, 0, 0]


def test_what_the_watches_list_first_waits_for_the_first_resync_and_is_no_work_if_that_has_judged_it(
    queue: Recorder, departed: Departed
) -> None:
    inbox = Inbox(queue=queue, departed=departed)
    inbox.leading = True
    for name in ("as listed", "as listed then", "newer", "not listed"):
        inbox.task(kind=None, raw=raw_task(name, version=7))
    inbox.pod(kind=None, raw=raw_pod(of="as listed", uid="pod-1", version=7))
    inbox.pod(kind=None, raw=raw_pod(of="with a newer pod", uid="pod-2", version=7))
    assert queue.added == []
    tasks = {"uid-agents-as listed": 7, "uid-agents-as listed then": 8, "uid-agents-newer": 6}
    inbox.silent(tasks=tasks, pods={"pod-1": 7, "pod-2": 6})
    inbox.resynced()
    assert [key.name for key in queue.added] == ["newer", "not listed", "with a newer pod"]
    assert queue.within == [LISTED_SECONDS] * 3


def test_what_the_watches_list_later_is_no_work_if_the_last_resync_has_judged_it(inbox: Inbox, queue: Recorder) -> None:
    inbox.silent(tasks={UID: 7}, pods={"pod-1": 7})
    inbox.task(kind=None, raw=raw_task(version=7))
    inbox.pod(kind=None, raw=raw_pod(uid="pod-1", version=7))
    assert queue.added == []
    inbox.task(kind=None, raw=raw_task(version=8, generation=2))
    inbox.pod(kind=None, raw=raw_pod(uid="pod-1", version=8))
    assert queue.added == [KEY, KEY]


def test_what_happens_before_the_first_resync_is_over_is_work_at_once(queue: Recorder, departed: Departed) -> None:
    inbox = Inbox(queue=queue, departed=departed)
    inbox.leading = True
    inbox.task(kind="ADDED", raw=raw_task())
    assert queue.added == [KEY]


def test_a_first_resync_that_failed_has_judged_nothing(queue: Recorder, departed: Departed) -> None:
    inbox = Inbox(queue=queue, departed=departed)
    inbox.leading = True
    inbox.task(kind=None, raw=raw_task())
    inbox.resynced()
    assert queue.added == [KEY]


def test_a_finished_task_that_was_deleted_unseen_and_waits_for_its_purge_is_work(inbox: Inbox, queue: Recorder) -> None:
    inbox.task(kind=None, raw=raw_task(phase="Completed"))
    meta = {"deletionTimestamp": wire(NOW), "finalizers": [contract.FINALIZER]}
    deleted = raw_task(version=8, generation=2, meta=meta, phase="Completed")
    inbox.task(kind=None, raw=deleted)
    assert queue.added == [KEY]


def test_a_task_that_lost_its_guard_is_work(inbox: Inbox, queue: Recorder) -> None:
    inbox.task(kind="ADDED", raw=raw_task(version=5, meta={"finalizers": [contract.FINALIZER]}))
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


@pytest.mark.parametrize(
    ("kind", "pod", "later"),
    [
        ("MODIFIED", raw_pod(status=RUNNING, meta=DELETED), True),
        ("MODIFIED", raw_pod(status={**RUNNING, "conditions": [TARGET]}), True),
        ("MODIFIED", raw_pod(status=RUNNING), False),
        ("MODIFIED", raw_pod(status=ENDED, meta=DELETED), False),
        ("MODIFIED", raw_pod(status={"phase": "Failed", "conditions": [TARGET]}), False),
        ("DELETED", raw_pod(status=RUNNING, meta=DELETED), False),
        (None, raw_pod(status=RUNNING, meta=DELETED), False),
    ],
    ids=[
        "it is being deleted",
        "it is being evicted",
        "it works",
        "its runner has ended",
        "it has failed",
        "it is gone",
        "it was being deleted before",
    ],
)
def test_a_pod_that_is_going_is_looked_at_once_its_end_is_shown_or_half_a_second_later(
    inbox: Inbox, queue: Recorder, kind: str | None, pod: dict[str, Any], later: bool
) -> None:
    inbox.pod(kind=kind, raw=pod)
    assert (queue.later, queue.added) == (([KEY], []) if later else ([], [KEY]))


def test_a_standby_queues_nothing_and_remembers(inbox: Inbox, queue: Recorder, departed: Departed) -> None:
    inbox.leading = False
    inbox.task(kind="ADDED", raw=raw_task())
    inbox.pod(kind="MODIFIED", raw=raw_pod(meta=DELETED))
    inbox.pod(kind="DELETED", raw=RAW_POD)
    assert queue.added == queue.later == []
    assert departed.get("pod-1") is not None


def tasks_silent(inbox: Inbox, *, version: int | None = None) -> bool:
    """Whether the watch of tasks is behind, by a listing that had the task of this version."""
    return inbox.silent(tasks={} if version is None else {UID: version}, pods={}) is not None


def test_a_watch_is_silent_when_it_has_not_shown_what_the_listing_before_saw(inbox: Inbox) -> None:
    inbox.task(kind="ADDED", raw=raw_task(version=5))
    assert not tasks_silent(inbox, version=9)
    assert tasks_silent(inbox, version=9)
    inbox.task(kind="MODIFIED", raw=raw_task(version=9))
    assert not tasks_silent(inbox, version=9)


def test_the_watch_of_pods_is_held_to_the_same(inbox: Inbox) -> None:
    def silent(**pods: int) -> str | None:
        return inbox.silent(tasks={}, pods=pods)

    inbox.pod(kind="ADDED", raw=raw_pod(uid="pod-1", version=5))
    assert silent(**{"pod-1": 9}) is None
    assert silent(**{"pod-1": 9}) == "pods"
    inbox.pod(kind="MODIFIED", raw=raw_pod(uid="pod-1", version=9))
    assert silent(**{"pod-1": 9}) is None
    inbox.pod(kind="DELETED", raw=raw_pod(uid="pod-1", version=10))
    assert silent() is None


def test_a_task_that_came_while_the_tasks_were_listed_is_not_missed_later(inbox: Inbox) -> None:
    inbox.task(kind="ADDED", raw=raw_task(version=9))
    assert not tasks_silent(inbox)
    assert not tasks_silent(inbox, version=9)
    assert not tasks_silent(inbox, version=9)


def test_a_task_whose_deletion_was_missed_is_forgotten(inbox: Inbox, queue: Recorder) -> None:
    inbox.task(kind="ADDED", raw=raw_task(version=9))
    tasks_silent(inbox, version=9)
    tasks_silent(inbox)
    queue.added.clear()
    inbox.task(kind="ADDED", raw=raw_task(version=9))
    assert queue.added == [KEY]


def test_a_task_that_came_and_went_between_two_listings_is_forgotten_though_its_deletion_was_missed(
    queue: Recorder,
) -> None:
    """Its numbers would stand in the metrics, and in memory, for as long as the operator runs."""
    metrics = Metrics()
    inbox = Inbox(queue=queue, departed=Departed(), fleet=Fleet(metrics=metrics, clock=lambda: 0.0))
    inbox.leading = True
    tasks_silent(inbox)
    inbox.task(kind="ADDED", raw=raw_task(version=9))
    tasks_silent(inbox)
    assert scraped(metrics, "agenttask_tasks"), "it may have come while the tasks were listed"
    tasks_silent(inbox)
    assert not scraped(metrics, "agenttask_tasks")
    queue.added.clear()
    inbox.task(kind="ADDED", raw=raw_task(version=9))
    assert queue.added == [KEY]


def test_a_task_that_is_gone_is_nothing_to_be_behind_of(inbox: Inbox) -> None:
    assert not tasks_silent(inbox, version=9)
    assert not tasks_silent(inbox)


def test_deleted_pods_are_forgotten_from_the_oldest_on(departed: Departed) -> None:
    for number in range(KEPT_DEPARTED + 1):
        departed.keep(read_pod(raw_pod(uid=f"pod-{number}")))
    assert departed.get("pod-0") is None
    assert departed.get("pod-1") is not None
