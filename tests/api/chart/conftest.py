"""The packaged chart, and one release of it that no other release of the cluster meets."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.api.chart.charts import IMAGES, Helm, package, settings
from tests.api.client import Client
from tests.cluster.environment import Environment


@pytest.fixture(scope="session")
def helm(cluster: object) -> Helm:
    """The cluster's helm."""
    environment = Environment.read()
    assert environment is not None
    return Helm(path=environment.path, kubeconfig=environment.kubeconfig)


@pytest.fixture(scope="session")
def chart(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive that users install."""
    return package(helm=helm, into=tmp_path_factory.mktemp("package"))


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release of a copy of the chart under an API group of its own, without running operators."""

    helm: Helm
    admin: Client
    chart: Path
    name: str
    group: str

    @property
    def namespace(self) -> str:
        return self.name

    @property
    def crd(self) -> str:
        """URL path of its CRD."""
        return f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/agenttasks.{self.group}"

    def upgrade(self, **values: object) -> None:
        """Install it, or change its values."""
        words = settings({**IMAGES, "replicas": 0, **values})
        self.helm.run("upgrade", "--install", self.name, self.chart, "--namespace", self.namespace, *words)

    def uninstall(self) -> None:
        """Remove it."""
        self.helm.run("uninstall", self.name, "--namespace", self.namespace, "--ignore-not-found", "--wait")


@pytest.fixture(scope="module")
def release(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """An installed release, removed with everything at the end."""
    assert helm.kubeconfig is not None
    admin = Client.from_kubeconfig(helm.kubeconfig)
    name = f"c{secrets.token_hex(3)}"
    group = f"{name}.agenttask.dev"
    archive = package(helm=helm, into=tmp_path_factory.mktemp("copy"), group=group)
    made = Release(helm=helm, admin=admin, chart=archive, name=name, group=group)
    admin.must("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})
    try:
        made.upgrade()
        yield made
    finally:
        made.uninstall()
        admin.send("DELETE", made.crd)
        admin.send("DELETE", f"/api/v1/namespaces/{name}")
