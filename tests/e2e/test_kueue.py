"""A queue for real: Kueue admits runner pods one by one, and takes a place back for a task of higher priority.

Not among the tests of `make test`, since Kueue takes minutes to build: `make test-kueue`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml
from agenttask.log.record import Kind as RecordKind

from tests.cluster.environment import Environment
from tests.cluster.provider import Provider
from tests.e2e.conftest import Start, Witnesses
from tests.e2e.harness.kube import Api, Kind, Object
from tests.e2e.harness.kueue import QUEUED, Kueue
from tests.e2e.harness.tasks import TWELVE_STEPS, Task, twelve_answer, twelve_replies
from tests.e2e.harness.wait import until

pytestmark = pytest.mark.needs_nodes  # it installs what is there once in a cluster

DOCUMENT = Path(__file__).parents[2] / "docs" / "kueue.md"
GATE = "kueue.x-k8s.io/admission"
PRIORITY = "kueue.x-k8s.io/priority-class"
SAFE = {"kueue.x-k8s.io/safe-to-forcefully-delete": "true"}
RUNNER: Object = {"requests": {"cpu": "100m", "memory": "64Mi"}}
"""What a runner asks for; the queue has room for one."""


@pytest.fixture(scope="module")
def kueue(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kueue]:
    """Kueue, running."""
    kueue = Kueue(environment=environment, folder=tmp_path_factory.mktemp("kueue"))
    kueue.install()
    try:
        kueue.start()
        yield kueue
    finally:
        kueue.uninstall()


@pytest.fixture
def queue(api: Api, home: str, kueue: Kueue) -> Iterator[str]:
    """Name of a queue of this test's namespace that has room for one runner."""
    api.merge(Kind.NAMESPACE, home, {"metadata": {"labels": QUEUED}})
    for kind, body in queue_objects(name=home):
        api.create(kind, body, namespace=home)
    yield home
    # Whoever deletes a pod waits for Kueue to let go of it.
    until(lambda: not api.list(Kind.POD, namespace=home), what="Kueue has let go of all pods")
    for kind, body in queue_objects(name=home):
        api.delete(kind, body["metadata"]["name"], namespace=home)


@pytest.fixture
def urgent(api: Api, home: str) -> Iterator[str]:
    """Name of a priority above that of all who name none, as Kueue's own and as a pod's."""
    body = {"metadata": {"name": home}, "value": 1000, "description": "Goes first."}
    for kind in (Kind.WORKLOAD_PRIORITY, Kind.PRIORITY_CLASS):
        api.create(kind, {"apiVersion": kind.value[0].removeprefix("/apis/"), **KINDS[kind], **body})
    yield home
    for kind in (Kind.WORKLOAD_PRIORITY, Kind.PRIORITY_CLASS):
        api.delete(kind, home)


KINDS = {Kind.WORKLOAD_PRIORITY: {"kind": "WorkloadPriorityClass"}, Kind.PRIORITY_CLASS: {"kind": "PriorityClass"}}


def queue_objects(*, name: str) -> Sequence[tuple[Kind, Object]]:
    """What the documentation says to set in the cluster, under this name and with room for one runner, last first."""
    block = DOCUMENT.read_text().split("```yaml\n")[1].split("```")[0]
    flavor, cluster, local = yaml.safe_load_all(block)
    for one in (flavor, cluster, local):
        one["metadata"] = {"name": name}
    local["spec"]["clusterQueue"] = name
    cluster["spec"]["namespaceSelector"]["matchLabels"] = {"kubernetes.io/metadata.name": name}
    (offered,) = cluster["spec"]["resourceGroups"][0]["flavors"]
    quota = [{"name": key, "nominalQuota": value} for key, value in RUNNER["requests"].items()]
    offered |= {"name": name, "resources": quota}
    return ((Kind.LOCAL_QUEUE, local), (Kind.CLUSTER_QUEUE, cluster), (Kind.FLAVOR, flavor))


def in_queue(queue: str, *, labels: Object | None = None, **pod: object) -> Object:
    """The spec of a task that is queued."""
    return {"pod": {"labels": {"kueue.x-k8s.io/queue-name": queue, **(labels or {})}, "resources": RUNNER, **pod}}


def wait_gated(task: Task, *, phase: str, attempt: int) -> Object:
    status = task.wait(phase=phase, reason="SchedulingGated", attempt=attempt, what="waits in the queue")
    assert GATE in status["message"]
    return status


def test_a_second_task_waits_for_the_first_ones_place(queue: str, start: Start, witness: Witnesses) -> None:
    first = start("first", twelve_replies(), hold_after=3, spec=in_queue(queue))
    first.wait_claimed(1)
    second = start("second", twelve_replies(), spec=in_queue(queue))
    wait_gated(second, phase="Pending", attempt=1)

    witness.model.release(first.model)
    done = first.wait_finished()
    after = second.wait_finished()

    for status in (done, after):
        assert (status["phase"], status["result"]["answer"]) == ("Completed", twelve_answer())
        assert (status["attempt"], status["counts"]["disruptions"], status["counts"]["failures"]) == (1, 0, 0)
    assert witness.model.arrivals(second.model)[0] > witness.model.arrivals(first.model)[-1]


@pytest.mark.parametrize("whose", ["Kueue's own priority", "the pod's priority"])
def test_a_task_gives_its_place_to_a_more_urgent_one_and_goes_on_from_its_checkpoint(
    queue: str, urgent: str, start: Start, witness: Witnesses, whose: str
) -> None:
    low = start("low", twelve_replies(), hold_after=4, spec=in_queue(queue))
    until(lambda: witness.model.begun(low.model) == 5, what="the fifth call is under way", seen=low.describe)
    first_in_line = in_queue(queue, labels={PRIORITY: urgent})
    if whose == "the pod's priority":
        first_in_line = in_queue(queue, priorityClassName=urgent)

    high = start("high", twelve_replies(), hold_after=2, spec=first_in_line)
    low.wait_told_to_stop()
    witness.model.release(low.model, delay_seconds=2)
    waits = wait_gated(low, phase="Resuming", attempt=2)
    high.wait(phase="Running", what="has the place")

    assert (waits["attempts"][0]["outcome"], waits["attempts"][0]["reason"]) == ("Disrupted", "Preempted")
    assert waits["checkpoint"]["seq"] > 0
    witness.model.release(low.model)
    witness.model.release(high.model)
    assert high.wait_finished()["counts"]["disruptions"] == 0
    status = low.wait_finished()
    assert (status["phase"], status["result"]["answer"], status["attempt"]) == ("Completed", twelve_answer(), 2)
    assert (status["counts"]["disruptions"], status["counts"]["failures"]) == (1, 0)
    assert witness.model.repeated(low.model) == {}
    assert witness.model.begun(low.model) == TWELVE_STEPS


def test_a_suspended_task_leaves_its_place_to_the_next(queue: str, start: Start, witness: Witnesses) -> None:
    first = start("first", twelve_replies(), hold_after=3, spec=in_queue(queue))
    until(lambda: witness.model.begun(first.model) == 4, what="the fourth call is under way", seen=first.describe)
    second = start("second", twelve_replies(), hold_after=2, spec=in_queue(queue))
    wait_gated(second, phase="Pending", attempt=1)

    first.patch_spec(suspend=True)
    first.wait_told_to_stop()
    witness.model.release(first.model, delay_seconds=2)
    first.wait(phase="Checkpointed", reason="Suspended", what="is suspended")
    second.wait_claimed(1)
    first.patch_spec(suspend=False)
    wait_gated(first, phase="Resuming", attempt=2)

    witness.model.release(first.model)
    witness.model.release(second.model)
    assert second.wait_finished()["phase"] == "Completed"
    status = first.wait_finished()
    assert (status["phase"], status["result"]["answer"]) == ("Completed", twelve_answer())
    assert (status["counts"]["disruptions"], witness.model.repeated(first.model)) == (0, {})


def test_a_queue_that_is_emptied_for_a_while_has_its_tasks_back_afterwards(
    queue: str, start: Start, api: Api, witness: Witnesses
) -> None:
    task = start("patient", twelve_replies(), hold_after=4, spec=in_queue(queue))
    until(lambda: witness.model.begun(task.model) == 5, what="the fifth call is under way", seen=task.describe)

    api.merge(Kind.CLUSTER_QUEUE, queue, {"spec": {"stopPolicy": "HoldAndDrain"}})
    task.wait_told_to_stop()
    witness.model.release(task.model, delay_seconds=2)
    waits = wait_gated(task, phase="Resuming", attempt=2)
    assert (waits["attempts"][0]["outcome"], waits["attempts"][0]["reason"]) == ("Disrupted", "Evicted")
    witness.model.release(task.model)
    api.merge(Kind.CLUSTER_QUEUE, queue, {"spec": {"stopPolicy": None}})

    status = task.wait_finished()
    assert (status["phase"], status["result"]["answer"], status["attempt"]) == ("Completed", twelve_answer(), 2)
    assert (status["counts"]["disruptions"], status["counts"]["failures"]) == (1, 0)
    assert witness.model.repeated(task.model) == {}


def test_a_pod_on_a_lost_node_leaves_its_place_to_the_next_attempt_if_kueue_may_delete_it_by_force(
    queue: str, start: Start, cluster: Provider, witness: Witnesses
) -> None:
    spec = in_queue(queue, annotations=SAFE, terminationGracePeriodSeconds=2)
    task = start("zombie", twelve_replies(), hold_after=4, spec=spec)
    until(lambda: witness.model.begun(task.model) == 5, what="the fifth call is under way", seen=task.describe)
    node = task.pod()["spec"]["nodeName"]

    cluster.stop_node(node=node)
    try:
        task.wait_claimed(2)
        witness.model.release(task.model)
        status = task.wait_finished()
    finally:
        cluster.resume_node(node=node)
        cluster.wait_ready(node=node)

    assert (status["phase"], status["result"]["answer"], status["attempt"]) == ("Completed", twelve_answer(), 2)
    assert (status["counts"]["disruptions"], status["counts"]["failures"]) == (1, 0)
    assert status["attempts"][0]["reason"] == "NodeLost"
    assert status.get("unreported") == [1], "Kueue calls the pod Failed; its kubelet has not said that its runner ended"


def test_a_task_that_is_deleted_while_it_waits_leaves_nothing_in_the_queue(
    queue: str, start: Start, api: Api, witness: Witnesses
) -> None:
    first = start("first", twelve_replies(), hold_after=3, spec=in_queue(queue))
    first.wait_claimed(1)
    second = start("second", twelve_replies(), spec=in_queue(queue))
    wait_gated(second, phase="Pending", attempt=1)

    second.delete()

    until(lambda: not second.pods(), what="the waiting pod is gone")
    until(lambda: len(api.list(Kind.WORKLOAD, namespace=queue)) == 1, what="and its workload")
    witness.model.release(first.model)
    assert first.wait_finished()["phase"] == "Completed"


def test_a_task_that_takes_its_log_along_waits_for_no_place_to_do_so(
    queue: str, start: Start, api: Api, witness: Witnesses
) -> None:
    past = start("past", twelve_replies(), spec={**in_queue(queue), "checkpoint": {"onDelete": "Delete"}})
    past.wait_finished()
    place = witness.bucket.place(past)
    busy = start("busy", twelve_replies(), hold_after=3, spec=in_queue(queue))
    busy.wait_claimed(1)

    past.delete()

    until(lambda: api.get(Kind.TASK, past.name, namespace=queue) is None, what="the task goes", seen=past.describe)
    assert set(witness.bucket.kinds(place)) == {RecordKind.CLAIM}
    witness.model.release(busy.model)
    assert busy.wait_finished()["phase"] == "Completed"


def test_a_task_goes_on_while_its_queue_is_out_of_order_and_one_that_needs_a_pod_waits_and_says_so(
    queue: str, start: Start, api: Api, kueue: Kueue, witness: Witnesses
) -> None:
    task = start("working", twelve_replies(), hold_after=4, spec=in_queue(queue))
    until(lambda: witness.model.begun(task.model) == 5, what="the fifth call is under way", seen=task.describe)

    kueue.stop()
    try:
        witness.model.release(task.model, hold_after=7)
        until(lambda: witness.model.begun(task.model) == 8, what="three more calls", seen=task.describe)
        api.delete(Kind.POD, task.pod()["metadata"]["name"], namespace=queue)
        task.wait_told_to_stop()
        witness.model.release(task.model, delay_seconds=2)
        status = task.wait_stalled("PodRefused")
        assert "kb.io" in status["message"]
        assert (status["phase"], status["attempt"]) == ("Resuming", 2)
    finally:
        kueue.start()
    witness.model.release(task.model)
    done = task.wait_finished()

    assert (done["phase"], done["result"]["answer"], done["attempt"]) == ("Completed", twelve_answer(), 2)
    assert (done["counts"]["disruptions"], done["counts"]["failures"]) == (1, 0)
    assert witness.model.repeated(task.model) == {}
