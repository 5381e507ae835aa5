"""RBAC is minimal: each right the chart gives is needed, and without it what needs it is refused.

The tables name, for each right, what of the operator's code needs it. They have to name all rights of the roles as
they are installed, and no other; each is then taken away alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from agenttask import contract
from agenttask_operator import cluster as api_calls
from agenttask_operator import pods
from agenttask_operator.answers import ClusterError, RefusedError
from agenttask_operator.cluster import Cluster
from agenttask_operator.observed import Phase, Pod, Status, Task, read_pod, read_task
from agenttask_operator.status import Event, Weight

from tests.api.client import APPLY, JSON, Client, Object
from tests.api.operator.rights import RBAC, Right, acting, granted, remaining, rights
from tests.api.operator.world import SETTINGS, WatchedCluster, World

EVENT: Final = Event(weight=Weight.NORMAL, reason="Told", action="Tell", note="It is so.")


class Doing:
    """What the operator does, once, with a task and a pod that are there."""

    def __init__(self, world: World) -> None:
        self._world = world
        world.apply()
        world.foreign_pod(f"{world.name}-other")

    @property
    def task(self) -> Task:
        return read_task(self._world.copy.admin.must("GET", self._world.copy.path(task=self._world.name)))

    @property
    def pod(self) -> Pod:
        path = f"/api/v1/namespaces/{self._world.copy.namespace}/pods/{self._world.name}-other"
        return read_pod(self._world.copy.admin.must("GET", path))

    async def get_task(self, cluster: Cluster) -> None:
        await cluster.get_task(namespace=self._world.copy.namespace, name=self._world.name)

    async def list_tasks(self, cluster: Cluster) -> None:
        assert [one async for one in cluster.tasks()]

    async def guard(self, cluster: Cluster) -> None:
        await cluster.set_finalizer(task=self.task, present=True)

    async def delete_task(self, cluster: Cluster) -> None:
        await cluster.delete_task(self.task)

    async def apply_status(self, cluster: Cluster) -> None:
        status = Status(phase=Phase.PENDING, reason="Starting", message="It starts.")
        await cluster.apply_status(task=self.task, status=status)

    async def get_pod(self, cluster: Cluster) -> None:
        await cluster.get_pod(namespace=self._world.copy.namespace, name=f"{self._world.name}-other")

    async def list_pods(self, cluster: Cluster) -> None:
        await cluster.pods_of(self.task)

    async def create_pod(self, cluster: Cluster) -> None:
        task = self.task
        plan = pods.plan(task=task, settings=SETTINGS)
        await cluster.create_pod(pods.render(task=task, plan=plan, settings=SETTINGS, attempt=1))

    async def delete_pod(self, cluster: Cluster) -> None:
        meta = self.pod.metadata
        await cluster.delete_pod(namespace=meta.namespace, name=meta.name, uid=meta.uid)

    async def create_event(self, cluster: Cluster) -> None:
        await cluster.create_event(task=self.task, event=EVENT, reporter="test", now=self._world.clock())

    async def repeat_event(self, cluster: Cluster) -> None:
        task, now = self.task, self._world.clock()
        path = f"/apis/events.k8s.io/v1/namespaces/{self._world.copy.namespace}/events"
        told = {"metadata": {"name": self._world.name}, "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
        told |= {"reportingController": "test", "reportingInstance": "test", "action": "Tell", "reason": "Told"}
        told |= {"type": "Normal", "regarding": {"namespace": self._world.copy.namespace, "uid": task.metadata.uid}}
        self._world.copy.admin.send("POST", path, body=told)
        await cluster.repeat_event(task=task, name=self._world.name, count=2, now=now)

    async def list_events(self, cluster: Cluster) -> None:
        await cluster.complaint(self.pod)

    async def see_the_fence(self, cluster: Cluster) -> None:
        await cluster.check_fence()


Done = Callable[[Doing, Cluster], Awaitable[None]]
NEEDED: Final[dict[Right, Done]] = {
    Right("own", "agenttasks", "get"): Doing.get_task,
    Right("own", "agenttasks", "list"): Doing.list_tasks,
    Right("own", "agenttasks", "patch"): Doing.guard,
    Right("own", "agenttasks", "delete"): Doing.delete_task,
    Right("own", "agenttasks", "supervise"): Doing.apply_status,
    Right("own", "agenttasks/status", "patch"): Doing.apply_status,
    Right("", "pods", "get"): Doing.get_pod,
    Right("", "pods", "list"): Doing.list_pods,
    Right("", "pods", "create"): Doing.create_pod,
    Right("", "pods", "delete"): Doing.delete_pod,
    Right("events.k8s.io", "events", "create"): Doing.create_event,
    Right("events.k8s.io", "events", "patch"): Doing.repeat_event,
    Right("events.k8s.io", "events", "list"): Doing.list_events,
    Right("admissionregistration.k8s.io", "validatingadmissionpolicies", "get"): Doing.see_the_fence,
    Right("admissionregistration.k8s.io", "validatingadmissionpolicybindings", "get"): Doing.see_the_fence,
}
"""By the operator's own calls."""

LIBRARIES: Final[dict[Right, tuple[str, str, dict[str, str]]]] = {
    Right("own", "agenttasks", "watch"): ("GET", "{tasks}", {"watch": "true", "timeoutSeconds": "1"}),
    Right("", "pods", "watch"): ("GET", "{pods}", {"watch": "true", "timeoutSeconds": "1"}),
    Right("coordination.k8s.io", "leases", "create"): ("POST", "{leases}", {"dryRun": "All"}),
    Right("coordination.k8s.io", "leases", "get"): ("GET", "{leases}/{lease}", {}),
    Right("coordination.k8s.io", "leases", "update"): ("PUT", "{leases}/{lease}", {"dryRun": "All"}),
}
"""By kopf and by the client's leader election: the request as they make it."""


@pytest.fixture(autouse=True)
def _fence(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_calls, "STATUS_POLICY", f"{world.copy.group}-status")


def test_the_tables_name_every_right_of_the_operator_and_no_other(world: World) -> None:
    given = {right for rule in rules(world) for right in rights(rule, group=world.copy.group)}
    assert given == NEEDED.keys() | LIBRARIES.keys()


@pytest.mark.parametrize("right", NEEDED, ids=" ".join)
async def test_without_one_right_what_needs_it_is_refused(world: World, api: WatchedCluster, right: Right) -> None:
    doing, act = Doing(world), NEEDED[right]
    with without(world, right) as user:
        async with acting(user, namespace=world.copy.namespace) as cluster:
            with pytest.raises(ClusterError) as refused:
                await act(doing, cluster)
    assert isinstance(refused.value, RefusedError)
    resource = right.resource.split("/")[0]
    said = (
        "only the pod of the current attempt"
        if right.verb == "supervise"
        else f'cannot {right.verb} resource "{resource}'
    )
    assert said in str(refused.value)
    await act(doing, api)


@pytest.mark.parametrize("right", LIBRARIES, ids=" ".join)
def test_without_one_right_what_a_library_does_is_refused(world: World, right: Right) -> None:
    method, path, params = LIBRARIES[right]
    account = f"{world.copy.namespace}-agenttask-operator"
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{world.copy.namespace}/leases"
    places = {
        "tasks": world.copy.path(),
        "pods": f"/api/v1/namespaces/{world.copy.namespace}/pods",
        "leases": leases,
        "lease": account,
    }
    lease: Object = {"metadata": {"name": account}, "spec": {}}
    world.copy.admin.send("POST", leases, body=lease)
    if method == "PUT":
        lease = world.copy.admin.must("GET", f"{leases}/{account}")
    body = lease if method in {"POST", "PUT"} else None
    selector = {"labelSelector": "nothing=such"} if "watch" in params else {}

    def ask(who: Client) -> tuple[int, str]:
        answer = who.send(method, path.format(**places), body=body, content_type=JSON, **params, **selector)
        return answer.status, answer.message

    with without(world, right) as user:
        status, message = ask(world.copy.admin.impersonating(user))
    assert status == 403
    assert f'cannot {right.verb} resource "{right.resource}"' in message
    assert ask(world.copy.token(service_account=account))[0] in {200, 201, 409}


def test_without_its_one_right_a_runner_is_refused(world: World) -> None:
    role = world.copy.admin.must("GET", f"{RBAC}/clusterroles/{world.copy.namespace}-agenttask-runner")
    given = {right for rule in role["rules"] for right in rights(rule, group=world.copy.group)}
    assert given == {Right("own", "agenttasks/status", "patch")}
    world.apply()
    body = {"apiVersion": f"{world.copy.group}/{contract.VERSION}", "kind": contract.KIND, "status": {}}
    path = world.copy.path(task=world.name, subresource="status")
    nobody = world.copy.admin.impersonating("nobody")
    answer = nobody.send("PATCH", path, body=body, content_type=APPLY, fieldManager=contract.RUNNER_MANAGER)
    assert answer.status == 403
    assert 'cannot patch resource "agenttasks/status"' in answer.message


def rules(world: World) -> list[Object]:
    """All rules of the operator, as installed."""
    name = f"{world.copy.namespace}-agenttask-operator"
    wide = world.copy.admin.must("GET", f"{RBAC}/clusterroles/{name}")["rules"]
    own = world.copy.admin.must("GET", f"{RBAC}/namespaces/{world.copy.namespace}/roles/{name}")["rules"]
    return [*wide, *own]


@contextmanager
def without(world: World, right: Right) -> Iterator[str]:
    """A user with all rights of the operator but one."""
    left = [one for rule in rules(world) for one in remaining(rule, right=right, group=world.copy.group)]
    with granted(world, left) as user:
        yield user
