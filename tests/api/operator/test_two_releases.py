"""Two releases of the chart in one cluster, each with its own namespaces: neither acts, or may act, in the other's.

The real processes, with the rights and the configuration that the chart gives each of them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.api.charts import Release, installed
from tests.api.client import Object
from tests.api.crd.installed import Copy
from tests.api.operator.conftest import authority
from tests.api.waiting import until
from tests.cluster.environment import Environment
from tests.e2e.harness.wait import PATIENCE_SECONDS
from tests.ports import reserved

PROCESS: Final = Path(__file__).with_name("process.py")
NOWHERE: Final = {"nodeSelector": {"agenttask.dev/no-such-node": "true"}}


@dataclass(kw_only=True)
class Running:
    """One operator process."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def answers(self, path: str) -> tuple[int, str]:
        """What a probe is told; (0, "") before anybody answers."""
        try:
            got = httpx.get(f"http://127.0.0.1:{self.port}/{path}", trust_env=False, timeout=60)
        except httpx.TransportError:
            return 0, ""
        return got.status_code, got.text

    def stop(self) -> int:
        """SIGTERM, as the kubelet sends it. Returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE_SECONDS)


@contextmanager
def operating(release: Release, *, folder: Path) -> Iterator[Running]:
    """The operator of a release, as its service account and with its configuration."""
    copy = Copy(admin=release.admin, group=release.group, namespace=release.namespace)
    account = f"{release.name}-agenttask-operator"
    config = release.admin.must("GET", f"/api/v1/namespaces/{release.namespace}/configmaps/{account}")
    folder.mkdir()
    (folder / "config.yaml").write_text(config["data"]["config.yaml"])
    environment = Environment.read()
    assert environment is not None
    who = {
        "clusters": [{"name": "c", "cluster": {"server": release.admin.host}}],
        "users": [{"name": "u", "user": {"token": copy.token(service_account=account).token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": release.namespace}}],
        "current-context": "x",
    }
    who["clusters"][0]["cluster"]["certificate-authority"] = str(authority(environment.kubeconfig))  # type: ignore[index]
    (folder / "kubeconfig").write_text(json.dumps(who))
    variables = {
        **os.environ,
        "KUBECONFIG": str(folder / "kubeconfig"),
        "AGENTTASK_OPERATOR_CONFIG": str(folder / "config.yaml"),
        "POD_NAME": release.name,
        "POD_NAMESPACE": release.namespace,
    }
    with reserved() as port:
        words = [sys.executable, str(PROCESS), release.group, f"{release.group}-status", str(port)]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(words, env=variables, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield Running(process=process, port=port, log=folder / "log")
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def pair(cluster: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Release, Release]]:
    """Two releases of one copy of the API; the first installs what the cluster has once."""
    with installed(into=tmp_path_factory.mktemp("pair")) as first:
        second = replace(first, name=f"{first.name}-b")
        first.admin.must("POST", "/api/v1/namespaces", body={"metadata": {"name": second.namespace}})
        try:
            first.upgrade(watchNamespaces=[first.namespace])
            once = ("crds.enabled", "admission.enabled", "rbac.aggregateClusterRoles")
            second.upgrade(watchNamespaces=[second.namespace], **dict.fromkeys(once, False))
            Copy.of(first)
            yield first, second
        finally:
            second.uninstall()
            first.admin.send("DELETE", f"/api/v1/namespaces/{second.namespace}")


def test_each_of_two_releases_acts_in_its_own_namespaces_alone(pair: tuple[Release, Release], tmp_path: Path) -> None:
    first, second = pair
    admin = first.admin
    with (
        operating(first, folder=tmp_path / "first") as one,
        operating(second, folder=tmp_path / "second") as other,
    ):
        for operator in (one, other):
            until("it is ready", lambda operator=operator: operator.answers("readyz") == (200, "ok\n"))  # type: ignore[misc]
        for release in pair:
            Copy(admin=admin, group=release.group, namespace=release.namespace).create(
                name="task",
                spec={"prompt": "Hello.", "pod": NOWHERE, "checkpoint": {"s3": {"bucket": "bucket"}}}
                | {"agent": {"model": {"baseURL": "https://model.invalid/v1", "name": "small"}}},
            )
        for release in pair:
            until("its pod is recorded", lambda release=release: "podUID" in status(release))  # type: ignore[misc]
            assert {one["reportingInstance"] for one in events(release)} == {release.name}
            until("its leader tells of it", tells({first: one, second: other}[release], release))
        assert second.namespace + '"' not in one.answers("metrics")[1]
        assert one.stop() == other.stop() == 0
        assert [holder(release) for release in pair] == ["", ""]
        assert (second.namespace, "task", 1, "Unschedulable") in about(other)
        assert not [who for who in about(one) if who[0] == second.namespace]
        assert "Traceback" not in one.log.read_text() + other.log.read_text()


@pytest.mark.parametrize(
    ("group", "resource", "verb"),
    [("own", "agenttasks", "list"), ("own", "agenttasks", "supervise"), ("", "pods", "create")],
)
def test_a_release_with_namespaces_holds_no_right_elsewhere(
    pair: tuple[Release, Release], group: str, resource: str, verb: str
) -> None:
    first, second = pair
    asked = {
        namespace: first.admin.must(
            "POST",
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            body={
                "spec": {
                    "user": f"system:serviceaccount:{first.namespace}:{first.name}-agenttask-operator",
                    "resourceAttributes": {
                        "group": first.group if group == "own" else group,
                        "resource": resource,
                        "verb": verb,
                        "namespace": namespace,
                    },
                }
            },
        )["status"]["allowed"]
        for namespace in (first.namespace, second.namespace, "")
    }
    assert asked == {first.namespace: True, second.namespace: False, "": False}


def tells(operator: Running, release: Release) -> Callable[[], bool]:
    """Whether its metrics have the one task of the release."""
    sample = f'agenttask_tasks{{namespace="{release.namespace}",phase="Pending",reason="Unschedulable"}} 1.0'
    return lambda: sample in operator.answers("metrics")[1]


def about(operator: Running) -> set[tuple[str, str, int, str]]:
    """Namespace, task, attempt and reason of the lines of its log that have them."""
    lines = [json.loads(line) for line in operator.log.read_text().splitlines()]
    return {(one["namespace"], one["task"], one["attempt"], one["reason"]) for one in lines if "attempt" in one}


def holder(release: Release) -> str:
    """Who holds its lease; empty once it is given back."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{release.namespace}/leases/{release.name}-agenttask-operator"
    found: str = release.admin.must("GET", path)["spec"].get("holderIdentity", "")
    return found


def status(release: Release) -> Object:
    path = f"/apis/{release.group}/v1alpha1/namespaces/{release.namespace}/agenttasks/task"
    found: Object = release.admin.must("GET", path).get("status", {})
    return found


def events(release: Release) -> list[Object]:
    path = f"/apis/events.k8s.io/v1/namespaces/{release.namespace}/events"
    found: list[Object] = release.admin.must("GET", path, fieldSelector="regarding.kind=AgentTask")["items"]
    return found
