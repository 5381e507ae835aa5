"""What every provider of a cluster can do, and which one is chosen.

`AGENTTASK_CLUSTER` names one. Without it: kind where a Docker engine answers, else native on Debian as root. `current`,
the cluster of your KUBECONFIG, is never chosen by itself.
"""

from __future__ import annotations

import os
from typing import Protocol

from tests.cluster.binaries import program
from tests.cluster.environment import Environment
from tests.cluster.images import Builder
from tests.cluster.shell import ClusterError, run


class Provider(Protocol):
    """A cluster to be made, used and taken down. All methods raise ClusterError with a sentence for a person."""

    @property
    def name(self) -> str:
        """native, kind or current."""

    @property
    def controls_nodes(self) -> bool:
        """Whether nodes may be stopped, killed and drained; if not, the methods about nodes raise."""

    @property
    def shared_namespace(self) -> str | None:
        """The one namespace tests have to share, or None where each may make its own."""

    @property
    def builder(self) -> Builder | None:
        """What builds images for this cluster; None where its nodes pull them from a registry."""

    def unavailable(self) -> str | None:
        """Why this machine cannot have such a cluster, or None if it can."""

    def prepare(self) -> None:
        """Install what the cluster and its images need, or say what a person has to; ask what has to be asked."""

    def up(self) -> Environment:
        """Once prepared: make the cluster and its S3 server; what an earlier crash left is removed first."""

    def down(self) -> None:
        """Leave nothing behind, whatever state it is in."""

    def load(self, *, images: list[str]) -> None:
        """Put images that were built here into every node."""

    def chart_values(self, *, environment: Environment) -> list[str]:
        """Words for `helm upgrade` that tell the chart of this cluster's images and store."""

    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes that take pods."""

    def stop_node(self, *, node: str) -> None:
        """Stop every process of a node and of its pods; nothing ends, nothing answers."""

    def resume_node(self, *, node: str, pods_only: bool = False) -> None:
        """Continue a stopped node. With `pods_only` its kubelet stays stopped; call again for the rest."""

    def kill_node(self, *, node: str) -> None:
        """End a node at once, as a power cut would."""

    def start_node(self, *, node: str) -> None:
        """Start a killed node again and wait until it is Ready."""

    def wait_ready(self, *, node: str) -> None:
        """Wait until the API server calls a node Ready."""


def choose(*, name: str | None = None) -> Provider:
    """The provider of the given name, of AGENTTASK_CLUSTER, or the first that is possible here."""
    # Here, since the providers are built on this module.
    from tests.cluster.current import Current
    from tests.cluster.kind import Kind
    from tests.cluster.native import Native

    return pick((Kind(), Native(), Current()), wanted=name or os.environ.get("AGENTTASK_CLUSTER") or None)


def pick(providers: tuple[Provider, ...], *, wanted: str | None) -> Provider:
    """The wanted provider, or the first possible one that is not `current`.

    Raises NoClusterError if none is possible, ClusterError if the wanted one is not.
    """
    known = {provider.name: provider for provider in providers}
    if wanted is not None:
        if wanted not in known:
            raise ClusterError(f"AGENTTASK_CLUSTER is {wanted}; it can be {', '.join(known)}")
        reason = known[wanted].unavailable()
        if reason:
            raise ClusterError(f"AGENTTASK_CLUSTER={wanted} is not possible here: {reason}")
        return known[wanted]
    reasons: dict[str, str] = {}
    for provider in providers:
        if provider.name == "current":
            continue
        reason = provider.unavailable()
        if reason is None:
            return provider
        reasons[provider.name] = reason
    raise NoClusterError(
        "No test cluster is possible here. The choices are:\n"
        f"  AGENTTASK_CLUSTER=kind     a cluster in Docker ({reasons['kind']})\n"
        f"  AGENTTASK_CLUSTER=native   a cluster on Debian as root, without Docker ({reasons['native']})\n"
        "  AGENTTASK_CLUSTER=current  the cluster of your KUBECONFIG, in one namespace; its nodes are left alone"
    )


class NoClusterError(ClusterError):
    """No provider is possible here."""


def drain(*, environment: Environment, node: str, seconds: int = 300) -> None:
    """Cordon a node and evict its pods through the Eviction API, those without a controller too."""
    options = ("--ignore-daemonsets", "--delete-emptydir-data", "--force", f"--timeout={seconds}s")
    kubectl(environment, "drain", node, *options, seconds=seconds + 10)


def uncordon(*, environment: Environment, node: str) -> None:
    """Let a drained node take pods again."""
    kubectl(environment, "uncordon", node)


def kubectl(environment: Environment, *words: str, stdin: str | None = None, seconds: float = 60) -> str:
    """Run kubectl against the cluster and return its output."""
    found = program("kubectl") if program("kubectl").exists() else "kubectl"
    return run(found, "--kubeconfig", environment.kubeconfig, *words, stdin=stdin, timeout_seconds=seconds)
