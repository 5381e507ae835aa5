"""The control plane of a native cluster: etcd, API server, controller manager, scheduler and CoreDNS on this machine.

They are not pods on purpose: a test that stops or drains a node must not take the cluster's own services with it.
"""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import network, pki, processes
from tests.cluster.binaries import program
from tests.cluster.shell import ClusterError, run, tail, wait_until

_PORT = 6443
_ETCD = "http://127.0.0.1:23790"
_ETCD_PEER = "http://127.0.0.1:23800"


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """Starts the control plane's processes; all they keep lies in `folder`."""

    folder: Path

    @property
    def server(self) -> str:
        """The API server's address, good for this machine, nodes and pods."""
        return f"https://{network.HOST}:{_PORT}"

    @property
    def keys(self) -> Path:
        return self.folder / "pki"

    def kubeconfig(self, name: str) -> Path:
        """Path of the kubeconfig of admin, scheduler, proxy, a node …"""
        return self.folder / f"{name}.kubeconfig"

    def issue(self, *, nodes: tuple[network.NodePlace, ...]) -> None:
        """Make all certificates and kubeconfigs."""
        authority = pki.Authority.create(folder=self.keys, name="ca")
        front = pki.Authority.create(folder=self.keys, name="front")
        pki.service_account_keys(folder=self.keys)
        names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
        authority.issue(
            name="apiserver",
            common_name="kube-apiserver",
            hosts=(*names, "localhost", "127.0.0.1", network.KUBERNETES_SERVICE, network.HOST),
        )
        authority.issue(name="apiserver-kubelet", common_name="kube-apiserver", organization="system:masters")
        front.issue(name="front-client", common_name="front-proxy-client")
        authority.issue(name="admin", common_name="admin", organization="system:masters")
        authority.issue(name="dns", common_name="coredns", organization="system:masters")
        for name in ("kube-controller-manager", "kube-scheduler", "kube-proxy"):
            authority.issue(name=name, common_name=f"system:{name}")
        for node in nodes:
            authority.issue(
                name=node.name,
                common_name=f"system:node:{node.name}",
                organization="system:nodes",
                hosts=(node.name, node.address),
            )
        clients = ("admin", "dns", "kube-controller-manager", "kube-scheduler", "kube-proxy")
        for name in (*clients, *(node.name for node in nodes)):
            pki.kubeconfig(path=self.kubeconfig(name), server=self.server, folder=self.keys, name=name)

    def start(self) -> None:
        """Start everything; returns once the API server is ready. Raises ClusterError with its log if it is not."""
        self._spawn(
            "etcd",
            *_flags(
                {
                    "data-dir": self.folder / "etcd",
                    "listen-client-urls": _ETCD,
                    "advertise-client-urls": _ETCD,
                    "listen-peer-urls": _ETCD_PEER,
                    "initial-advertise-peer-urls": _ETCD_PEER,
                    "initial-cluster": f"default={_ETCD_PEER}",
                    "log-level": "warn",
                    "unsafe-no-fsync": "true",
                }
            ),
        )
        self._start_apiserver()
        self._spawn("kube-controller-manager", *self._controller_manager())
        scheduler = self.folder / "scheduler.json"
        scheduler.write_text(
            json.dumps(
                {
                    "apiVersion": "kubescheduler.config.k8s.io/v1",
                    "kind": "KubeSchedulerConfiguration",
                    "clientConnection": {"kubeconfig": str(self.kubeconfig("kube-scheduler"))},
                    "leaderElection": {"leaderElect": False},
                    "podInitialBackoffSeconds": 1,
                    "podMaxBackoffSeconds": 2,
                }
            )
        )
        self._spawn("kube-scheduler", f"--config={scheduler}", "--secure-port=0")
        self._start_dns()

    def stop(self, role: str) -> None:
        """SIGKILL one of the processes, kube-apiserver for one."""
        processes.end([process.pid for process in processes.owned(owner=self.folder, role=role)])

    def restart(self, role: str) -> None:
        """Start the API server again after `stop`, and wait until it is ready."""
        if role != "kube-apiserver":
            raise ClusterError(f"do not know how to start {role} again")
        self._start_apiserver()

    def pause(self, role: str, *, number: signal.Signals) -> None:
        """Send SIGSTOP or SIGCONT to one of the processes."""
        for process in processes.owned(owner=self.folder, role=role):
            processes.signal_process(process.pid, number)

    def _spawn(self, role: str, *arguments: str) -> int:
        return processes.start(
            [program(role), *arguments], owner=self.folder, role=role, log=self.folder / f"{role}.log"
        )

    def _start_apiserver(self) -> None:
        pid = self._spawn("kube-apiserver", *self._apiserver())
        kubectl = (program("kubectl"), "--kubeconfig", self.kubeconfig("admin"), "--request-timeout=10s")

        def ready() -> bool:
            if not processes.alive(pid):
                raise ClusterError(f"the API server ended:\n{tail(self.folder / 'kube-apiserver.log')}")
            try:
                return run(*kubectl, "get", "--raw", "/readyz") == "ok"
            except ClusterError:
                return False

        wait_until("API server ready", ready)

    def _apiserver(self) -> list[str]:
        keys = self.keys
        return _flags(
            {
                "etcd-servers": _ETCD,
                "bind-address": network.HOST,
                "advertise-address": network.HOST,
                "secure-port": _PORT,
                # Or a restart finds the port taken by the connections of its predecessor.
                "permit-address-sharing": "true",
                "service-cluster-ip-range": network.SERVICES,
                "allow-privileged": "true",
                "authorization-mode": "Node,RBAC",
                "enable-admission-plugins": "NodeRestriction",
                "client-ca-file": keys / "ca.crt",
                "tls-cert-file": keys / "apiserver.crt",
                "tls-private-key-file": keys / "apiserver.key",
                "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
                "service-account-key-file": keys / "sa.pub",
                "service-account-signing-key-file": keys / "sa.key",
                "kubelet-client-certificate": keys / "apiserver-kubelet.crt",
                "kubelet-client-key": keys / "apiserver-kubelet.key",
                "kubelet-certificate-authority": keys / "ca.crt",
                "requestheader-client-ca-file": keys / "front.crt",
                "requestheader-allowed-names": "front-proxy-client",
                "requestheader-username-headers": "X-Remote-User",
                "requestheader-group-headers": "X-Remote-Group",
                "requestheader-extra-headers-prefix": "X-Remote-Extra-",
                "proxy-client-cert-file": keys / "front-client.crt",
                "proxy-client-key-file": keys / "front-client.key",
                # Node names are in no DNS: without this, logs and exec fail.
                "kubelet-preferred-address-types": "InternalIP",
                # A lost node should cost a test seconds, not the five minutes of the defaults.
                "default-not-ready-toleration-seconds": 5,
                "default-unreachable-toleration-seconds": 5,
            }
        )

    def _controller_manager(self) -> list[str]:
        return _flags(
            {
                "kubeconfig": self.kubeconfig("kube-controller-manager"),
                "secure-port": 0,
                "service-account-private-key-file": self.keys / "sa.key",
                "root-ca-file": self.keys / "ca.crt",
                "use-service-account-credentials": "true",
                "cluster-signing-cert-file": self.keys / "ca.crt",
                "cluster-signing-key-file": self.keys / "ca.key",
                "service-cluster-ip-range": network.SERVICES,
                "leader-elect": "false",
                "node-monitor-period": "2s",
                "node-monitor-grace-period": "10s",
                # Tests bind pods to nodes that do not exist: it would take those away after 40 s.
                "controllers": "*,-pod-garbage-collector-controller",
                # The default of 20 makes the controllers the slowest part of every comparison.
                "kube-api-qps": 500,
                "kube-api-burst": 1000,
            }
        )

    def _start_dns(self) -> None:
        corefile = self.folder / "Corefile"
        corefile.write_text(f""".:53 {{
    bind {network.HOST}
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {self.kubeconfig("dns")}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 5
    }}
    forward . /etc/resolv.conf
    cache 5
}}
""")
        self._spawn("coredns", "-conf", str(corefile))
        ports = [("dns", 53, "UDP"), ("dns-tcp", 53, "TCP")]
        listed = [{"name": name, "port": port, "protocol": protocol} for name, port, protocol in ports]
        metadata = {"name": "kube-dns", "namespace": "kube-system"}
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"clusterIP": network.DNS_SERVICE, "ports": listed},
        }
        endpoints = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": "kube-dns"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [network.HOST]}],
            "ports": listed,
        }
        manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": [service, endpoints]})
        run(program("kubectl"), "--kubeconfig", self.kubeconfig("admin"), "apply", "-f", "-", stdin=manifest)


def _flags(values: dict[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in values.items()]
