"""The process: settings, probes, watches, the lease, and the workers that carry out decisions.

Everything that can be waited out is waited out inside: an unreachable API server, a missing CRD, a standby's turn. The
process ends when the lease is lost (another replica works now) or a watch fails for good, and is then started again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import socket
import sys
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from agenttask_operator import handlers, health, settings
from agenttask_operator.cluster import Cluster, ClusterError, ConflictError
from agenttask_operator.handlers import Inbox
from agenttask_operator.leader import Leadership
from agenttask_operator.observed import Pod
from agenttask_operator.queue import Queue
from agenttask_operator.reconcile import Key, Reconciler
from agenttask_operator.settings import Settings

WORKERS: Final = 24
RESYNC_SECONDS: Final = 60
CHECK_SECONDS: Final = 10
CONFLICT_SECONDS: Final = 0.05

logger = logging.getLogger(__name__)


async def work(*, queue: Queue[Key], reconciler: Reconciler) -> None:
    """One worker: take a key, reconcile, look again when told to. Never ends by itself."""
    while True:
        key = await queue.get()
        try:
            after = await reconciler.reconcile(key)
        except ConflictError:
            # The object changed under us: a runner's report, most often. Look again, that is all.
            queue.add_after(key, seconds=CONFLICT_SECONDS)
        except ClusterError as error:
            logger.warning("%s/%s: %s; again in %.2f s", *key, error, queue.retry(key))
        except Exception:
            logger.exception("%s/%s: again in %.2f s", *key, queue.retry(key))
        else:
            queue.succeeded(key)
            if after is not None:
                queue.add_after(key, seconds=after)
        finally:
            queue.done(key)


async def resync(*, cluster: Cluster, reconciler: Reconciler, queue: Queue[Key], inbox: Inbox) -> bool:
    """Look at every task as listed and queue those that need something. Returns whether the watches keep up."""
    owned: dict[str, list[Pod]] = defaultdict(list)
    async for pod in cluster.pods():
        for owner in pod.metadata.owner_references:
            owned[owner.uid].append(pod)
    listed: dict[str, int] = {}
    async for task in cluster.tasks():
        meta = task.metadata
        listed[meta.uid] = int(meta.resource_version)
        if not inbox.leading:
            continue
        decision = reconciler.judge(task=task, pods=tuple(owned.get(meta.uid, ())))
        key = Key(meta.namespace, meta.name)
        if decision.writes:
            queue.add(key)
        elif decision.after_seconds is not None:
            queue.add_after(key, seconds=decision.after_seconds)
    return not inbox.behind(listed=listed)


class Operator:
    """The parts, put together for one process."""

    def __init__(self, *, cluster: Cluster, config: Settings, identity: str, namespace: str) -> None:
        loop = asyncio.get_running_loop()
        self._cluster = cluster
        self._queue: Queue[Key] = Queue(later=loop.call_later)
        self._reconciler = Reconciler(
            cluster=cluster, settings=config, clock=lambda: datetime.now(UTC), reporter=identity
        )
        self._inbox = Inbox(queue=self._queue, departed=self._reconciler.departed)
        self._health = health.Health(clock=time.monotonic)
        self._leading = asyncio.Event()
        self._leadership = Leadership(
            cluster=cluster, namespace=namespace, name=config.leader_election.lease_name, identity=identity
        )
        self._elects = config.leader_election.enabled

    async def run(self) -> int:
        """Work until told to stop. Returns the exit code: 0 after SIGTERM or SIGINT, 1 if a part failed."""
        probes = await health.serve(health=self._health)
        watching, stop_watching, stopped = asyncio.Event(), asyncio.Event(), asyncio.Event()
        parts = [asyncio.create_task(self._check()), asyncio.create_task(self._resync())]
        parts += [asyncio.create_task(self._work()) for _ in range(WORKERS)]
        try:
            await self._served()
            watch = asyncio.create_task(handlers.watch(inbox=self._inbox, ready=watching, stop=stop_watching))
            parts.append(watch)
            await asyncio.wait([watch, asyncio.create_task(watching.wait())], return_when=asyncio.FIRST_COMPLETED)
            # After kopf has put its own there: the lease is to be released before the watches wind down.
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stopped.set)
            parts.append(asyncio.create_task(self._lead()))
            told = asyncio.create_task(stopped.wait())
            done, _ = await asyncio.wait([told, *parts], return_when=asyncio.FIRST_COMPLETED)
            for part in done - {told}:
                logger.error("A part of the operator ended: %r", part)
            return 0 if told in done else 1
        finally:
            self._inbox.leading = False
            stop_watching.set()
            await self._leadership.release()
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            await probes.cleanup()

    async def _served(self) -> None:
        """Wait for the API server, and for it to know AgentTasks: kopf would watch nothing, silently, before."""
        said = ""
        while True:
            try:
                await self._cluster.check_served()
            except ClusterError as error:
                if str(error) != said:
                    said = str(error)
                    logger.warning("Waiting for AgentTasks to be served: %s", said)
                await asyncio.sleep(1)
            else:
                return

    async def _lead(self) -> None:
        if not self._elects:
            self._take_over()
            await asyncio.Event().wait()
        await self._leadership.hold(lead=self._take_over)

    def _take_over(self) -> None:
        logger.info("Leading")
        self._inbox.leading = True
        self._leading.set()

    async def _work(self) -> None:
        await self._leading.wait()
        await work(queue=self._queue, reconciler=self._reconciler)

    async def _resync(self) -> None:
        """Resync when leadership comes, and then about once a minute: what the watches missed heals here."""
        source = random.Random()  # noqa: S311 - spreads load, hides nothing
        while True:
            try:
                self._health.watching = await resync(
                    cluster=self._cluster, reconciler=self._reconciler, queue=self._queue, inbox=self._inbox
                )
            except ClusterError as error:
                logger.warning("Resync: %s", error)
            self._health.turned()
            pause = RESYNC_SECONDS * source.uniform(0.8, 1.2)
            if self._leading.is_set():
                await asyncio.sleep(pause)
            else:
                await asyncio.wait([asyncio.ensure_future(self._leading.wait())], timeout=pause)

    async def _check(self) -> None:
        """Keep readiness true to the facts."""
        while True:
            try:
                await self._cluster.check_served()
                await self._cluster.check_fence()
            except ClusterError as error:
                self._health.missing = str(error)
            else:
                self._health.missing = None
            await asyncio.sleep(CHECK_SECONDS if self._health.missing is None else 1)


async def _run() -> int:
    config = settings.load(Path(os.environ.get(settings.CONFIG_ENV, settings.DEFAULT_PATH)))
    cluster = await Cluster.connect()
    identity = os.environ.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}"
    namespace = os.environ.get("POD_NAMESPACE") or "default"
    try:
        return await Operator(cluster=cluster, config=config, identity=identity, namespace=namespace).run()
    finally:
        await cluster.close()


def main() -> None:
    """Entry point `agenttask-operator`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        sys.exit(asyncio.run(_run()))
    except settings.SettingsError as error:
        sys.exit(str(error))
