"""Fixtures of the end-to-end tests: the cluster's API, a namespace ready for tasks, and the three witnesses.

The witnesses are the scripted model's journal, the tool server's list of uses, and the log in the bucket: none of them
takes the operator's or the runner's word for anything.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pytest

from tests.cluster.environment import Environment
from tests.e2e.harness.kube import Api, Kind, Object
from tests.e2e.harness.model import Fault, Reply, ScriptedModel
from tests.e2e.harness.operator import Operator
from tests.e2e.harness.tasks import Task, manifest, model_of, secrets
from tests.e2e.harness.tools import ToolServer
from tests.e2e.harness.witness import Bucket

collect_ignore = ["test_kueue.py"]
"""Collected only where it is named: what it tests with takes minutes to build."""

SEED = os.environ.get("SEED") or str(random.SystemRandom().randrange(10**6))


def pytest_report_header() -> str:
    """Say how to repeat this run."""
    return f"SEED={SEED} (set it to repeat the same random points)"


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Randomness that depends on the seed and the test's name alone."""
    return random.Random(f"{SEED}:{request.node.name}")


@pytest.fixture(scope="session")
def environment(cluster: object) -> Environment:
    """What `make cluster-up` left behind."""
    found = Environment.read()
    assert found is not None
    if not found.host_address:
        pytest.skip("pods reach no server of this machine; set AGENTTASK_HOST_ADDRESS to an address at which they do")
    return found


@pytest.fixture(scope="session")
def api(environment: Environment) -> Iterator[Api]:
    """The API server, as its admin."""
    client = Api(kubeconfig=environment.kubeconfig)
    yield client
    client.close()


@pytest.fixture(scope="session")
def model(environment: Environment) -> Iterator[ScriptedModel]:
    """The scripted model on this machine, reachable from pods."""
    running = ScriptedModel(address=environment.host_address)
    yield running
    running.close()


@pytest.fixture(scope="session")
def tools(environment: Environment) -> Iterator[ToolServer]:
    """The tool server on this machine, reachable from pods."""
    running = ToolServer(address=environment.host_address)
    yield running
    running.close()


@pytest.fixture(scope="session")
def bucket(environment: Environment) -> Iterator[Bucket]:
    """The checkpoint store, read past the runner."""
    reader = Bucket(
        endpoint=environment.s3_host_endpoint,
        region=environment.s3_region,
        access_key_id=environment.s3_access_key_id,
        secret_access_key=environment.s3_secret_access_key,
    )
    yield reader
    reader.close()


@dataclass(frozen=True, kw_only=True)
class Witnesses:
    """All three."""

    model: ScriptedModel
    tools: ToolServer
    bucket: Bucket


@pytest.fixture(scope="session")
def witness(model: ScriptedModel, tools: ToolServer, bucket: Bucket) -> Witnesses:
    """All three witnesses."""
    return Witnesses(model=model, tools=tools, bucket=bucket)


def furnish(*, api: Api, environment: Environment, namespace: str) -> None:
    """Give a namespace the two Secrets, and Pod Security `restricted`, under which runner pods must live."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.merge(Kind.NAMESPACE, namespace, {"metadata": {"labels": labels}})
    for secret in secrets(
        access_key_id=environment.s3_access_key_id, secret_access_key=environment.s3_secret_access_key
    ):
        api.apply(Kind.SECRET, secret, namespace=namespace)


@pytest.fixture(scope="session")
def operator(api: Api, environment: Environment) -> Operator:
    """The installed operator, up and ready."""
    installed = Operator(api=api, namespace=environment.operator_namespace)
    installed.wait_ready()
    return installed


@pytest.fixture
def home(api: Api, environment: Environment, namespace: str, operator: Operator) -> str:
    """A namespace of its own in which a task finds all it needs."""
    furnish(api=api, environment=environment, namespace=namespace)
    return namespace


class Start(Protocol):
    """Creates a task whose model plays `replies`; `faults` and `hold_after` as of `ScriptedModel.script`."""

    def __call__(
        self,
        name: str,
        replies: Sequence[Reply],
        *,
        delay_seconds: float = 0.0,
        faults: Mapping[int, Fault] | None = None,
        hold_after: int | None = None,
        spec: Object | None = None,
        agent: Object | None = None,
    ) -> Task: ...


@pytest.fixture
def start(api: Api, home: str, model: ScriptedModel, tools: ToolServer) -> Iterator[Start]:
    """Start a scripted task in this test's namespace; its model has the name `<namespace>.<task>`."""
    started: list[Task] = []

    def start(
        name: str,
        replies: Sequence[Reply],
        *,
        delay_seconds: float = 0.0,
        faults: Mapping[int, Fault] | None = None,
        hold_after: int | None = None,
        spec: Object | None = None,
        agent: Object | None = None,
    ) -> Task:
        model_name = model_of(namespace=home, name=name)
        model.script(model_name, replies, delay_seconds=delay_seconds, faults=faults, hold_after=hold_after)
        body = manifest(name=name, model=model, model_name=model_name, tools=tools, spec=spec, agent=agent)
        started.append(Task.create(api=api, namespace=home, body=body))
        return started[-1]

    yield start
    for task in started:
        model.release(task.model)
        task.delete()
