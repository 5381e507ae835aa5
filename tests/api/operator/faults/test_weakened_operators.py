"""Operators that are wrong on purpose: each is caught, so the suite can fail."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from agenttask import contract
from agenttask_operator.answers import NotFoundError
from agenttask_operator.cluster import Cluster
from agenttask_operator.decide import Decision
from agenttask_operator.fold import Snapshot
from agenttask_operator.observed import Pod, Task
from agenttask_operator.reconcile import Key, Reconciler
from msgspec import structs

from tests.api.operator.faults import scenarios
from tests.api.operator.faults.runs import Plan, Stage, crash_plans, pause_plans


class CreatesFirst(Reconciler):
    """Makes the pod before the attempt is recorded."""

    async def _apply(self, *, key: Key, snapshot: Snapshot, decision: Decision) -> None:
        if decision.create and decision.status is not None:
            await self._create(key=key, task=structs.replace(snapshot.task, status=decision.status))
        await super()._apply(key=key, snapshot=snapshot, decision=decision)


class DeletesByName(Cluster):
    """Deletes whatever has the pod's name."""

    async def delete_pod(self, *, namespace: str, name: str, uid: str) -> None:
        body = {"kind": "DeleteOptions", "apiVersion": "v1"}
        await self._call("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}", body=body)


class AdoptsByName(Cluster):
    """Takes any pod with the task's label for this task's."""

    async def pods_named(self, *, task: Task, names: Iterable[str]) -> tuple[Pod, ...]:
        found = []
        for name in names:
            with suppress(NotFoundError):
                found.append(await self.get_pod(namespace=task.metadata.namespace, name=name))
        return tuple(pod for pod in found if pod.task == task.metadata.name)


class IgnoresVersions(Cluster):
    """Writes the status whatever has become of the task meanwhile."""

    async def _call(self, method: str, path: str, **said: Any) -> Any:
        if method == "PATCH" and path.endswith("/status"):
            body = json.loads(said["body"])
            del body["metadata"]["resourceVersion"]
            said["body"] = contract.encode_apply(body)
        return await super()._call(method, path, **said)


WEAKENED: dict[str, tuple[dict[str, Any], scenarios.Scenario]] = {
    "creates before recording": ({"reconciler": CreatesFirst}, scenarios.start),
    "deletes without the UID": ({"calls": DeletesByName}, scenarios.reapply_while_stopping),
    "adopts by name": ({"calls": AdoptsByName}, scenarios.delete_and_reapply),
    "ignores resourceVersion": ({"calls": IgnoresVersions}, scenarios.crash_and_wait),
}


@pytest.mark.parametrize("how", WEAKENED)
def test_a_weakened_operator_is_caught(stage: Stage, how: str) -> None:
    weakness, scenario = WEAKENED[how]
    undisturbed = stage.learn(scenario)
    weak = replace(stage, **weakness)
    kinds = ([Plan(name="undisturbed")], pause_plans(undisturbed.writes), crash_plans(undisturbed.writes))
    for plans in kinds:
        outcomes = weak.carry_out(scenario, plans, undisturbed=undisturbed)
        found = [f"{one.plan.name} {one.plan.detail}: {one.differences[0]}" for one in outcomes if one.differences]
        if found:
            print(f"{how}: {found[0]}")  # noqa: T201 - for the documentation
            return
    pytest.fail(f"an operator that {how} passes")
