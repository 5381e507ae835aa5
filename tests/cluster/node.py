"""One node of a native cluster: containerd, kubelet and kube-proxy in namespaces of their own.

A node has its own network, mount and pid namespaces. The pid namespace makes a node's death certain: when its first
process ends, the kernel ends all the others, the pods' included, and with them go all its mounts. Nothing has to be
collected, whatever state a crash has left.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import processes
from tests.cluster.binaries import program
from tests.cluster.control_plane import ControlPlane
from tests.cluster.layout import Layout
from tests.cluster.network import DNS_SERVICE, PODS, NodePlace
from tests.cluster.shell import ClusterError, run, tail, wait_until

PAUSE_IMAGE = "localhost/pause:1"
_PLENTY_BYTES = 8 << 30
_CGROUPS = Path("/sys/fs/cgroup")

# `wait` in a loop, since a bash that is process 1 has to reap what is orphaned to it.
_INIT = """set -e
mount --make-rprivate /
bind() {{ mkdir -p "$1" "$2"; mount --bind "$1" "$2"; }}
bind {folder}/containerd /var/lib/containerd
bind {folder}/kubelet /var/lib/kubelet
bind {folder}/cni-cache /var/lib/cni
bind {folder}/run /run/containerd
bind {folder}/netns /run/netns
bind {folder}/pod-logs /var/log/pods
bind {folder}/container-logs /var/log/containers
mount --make-rshared /
containerd -c {folder}/containerd.toml >> {folder}/containerd.log 2>&1 &
until ctr version > /dev/null 2>&1; do sleep 0.05; done
ctr -n k8s.io images import {pause} > /dev/null
{kubelet} --config={folder}/kubelet.json --kubeconfig={kubeconfig} --hostname-override={name} \\
    --node-ip={address} >> {folder}/kubelet.log 2>&1 &
{proxy} --config={folder}/proxy.json >> {folder}/kube-proxy.log 2>&1 &
while true; do wait -n || true; done
"""


@dataclass(frozen=True, kw_only=True)
class Node:
    """Starts, stops and ends one node."""

    place: NodePlace
    control: ControlPlane
    pause: Path
    """Archive of the pause image."""

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def folder(self) -> Path:
        return self.control.folder / self.name

    def start(self) -> None:
        """Start the node, for the first time or after `kill`. It is Ready some seconds later."""
        if self._first() is not None:
            raise ClusterError(f"{self.name} runs already")
        self._write_configuration()
        self._make_cgroups()
        self._make_image_store()
        processes.start(
            [
                "nsenter",
                f"--net={self.place.namespace_path}",
                # Not `ip netns exec`: that one mounts a new /sys, without the cgroups.
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--mount-proc",
                "--kill-child",
                "bash",
                self.folder / "init.sh",
            ],
            owner=self.control.folder,
            role=self.name,
            log=self.folder / "init.log",
        )

    def load(self, *, layout: Layout) -> None:
        """Put images into the node, sending only what it has not. Raises ClusterError if containerd does not answer."""
        wait_until(f"containerd of {self.name}", lambda: self._inside("ctr", "version"))
        present = self.run("ctr", "-n", "k8s.io", "content", "ls", "-q").split()
        # As a stream, since the archive is hundreds of megabytes that nobody needs on a disk.
        importing = subprocess.Popen(
            self._entering("ctr", "-n", "k8s.io", "images", "import", "-"),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert importing.stdin is not None
        assert importing.stderr is not None
        digests = {digest.removeprefix("sha256:") for digest in present}
        with importing:
            with contextlib.suppress(BrokenPipeError), importing.stdin as stream:
                layout.write(stream=stream, present=digests)
            problem = importing.stderr.read().decode()
        if importing.returncode:
            raise ClusterError(f"{self.name} did not take the images: {problem}")

    def run(self, *command: str) -> str:
        """Run a program in the node's namespaces and return its output."""
        return run(*self._entering(*command), timeout_seconds=120)

    def _entering(self, *command: str) -> list[str]:
        return ["nsenter", f"--target={self._running()}", "--mount", "--pid", "--net", "--", *command]

    def stop(self) -> None:
        """SIGSTOP every process of the node and of its pods, the kubelet first: nothing ends, nothing answers."""
        first = self._running()
        pods = self._pods(first)
        rest = [pid for pid in processes.descendants(first) if pid not in pods]
        for pid in (*rest, *pods):
            processes.signal_process(pid, signal.SIGSTOP)

    def resume(self, *, pods_only: bool = False) -> None:
        """SIGCONT what `stop` stopped. With `pods_only` the kubelet stays stopped: a zombie that nobody watches."""
        first = self._running()
        pods = self._pods(first)
        rest = [] if pods_only else [pid for pid in processes.descendants(first) if pid not in pods]
        for pid in (*pods, *rest):
            processes.signal_process(pid, signal.SIGCONT)

    def kill(self) -> None:
        """End the node at once and with everything in it, as a power cut would."""
        below = [pid for parent in self._parents() for pid in processes.descendants(parent)]
        processes.end([*self._parents(), *below])
        # /run does not outlive a power cut, and containerd would look for shims that are gone.
        shutil.rmtree(self.folder / "run", ignore_errors=True)
        shutil.rmtree(self.folder / "netns", ignore_errors=True)
        remove_cgroups(self.name)

    def _parents(self) -> list[int]:
        return [
            process.pid
            for process in processes.owned(owner=self.control.folder, role=self.name)
            if processes.pid_namespace(process.pid) == processes.OWN_PID_NAMESPACE
        ]

    def _first(self) -> int | None:
        """The node's process 1, as this machine numbers it."""
        for parent in self._parents():
            for pid in processes.descendants(parent):
                if processes.pid_namespace(pid) not in ("", processes.OWN_PID_NAMESPACE):
                    return pid
        return None

    def _running(self) -> int:
        first = self._first()
        if first is None:
            raise ClusterError(f"{self.name} does not run:\n{tail(self.folder / 'init.log')}")
        return first

    def _pods(self, first: int) -> tuple[int, ...]:
        """Processes of the node's containers: each container has a pid namespace below the node's."""
        own = processes.pid_namespace(first)
        return tuple(pid for pid in processes.descendants(first) if processes.pid_namespace(pid) not in ("", own))

    def _inside(self, *command: str) -> bool:
        try:
            self.run(*command)
        except ClusterError:
            return False
        return True

    def _make_cgroups(self) -> None:
        for hierarchy in _hierarchies():
            group = hierarchy / self._cgroup
            group.mkdir(exist_ok=True)
            # A new cpuset of cgroup v1 is empty, and nothing can be put into it.
            for name in ("cpuset.cpus", "cpuset.mems"):
                if (group / name).exists() and (hierarchy / name).exists():
                    (group / name).write_text((hierarchy / name).read_text())

    def _make_image_store(self) -> None:
        """Memory for images and containers, where there is plenty: loading images takes a third of the time."""
        store = self.folder / "containerd"
        store.mkdir(exist_ok=True)
        if not store.is_mount() and _available_memory() > _PLENTY_BYTES:
            run("mount", "-t", "tmpfs", "-o", "size=4g,mode=0711", "containerd", store)

    @property
    def _cgroup(self) -> str:
        return f"agenttask-{self.name}"

    def _write_configuration(self) -> None:
        folder = self.folder
        (folder / "cni").mkdir(parents=True, exist_ok=True)
        (folder / "containerd.toml").write_text(_containerd(folder))
        (folder / "cni" / "10-bridge.conflist").write_text(json.dumps(self._cni()))
        (folder / "kubelet.json").write_text(json.dumps(self._kubelet()))
        (folder / "proxy.json").write_text(json.dumps(self._proxy()))
        (folder / "init.sh").write_text(
            _INIT.format(
                folder=folder,
                pause=self.pause,
                kubelet=program("kubelet"),
                proxy=program("kube-proxy"),
                kubeconfig=self.control.kubeconfig(self.name),
                name=self.name,
                address=self.place.address,
            )
        )

    def _cni(self) -> dict[str, object]:
        ipam = {
            "type": "host-local",
            "dataDir": str(self.folder / "run" / "ipam"),
            "ranges": [[{"subnet": self.place.pods}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        bridge = {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": False,
            "hairpinMode": True,
            "ipam": ipam,
        }
        ports = {"type": "portmap", "capabilities": {"portMappings": True}}
        return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, ports]}

    def _kubelet(self) -> dict[str, object]:
        keys = self.control.keys
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self._cgroup}",
            "failCgroupV1": False,
            "failSwapOn": False,
            # Both need CAP_SYS_RESOURCE at their defaults, which root has not everywhere.
            "oomScoreAdj": 0,
            "maxOpenFiles": 20000,
            # Images were loaded by hand and cannot be pulled again: never collect them.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "0%",
                "nodefs.inodesFree": "0%",
                "imagefs.available": "0%",
            },
            "evictionPressureTransitionPeriod": "5s",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(keys / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "clusterDNS": [DNS_SERVICE],
            "clusterDomain": "cluster.local",
            "podLogsDir": "/var/log/pods",
            "tlsCertFile": str(keys / f"{self.name}.crt"),
            "tlsPrivateKeyFile": str(keys / f"{self.name}.key"),
            "syncFrequency": "10s",
            "nodeStatusUpdateFrequency": "2s",
        }

    def _proxy(self) -> dict[str, object]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(self.control.kubeconfig("kube-proxy"))},
            "mode": "iptables",
            "clusterCIDR": PODS,
            "hostnameOverride": self.name,
            # The limits are the machine's, and not this cluster's to change.
            "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }


def remove_cgroups(name: str) -> None:
    """Remove the cgroups of a node that is gone."""
    for hierarchy in _hierarchies():
        group = hierarchy / f"agenttask-{name}"
        if group.exists():
            for inner in sorted(group.rglob("*/"), reverse=True):
                _remove(inner)
            _remove(group)


def _available_memory() -> int:
    """Bytes that new programs can have without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _remove(group: Path) -> None:
    # The kernel finishes the last process of a group a little after it is gone from /proc.
    def removed() -> bool:
        try:
            group.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    wait_until(f"cgroup {group} removed", removed, every=0.05)


def _hierarchies() -> list[Path]:
    """Where cgroups are made: each hierarchy of v1, or the one tree of v2."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    return [entry for entry in _CGROUPS.iterdir() if entry.is_dir() and not entry.is_symlink()]


def _containerd(folder: Path) -> str:
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
[{cri}]
  sandbox_image = "{PAUSE_IMAGE}"
  # Without CAP_SYS_RESOURCE no score may be lowered, and no pod would start.
  restrict_oom_score_adj = true
  [{cri}.containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [{cri}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [{cri}.containerd.runtimes.runc.options]
        SystemdCgroup = false
  [{cri}.cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
"""
