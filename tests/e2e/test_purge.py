"""A task that takes its log along: what is left in the bucket, and what may not hold it up."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from agenttask.contract import Exit
from agenttask.log.record import Kind as RecordKind

from tests.cluster.environment import Environment
from tests.cluster.provider import Provider
from tests.e2e.conftest import Start, Witnesses, furnish
from tests.e2e.harness.kube import Api, Kind, Object
from tests.e2e.harness.model import ScriptedModel, says
from tests.e2e.harness.operator import Operator
from tests.e2e.harness.release import Release
from tests.e2e.harness.tasks import TWELVE_STEPS, Task, manifest, model_of, twelve_replies
from tests.e2e.harness.wait import until
from tests.e2e.harness.zombie import asleep

DELETE: Object = {"checkpoint": {"onDelete": "Delete"}}
FINALIZER = "agenttask.dev/purge"


def gone(task: Task) -> bool:
    """Whether there is no such task any more."""
    return task.api.get(Kind.TASK, task.name, namespace=task.namespace) is None


def seen(task: Task) -> str:
    """The status, where there is one."""
    return "gone" if gone(task) else task.describe()


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
def test_of_a_running_task_deleted_with_its_log_only_claims_are_left(
    start: Start, api: Api, witness: Witnesses, propagation: str
) -> None:
    task = start("purged", twelve_replies(), delay_seconds=0.3, spec=DELETE)
    until(lambda: witness.model.begun(task.model) >= 4, what="its fourth call", seen=task.describe)
    place = witness.bucket.place(task)

    path = Kind.TASK.path(namespace=task.namespace, name=task.name)
    api.request("DELETE", path, body={"propagationPolicy": propagation})
    until(lambda: gone(task), what="the task goes", seen=lambda: seen(task))

    kinds = witness.bucket.kinds(place)
    assert set(kinds) == {RecordKind.CLAIM}
    assert len(kinds) >= 2, "one of the runner, one of the purge"
    until(lambda: not task.pods(), what="its pods go", seen=lambda: str(task.pods()))


@pytest.mark.needs_nodes
def test_a_runner_that_slept_through_the_purge_of_its_log_writes_nothing_back(
    start: Start, api: Api, cluster: Provider, witness: Witnesses, chance: random.Random
) -> None:
    point = chance.randrange(2, TWELVE_STEPS - 3)
    task = start("zombie", twelve_replies(), delay_seconds=0.4, hold_after=point, spec=DELETE)
    until(
        lambda: witness.model.begun(task.model) >= point,
        what=f"model call {point}",
        seen=task.describe,
    )
    pod, place = task.pod(), witness.bucket.place(task)

    with asleep(pod, api=api, cluster=cluster) as zombie:
        task.delete()
        until(lambda: gone(task), what="the task goes", seen=lambda: seen(task))
        left = witness.bucket.below(place)
        assert set(witness.bucket.kinds(place)) == {RecordKind.CLAIM}
        witness.model.release(task.model)

    assert zombie.code == Exit.FENCED, "it ended before its kubelet ran again, so nobody else had told it to"
    assert witness.bucket.below(place) == left
    assert gone(task)


def test_a_finished_task_that_takes_its_log_along_leaves_its_claims(start: Start, witness: Witnesses) -> None:
    task = start("finished", [says("Done.")], spec=DELETE)
    task.wait_finished()
    place = witness.bucket.place(task)
    assert RecordKind.FINAL in witness.bucket.kinds(place)

    task.delete()
    until(lambda: gone(task), what="the task goes", seen=lambda: seen(task))

    assert witness.bucket.kinds(place) == [RecordKind.CLAIM, RecordKind.CLAIM]


def test_a_namespace_that_is_deleted_is_not_held_up_by_a_task_that_takes_its_log_along(
    api: Api, environment: Environment, model: ScriptedModel, operator: Operator, namespace: str
) -> None:
    assert operator is not None
    doomed = f"{namespace}-doomed"
    api.create(Kind.NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": doomed}})
    furnish(api=api, environment=environment, namespace=doomed)
    name = model_of(namespace=doomed, name="in-the-way")
    model.script(name, twelve_replies(), delay_seconds=0.5)
    body = manifest(
        name="in-the-way", model=model, model_name=name, spec={**DELETE, "pod": {"terminationGracePeriodSeconds": 5}}
    )
    task = Task.create(api=api, namespace=doomed, body=body)
    until(lambda: model.begun(name) >= 1, what="its first call", seen=task.describe)

    api.delete(Kind.NAMESPACE, doomed)

    until(lambda: api.get(Kind.NAMESPACE, doomed) is None, what="the namespace goes")


@pytest.fixture
def release(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The release; afterwards it is as it was."""
    release = Release(environment=environment, folder=tmp_path_factory.mktemp("release"))
    before = release.values()
    yield release
    release.restore(before)


@pytest.mark.needs_nodes
def test_an_operator_that_is_uninstalled_leaves_no_task_that_cannot_go(
    release: Release, start: Start, witness: Witnesses
) -> None:
    task = start("left", twelve_replies(), delay_seconds=0.5, spec=DELETE)
    until(lambda: witness.model.begun(task.model) >= 2, what="its second call", seen=task.describe)
    assert task.read()["metadata"]["finalizers"] == [FINALIZER]

    release.uninstall()

    assert not task.read()["metadata"].get("finalizers")
    task.delete()
    assert gone(task)
