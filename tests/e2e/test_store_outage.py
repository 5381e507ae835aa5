"""The store goes away while a run is under way: the work is held, nothing is paid twice, and the run goes on."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.cluster.environment import Environment
from tests.e2e.conftest import Start, Witnesses
from tests.e2e.harness.forwarder import Forwarder
from tests.e2e.harness.kube import Api, Kind, Object
from tests.e2e.harness.tasks import STORE_SECRET, TWELVE_STEPS, Task, twelve_answer, twelve_replies
from tests.e2e.harness.wait import until

THINKING_SECONDS = 0.2
TRIES = 5
"""So many refused connections make an outage of some seconds, each of the runner's own waiting."""


@pytest.fixture
def s3(environment: Environment) -> Iterator[Forwarder]:
    """The way to the store for this test alone: what is done to it disturbs nobody else."""
    way = Forwarder(address=environment.host_address, target=environment.s3_host_endpoint)
    way.open()
    yield way
    way.close()


@pytest.fixture
def under_way(start: Start, environment: Environment, s3: Forwarder, witness: Witnesses, chance: random.Random) -> Task:
    """A task of twelve steps whose log is reached that way, in one of its model calls; none behind it is answered."""
    place = {
        "bucket": environment.s3_bucket,
        "prefix": "outage",
        "endpoint": s3.url,
        "region": environment.s3_region,
        "credentialsSecretRef": {"name": STORE_SECRET},
    }
    point = chance.randrange(2, TWELVE_STEPS - 3)
    task = start(
        "holder",
        twelve_replies(),
        delay_seconds=THINKING_SECONDS,
        hold_after=point,
        spec={"checkpoint": {"s3": place}},
    )
    until(
        lambda: witness.model.begun(task.model) >= point,
        what=f"model call {point}",
        seen=task.describe,
    )
    return task


def test_a_store_outage_in_mid_run_is_waited_out_and_no_model_call_is_paid_twice(
    under_way: Task, s3: Forwarder, witness: Witnesses
) -> None:
    s3.cut()
    begun = witness.model.begun(under_way.model)
    witness.model.release(under_way.model)
    until(lambda: s3.refused >= TRIES, what="the runner keeps trying", seen=under_way.describe)
    # What it knows but cannot write down, it does not act on: at most the answer in flight came in.
    assert witness.model.begun(under_way.model) <= begun + 1
    assert (under_way.status()["phase"], under_way.status()["attempt"]) == ("Running", 1)
    s3.open()

    status = under_way.wait_finished()

    assert_whole(status)
    assert status["attempt"] == 1
    assert witness.model.repeated(under_way.model) == {}


def test_a_pod_lost_in_a_store_outage_is_replaced_by_one_that_names_it_and_goes_on_when_it_is_over(
    under_way: Task, s3: Forwarder, witness: Witnesses, api: Api
) -> None:
    pod = under_way.pod()["metadata"]["name"]
    s3.cut()
    api.delete(Kind.POD, pod, namespace=under_way.namespace, grace_seconds=0)
    troubled = under_way.wait_stalled("StoreUnavailable")
    assert troubled["phase"] == "Checkpointed"
    s3.open()
    witness.model.release(under_way.model)

    status = under_way.wait_finished()

    assert_whole(status)
    assert status["attempt"] >= 3, "one that was lost, one or more that named the outage, one that went on"
    assert sum(witness.model.repeated(under_way.model).values()) <= 1, "the call in flight when the pod was lost"


def assert_whole(status: Object) -> None:
    """The answer holds every step's result, and nobody calls the outage a failure."""
    assert (status["phase"], status["result"]["answer"]) == ("Completed", twelve_answer())
    assert status["counts"]["failures"] == 0
