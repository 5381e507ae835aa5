"""The chart as this tree has it: packaged, rendered, and installed beside any other release.

What is cluster-scoped has fixed names (the CRD, the policy), so a release for tests is packaged from a copy in which
our API group and the policy have names of their own.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.api.client import Client, Object
from tests.cluster.environment import Environment

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "charts/agenttask"
IMAGES: Final = {
    "image.operator.repository": "registry.example.com/agenttask-operator",
    "image.runner.repository": "registry.example.com/agenttask-runner",
    "image.devStore.repository": "registry.example.com/agenttask-devstore",
}


class HelmError(Exception):
    """Helm said no; the text is what it wrote."""


@dataclass(frozen=True, kw_only=True)
class Helm:
    """Runs helm from a PATH, against one cluster where that is needed."""

    path: str
    kubeconfig: Path

    @classmethod
    def of_the_cluster(cls) -> Helm:
        """The helm that came with the running cluster."""
        environment = Environment.read()
        assert environment is not None
        return cls(path=environment.path, kubeconfig=environment.kubeconfig)

    def run(self, *words: str | Path) -> str:
        """Run helm and return what it printed.

        Raises:
            HelmError: it failed.
        """
        path = f"{self.path}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "KUBECONFIG": str(self.kubeconfig)}
        done = subprocess.run(
            ["helm", *words], check=False, capture_output=True, text=True, timeout=600, env=environment
        )
        if done.returncode:
            raise HelmError(done.stderr)
        return done.stdout

    def render(self, chart: Path, **values: Any) -> list[Object]:
        """The chart's objects. Values are named by their dotted paths; images are given unless overridden."""
        words = settings({**IMAGES, **values})
        text = self.run("template", "agenttask", chart, "--namespace", "agenttask-system", *words)
        # The loader in C: the one in Python takes longer over the CRD than helm over the whole chart.
        return [one for one in yaml.load_all(text, Loader=yaml.CSafeLoader) if one]


def settings(values: dict[str, Any]) -> list[str]:
    """Helm's words for values named by their dotted paths."""
    return [word for key, value in values.items() for word in ("--set-json", f"{key}={json.dumps(value)}")]


def package(*, helm: Helm, into: Path, group: str | None = None) -> Path:
    """Package the chart; with a group, a copy that has it in place of agenttask.dev and a policy of its own."""
    source = CHART
    if group is not None:
        source = into / "source" / "agenttask"
        shutil.copytree(CHART, source)
        for file in (one for one in source.rglob("*") if one.is_file()):
            file.write_text(
                file.read_text().replace("agenttask.dev", group).replace("agenttask-status", f"{group}-status")
            )
    helm.run("package", source, "--destination", into)
    (made,) = into.glob("agenttask-*.tgz")
    return made


def only(objects: list[Object], kind: str, *, name: str | None = None) -> Object:
    """The object of this kind, and name where there are several."""
    (found,) = (one for one in objects if one["kind"] == kind and name in (None, one["metadata"]["name"]))
    return found


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
        """Remove it, without the hook: its image does not exist."""
        words = ("--namespace", self.namespace, "--ignore-not-found", "--wait", "--no-hooks")
        self.helm.run("uninstall", self.name, *words)

    def remove(self) -> None:
        """Remove it with its CRD, all tasks, and its namespace."""
        self.uninstall()
        self.admin.send("DELETE", self.crd)
        self.admin.send("DELETE", f"/api/v1/namespaces/{self.namespace}")


@contextmanager
def installed(*, into: Path, name: str | None = None) -> Iterator[Release]:
    """A release in a namespace of its own, removed with everything at the end; without a name it has a new one."""
    helm = Helm.of_the_cluster()
    name = name or f"t{secrets.token_hex(8)}"
    group = f"{name}.agenttask.dev"
    archive = package(helm=helm, into=into, group=group)
    with Client.from_kubeconfig(helm.kubeconfig).keeping() as admin:
        release = Release(helm=helm, admin=admin, chart=archive, name=name, group=group)
        admin.must("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})
        try:
            release.upgrade()
            yield release
        finally:
            release.remove()
