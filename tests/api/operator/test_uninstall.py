"""What `helm uninstall` runs first, on a real API server, with the rights that its hook brings along."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
import yaml
from agenttask_operator.answers import RefusedError
from agenttask_operator.observed import read_task
from agenttask_operator.uninstall import let_go

from tests.api.charts import Release, only
from tests.api.client import Object
from tests.api.operator.rights import Right, acting, granted, remaining, rights
from tests.api.operator.world import WatchedCluster, World

DELETE: Final[dict[str, Any]] = {"onDelete": "Delete"}
NEEDED: Final = (Right("apps", "deployments/scale", "patch"), Right("", "pods", "list"))


def hooks(release: Release) -> list[Object]:
    """The objects that the release's hooks make."""
    text = release.helm.run("get", "hooks", release.name, "--namespace", release.namespace)
    return [one for one in yaml.safe_load_all(text) if one]


def variables(release: Release) -> dict[str, str]:
    """What the hook's program is told."""
    (container,) = only(hooks(release), "Job")["spec"]["template"]["spec"]["containers"]
    return {one["name"]: one.get("value", "") for one in container["env"]}


def given(release: Release, *, less: Right | None = None) -> list[Object]:
    """The rules of the hook's own role, and what the operator may do with tasks, wherever it looks after them."""
    own = only(hooks(release), "Role")["rules"]
    left = [one for rule in own for one in remaining(rule, right=less or Right("", "", ""), group=release.group)]
    return [*left, {"apiGroups": [release.group], "resources": ["agenttasks"], "verbs": ["list", "patch"]}]


async def uninstalling(world: World, release: Release, *, user: str, meanwhile: Callable[[], Any]) -> int:
    """Run the hook's program as that user; `meanwhile` is called each time it waits. Returns how many it freed."""
    told = variables(release)

    async def sleep(_: float) -> None:
        await meanwhile()

    async with acting(user, namespace=world.copy.namespace) as cluster:
        return await let_go(
            cluster=cluster,
            namespace=release.namespace,
            deployment=told["OPERATOR_DEPLOYMENT"],
            selector=told["OPERATOR_PODS"],
            clock=world.clock,
            sleep=sleep,
        )


def operators_pod(world: World, release: Release) -> Object:
    """A pod such as the operator's Deployment makes them, on a node that confirms no end."""
    path = f"/apis/apps/v1/namespaces/{release.namespace}/deployments/{release.name}-agenttask-operator"
    template = world.copy.admin.must("GET", path)["spec"]["template"]
    meta = {"name": f"{world.name}-1", "labels": template["metadata"]["labels"]}
    spec = template["spec"] | {"schedulerName": "nobody"}
    path = f"/api/v1/namespaces/{release.namespace}/pods"
    made: Object = world.copy.admin.must("POST", path, body={"metadata": meta, "spec": spec})
    world.bind(1)
    return made


async def test_a_finalizer_that_an_operator_on_its_way_out_still_sets_goes_with_the_others(
    world: World, api: WatchedCluster, release: Release
) -> None:
    world.apply(checkpoint=DELETE)
    operators_pod(world, release)
    world.delete_pod(1)

    async def finish() -> None:
        task = read_task(world.copy.admin.must("GET", world.copy.path(task=world.name)))
        await api.set_finalizer(task=task, present=True)
        world.delete_pod(1, grace=0)

    with granted(world, given(release)) as user:
        assert await uninstalling(world, release, user=user, meanwhile=finish) == 1
    assert world.finalizers == []


async def test_an_operator_that_was_not_told_to_end_is_waited_for(world: World, release: Release) -> None:
    operators_pod(world, release)
    waits = []

    async def end() -> None:
        waits.append(world.pod(1))
        world.clock.pass_by(3600)
        world.delete_pod(1, grace=0)

    with granted(world, given(release)) as user:
        await uninstalling(world, release, user=user, meanwhile=end)
    assert len(waits) == 1


def test_the_table_names_every_right_of_the_hook_and_no_other(release: Release) -> None:
    own = only(hooks(release), "Role")["rules"]
    assert [right for rule in own for right in rights(rule, group=release.group)] == list(NEEDED)


@pytest.mark.parametrize("right", NEEDED, ids=" ".join)
async def test_without_one_right_of_the_hook_uninstalling_is_refused(
    world: World, api: WatchedCluster, release: Release, right: Right
) -> None:
    await api.set_finalizer(task=read_task(world.apply(checkpoint=DELETE)), present=True)

    async def never() -> None:
        raise AssertionError("nothing is to be waited for")

    refused = pytest.raises(RefusedError, match=f'cannot {right.verb} resource "{right.resource}"')
    with granted(world, given(release, less=right)) as user, refused:
        await uninstalling(world, release, user=user, meanwhile=never)
    with granted(world, given(release)) as user:
        assert await uninstalling(world, release, user=user, meanwhile=never) == 1
