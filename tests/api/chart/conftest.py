"""The packaged chart, a release of it that no other one of the cluster meets, and the schema of ServiceMonitors."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.api.charts import Helm, Release, installed, package
from tests.api.client import Client, Object
from tests.api.waiting import until
from tests.cluster import binaries

MONITORING: Final = "monitoring.coreos.com"
_CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture(scope="session")
def helm(cluster: object) -> Helm:
    """The cluster's helm."""
    return Helm.of_the_cluster()


@pytest.fixture(scope="session")
def chart(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive that users install."""
    return package(helm=helm, into=tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def release(cluster: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """An installed release."""
    with installed(into=tmp_path_factory.mktemp("copy")) as release:
        yield release


@pytest.fixture(scope="session")
def monitoring(helm: Helm) -> Iterator[str]:
    """The API group under which the server knows the Prometheus operator's ServiceMonitor: one of the tests' own."""
    group = f"t{secrets.token_hex(8)}.{MONITORING}"
    project = binaries.files(module="go/prometheus", of="github.com/prometheus-operator/prometheus-operator")
    text = (project / "example/prometheus-operator-crd" / f"{MONITORING}_servicemonitors.yaml").read_text()
    with Client.from_kubeconfig(helm.kubeconfig).keeping() as admin:
        crd = yaml.load(text.replace(MONITORING, group), Loader=yaml.CSafeLoader)
        path = f"{_CRDS}/{crd['metadata']['name']}"
        admin.must("POST", _CRDS, body=crd)
        try:
            until("the ServiceMonitor's CRD is established", lambda: _established(admin.must("GET", path)))
            yield group
        finally:
            admin.send("DELETE", path)


def _established(crd: Object) -> bool:
    conditions = crd.get("status", {}).get("conditions") or ()
    return any((one["type"], one["status"]) == ("Established", "True") for one in conditions)
