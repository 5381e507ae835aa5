"""A resync over listings of which one object cannot be read, or not be judged: the others do not wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from agenttask import contract
from agenttask_operator.cluster import Cluster
from agenttask_operator.decide import Decision
from agenttask_operator.handlers import Inbox
from agenttask_operator.main import resync
from agenttask_operator.observed import Pod, Task
from agenttask_operator.queue import Queue
from agenttask_operator.reconcile import Departed, Key, Reconciler

from tests.unit.operator.builders import NOW, SETTINGS, raw_pod, raw_task


class Listing(Cluster):
    """Answers listings with what it was given."""

    def __init__(self, *, tasks: list[dict[str, Any]], pods: list[dict[str, Any]]) -> None:
        super().__init__(cast(Any, None))
        self._listed = {contract.PLURAL: tasks, "pods": pods}

    async def _list(self, path: str, **_: Any) -> AsyncIterator[dict[str, Any]]:
        for item in self._listed[path.rpartition("/")[2]]:
            yield item


class Picky(Reconciler):
    """Cannot judge one task."""

    def judge(self, *, task: Task, pods: tuple[Pod, ...]) -> Decision:
        if task.metadata.name == "odd":
            raise ValueError("never seen such a thing")
        return super().judge(task=task, pods=pods)


async def listed(*tasks: dict[str, Any], pods: list[dict[str, Any]] | None = None) -> set[Key]:
    """The keys that a resync over that listing finds work for."""
    cluster = Listing(tasks=list(tasks), pods=pods or [])
    queue: Queue[Key] = Queue(later=asyncio.get_running_loop().call_later)
    inbox = Inbox(queue=queue, departed=Departed())
    inbox.leading = True
    reconciler = Picky(cluster=cluster, settings=SETTINGS, clock=lambda: NOW, reporter="test")
    assert await resync(cluster=cluster, reconciler=reconciler, queue=queue, inbox=inbox) is None
    return {await queue.get() for _ in range(len(queue))}


async def test_a_task_that_cannot_be_read_is_named_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    found = await listed(raw_task("first"), raw_task("broken", attempt="many"), raw_task("last"))
    assert found == {Key("agents", "first"), Key("agents", "last")}
    assert "agents/broken cannot be read" in caplog.text


async def test_a_pod_that_cannot_be_read_is_named_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    assert await listed(raw_task("first"), pods=[raw_pod(of="broken", status={"phase": 7})]) == {Key("agents", "first")}
    assert "agents/broken-1 cannot be read" in caplog.text


async def test_a_task_that_cannot_be_judged_is_named_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    assert await listed(raw_task("odd"), raw_task("last")) == {Key("agents", "last")}
    assert "agents/odd: cannot be judged" in caplog.text
