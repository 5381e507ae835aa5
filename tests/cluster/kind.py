"""The kind provider: a cluster of containers, one control plane and two workers, where a Docker engine runs.

DOCKER_HOST chooses the engine. AGENTTASK_KIND_IMAGE names a node image that is in the engine already; without it
kind's default is pulled. AGENTTASK_KIND_API (ADDRESS:PORT) is where an engine elsewhere publishes the API server, and
AGENTTASK_HOST_ADDRESS where pods reach this machine, if that is not the gateway of the engine's network.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from tests.cluster import chart, images, processes
from tests.cluster.environment import Environment
from tests.cluster.paths import STATE
from tests.cluster.s3 import BUCKET, REGION, Credentials
from tests.cluster.s3_pod import S3Pod
from tests.cluster.shell import ClusterError, run, say, succeeds, wait_until

_NAME: Final = "agenttask"
_TOOLS: Final = ("docker", "kind", "kubectl", "helm")
_CONTROL_PLANE: Final = f"{_NAME}-control-plane"
_PEERS: Final = "agenttask-peers"
_HANG_SECONDS: Final = 90
_IMAGE_STEP: Final = "Ensuring node image"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """See `provider.Provider` for what the methods promise."""

    name: str = "kind"
    controls_nodes: bool = True
    shared_namespace: str | None = None
    folder: Path = STATE / "kind"

    def unavailable(self) -> str | None:
        """Why there is no kind here; a missing kind, kubectl or helm beside a running engine is for `up` to name."""
        if shutil.which("docker") is None:
            return "needs Docker, which is not installed"
        if not succeeds("docker", "version", timeout_seconds=15):
            return "needs a Docker engine, and none answers"
        return None

    @property
    def builder(self) -> images.Builder:
        return images.Buildah() if os.environ.get("AGENTTASK_BUILDER") == "buildah" else images.Docker()

    def prepare(self) -> None:
        """Name what is missing."""
        missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
        if missing:
            raise ClusterError(f"kind needs {', '.join(_TOOLS)}; missing here: {', '.join(missing)}")
        image = _node_image()
        if image and not succeeds("docker", "image", "inspect", image):
            raise ClusterError(f"AGENTTASK_KIND_IMAGE is {image}, which is not in the Docker engine")

    def up(self) -> Environment:
        """Create the cluster and the S3 pod in it."""
        self.down()
        self.folder.mkdir(parents=True)
        self._create(image=_node_image())
        for node in (_CONTROL_PLANE, *self.nodes()):
            self.wait_ready(node=node)
        say("nodes are ready")
        self._load(images=images.build(builder=self.builder, targets=("devstore",)), nodes=(_CONTROL_PLANE,))
        self._kubectl("create", "namespace", _PEERS)
        store = S3Pod(
            kubeconfig=self._kubeconfig,
            namespace=_PEERS,
            image=images.LOCAL["devstore"],
            credentials=Credentials.create(),
            node_selector={"node-role.kubernetes.io/control-plane": ""},
            owner=self.folder,
        )
        return Environment(
            provider=self.name,
            kubeconfig=self._kubeconfig,
            path=str(Path(shutil.which("kubectl") or "").parent),
            host_address=_host_address(),
            s3_host_endpoint=store.start(),
            s3_endpoint=store.endpoint,
            s3_bucket=BUCKET,
            s3_region=REGION,
            s3_access_key_id=store.credentials.access_key_id,
            s3_secret_access_key=store.credentials.secret_access_key,
            operator_namespace="agenttask-system",
        )

    def down(self) -> None:
        """Delete the cluster and end the forwarding to it."""
        processes.end([process.pid for process in processes.owned(owner=self.folder)])
        if shutil.which("kind") is not None and self.unavailable() is None:
            run("kind", "delete", "cluster", "--name", _NAME, "--kubeconfig", self._kubeconfig)
        shutil.rmtree(self.folder, ignore_errors=True)

    def load(self, *, images: list[str]) -> None:
        self._load(images=images, nodes=self.nodes())

    def chart_values(self, *, environment: Environment) -> list[str]:
        return [*chart.local_image_values("operator", "runner"), *chart.store_values(environment=environment)]

    def nodes(self) -> tuple[str, ...]:
        return (f"{_NAME}-worker", f"{_NAME}-worker2")

    def stop_node(self, *, node: str) -> None:
        # The kubelet by a signal of its own, so that `resume_node` can leave it stopped.
        run("docker", "exec", node, "systemctl", "kill", "--signal=SIGSTOP", "kubelet.service")
        run("docker", "pause", node)

    def resume_node(self, *, node: str, pods_only: bool = False) -> None:
        if run("docker", "inspect", "--format", "{{.State.Paused}}", node).strip() == "true":
            run("docker", "unpause", node)
        if not pods_only:
            run("docker", "exec", node, "systemctl", "kill", "--signal=SIGCONT", "kubelet.service")

    def kill_node(self, *, node: str) -> None:
        run("docker", "kill", node)

    def start_node(self, *, node: str) -> None:
        run("docker", "start", node)
        self.wait_ready(node=node)

    def wait_ready(self, *, node: str) -> None:
        query = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"

        def ready() -> bool:
            return self._kubectl("get", "node", node, "--ignore-not-found", "-o", query) == "True"

        wait_until(f"{node} ready", ready, every=0.3)

    @property
    def _kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def _kubectl(self, *words: str) -> str:
        return run("kubectl", "--kubeconfig", self._kubeconfig, *words)

    def _load(self, *, images: list[str], nodes: tuple[str, ...]) -> None:
        for archive in self.builder.archive(images=images):
            run("kind", "load", "image-archive", archive, "--name", _NAME, "--nodes", ",".join(nodes))

    def _create(self, *, image: str | None) -> None:
        configuration = self.folder / "kind.json"
        configuration.write_text(json.dumps(_configuration()))
        command = ["kind", "create", "cluster", "--name", _NAME, "--config", str(configuration), "--retain"]
        command += ["--kubeconfig", str(self._kubeconfig), *(["--image", image] if image else [])]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        watch = _Watch()
        assert process.stderr is not None
        reader = threading.Thread(target=watch.follow, args=(process.stderr,), daemon=True)
        reader.start()
        while process.poll() is None and not watch.hangs():
            time.sleep(0.2)
        hangs = process.poll() is None
        if hangs:
            process.kill()
        process.wait()
        reader.join(timeout=5)
        if not hangs and process.returncode == 0:
            return
        journal = _journal()
        self.down()
        problem = f"hangs for {_HANG_SECONDS} s" if hangs else f"ended with {process.returncode}"
        raise ClusterError(f"kind create {problem}:\n{watch.output}\nThe node's journal ends with:\n{journal}")


class _Watch:
    """Follows kind's messages: shows them, pulls the node image in sight, and knows since when creation runs."""

    def __init__(self) -> None:
        self.output = ""
        self._since: float | None = None

    def follow(self, lines: IO[str]) -> None:
        """Read to the end."""
        for line in lines:
            self.output += line
            text = line.strip()
            if text:
                say(f"kind: {text}")
            if _IMAGE_STEP in text and "(" in text:
                _pull(text.partition("(")[2].partition(")")[0])
            elif self._since is None and text and _IMAGE_STEP not in text and "Creating cluster" not in text:
                self._since = time.monotonic()

    def hangs(self) -> bool:
        """Whether creation, the image pulled, has taken too long."""
        return self._since is not None and time.monotonic() - self._since > _HANG_SECONDS


def _node_image() -> str | None:
    return os.environ.get("AGENTTASK_KIND_IMAGE") or None


def _pull(image: str) -> None:
    # kind pulls it at the same time, silently; the engine downloads each layer once and both wait for it.
    if not succeeds("docker", "image", "inspect", image):
        say(f"pulling {image}")
        subprocess.run(["docker", "pull", image], check=False)


def _journal() -> str:
    for node in (_CONTROL_PLANE, f"{_NAME}-worker"):
        try:
            return run("docker", "exec", node, "journalctl", "--no-pager", "-n", "40", timeout_seconds=20)
        except ClusterError:
            continue
    return "(no node runs)"


def _host_address() -> str:
    """The engine's network ends at this machine if the engine runs on it; else a setting has to say."""
    if os.environ.get("AGENTTASK_HOST_ADDRESS"):
        return os.environ["AGENTTASK_HOST_ADDRESS"]
    networks = json.loads(run("docker", "network", "inspect", "kind"))
    gateways = [entry.get("Gateway", "") for entry in networks[0]["IPAM"]["Config"] or []]
    local = run("ip", "-o", "-4", "addr") if shutil.which("ip") else ""
    return next((gateway for gateway in gateways if gateway and f" {gateway}/" in local), "")


def _configuration() -> dict[str, Any]:
    """Two workers, since tests drain one; a lost node is noticed within seconds, as on the native provider."""
    configuration: dict[str, Any] = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [{"role": "control-plane"}, {"role": "worker"}, {"role": "worker"}],
        "kubeadmConfigPatches": [
            *(json.dumps(_cluster_patch(version)) for version in ("v1beta3", "v1beta4")),
            json.dumps({"kind": "KubeletConfiguration", "failCgroupV1": False, "nodeStatusUpdateFrequency": "2s"}),
        ],
    }
    if os.environ.get("AGENTTASK_KIND_API"):
        address, _, port = os.environ["AGENTTASK_KIND_API"].rpartition(":")
        configuration["networking"] = {"apiServerAddress": address, "apiServerPort": int(port)}
    return configuration


def _cluster_patch(version: str) -> dict[str, Any]:
    """A patch for kubeadm's configuration of one API version; kind applies it where it uses that version."""

    # In v1beta4 extraArgs is a list, and a patch replaces the whole of it: kind's own entries are repeated.
    def arguments(**values: str) -> object:
        named = {name.replace("_", "-"): value for name, value in values.items()}
        return named if version == "v1beta3" else [{"name": name, "value": value} for name, value in named.items()]

    return {
        "apiVersion": f"kubeadm.k8s.io/{version}",
        "kind": "ClusterConfiguration",
        "apiServer": {
            "extraArgs": arguments(
                runtime_config="",
                default_not_ready_toleration_seconds="5",
                default_unreachable_toleration_seconds="5",
            )
        },
        "controllerManager": {
            "extraArgs": arguments(
                enable_hostpath_provisioner="true",
                node_monitor_period="2s",
                node_monitor_grace_period="10s",
                # kubeadm's own, but for what would take pods away whose node does not exist: tests bind some.
                controllers="*,bootstrap-signer-controller,token-cleaner-controller,-pod-garbage-collector-controller",
            )
        },
        "etcd": {"local": {"extraArgs": arguments(unsafe_no_fsync="true")}},
    }
