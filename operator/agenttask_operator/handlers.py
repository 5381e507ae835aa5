"""kopf, and nothing else in the operator knows of it: watch events become keys on the queue.

Only raw `on.event` handlers are used: they add no finalizer, annotation or write to anybody's object.
Events that change nothing the operator decides on (a runner reports progress every few seconds) are dropped here.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import ssl
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

import kopf
from agenttask import contract

from agenttask_operator import exits
from agenttask_operator.fleet import Fleet
from agenttask_operator.metrics import Metrics
from agenttask_operator.observed import Metadata, Phase, Pod, Task, read_pod, read_task
from agenttask_operator.queue import Queue
from agenttask_operator.reconcile import Departed, Key
from agenttask_operator.roster import Roster

SHOWN_SECONDS: Final = 0.5
"""How soon a key comes again unless an event brings it: a watch shows what a reconcile has made, and more with it."""
NEWS_SECONDS: Final = 10.0
"""For how long what wants a pod may go before what is only to be recorded, and finds more to record then."""
LISTED_SECONDS: Final = 300.0
"""For how long what events tell of may go before what a listing has found: all tasks there are, after a restart."""
RETRY_SECONDS: Final = 1.0
PAGE: Final = 250
IDLE_SECONDS: Final = 0.5
"""For how long kopf keeps an object's last event, in case another one comes."""


class Shown:
    """What one watch has shown, against what listings see: how a watch that went silent is noticed."""

    def __init__(self) -> None:
        self._versions: dict[str, int] = {}
        self._expected: dict[str, int] = {}
        self._unlisted: Set[str] = frozenset()

    def add(self, meta: Metadata) -> None:
        """The watch has shown this object."""
        self._versions[meta.uid] = int(meta.resource_version)

    def forget(self, uid: str) -> None:
        """The watch has shown its deletion."""
        self._versions.pop(uid, None)

    def behind(self, *, listed: Mapping[str, int]) -> bool:
        """Whether the watch has not shown yet what the listing before this one saw.

        Args:
            listed: resource version by UID, of all objects, as listed now.
        """
        missed = any(self._versions.get(uid, 0) < version for uid, version in self._expected.items() if uid in listed)
        for uid in self.gone(listed=listed):
            self.forget(uid)
        self._expected = dict(listed)
        self._unlisted = self._versions.keys() - listed.keys()
        return missed

    def listed(self, *, uid: str, version: int) -> bool:
        """Whether the last listing saw this object, in that version or a later one."""
        return self._expected.get(uid, 0) >= version

    def gone(self, *, listed: Mapping[str, int]) -> set[str]:
        """What there was when the listing before ended, and is not in this one. What has been shown since stays."""
        return (self._expected.keys() | self._unlisted) - listed.keys()


class Inbox:
    """What the watches have delivered.

    Args:
        queue: where keys go while this operator leads; a standby only keeps count.
        departed: where deleted pods are remembered.
        roster: told which pods there are.
        fleet: shown every task.
    """

    def __init__(
        self, *, queue: Queue[Key], departed: Departed, roster: Roster | None = None, fleet: Fleet | None = None
    ) -> None:
        self._queue = queue
        self._fleet = fleet or Fleet(metrics=Metrics(), clock=time.time)
        self._departed = departed
        self._roster = roster or Roster()
        self._inputs: dict[str, tuple[object, ...]] = {}
        self._tasks = Shown()
        self._pods = Shown()
        self._held: list[tuple[Key, Shown, str, int]] | None = []
        self.leading = False

    @property
    def leading(self) -> bool:
        """Whether events become keys, and growth is counted."""
        return self._fleet.leading

    @leading.setter
    def leading(self, leads: bool) -> None:
        self._fleet.leading = leads

    def task(self, *, kind: str | None, raw: Mapping[str, Any]) -> None:
        """An event of an AgentTask; `kind` is None for what a listing found."""
        task = read_task(raw)
        uid, within = task.metadata.uid, 0.0
        if kind == "DELETED":
            self._inputs.pop(uid, None)
            self._tasks.forget(uid)
            self._fleet.forget(uid)
        else:
            self._tasks.add(task.metadata)
            self._fleet.show(task)
            inputs, known = _inputs(task), self._inputs.get(uid)
            if inputs == known:
                return
            self._inputs[uid] = inputs
            if kind is None and _is_over(task):
                return
            if known is not None and known[0] == inputs[0]:
                within = NEWS_SECONDS
        key = Key(task.metadata.namespace, task.metadata.name)
        self._add(key, kind=kind, within=within, watch=self._tasks, meta=task.metadata)

    def pod(self, *, kind: str | None, raw: Mapping[str, Any]) -> None:
        """An event of a runner pod; `kind` is None for what a listing found."""
        pod = read_pod(raw)
        if kind == "DELETED":
            self._departed.keep(pod)
            self._pods.forget(pod.metadata.uid)
            self._roster.drop(pod.metadata.uid)
        else:
            self._pods.add(pod.metadata)
            self._roster.add(pod)
        if not pod.task:
            return
        key = Key(pod.metadata.namespace, pod.task)
        # Its end, or that it is gone without one: another pod is wanted.
        within = 0.0 if pod.ended is not (kind == "DELETED") else NEWS_SECONDS
        after = SHOWN_SECONDS if kind == "MODIFIED" and _is_going(pod) else 0.0
        self._add(key, kind=kind, after=after, within=within, watch=self._pods, meta=pod.metadata)

    def silent(self, *, tasks: Mapping[str, int], pods: Mapping[str, int]) -> str | None:
        """Which watch has gone silent, None while both keep up.

        Args:
            tasks: resource version by UID, of all tasks, as listed now.
            pods: the same of all runner pods.
        """
        # A relist tells of no deletion.
        for uid in self._tasks.gone(listed=tasks):
            self._inputs.pop(uid, None)
            self._fleet.forget(uid)
        late = {"tasks": self._tasks.behind(listed=tasks), "pods": self._pods.behind(listed=pods)}
        return next((kind for kind, behind in late.items() if behind), None)

    def resynced(self) -> None:
        """A resync of the leader has ended, well or not: all that it has listed was judged, and needs no look for that.

        The first is about to list what the watches begin with, and that waits for it: ten thousand reads for nothing.
        """
        held, self._held = self._held or [], None
        for key, watch, uid, version in held:
            self._add_listed(key, watch=watch, uid=uid, version=version)

    def _add(
        self, key: Key, *, kind: str | None, after: float = 0.0, within: float, watch: Shown, meta: Metadata
    ) -> None:
        if not self.leading:
            return
        uid, version = meta.uid, int(meta.resource_version)
        if kind is not None:
            self._queue.add_after(key, seconds=after, within=within)
        elif self._held is not None:
            self._held.append((key, watch, uid, version))
        else:
            self._add_listed(key, watch=watch, uid=uid, version=version)

    def _add_listed(self, key: Key, *, watch: Shown, uid: str, version: int) -> None:
        if not watch.listed(uid=uid, version=version):
            self._queue.add(key, within=LISTED_SECONDS)


def _is_over(task: Task) -> bool:
    """Whether it has ended, and nobody waits for its purge: after a restart there are thousands of them."""
    ended = task.status.phase in {Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED}
    return ended and task.metadata.deletion_timestamp is None


def _is_going(pod: Pod) -> bool:
    """Whether it is being taken away, and its runner's end will be an event of its own: most often, the next one."""
    return not pod.ended and (pod.metadata.deletion_timestamp is not None or exits.taken_away(pod) is not None)


def _inputs(task: Task) -> tuple[object, ...]:
    """All of a task that is the operator's to react to; the rest it wrote itself, or is progress."""
    point, retry = task.checkpoint, task.status.retry
    stalls = retry is not None and retry.stalls > 0
    return (
        task.metadata.generation,
        task.metadata.deletion_timestamp,
        # Replacing an object takes its finalizers away, unless whoever does it knows of them.
        task.guarded,
        (point.attempt, point.resumed_from, point.damage) if point is not None else None,
        # Whether a task that stalled has come further: its first step is what tells that it is over.
        stalls and point is not None and retry is not None and point.progress_digest != retry.progress_digest,
        task.went_on,
    )


@dataclass(frozen=True)
class Connection(kopf.ConnectionInfo):  # type: ignore[misc]  # kopf is not type-checked here
    """How kopf connects: it verifies the server, but as Python did before 3.13 (see `Cluster.connect`)."""

    def as_ssl_context(self) -> ssl.SSLContext:
        """The context; chain, name and dates are checked as ever."""
        context: ssl.SSLContext = super().as_ssl_context()
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


async def watch(*, inbox: Inbox, ready: asyncio.Event, stop: asyncio.Event, namespaces: Sequence[str] = ()) -> None:
    """Run kopf until `stop` is set or a watch fails for good; `ready` is set once it has started.

    Args:
        inbox: where events go.
        ready: told.
        stop: asked.
        namespaces: where to watch; empty means everywhere.
    """
    registry = kopf.OperatorRegistry()

    async def on_task(event: kopf.RawEvent, **_: Any) -> None:
        inbox.task(kind=event["type"], raw=event["object"])

    async def on_pod(event: kopf.RawEvent, **_: Any) -> None:
        inbox.pod(kind=event["type"], raw=event["object"])

    def login(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo | None:
        in_cluster = "KUBERNETES_SERVICE_HOST" in os.environ
        find = kopf.login_with_service_account if in_cluster else kopf.login_with_kubeconfig
        found = find(settings=settings)
        return None if found is None else Connection(**vars(found))

    kopf.on.event(contract.GROUP, contract.VERSION, contract.PLURAL, registry=registry)(on_task)
    kopf.on.event("v1", "pods", registry=registry)(on_pod)
    kopf.on.login(registry=registry)(login)
    await kopf.operator(
        registry=registry,
        settings=_kopf_settings(),
        # For peering alone, which is off; left to itself, kopf asks for the user's name, and a container has none.
        identity=contract.OPERATOR_MANAGER,
        clusterwide=not namespaces,
        namespaces=namespaces,
        ready_flag=ready,
        stop_flag=stop,
    )


class _NoDiffs(kopf.DiffBaseStorage):  # type: ignore[misc] # its types are not followed
    """Keeps no object to compare the next one with: kopf copies and compares every event's, for handlers we have not.

    That was more than half of the operator's processor time (docs/performance.md).
    """

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        """Nothing is kept, least of all in an annotation."""


def _kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    # Leadership is a Lease of our own, so that a standby watches; kopf's peering would pause it.
    settings.peering.standalone = True
    # Both kinds are known; looking for new ones would need rights over all CRDs.
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = _NoDiffs()
    # For ever: after a finite number of them kopf gives up, and a server that starts answers 403 and 503 for a while.
    settings.networking.error_backoffs = itertools.repeat(RETRY_SECONDS)
    # Not all objects in memory at once at the start: a page at a time, each forgotten soon after it was looked at.
    settings.watching.chunk_size = PAGE
    settings.queueing.idle_timeout = IDLE_SECONDS
    # kopf's limit is a rate of starting workers, not a bound; the queue's workers are the bound.
    settings.queueing.worker_limit = None
    settings.watching.label_selectors["v1", "pods"] = contract.LABEL_ATTEMPT
    logging.getLogger("kopf").setLevel(logging.WARNING)
    return settings
