"""A task whose log lies in another store than S3 loses its pod and goes on all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from agenttask.clock import SystemClock
from agenttask.contract import log_prefix
from agenttask.log import Kind as RecordKind
from agenttask.log import Patience, Record, Survey, survey
from agenttask.store.redis import TTL_SECONDS, RedisStore, Server
from redis import Redis

from tests.api.store import servers
from tests.api.store.certificates import Authority
from tests.cluster.environment import Environment
from tests.cluster.provider import Provider
from tests.e2e.conftest import Start
from tests.e2e.harness.forwarder import Forwarder
from tests.e2e.harness.kube import Api, Kind, Object
from tests.e2e.harness.looking import look
from tests.e2e.harness.model import ScriptedModel
from tests.e2e.harness.tasks import Task, twelve_answer, twelve_replies
from tests.e2e.harness.wait import until

STORED = "agenttask-store"
ANSWERED = 5
"""So many calls are answered before the pod is lost."""
PASSWORD = "let-me-in"


def goes_on_without_its_pod(task: Task, *, api: Api, model: ScriptedModel) -> Object:
    """Take the task's pod away in mid-run and hold the run to account; its last status."""
    until(lambda: model.begun(task.model) > ANSWERED, what="a call that is held", seen=task.describe)
    pod = task.pod()
    recorded = task.wait_claimed(1)["checkpoint"]["seq"]
    api.delete(Kind.POD, pod["metadata"]["name"], namespace=task.namespace, grace_seconds=0)
    task.wait_claimed(2)
    model.release(task.model)

    status = task.wait_finished()

    assert (status["phase"], status["result"]["answer"]) == ("Completed", twelve_answer())
    assert (status["attempt"], status["counts"]["resumes"], status["counts"]["failures"]) == (2, 1, 0)
    assert int(status["attempts"][1]["resumedFrom"].rpartition("/")[2]) >= recorded
    assert sum(model.repeated(task.model).values()) <= 1
    return status


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place on a Redis server that wants TLS and a password; `url` leads to it without TLS, from this machine."""

    url: str
    spec: Object


@pytest.fixture
def redis(tmp_path: Path, environment: Environment, api: Api, home: str) -> Iterator[Place]:
    """The server, and in the test's namespace what opens it: a Secret, and the certificate that vouches for it."""
    authority = Authority(tmp_path)
    options = ["--requirepass", PASSWORD]
    with servers.redis(tmp_path / "redis", program=servers.valkey_program(), options=options) as running:
        certified = authority.certify(environment.host_address)
        tls = Forwarder(address=environment.host_address, target=running.url, tls=certified.context())
        tls.open()
        secret = {"metadata": {"name": STORED}, "stringData": {"REDIS_PASSWORD": PASSWORD}}
        api.create(Kind.SECRET, secret, namespace=home)
        certificates = {"metadata": {"name": STORED}, "data": {"ca.crt": authority.certificate}}
        api.create(Kind.CONFIG_MAP, certificates, namespace=home)
        refs = {"caConfigMapRef": {"name": STORED}, "credentialsSecretRef": {"name": STORED}}
        yield Place(url=running.url, spec={"checkpoint": {"redis": {"url": tls.url, "prefix": "prod", **refs}}})
        tls.close()


def test_a_task_with_its_log_on_redis_over_tls_goes_on_without_its_pod_and_expires_once_finished(
    start: Start, api: Api, environment: Environment, model: ScriptedModel, redis: Place
) -> None:
    task = start("on-redis", twelve_replies(), hold_after=ANSWERED, spec=redis.spec)
    prefix = log_prefix(prefix="prod", namespace=task.namespace, name=task.name, uid=task.uid)

    with Redis.from_url(redis.url, password=PASSWORD) as beside:
        until(lambda: beside.exists(prefix), what="its hash is there", seen=task.describe)
        assert beside.ttl(prefix) == -1, "an unfinished task does not expire"
        status = goes_on_without_its_pod(task, api=api, model=model)
        assert TTL_SECONDS - 120 < beside.ttl(prefix) <= TTL_SECONDS

    assert status["location"]["type"] == "redis"
    assert PASSWORD not in str(status["location"])
    log = asyncio.run(surveyed(redis.url, prefix))
    assert log.problems == ()
    records = [record for record in log.records if isinstance(record, Record)]
    assert records[-1].kind is RecordKind.FINAL
    assert [record.attempt for record in records if record.kind is RecordKind.CLAIM] == [1, 2]
    looked = look(environment, task, "result")
    assert (looked.code, looked.answer["answer"]) == (0, twelve_answer()), "password and certificate are found"


async def surveyed(url: str, prefix: str) -> Survey:
    """The log as it lies on the server, all of it verified."""
    store = RedisStore(server=Server(url=url, password=PASSWORD))
    try:
        return await survey(store=store, prefix=prefix, clock=SystemClock(), patience=Patience())
    finally:
        await store.close()


@pytest.fixture
def claim(api: Api, home: str, cluster: Provider, environment: Environment) -> Iterator[str]:
    """A claim on a folder of a node that runner pods may write to: the folder is made, and removed, by a pod there."""
    node = cluster.nodes()[0]
    folder = f"agenttask-{home}"
    keeper = api.create(Kind.POD, keeper_of(folder, node=node), namespace="default")["metadata"]["name"]

    def ready() -> bool:
        found = api.get(Kind.POD, keeper, namespace="default")
        return bool(found and found["status"].get("phase") == "Running")

    until(ready, what="the folder is made")
    affinity = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    volume = {
        "metadata": {"name": home},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "claimRef": {"namespace": home, "name": STORED},
            "hostPath": {"path": f"/var/tmp/{folder}"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [affinity]}},
        },
    }
    api.create(Kind.VOLUME, volume)
    wanted = {
        "metadata": {"name": STORED},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "volumeName": home,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    api.create(Kind.CLAIM, wanted, namespace=home)
    yield STORED
    api.delete(Kind.VOLUME, home)
    api.delete(Kind.POD, keeper, namespace="default")


KEEP = """
import shutil, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
try:
    signal.pause()
finally:
    shutil.rmtree(sys.argv[1])
"""


def keeper_of(folder: str, *, node: str) -> Object:
    """A pod that makes the folder in /var/tmp of its node, for everybody, and removes it when it is deleted."""
    common = {
        "image": "localhost/agenttask-runner:dev",
        "imagePullPolicy": "Never",
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [{"name": "host", "mountPath": "/host"}],
    }
    make, keep = ["mkdir", "-m", "0777", f"/host/{folder}"], ["python3", "-c", KEEP, f"/host/{folder}"]
    return {
        "metadata": {"generateName": "volume-keeper-"},
        "spec": {
            "nodeName": node,
            "restartPolicy": "Never",
            "initContainers": [{"name": "make", "command": make, **common}],
            "containers": [{"name": "keep", "command": keep, **common}],
            "volumes": [{"name": "host", "hostPath": {"path": "/var/tmp"}}],
        },
    }


@pytest.mark.needs_nodes
def test_a_task_with_its_log_on_a_volume_goes_on_without_its_pod(
    start: Start, api: Api, environment: Environment, model: ScriptedModel, claim: str
) -> None:
    spec = {"checkpoint": {"filesystem": {"claimName": claim, "path": "logs"}}}
    task = start("on-a-volume", twelve_replies(), hold_after=ANSWERED, spec=spec)

    status = goes_on_without_its_pod(task, api=api, model=model)

    assert status["location"] == {"type": "filesystem", "claimName": claim, "path": "logs"}
    looked = look(environment, task, "result")
    assert looked.code == 78
    path = log_prefix(prefix="logs", namespace=task.namespace, name=task.name, uid=task.uid)
    assert f"on the volume of the claim {claim}" in looked.beside
    assert f"/var/lib/agenttask/store/{path}" in looked.beside
