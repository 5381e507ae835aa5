"""`python -m agenttask_operator.uninstall`: what `helm uninstall` runs before it takes the operator away.

A finalizer without an operator keeps its task, and the task's namespace, for ever. So the operator's pods go first,
lest they set it again, and then the finalizer of every task goes; the logs of tasks deleted from then on stay in their
store. An operator that is installed later sets it again.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

from agenttask_operator import settings
from agenttask_operator.answers import ConflictError, NotFoundError
from agenttask_operator.cluster import Cluster
from agenttask_operator.observed import Task

POLL_SECONDS: Final = 1.0

logger = logging.getLogger(__name__)


async def let_go(
    *, cluster: Cluster, namespace: str, deployment: str, sleep: Callable[[float], Awaitable[None]]
) -> int:
    """Stop the operator of that Deployment and free every task. Returns how many were freed.

    Raises:
        ClusterError: some may be left; run it again.
    """
    while await cluster.stop_deployment(namespace=namespace, name=deployment):
        await sleep(POLL_SECONDS)
    freed, left = 0, True
    while left:
        left = False
        async for task in _guarded(cluster):
            # Looked at once more: an operator that is on its way out may have had one last write under way.
            left = True
            try:
                await cluster.set_finalizer(task=task, present=False)
            except (ConflictError, NotFoundError):
                continue
            freed += 1
            logger.info("%s/%s no longer waits for a purge", task.metadata.namespace, task.metadata.name)
    return freed


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
            sleep=asyncio.sleep,
        )
    finally:
        await cluster.close()
    logger.info("%d tasks were freed", freed)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(_run())
