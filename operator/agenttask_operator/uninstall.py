"""`python -m agenttask_operator.uninstall`: what `helm uninstall` runs before it takes the operator away.

A finalizer without an operator keeps its task, and the task's namespace, for ever. So the operator's pods go first,
lest they set it again: one that was told to end still finishes what it has in hand. Then the finalizer of every task
goes; the logs of tasks deleted from then on stay in their store. An operator that is installed later sets it again.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from agenttask_operator import settings
from agenttask_operator.answers import ConflictError, NotFoundError
from agenttask_operator.cluster import Cluster
from agenttask_operator.observed import Task

POLL_SECONDS: Final = 1.0
OVERDUE: Final = timedelta(seconds=10)
"""After which a deleted pod is waited for no longer: its node is out of reach, and its rights go with the release."""

logger = logging.getLogger(__name__)


async def let_go(
    *,
    cluster: Cluster,
    namespace: str,
    deployment: str,
    selector: str,
    clock: Callable[[], datetime],
    sleep: Callable[[float], Awaitable[None]],
) -> int:
    """Stop the operator of that Deployment and free every task. Returns how many were freed.

    Args:
        cluster: the API.
        namespace: where the operator runs.
        deployment: its Deployment's name.
        selector: labels of its pods.
        clock: aware UTC time.
        sleep: waits that many seconds.

    Raises:
        ClusterError: some may be left; run it again.
    """
    # Told to stop each time: something else may have scaled it up again.
    while await cluster.stop_deployment(namespace=namespace, name=deployment) or await _works(
        cluster, namespace=namespace, selector=selector, now=clock()
    ):
        await sleep(POLL_SECONDS)
    freed, left = 0, True
    while left:
        left = False
        async for task in _guarded(cluster):
            # Looked at once more: one that changed meanwhile is not freed yet.
            left = True
            try:
                await cluster.set_finalizer(task=task, present=False)
            except (ConflictError, NotFoundError):
                continue
            freed += 1
            logger.info("%s/%s no longer waits for a purge", task.metadata.namespace, task.metadata.name)
    return freed


async def _works(cluster: Cluster, *, namespace: str, selector: str, now: datetime) -> bool:
    """Whether a pod of the operator may still write."""
    found = [pod async for pod in cluster.pods_labelled(namespace=namespace, selector=selector) if not pod.over]
    times = [pod.metadata.deletion_timestamp for pod in found]
    return any(deleted is None or now < deleted + OVERDUE for deleted in times)


async def _guarded(cluster: Cluster) -> AsyncIterator[Task]:
    """The tasks that wait; none where AgentTasks are not even known any more, since the CRD took them along."""
    try:
        async for task in cluster.tasks():
            if task.guarded:
                yield task
    except NotFoundError:
        return


async def _run() -> None:
    config = settings.load(Path(os.environ.get(settings.CONFIG_ENV, settings.DEFAULT_PATH)))
    cluster = await Cluster.connect(namespaces=config.watch_namespaces, pace=config.client_connection)
    try:
        freed = await let_go(
            cluster=cluster,
            namespace=os.environ["POD_NAMESPACE"],
            deployment=os.environ["OPERATOR_DEPLOYMENT"],
            selector=os.environ["OPERATOR_PODS"],
            clock=lambda: datetime.now(UTC),
            sleep=asyncio.sleep,
        )
    finally:
        await cluster.close()
    logger.info("%d tasks were freed", freed)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(_run())
