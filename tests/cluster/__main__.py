"""Test clusters from the shell: `python -m tests.cluster up`, `down`, `stop node1` … See --help."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from tests.cluster import lifecycle, provider
from tests.cluster.environment import Environment
from tests.cluster.provider import Provider
from tests.cluster.publish import publish
from tests.cluster.shell import ClusterError

_NODE_COMMANDS: dict[str, tuple[str, Callable[[Provider, Environment, str], None]]] = {
    "stop": ("SIGSTOP all of a node and its pods", lambda cluster, _, node: cluster.stop_node(node=node)),
    "resume": ("continue a stopped node", lambda cluster, _, node: cluster.resume_node(node=node)),
    "resume-pods": (
        "continue the pods of a stopped node, but not its kubelet",
        lambda cluster, _, node: cluster.resume_node(node=node, pods_only=True),
    ),
    "kill": ("end a node as a power cut would", lambda cluster, _, node: cluster.kill_node(node=node)),
    "start": ("start a killed node again", lambda cluster, _, node: cluster.start_node(node=node)),
    "drain": ("evict a node's pods", lambda _, environment, node: provider.drain(environment=environment, node=node)),
    "uncordon": (
        "let a drained node take pods again",
        lambda _, environment, node: provider.uncordon(environment=environment, node=node),
    ),
}


def main() -> int:
    """Run one command; 1 and a sentence if it cannot be done, 3 if no cluster is possible here."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="boot a cluster, or bring the running one up to date with the work tree")
    up.add_argument("--yes", action="store_true", help="use the current cluster without asking")
    publishing = commands.add_parser("images", help="build the images; push them if a registry is given")
    for option in ("registry", "tag", "platforms"):
        publishing.add_argument(f"--{option}", default="")
    commands.add_parser("down", help="take the cluster down and leave nothing behind")
    commands.add_parser("status", help="say which cluster runs")
    for name, (text, _) in _NODE_COMMANDS.items():
        commands.add_parser(name, help=text).add_argument("node")
    arguments = parser.parse_args()
    try:
        _run(arguments)
    except provider.NoClusterError as error:
        print(error, file=sys.stderr)
        return 3
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(arguments: argparse.Namespace) -> None:
    if arguments.command == "images":
        publish(registry=arguments.registry, tag=arguments.tag, platforms=arguments.platforms)
        return
    if arguments.command == "up":
        if arguments.yes:
            os.environ["AGENTTASK_YES"] = "1"
        lifecycle.bring_up()
        return
    if arguments.command == "down":
        lifecycle.take_down()
        return
    present = lifecycle.running()
    if present is None:
        raise ClusterError("no cluster is up; `make cluster-up` boots one")
    cluster, environment = present
    if arguments.command == "status":
        print(f"{cluster.name} with nodes {', '.join(cluster.nodes())}, KUBECONFIG={environment.kubeconfig}")
        return
    _NODE_COMMANDS[arguments.command][1](cluster, environment, arguments.node)


if __name__ == "__main__":
    sys.exit(main())
