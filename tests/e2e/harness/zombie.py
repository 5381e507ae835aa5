"""A runner that sleeps with its node, and wakes when things have gone on without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from agenttask.contract import ENV_POD_UID

from tests.cluster.provider import Provider
from tests.e2e.harness.kube import Api, Object
from tests.e2e.harness.processes import with_environment
from tests.e2e.harness.wait import until
from tests.e2e.harness.watch import PodWatch


@dataclass(kw_only=True)
class Zombie:
    """The runner of a pod whose node is stopped."""

    code: int | None = None
    """How it ended, once it has been woken."""


@contextmanager
def asleep(pod: Object, *, api: Api, cluster: Provider) -> Iterator[Zombie]:
    """Stop the pod's node for the block; then wake its runner, await its end, and bring the node back."""
    uid, node = pod["metadata"]["uid"], pod["spec"]["nodeName"]
    zombie = Zombie()
    with PodWatch(api=api, namespace=pod["metadata"]["namespace"]) as watch:
        cluster.stop_node(node=node)
        try:
            yield zombie
            # The runner first: it is to find the log taken, not to be told by its kubelet.
            cluster.resume_node(node=node, pods_only=True)
            until(lambda: not with_environment(ENV_POD_UID, uid), what="the old runner ends")
        finally:
            cluster.resume_node(node=node)
        zombie.code = until(lambda: watch.exit_code(uid=uid), what="its kubelet reports its end")
    cluster.wait_ready(node=node)
