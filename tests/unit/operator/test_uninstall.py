"""What `helm uninstall` waits for: no operator, and no task that nobody would free."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import cast

import pytest
from agenttask_operator.answers import ConflictError, NotFoundError
from agenttask_operator.cluster import Cluster
from agenttask_operator.observed import Pod, Task
from agenttask_operator.uninstall import let_go
from msgspec.structs import replace

from tests.unit.operator.builders import NOW, ago, ahead, pod, task


@dataclass(kw_only=True)
class Installed:
    """A cluster with tasks that wait, and an operator whose pods are told to end, and then end, one by one."""

    pods: int = 2
    ending: list[Pod] = field(default_factory=list)
    """Those that were told to, each until it was seen once."""
    served: bool = True
    guarded: list[bool] = field(default_factory=lambda: [True, True])
    conflicts: int = 0
    stuck: bool = False
    """Whether those that are ending stay for ever."""

    async def stop_deployment(self, *, namespace: str, name: str) -> bool:
        assert (namespace, name) == ("system", "operator")
        self.pods -= 1
        return self.pods > 0

    async def pods_labelled(self, *, namespace: str, selector: str) -> AsyncIterator[Pod]:
        assert (namespace, selector) == ("system", "component=operator")
        seen = self.ending
        if not self.stuck:
            self.ending = seen[1:]
        for one in seen:
            yield one

    async def tasks(self) -> AsyncIterator[Task]:
        assert self.pods <= 0, "an operator would set them again"
        assert not self.ending or self.stuck, "one that is on its way out would"
        if not self.served:
            raise NotFoundError("the server could not find the requested resource")
        for number, guarded in enumerate(self.guarded):
            found = task(guarded=guarded)
            yield replace(found, metadata=replace(found.metadata, name=f"task-{number}"))

    async def set_finalizer(self, *, task: Task, present: bool) -> None:
        if self.conflicts:
            self.conflicts -= 1
            raise ConflictError("the task changed meanwhile")
        self.guarded[int(task.metadata.name.removeprefix("task-"))] = present


async def freed(cluster: Installed) -> int:
    async def at_once(_: float) -> None:
        """Passes no time."""

    made = await let_go(
        cluster=cast(Cluster, cluster),
        namespace="system",
        deployment="operator",
        selector="component=operator",
        clock=lambda: NOW,
        sleep=at_once,
    )
    assert not cluster.served or not any(cluster.guarded)
    return made


CASES = {
    "every task that waits is freed": (Installed(), 2),
    "one that waits for nothing is left alone": (Installed(guarded=[True, False]), 1),
    "one that changed meanwhile is looked at again": (Installed(conflicts=1), 2),
    "one that was told to end is waited for": (Installed(ending=[pod(deleted=ahead(30)), pod()]), 2),
    "one whose node does not confirm its end is not waited for any longer": (
        Installed(ending=[pod(deleted=ago(10))], stuck=True),
        2,
    ),
    "one that ended by itself is not waited for": (Installed(ending=[pod(phase="Failed")], stuck=True), 2),
    "without the CRD there are no tasks": (Installed(served=False), 0),
}


@pytest.mark.parametrize("sentence", CASES)
async def test_uninstalling_stops_the_operator_and_frees_its_tasks(sentence: str) -> None:
    cluster, want = CASES[sentence]
    assert await freed(cluster) == want
