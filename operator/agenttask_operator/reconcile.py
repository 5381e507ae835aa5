"""Gather, decide, apply: one task, once.

Level-triggered: a key may come once, twice or late, and the outcome is the same. The order of apply is what makes every
crash harmless: the status first (compare-and-swap: of two operators one goes on), then the pods it announces, Events
last, but for the one that a task leaves behind as it goes. What is kept in memory here is evidence and server messages
only; losing it costs a better sentence, never the right outcome.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from agenttask import contract

from agenttask_operator import fold, forks, guarding, logs, pods, status, unreported
from agenttask_operator.announcer import Announcer
from agenttask_operator.answers import ConflictError, ExistsError, NamespaceEndsError, NotFoundError, RefusedError
from agenttask_operator.cluster import Cluster
from agenttask_operator.decide import Decision, decide
from agenttask_operator.fold import Refusal, Snapshot
from agenttask_operator.guarding import Guarding
from agenttask_operator.ledger import Ledger
from agenttask_operator.metrics import Metrics
from agenttask_operator.observed import Complaint, Pod, Task
from agenttask_operator.pods import SpecInvalidError
from agenttask_operator.roster import Roster
from agenttask_operator.settings import Settings

MAX_REFUSAL_SECONDS: Final = 30
KEPT_DEPARTED: Final = 4096

logger = logging.getLogger(__name__)


class Key(NamedTuple):
    """A task's place; what is there now is found out by looking."""

    namespace: str
    name: str


class Departed:
    """The last seen objects of deleted pods, by UID, until their task is reconciled; the oldest go first."""

    def __init__(self) -> None:
        self._pods: dict[str, Pod] = {}

    def keep(self, pod: Pod) -> None:
        """Remember a pod that was seen to be deleted."""
        self._pods[pod.metadata.uid] = pod
        if len(self._pods) > KEPT_DEPARTED:
            del self._pods[next(iter(self._pods))]

    def get(self, uid: str | None) -> Pod | None:
        """The pod as last seen."""
        return self._pods.get(uid) if uid is not None else None

    def of(self, task: Task) -> tuple[Pod, ...]:
        """Those of its attempts of which no kubelet had said that they were over."""
        listed = task.status.unreported
        if not listed:
            return ()
        return tuple(pod for pod in self._pods.values() if pod.attempt in listed and pod.owned_by(task.metadata.uid))

    def drop(self, uid: str | None) -> None:
        """Its end is recorded."""
        if uid is not None:
            self._pods.pop(uid, None)


class Reconciler:
    """Carries out decisions.

    Args:
        cluster: the API.
        settings: the chart's defaults.
        clock: aware UTC time.
        reporter: this operator's name in Events.
        ledger: told of every transition.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        settings: Settings,
        clock: Callable[[], datetime],
        reporter: str,
        ledger: Ledger | None = None,
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._clock = clock
        self._announcer = Announcer(cluster=cluster, clock=clock, reporter=reporter)
        self._ledger = ledger or Ledger(Metrics())
        self._refusals: dict[Key, Refusal] = {}
        self._complaints: dict[Key, Complaint] = {}
        self._guardings: dict[Key, Guarding] = {}
        self.departed = Departed()
        self.roster = Roster()

    async def reconcile(self, key: Key) -> float | None:
        """Bring one task forward. Returns in how many seconds to look again, None if an event will tell.

        Raises:
            ClusterError: nothing is lost; try again.
        """
        snapshot = await self._gather(key)
        if snapshot is None:
            self._refusals.pop(key, None)
            self._complaints.pop(key, None)
            self._guardings.pop(key, None)
            return None
        logs.about(attempt=snapshot.task.status.attempt, reason=snapshot.task.status.reason)
        decision = decide(snapshot=snapshot, now=self._clock())
        await self._apply(key=key, snapshot=snapshot, decision=decision)
        # A pod was made, adopted or refused: what came of it is the next decision's business.
        return 0 if decision.create or decision.guard is not None else decision.after_seconds

    def judge(self, *, task: Task, pods: tuple[Pod, ...]) -> Decision:
        """Decide on objects as listed, without carrying it out: whether a live look is worth its two calls.

        What a fork is to go on from is not among them: a fork that has not begun may be looked at for nothing.
        """
        return decide(snapshot=self._snapshot(task=task, pods=pods), now=self._clock())

    async def _gather(self, key: Key) -> Snapshot | None:
        # The task first: a recorded pod that a later list lacks is gone. The other way round it might be new.
        try:
            task = await self._cluster.get_task(namespace=key.namespace, name=key.name)
        except NotFoundError:
            return None
        found = await self._pods_of(task)
        await self._ask(key=key, pod=fold.current_pod(task=task, found=found))
        return self._snapshot(task=task, pods=found, source=await self._source_of(task))

    async def _pods_of(self, task: Task) -> tuple[Pod, ...]:
        meta = task.metadata
        shown = self.roster.of(namespace=meta.namespace, task=meta.name)
        if shown is None:
            found = await self._cluster.pods_of(task)
            return found + await self._missed(task=task, found=found)
        entry = task.status.current
        over = task.status.attempt == 0 or (entry is not None and entry.end is not None)
        expected = set() if over else {contract.pod_name(task=meta.name, attempt=task.status.attempt)}
        found = await self._cluster.pods_named(task=task, names=sorted(shown | expected))
        for pod in found:
            # The watch may be late, and what is to be deleted has to be found again if that fails. Of what it has
            # shown it also tells when that goes, maybe just now: added again, that would be asked for until a resync.
            if pod.metadata.name not in shown:
                self.roster.add(pod)
        return found

    async def _missed(self, *, task: Task, found: tuple[Pod, ...]) -> tuple[Pod, ...]:
        """The recorded pod, where the list lacks it and it exists: no list of the past gives an attempt up."""
        uid = task.status.pod_uid
        if uid is None or not fold.is_open(task.status) or fold.current_pod(task=task, found=found) is not None:
            return ()
        name = contract.pod_name(task=task.metadata.name, attempt=task.status.attempt)
        return tuple(pod for pod in await self._cluster.pods_named(task=task, names=[name]) if pod.metadata.uid == uid)

    async def _ask(self, *, key: Key, pod: Pod | None) -> None:
        """Keep what the kubelet says of a pod that is slow to be set up; resyncs decide on it too."""
        complaint = None
        if pod is not None and fold.slow(pod, now=self._clock()):
            complaint = await self._cluster.complaint(pod)
        if complaint is not None:
            self._complaints[key] = complaint
        else:
            self._complaints.pop(key, None)

    async def _source_of(self, task: Task) -> Task | None:
        name = forks.source_of(task)
        if name is None:
            return None
        try:
            return await self._cluster.get_task(namespace=task.metadata.namespace, name=name)
        except NotFoundError:
            return None

    def _snapshot(self, *, task: Task, pods: tuple[Pod, ...], source: Task | None = None) -> Snapshot:
        key = Key(task.metadata.namespace, task.metadata.name)
        return Snapshot(
            task=task,
            pods=pods,
            settings=self._settings,
            departed=self.departed.get(task.status.pod_uid),
            gone=self.departed.of(task),
            refusal=self._refusals.get(key),
            complaint=self._complaints.get(key),
            guarding=self._guardings.get(key),
            source=source,
        )

    async def _apply(self, *, key: Key, snapshot: Snapshot, decision: Decision) -> None:
        before = task = snapshot.task
        if decision.remove:
            logger.info("%s/%s is deleted: its spec.ttlSecondsAfterFinished is over", *key)
            await self._cluster.delete_task(task)
            return
        if decision.guard is not None:
            await self._guard(key=key, task=task, present=decision.guard, decision=decision)
            return
        if decision.status is not None:
            task = await self._cluster.apply_status(task=task, status=decision.status)
            made = decision.status
            logs.about(attempt=made.attempt, reason=made.reason)
            self._ledger.moved(before=before, after=made)
            logger.info("%s/%s %s: attempt %d %s %s", *key, decision.rule, made.attempt, made.phase, made.reason)
            if made.pod_uid != before.status.pod_uid:
                self.departed.drop(before.status.pod_uid)
            for seen in snapshot.gone:
                if seen.metadata.uid != made.pod_uid:
                    self.departed.drop(seen.metadata.uid)
        if decision.create:
            await self._create(key=key, task=task)
        for pod in decision.delete:
            logger.info("%s/%s deletes pod %s", *key, pod.name)
            await self._cluster.delete_pod(namespace=key.namespace, name=pod.name, uid=pod.uid)
        if decision.status is not None:
            await self._announce(task=task, told=status.events(before=before.status, after=decision.status))
            origin = decision.status.forked_from
            source = snapshot.source
            if source is not None and origin is not None and source.metadata.uid == origin.uid:
                await self._announce(task=source, told=(status.forked(name=task.metadata.name, origin=origin),))

    async def _guard(self, *, key: Key, task: Task, present: bool, decision: Decision) -> None:
        """Set the finalizer, or let the task go."""
        logger.info("%s/%s %s", *key, decision.rule)
        for event in decision.told:
            logger.warning("%s/%s %s: %s", *key, event.reason, event.note)
        # Told first, be it twice: once the task is gone, nobody comes back to what is left.
        await self._announce(task=task, told=decision.told)
        await self._cluster.set_finalizer(task=task, present=present)
        done = guarding.written(self._guardings.get(key), task=task, now=self._clock())
        self._guardings[key] = done
        if done.times > 1:
            what = ("set", "taken away") if present else ("taken away", "put back")
            words = "%s/%s: its finalizer is %s for the %d. time, and was %s: by a webhook or another controller?"
            logger.warning(words, *key, what[0], done.times, what[1])

    async def _create(self, *, key: Key, task: Task) -> None:
        """Create the open attempt's pod, or find it made, refused, or its name taken."""
        attempt = task.status.attempt
        try:
            plan = pods.plan(task=task, settings=self._settings)
        except SpecInvalidError:
            return  # Edited since: the next decision says so.
        manifest = pods.render(task=task, plan=plan, settings=self._settings, attempt=attempt)
        try:
            await self._cluster.create_pod(manifest)
        except (RefusedError, NotFoundError, ConflictError) as error:
            # A webhook may say no with any code; a quota that others change too is a conflict.
            ends = isinstance(error, NamespaceEndsError)
            self._refuse(key=key, task=task, message=str(error), namespace_ends=ends)
        except ExistsError as error:
            pod = await self._named(task=task, attempt=attempt)
            own = pod.owned_by(task.metadata.uid)
            if not own or (pod.attempt, pod.task) != (attempt, task.metadata.name):
                lost = own and await self._delete_stray(task=task, pod=pod)
                self._refuse(key=key, task=task, message=str(error), name_taken=True, may_have_run=lost)
        else:
            self._refusals.pop(key, None)

    async def _named(self, *, task: Task, attempt: int) -> Pod:
        """The pod that has the attempt's name: this attempt's, if it was made by an operator that died thereupon."""
        name = contract.pod_name(task=task.metadata.name, attempt=attempt)
        try:
            return await self._cluster.get_pod(namespace=task.metadata.namespace, name=name)
        except NotFoundError as error:
            raise ConflictError(f"Pod {name} was there and is gone") from error

    async def _delete_stray(self, *, task: Task, pod: Pod) -> bool:
        """Delete a pod of the task that lost its labels, since no listing finds it again; whether it may have run."""
        meta = pod.metadata
        logger.warning("%s/%s deletes pod %s, which has lost its labels", meta.namespace, task.metadata.name, meta.name)
        await self._cluster.delete_pod(namespace=meta.namespace, name=meta.name, uid=meta.uid)
        return unreported.may_run(pod)

    def _refuse(self, *, key: Key, task: Task, message: str, **facts: bool) -> None:
        """Remember it; `facts` are those of a `Refusal`."""
        old = self._refusals.get(key)
        again = old is not None and (old.attempt, old.generation) == (task.status.attempt, task.metadata.generation)
        times = old.times + 1 if old is not None and again else 1
        self._refusals[key] = Refusal(
            attempt=task.status.attempt,
            generation=task.metadata.generation,
            message=message,
            times=times,
            retry_at=self._clock() + timedelta(seconds=min(2 ** min(times, 8), MAX_REFUSAL_SECONDS)),
            **facts,
        )
        logger.warning("%s/%s attempt %d: %s", *key, task.status.attempt, message)

    async def _announce(self, *, task: Task, told: tuple[status.Event, ...]) -> None:
        for event in told:
            self._ledger.told(task=task, event=event)
            await self._announcer.tell(task=task, event=event)
