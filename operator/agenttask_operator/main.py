"""The process: settings, probes, watches, the lease, and the workers that carry out decisions.

Everything that can be waited out is waited out inside: an unreachable API server, a missing CRD, a standby's turn. The
process ends when a watch fails for good, and is then started again.
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
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from agenttask_operator import handlers, health, logs, metrics, settings
from agenttask_operator.answers import ClusterError, ConflictError, NotFoundError
from agenttask_operator.cluster import Cluster
from agenttask_operator.fleet import Fleet
from agenttask_operator.handlers import LISTED_SECONDS, NEWS_SECONDS, SHOWN_SECONDS, Inbox
from agenttask_operator.leader import Leadership
from agenttask_operator.ledger import Ledger
from agenttask_operator.metrics import Metrics
from agenttask_operator.observed import Pod
from agenttask_operator.queue import Queue, QueueClosed
from agenttask_operator.reconcile import Key, Reconciler
from agenttask_operator.settings import Settings

CHECK_SECONDS: Final = 10
DRAIN_SECONDS: Final = 15
"""How long keys in hand may take to be finished on SIGTERM; the rest of the pod's grace is for the lease."""
LAST_WORDS_SECONDS: Final = 5
"""For how long a part that failed may take to say so."""
CONFLICT_SECONDS: Final = 0.05

logger = logging.getLogger(__name__)


async def work(*, queue: Queue[Key], reconciler: Reconciler, counts: Metrics | None = None) -> None:
    """One worker: take a key, reconcile, look again when told to. Ends when the queue is closed."""
    counts = counts or Metrics()
    while True:
        try:
            key = await queue.get()
        except QueueClosed:
            return
        logs.begin(namespace=key.namespace, task=key.name)
        begun = time.monotonic()
        try:
            after = await reconciler.reconcile(key)
        except (ConflictError, NotFoundError):
            # The object changed under us (a runner's report, most often) or went. Look again, that is all.
            counts.count(metrics.RECONCILE_ERRORS, "Conflict")
            queue.retry(key, first=CONFLICT_SECONDS)
        except ClusterError as error:
            counts.count(metrics.RECONCILE_ERRORS, "API")
            logger.warning("%s/%s: %s; again in %.2f s", *key, error, queue.retry(key))
        except Exception:
            counts.count(metrics.RECONCILE_ERRORS, "Internal")
            logger.exception("%s/%s: again in %.2f s", *key, queue.retry(key))
        else:
            queue.succeeded(key)
            if after is not None:
                queue.add_after(key, seconds=max(after, SHOWN_SECONDS), within=0 if after else NEWS_SECONDS)
        finally:
            counts.observe(metrics.RECONCILE, value=time.monotonic() - begun)
            queue.done(key)


async def resync(*, cluster: Cluster, reconciler: Reconciler, queue: Queue[Key], inbox: Inbox) -> str | None:
    """Look at every task as listed and queue those that need something. Returns which watch is silent, if one is."""
    owned: dict[tuple[str, str | None], list[Pod]] = defaultdict(list)
    pods: dict[str, int] = {}
    roster = reconciler.roster
    before = roster.known()
    async for pod in cluster.pods():
        roster.add(pod)
        pods[pod.metadata.uid] = int(pod.metadata.resource_version)
        for owner in pod.metadata.owner_references:
            owned[owner.uid, pod.task].append(pod)
    roster.settle(before=before, listed=pods.keys())
    tasks: dict[str, int] = {}
    leads = inbox.leading
    async for task in cluster.tasks():
        meta = task.metadata
        tasks[meta.uid] = int(meta.resource_version)
        if not leads:
            continue
        key = Key(meta.namespace, meta.name)
        try:
            decision = reconciler.judge(task=task, pods=tuple(owned.get((meta.uid, meta.name), ())))
        except Exception:
            logger.exception("%s/%s: cannot be judged as listed", *key)
            continue
        if decision.writes:
            queue.add(key, within=LISTED_SECONDS)
        elif decision.after_seconds is not None:
            queue.add_after(key, seconds=decision.after_seconds)
    return inbox.silent(tasks=tasks, pods=pods)


class Operator:
    """The parts, put together for one process."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        config: Settings,
        identity: str,
        namespace: str,
        counts: Metrics | None = None,
        port: int = health.PORT,
    ) -> None:
        self._cluster = cluster
        self._port = port
        self._metrics = counts or Metrics()
        self._queue: Queue[Key] = Queue(
            later=asyncio.get_running_loop().call_later,
            waited=lambda seconds: self._metrics.observe(metrics.QUEUE_WAIT, value=seconds),
        )
        self._metrics.watch(metrics.QUEUE_DEPTH, value=lambda: len(self._queue))
        self._reconciler = Reconciler(
            cluster=cluster,
            settings=config,
            clock=lambda: datetime.now(UTC),
            reporter=identity,
            ledger=Ledger(self._metrics),
        )
        fleet = Fleet(metrics=self._metrics, clock=time.time)
        self._inbox = Inbox(
            queue=self._queue, departed=self._reconciler.departed, roster=self._reconciler.roster, fleet=fleet
        )
        self._metrics.watch(metrics.LEADER, value=lambda: self._inbox.leading)
        self._namespaces = config.watch_namespaces
        self._resync_seconds: float = config.resync_seconds
        self._workers_wanted = config.workers
        self._health = health.Health(clock=time.monotonic, resync_seconds=config.resync_seconds)
        self._due = asyncio.Event()
        self._workers: list[asyncio.Task[None]] = []
        self._leadership = Leadership(
            cluster=cluster, namespace=namespace, name=config.leader_election.lease_name, identity=identity
        )
        self._elects = config.leader_election.enabled

    @property
    def standing_by(self) -> bool:
        """Whether another replica leads, or nobody can."""
        return not self._inbox.leading

    async def run(self) -> int:
        """Work until told to stop. Returns the exit code: 0 after SIGTERM or SIGINT, 1 if a part failed."""
        probes = await health.serve(health=self._health, metrics=self._metrics, port=self._port)
        stop_watching, told = asyncio.Event(), asyncio.Event()
        parts: list[asyncio.Task[Any]] = [asyncio.create_task(self._check()), asyncio.create_task(self._resync())]
        try:
            await self._served()
            parts.append(await self._watch(stop=stop_watching))
            # After kopf has put its own there: the lease is to be given back before the watches wind down.
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, told.set)
            parts += [asyncio.create_task(self._lead()), asyncio.create_task(told.wait())]
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            if told.is_set():
                await self._drain()
                return 0
            if all(part.cancelled() for part in done):
                # A watch has failed: kopf first ends every task that is younger than itself, and says why after that.
                await asyncio.wait(parts, timeout=LAST_WORDS_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
            _tell_why(parts)
            return 1
        finally:
            await self._stand_down()
            stop_watching.set()
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            await self._leadership.release()
            await probes.cleanup()

    async def _watch(self, *, stop: asyncio.Event) -> asyncio.Task[Any]:
        """Start the watches; returns once they run, or have failed."""
        ready = asyncio.Event()
        watch = asyncio.create_task(
            handlers.watch(inbox=self._inbox, ready=ready, stop=stop, namespaces=self._namespaces)
        )
        started = asyncio.create_task(ready.wait())
        await asyncio.wait([watch, started], return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        return watch

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
        """Work while the lease is held; without it (the API was out of reach, or another won it) stand by again."""
        while True:
            if not self._elects:
                self._take_over()
                await asyncio.Event().wait()
            await self._leadership.hold(lead=self._take_over)
            logger.warning("The lease is lost: standing by")
            await self._stand_down()

    def _take_over(self) -> None:
        logger.info("Leading")
        self._inbox.leading = True
        self._workers = [
            asyncio.create_task(work(queue=self._queue, reconciler=self._reconciler, counts=self._metrics))
            for _ in range(self._workers_wanted)
        ]
        # Whatever happened before was dropped by the inbox.
        self._due.set()

    async def _drain(self) -> None:
        """Finish the keys in hand and take no others: what is half done now need not be found out by the next."""
        self._inbox.leading = False
        self._queue.close()
        if self._workers:
            await asyncio.wait(self._workers, timeout=DRAIN_SECONDS)

    async def _stand_down(self) -> None:
        self._inbox.leading = False
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        self._workers = []

    async def _resync(self) -> None:
        """Resync when leadership comes, and then every `resyncSeconds` or so: what the watches missed heals here."""
        source = random.Random()  # noqa: S311 - spreads load, hides nothing
        hurried = False
        while True:
            self._due.clear()
            pause = self._resync_seconds * source.uniform(0.8, 1.2)
            leads = self._inbox.leading
            try:
                silent = await resync(
                    cluster=self._cluster, reconciler=self._reconciler, queue=self._queue, inbox=self._inbox
                )
                # A watch that had only moments for what the last listing saw may still be reading its first pages.
                self._health.silent = None if hurried else silent
            except ClusterError as error:
                logger.warning("Resync: %s", error)
                pause = CHECK_SECONDS
            except Exception:
                # Whatever one object did to it, the watches and the workers are better than nothing.
                logger.exception("Resync failed")
            if leads:
                self._inbox.resynced()
            self._health.turned()
            try:
                await asyncio.wait_for(self._due.wait(), timeout=pause)
            except TimeoutError:
                hurried = False
            else:
                hurried = True

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


def _tell_why(parts: Iterable[asyncio.Task[Any]]) -> None:
    """Log what has failed."""
    failures = [part.exception() for part in parts if part.done() and not part.cancelled()]
    for error in failures:
        logger.error("The operator ends, a part of it has failed: %r", error)
    if not failures:
        logger.error("The operator ends, and no part of it says why")


async def _run() -> int:
    config = settings.load(Path(os.environ.get(settings.CONFIG_ENV, settings.DEFAULT_PATH)))
    logs.configure(config.log)
    counts = Metrics()
    cluster = await Cluster.connect(namespaces=config.watch_namespaces, pace=config.client_connection, counts=counts)
    identity = os.environ.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}"
    namespace = os.environ.get("POD_NAMESPACE") or "default"
    try:
        return await Operator(
            cluster=cluster, config=config, identity=identity, namespace=namespace, counts=counts
        ).run()
    finally:
        await cluster.close()


def main() -> None:
    """Entry point `agenttask-operator`."""
    try:
        sys.exit(asyncio.run(_run()))
    except settings.SettingsError as error:
        sys.exit(str(error))
