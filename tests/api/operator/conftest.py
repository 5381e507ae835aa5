"""A copy of the API for this folder, and the operator's session with the rights the chart gives it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from agenttask import contract
from kubernetes.aio import client

from tests.api.charts import Release, installed
from tests.api.client import MERGE, Object
from tests.api.crd.installed import Copy
from tests.api.operator.world import WatchedCluster, World
from tests.cluster.environment import Environment

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@pytest.fixture(scope="session")
def release(cluster: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """A release whose API no other operator knows, in a namespace that enforces Pod Security `restricted`."""
    with installed(into=tmp_path_factory.mktemp("operator")) as release:
        path = f"/api/v1/namespaces/{release.namespace}"
        release.admin.must("PATCH", path, body={"metadata": {"labels": RESTRICTED}}, content_type=MERGE)
        yield release


@pytest.fixture(autouse=True)
def _group(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator's own API group is the copy's: in this folder's tests, and in no other of the session."""
    monkeypatch.setattr(contract, "GROUP", release.group)


@pytest.fixture(scope="session")
def copy(release: Release) -> Copy:
    """Its API."""
    return Copy.of(release)


@pytest.fixture
async def api(copy: Copy) -> AsyncIterator[WatchedCluster]:
    """The operator's session, as its service account."""
    environment = Environment.read()
    assert environment is not None
    token = copy.token(service_account=f"{copy.namespace}-agenttask-operator").token
    configuration = client.Configuration(host=copy.admin.host)
    configuration.ssl_ca_cert = str(authority(environment.kubeconfig))
    configuration.api_key["BearerToken"] = f"Bearer {token}"
    made = WatchedCluster(client.ApiClient(configuration))
    yield made
    await made.close()


@pytest.fixture
def world(copy: Copy, api: WatchedCluster) -> Iterator[World]:
    """A task that does not exist yet."""
    made = World(copy=copy, cluster=api, name=f"t{secrets.token_hex(8)}")
    yield made
    copy.admin.send("DELETE", copy.path(task=made.name))
    unheld: Object = {"metadata": {"finalizers": []}}
    copy.admin.send("PATCH", copy.path(task=made.name), body=unheld, content_type=MERGE)
    # No kubelet confirms their end, and the namespace would wait for them.
    pods = f"/api/v1/namespaces/{copy.namespace}/pods"
    selector = f"{contract.LABEL_TASK}={made.name}"
    copy.admin.send("DELETE", pods, body={"gracePeriodSeconds": 0}, labelSelector=selector)


def authority(kubeconfig: Path) -> Path:
    """The file that holds the cluster's certificate authority."""
    from kubernetes.client import Configuration
    from kubernetes.config import load_kube_config

    configuration = Configuration()
    load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
    return Path(configuration.ssl_ca_cert)
