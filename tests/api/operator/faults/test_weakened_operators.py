"""Operators that are wrong on purpose: each is caught, so the suite can fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
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
from tests.api.operator.faults.plans import Plan, crash_plans, pause_plans
from tests.api.operator.faults.processes import ProcessStage
from tests.api.operator.faults.proxy import Call, Fate
from tests.api.operator.faults.runs import Stage
from tests.api.operator.faults.streams import KINDS, AtWrites, Collapsed, Gone, Silent, stale_plan


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


class CreatesOnce(Reconciler):
    """Makes a pod in the very reconcile that raised the attempt, or never."""

    async def _apply(self, *, key: Key, snapshot: Snapshot, decision: Decision) -> None:
        raised = decision.status is not None and decision.status.attempt > snapshot.task.status.attempt
        if decision.create and not raised:
            decision = replace(decision, create=False)
        await super()._apply(key=key, snapshot=snapshot, decision=decision)


class TrustsLists(Reconciler):
    """Takes a recorded pod that the last listing lacked for gone."""

    async def _pods_of(self, task: Task) -> tuple[Pod, ...]:
        names = self.roster.of(namespace=task.metadata.namespace, task=task.metadata.name)
        found = await super()._pods_of(task)
        if names is None or task.status.pod_uid is None:
            return found
        return tuple(pod for pod in found if pod.metadata.name in names)


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


def never_again() -> Plan:
    """Each third event brings 410, and who then asks for another stream waits for ever."""
    gone, seen = Gone(each=3, in_stream=True), set[str]()

    def judge(call: Call) -> Fate:
        held = call.name in seen
        seen.update({call.name} if call.name.startswith("watch") else ())
        return Fate.HELD if held else Fate.PASS

    return Plan(name="410", judge=judge, lines=gone)


WEAKENED_PROCESSES: dict[str, tuple[dict[str, Any], Callable[[], Plan], scenarios.Scenario]] = {
    "never lists again, on silent watches": (
        {"resyncs": False},
        lambda: Plan(name="silent watch", lines=Silent(KINDS, from_event=1)),
        scenarios.start,
    ),
    "never lists again, with events collapsed": (
        {"resyncs": False},
        lambda: Plan(name="collapsed events", lines=Collapsed(at_a_time=15)),
        scenarios.evict,
    ),
    "never watches nor lists again after 410": ({"resyncs": False}, never_again, scenarios.evict),
    "makes a pod at once or never": (
        {"reconciler": CreatesOnce},
        lambda: Plan(name="SIGKILL", judge=AtWrites(1, fate=Fate.LOST)),
        scenarios.start,
    ),
    "trusts what a list lacks": (
        {"reconciler": TrustsLists},
        lambda: stale_plan(["pod"], number=5, fate=Fate.LOST),
        scenarios.evict,
    ),
}


@pytest.mark.parametrize("how", WEAKENED_PROCESSES)
def test_a_weakened_process_is_caught(process_stage: ProcessStage, how: str) -> None:
    weakness, plan, scenario = WEAKENED_PROCESSES[how]
    weak = replace(process_stage, patience_seconds=20, **weakness)
    (outcome,) = weak.carry_out(plan(), lived=(scenario,)).values()
    print(f"{how}: {outcome.differences}")  # noqa: T201 - for the documentation
    assert outcome.differences
