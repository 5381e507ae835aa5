"""What a reconcile asks the API server for before it decides: nothing that it could know to be gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest
from agenttask_operator.answers import NotFoundError
from agenttask_operator.cluster import Cluster
from agenttask_operator.observed import Outcome, Status, read_pod
from agenttask_operator.reconcile import Key, Reconciler
from msgspec.structs import replace

from tests.unit.operator.builders import NOW, SETTINGS, UID, entry, raw_pod, raw_task, status

KEY = Key("agents", "triage")
ENDED = entry(1, outcome=Outcome.PARKED)
EXITED = {"phase": "Succeeded"}


class Server(Cluster):
    """Has these objects, by name, and remembers what it was asked for; writes change nothing."""

    def __init__(self, *objects: dict[str, Any], meanwhile: Callable[[], None] = lambda: None) -> None:
        super().__init__(cast(Any, None))
        self._objects = {each["metadata"]["name"]: each for each in objects}
        self._meanwhile = meanwhile
        self.asked: list[str] = []

    async def _call(self, method: str, path: str, **_: Any) -> Any:
        name = path.removesuffix("/status").rpartition("/")[2]
        if method == "GET":
            self.asked.append(name)
        found = self._objects.get(name, {"metadata": {"name": name}} if method == "POST" else None)
        if found is None:
            raise NotFoundError(name)
        if name.startswith("triage-"):
            self._meanwhile()
        return found


def stored(status: Status) -> dict[str, Any]:
    return raw_task(uid=UID, **msgspec.to_builtins(status))


def reconciler(cluster: Cluster, *shown: dict[str, Any]) -> Reconciler:
    """An operator that has listed all pods: these."""
    made = Reconciler(cluster=cluster, settings=SETTINGS, clock=lambda: NOW, reporter="test")
    pods = [read_pod(raw) for raw in shown]
    for pod in pods:
        made.roster.add(pod)
    made.roster.settle(before=frozenset(), listed={pod.metadata.uid for pod in pods})
    return made


RECORDED = status(entry(1), pod_uid="uid-triage-1")
CASES: dict[str, tuple[Status, list[int], list[str]]] = {
    "no attempt yet": (Status(), [], []),
    "an open attempt whose pod the watch has not shown": (RECORDED, [], ["triage-1"]),
    "an open attempt whose pod was shown": (RECORDED, [1], ["triage-1"]),
    "an open attempt and a pod of one before": (status(entry(2), pod_uid="p"), [1], ["triage-1", "triage-2"]),
    "an attempt that somebody took off the list": (replace(RECORDED, attempts=()), [], ["triage-1"]),
    "an attempt that has ended and whose pod is gone": (status(ENDED), [], []),
    "an attempt that has ended and whose pod is kept": (status(ENDED), [1], ["triage-1"]),
}


@pytest.mark.parametrize(("recorded", "shown", "want"), CASES.values(), ids=CASES.keys())
async def test_pods_are_asked_for_that_were_shown_and_that_of_an_open_attempt(
    recorded: Status, shown: list[int], want: list[str]
) -> None:
    pods = [raw_pod(attempt, status=EXITED) for attempt in shown]
    server = Server(stored(recorded), *pods)
    await reconciler(server, *pods).reconcile(KEY)
    assert server.asked == ["triage", *want]


async def test_a_pod_that_goes_while_it_is_read_is_asked_for_no_more() -> None:
    pod = raw_pod(1, status=EXITED)
    server = Server(stored(status(ENDED)), pod, meanwhile=lambda: made.roster.drop("uid-triage-1"))
    made = reconciler(server, pod)
    await made.reconcile(KEY)
    assert made.roster.of(namespace="agents", task="triage") == set()


async def test_a_pod_that_the_watch_is_late_to_show_is_found_again_once_its_attempt_has_ended() -> None:
    pod = raw_pod(1, status=EXITED)
    made = reconciler(Server(stored(RECORDED), pod))
    await made.reconcile(KEY)
    assert made.roster.of(namespace="agents", task="triage") == {"triage-1"}
