"""The native cluster's wires: a bridge on this machine, and a network namespace per node beside it.

this machine (10.250.0.1) -- bridge -- node1 (10.250.0.11), its pods 10.244.1.0/24
                                   \\-- node2 (10.250.0.12), its pods 10.244.2.0/24
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster.shell import ClusterError, run, succeeds

HOST: Final = "10.250.0.1"
"""This machine as nodes and pods reach it."""
SERVICES: Final = "10.96.0.0/16"
KUBERNETES_SERVICE: Final = "10.96.0.1"
DNS_SERVICE: Final = "10.96.0.10"
PODS: Final = "10.244.0.0/16"
_BRIDGE: Final = "agenttask0"
_PREFIX: Final = "agenttask-"


@dataclass(frozen=True, kw_only=True)
class NodePlace:
    """Where one node sits in the network."""

    number: int

    @property
    def name(self) -> str:
        return f"node{self.number}"

    @property
    def address(self) -> str:
        return f"10.250.0.{10 + self.number}"

    @property
    def pods(self) -> str:
        return f"10.244.{self.number}.0/24"

    @property
    def namespace(self) -> str:
        """Name of the node's network namespace, as `ip netns` knows it."""
        return f"{_PREFIX}{self.name}"

    @property
    def namespace_path(self) -> Path:
        return Path("/run/netns") / self.namespace

    @property
    def _wire(self) -> str:
        return f"agenttask{self.number}"

    def connect(self) -> None:
        """Make the namespace and its wire to the bridge."""
        inside = ("ip", "-n", self.namespace)
        run("ip", "netns", "add", self.namespace)
        run("ip", "link", "add", self._wire, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        run("ip", "link", "set", self._wire, "master", _BRIDGE, "up")
        run(*inside, "addr", "add", f"{self.address}/24", "dev", "eth0")
        run(*inside, "link", "set", "eth0", "up")
        run(*inside, "link", "set", "lo", "up")
        run(*inside, "route", "add", "default", "via", HOST)
        run("ip", "route", "replace", self.pods, "via", self.address)
        run("ip", "netns", "exec", self.namespace, "sysctl", "-qw", "net.ipv4.ip_forward=1")


def connect() -> None:
    """Make the bridge. Raises ClusterError if this machine uses one of the address ranges for something else."""
    _refuse_overlap()
    run("ip", "link", "add", _BRIDGE, "type", "bridge")
    run("ip", "addr", "add", f"{HOST}/24", "dev", _BRIDGE)
    run("ip", "link", "set", _BRIDGE, "up")
    run("sysctl", "-qw", "net.ipv4.ip_forward=1", "fs.inotify.max_user_instances=8192")
    for rule in _forwarding():
        run("iptables", "-I", *rule)


def disconnect() -> None:
    """Remove all that `connect` made, as far as it exists."""
    for namespace in sorted(Path("/run/netns").glob(f"{_PREFIX}*")):
        run("ip", "netns", "delete", namespace.name)
    if _has_bridge():
        run("ip", "link", "delete", _BRIDGE)
    for rule in _forwarding():
        while succeeds("iptables", "-C", *rule):
            run("iptables", "-D", *rule)


def connected() -> bool:
    """Whether the bridge, or the namespace of a node, exists."""
    return _has_bridge() or any(Path("/run/netns").glob(f"{_PREFIX}*"))


def _has_bridge() -> bool:
    return succeeds("ip", "link", "show", _BRIDGE)


def _forwarding() -> tuple[tuple[str, ...], ...]:
    # A machine with Docker drops forwarded packets by default; accept ours, and only ours.
    return (("FORWARD", "-i", _BRIDGE, "-j", "ACCEPT"), ("FORWARD", "-o", _BRIDGE, "-j", "ACCEPT"))


def _refuse_overlap() -> None:
    ours = [ipaddress.ip_network(range_) for range_ in ("10.250.0.0/24", PODS, SERVICES)]
    for route in json.loads(run("ip", "-j", "-4", "route")):
        if route["dst"] == "default":
            continue
        other = ipaddress.ip_network(route["dst"], strict=False)
        for mine in ours:
            if mine.overlaps(other):
                raise ClusterError(
                    f"this machine already routes {other} over {route['dev']}, which a native cluster needs"
                )
