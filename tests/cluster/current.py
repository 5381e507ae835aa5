"""The current provider: the cluster of your KUBECONFIG, treated as somebody's.

It works in one namespace that it makes itself, deletes nothing outside it but the release's own cluster-wide objects,
and leaves nodes alone. Its nodes pull the images from where `make images REGISTRY=… TAG=… PLATFORMS=…` pushed them,
so REGISTRY and TAG have to be set. With AGENTTASK_S3_ENDPOINT (and the AWS variables and AGENTTASK_S3_BUCKET) it uses
that store, else it runs one as a pod.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster import chart, images, processes
from tests.cluster.environment import Environment
from tests.cluster.paths import STATE
from tests.cluster.s3 import BUCKET, REGION, Credentials
from tests.cluster.s3_pod import S3Pod
from tests.cluster.shell import ClusterError, run, say

_NAMESPACE: Final = "agenttask-test"
_MADE_HERE: Final = "agenttask.dev/made-by=tests-cluster"
_RELEASE_NAMESPACE: Final = r"jsonpath={.metadata.annotations.meta\.helm\.sh/release-namespace}"

_NAMESPACES: Final = "jsonpath={.items[*].metadata.namespace}"


@dataclass(frozen=True, kw_only=True)
class Current:
    """See `provider.Provider` for what the methods promise."""

    name: str = "current"
    controls_nodes: bool = False
    shared_namespace: str | None = _NAMESPACE
    folder: Path = STATE / "current"

    def unavailable(self) -> str | None:
        """Why the user's cluster cannot be used, or None."""
        missing = [tool for tool in ("kubectl", "helm") if shutil.which(tool) is None]
        if missing:
            return f"needs {' and '.join(missing)}"
        try:
            run("kubectl", "get", "--raw", "/readyz", "--request-timeout=5s", timeout_seconds=15)
        except ClusterError:
            return "no cluster answers under your KUBECONFIG"
        return None

    @property
    def builder(self) -> images.Builder | None:
        """None: images come from a registry."""
        return None

    def prepare(self) -> None:
        """Ask."""
        _pushed_images()
        _confirm(run("kubectl", "config", "current-context").strip())

    def up(self) -> Environment:
        """Make the namespace and the store in it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        kubeconfig = self.folder / "kubeconfig"
        # A copy of the one context: a later `kubectl config use-context` must not send tests elsewhere.
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(run("kubectl", "config", "view", "--minify", "--flatten", "--raw"))
        _refuse_second_operator(kubeconfig)
        self._make_namespace(kubeconfig)
        store = self._store(kubeconfig=kubeconfig, image=_pushed_images()["devstore"])
        return Environment(
            provider=self.name,
            kubeconfig=kubeconfig,
            path=str(Path(shutil.which("kubectl") or "").parent),
            host_address=os.environ.get("AGENTTASK_HOST_ADDRESS", ""),
            operator_namespace=_NAMESPACE,
            **store,
        )

    def down(self) -> None:
        """Uninstall the release and delete the namespace, if it was made here."""
        processes.end([process.pid for process in processes.owned(owner=self.folder)])
        kubeconfig = self.folder / "kubeconfig"
        if kubeconfig.exists():
            release = ("--kubeconfig", kubeconfig, "--namespace", _NAMESPACE)
            if chart.RELEASE in run("helm", "list", "--short", *release).split():
                run("helm", "uninstall", chart.RELEASE, "--wait", *release)
            kubectl = ("kubectl", "--kubeconfig", kubeconfig)
            selected = ("--selector", _MADE_HERE, "--field-selector", f"metadata.name={_NAMESPACE}")
            run(*kubectl, "delete", "namespace", *selected, "--timeout=120s", timeout_seconds=130)
        shutil.rmtree(self.folder, ignore_errors=True)

    def load(self, *, images: list[str]) -> None:
        """Nothing: nodes pull."""

    def chart_values(self, *, environment: Environment) -> list[str]:
        pushed = {target: image for target, image in _pushed_images().items() if target != "devstore"}
        crd = ("get", "crd", "agenttasks.agenttask.dev", "--ignore-not-found", "-o", _RELEASE_NAMESPACE)
        owner = run("kubectl", "--kubeconfig", environment.kubeconfig, *crd)
        # A CRD that another release, or a person, brought stays as it is.
        foreign = ["--set", "crds.enabled=false"] if owner not in ("", _NAMESPACE) else []
        return [
            *foreign,
            *chart.image_values(images=pushed, pull_policy="IfNotPresent"),
            *chart.store_values(environment=environment),
        ]

    def nodes(self) -> tuple[str, ...]:
        return ()

    def stop_node(self, *, node: str) -> None:
        raise _hands_off(node)

    def resume_node(self, *, node: str, pods_only: bool = False) -> None:
        raise _hands_off(node)

    def kill_node(self, *, node: str) -> None:
        raise _hands_off(node)

    def start_node(self, *, node: str) -> None:
        raise _hands_off(node)

    def wait_ready(self, *, node: str) -> None:
        raise _hands_off(node)

    def _make_namespace(self, kubeconfig: Path) -> None:
        kubectl = ("kubectl", "--kubeconfig", kubeconfig)
        if run(*kubectl, "get", "namespace", _NAMESPACE, "--ignore-not-found", "-o", "name"):
            ours = run(*kubectl, "get", "namespace", "--selector", _MADE_HERE, "-o", "name").split()
            if f"namespace/{_NAMESPACE}" not in ours:
                raise ClusterError(f"the namespace {_NAMESPACE} exists and is not a test's; delete or rename it first")
            return
        run(*kubectl, "create", "namespace", _NAMESPACE)
        run(*kubectl, "label", "namespace", _NAMESPACE, _MADE_HERE)

    def _store(self, *, kubeconfig: Path, image: str) -> dict[str, str]:
        """The S3 fields of the environment."""
        own = os.environ.get("AGENTTASK_S3_ENDPOINT")
        if own:
            return {
                "s3_endpoint": own,
                "s3_host_endpoint": os.environ.get("AGENTTASK_S3_HOST_ENDPOINT") or own,
                "s3_bucket": os.environ.get("AGENTTASK_S3_BUCKET", BUCKET),
                "s3_region": os.environ.get("AWS_REGION", REGION),
                "s3_access_key_id": os.environ.get("AWS_ACCESS_KEY_ID", ""),
                "s3_secret_access_key": os.environ.get("AWS_SECRET_ACCESS_KEY", ""),
            }
        credentials = Credentials.create()
        store = S3Pod(
            kubeconfig=kubeconfig,
            namespace=_NAMESPACE,
            image=image,
            credentials=credentials,
            node_selector={},
            owner=self.folder,
        )
        return {
            "s3_host_endpoint": store.start(),
            "s3_endpoint": store.endpoint,
            "s3_bucket": BUCKET,
            "s3_region": REGION,
            "s3_access_key_id": credentials.access_key_id,
            "s3_secret_access_key": credentials.secret_access_key,
        }


def _pushed_images() -> dict[str, str]:
    registry, tag = os.environ.get("REGISTRY"), os.environ.get("TAG")
    if not registry or not tag:
        raise ClusterError(
            "the current cluster has to pull its images: set REGISTRY and TAG to what"
            " `make images REGISTRY=… TAG=… PLATFORMS=…` pushed"
        )
    return images.pushed(registry=registry, tag=tag)


def _refuse_second_operator(kubeconfig: Path) -> None:
    """Two operators of two releases would both give every task a pod."""
    selector = "app.kubernetes.io/name=agenttask,app.kubernetes.io/component=operator"
    found = ("get", "deployments", "--all-namespaces", "--selector", selector, "-o", _NAMESPACES)
    others = set(run("kubectl", "--kubeconfig", kubeconfig, *found).split()) - {_NAMESPACE}
    if others:
        raise ClusterError(f"an AgentTask operator runs in {', '.join(sorted(others))} already")


def _confirm(context: str) -> None:
    say(f"using the context {context} of your KUBECONFIG: one release, in the namespace {_NAMESPACE}")
    if os.environ.get("AGENTTASK_YES") == "1":
        return
    if not sys.stdin.isatty():
        raise ClusterError("say yes to that with --yes, or AGENTTASK_YES=1")
    if input("Continue? [y/N] ").strip().lower() not in ("y", "yes"):
        raise ClusterError("not confirmed; nothing was changed")


def _hands_off(node: str) -> ClusterError:
    return ClusterError(f"{node} is left alone: nodes of the current cluster are not ours")
