"""A task that loses its pod, its node, its process or its operator at a random point goes on where it was.

Each case strikes while one seeded random model call of twelve is under way, and then holds the run to the same account.
The model answers no later call before the next attempt is there: on no machine, however slow, is a run over too early.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from agenttask.contract import ENV_POD_UID
from agenttask.log.record import Kind as RecordKind

from tests.cluster.environment import Environment
from tests.e2e.conftest import Start, Witnesses
from tests.e2e.harness.kube import Api, Kind, Object
from tests.e2e.harness.model import ScriptedModel
from tests.e2e.harness.operator import Operator
from tests.e2e.harness.processes import kill, with_environment
from tests.e2e.harness.tasks import TWELVE_STEPS, Task, twelve_answer, twelve_replies
from tests.e2e.harness.wait import pause, until
from tests.e2e.harness.witness import Bucket

THINKING_SECONDS = 0.4
GRACE: Object = {"pod": {"terminationGracePeriodSeconds": 8}}
"""Leaves a runner that is told to stop 3 s for its call: more than it takes, and soon over where the call is held."""


@dataclass(frozen=True, kw_only=True)
class World:
    """What a fault can be done to."""

    api: Api
    environment: Environment
    operator: Operator

    def delete(self, pod: Object, *, grace_seconds: int) -> None:
        """Delete the pod."""
        meta = pod["metadata"]
        self.api.delete(Kind.POD, meta["name"], namespace=meta["namespace"], grace_seconds=grace_seconds)

    def kubectl(self, *arguments: str) -> None:
        """Run kubectl."""
        command = ["kubectl", f"--kubeconfig={self.environment.kubeconfig}", *arguments]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=310)


@pytest.fixture
def world(api: Api, environment: Environment, operator: Operator) -> Iterator[World]:
    """The world, put back in order afterwards: nodes schedulable, the operator up."""
    world = World(
        api=api, environment=environment, operator=Operator(api=api, namespace=environment.operator_namespace)
    )
    operator.wait_ready()
    yield world
    for node in api.list(Kind.NODE):
        if node["spec"].get("unschedulable"):
            api.merge(Kind.NODE, node["metadata"]["name"], {"spec": {"unschedulable": None}})
    operator.renew()
    operator.wait_ready()


def delete_at_once(world: World, pod: Object) -> None:
    world.delete(pod, grace_seconds=0)


def delete_gracefully(world: World, pod: Object) -> None:
    world.delete(pod, grace_seconds=30)


def drain_its_node(world: World, pod: Object) -> None:
    world.kubectl("drain", pod["spec"]["nodeName"], "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=300s")


def kill_the_runner(world: World, pod: Object) -> None:
    assert kill(with_environment(ENV_POD_UID, pod["metadata"]["uid"])), "the runner's process was not found"


def kill_every_operator(world: World, pod: Object) -> None:
    world.operator.kill(pods=[operator["metadata"]["name"] for operator in world.operator.pods()])


def kill_the_leader_and_the_pod(world: World, pod: Object) -> None:
    world.operator.kill(pods=[world.operator.leader()])
    world.delete(pod, grace_seconds=0)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What strikes, and what it may cost."""

    strike: Callable[[World, Object], None]
    attempts: int = 2
    failures: int = 0
    disruptions: int = 1


FAULTS = {
    "its pod is deleted with no grace": Fault(strike=delete_at_once),
    "its pod is deleted with 30 s of grace": Fault(strike=delete_gracefully),
    "its node is drained": Fault(strike=drain_its_node),
    # Nobody but the kernel knows of it, so it looks like any other crash, and counts as one.
    "its runner is killed": Fault(strike=kill_the_runner, failures=1, disruptions=0),
    "every operator is killed": Fault(strike=kill_every_operator, attempts=1, disruptions=0),
    "the leading operator and its pod are lost together": Fault(strike=kill_the_leader_and_the_pod),
}


@pytest.mark.needs_nodes
@pytest.mark.parametrize("sentence", FAULTS)
def test_a_task_goes_on_from_its_recorded_checkpoint_when(
    sentence: str, start: Start, world: World, witness: Witnesses, chance: random.Random
) -> None:
    fault = FAULTS[sentence]
    point = chance.randrange(2, TWELVE_STEPS)
    task = start("survivor", twelve_replies(), delay_seconds=THINKING_SECONDS, hold_after=point, spec=GRACE)
    until(
        lambda: witness.model.begun(task.model) >= point,
        what=f"model call {point}",
        seen=task.describe,
    )
    pause(seconds=chance.uniform(0, THINKING_SECONDS))
    pod = task.pod()
    recorded = task.wait_claimed(1)["checkpoint"]["key"]

    fault.strike(world, pod)
    task.wait_claimed(fault.attempts)
    witness.model.release(task.model)

    status = task.wait_finished()
    assert (status["phase"], status["result"]["answer"]) == ("Completed", twelve_answer())
    assert status["attempt"] == fault.attempts
    assert {name: status["counts"][name] for name in ("failures", "disruptions", "resumes")} == {
        "failures": fault.failures,
        "disruptions": fault.disruptions,
        "resumes": fault.attempts - 1,
    }
    assert_resumed_from_what_was_recorded(task, status, bucket=witness.bucket, recorded=recorded)
    assert_paid_at_most_once_more(task, status, model=witness.model, kills=fault.attempts - 1)


def assert_resumed_from_what_was_recorded(task: Task, status: Object, *, bucket: Bucket, recorded: str) -> None:
    """The key in status when the fault struck is on the chain, at or before what the next attempt went on from."""
    log = bucket.log(task)
    assert log.records[-1].kind is RecordKind.FINAL
    assert [claim.attempt for claim in log.claims] == list(range(1, status["attempt"] + 1))
    for attempt in status["attempts"][1:]:
        resumed = log.by_key(attempt["resumedFrom"])
        assert log.by_key(recorded).seq <= resumed.seq
        claim = log.claim(attempt["attempt"])
        assert claim is not None and claim.parent is not None
        assert claim.parent.seq == resumed.seq, "status names the record the claim names"


def assert_paid_at_most_once_more(task: Task, status: Object, *, model: ScriptedModel, kills: int) -> None:
    """No turn was asked for again but the one in flight, and it was asked for in the same words."""
    calls = model.journal(task.model)
    repeated = model.repeated(task.model)
    assert sum(repeated.values()) <= kills, f"repeated turns: {repeated}"
    assert {call.turn for call in calls} == set(range(TWELVE_STEPS))
    for turn in repeated:
        first, *again = [call.messages for call in calls if call.turn == turn]
        assert all(messages == first for messages in again)
    longest = max((call.messages for call in calls), key=len)
    assert all(call.messages == longest[: len(call.messages)] for call in calls), "every request extends the one before"
    assert status["usage"].get("repeatedModelCalls", 0) <= kills
