"""What the watches have shown of every task that exists, as far as metrics want to know.

A few numbers by task, kept by leader and standbys alike; the leader also counts what has grown since. A task that a
process sees for the first time with something used was counted by another one, or by this one before it was restarted:
only what comes on top is. So nothing is counted twice, and what was used while nobody led (seconds, unless the operator
was down) is not counted.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agenttask_operator import metrics
from agenttask_operator.metrics import Metrics
from agenttask_operator.observed import Phase, Task

FORGET_SECONDS: Final = 3600


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One task. What is used only grows: a status that was wiped and written again is no new use."""

    namespace: str
    model: str
    phase: str
    reason: str
    recorded: float | None
    """When its newest record was written, in seconds since 1970."""
    size: int
    attempt: int
    """The attempt that reported last."""
    step: int
    seq: int
    prompt: int
    cached: int
    completion: int
    cost: float
    repeated_calls: int
    lost_tokens: int


_GROWING: Final = ("seq", "prompt", "cached", "completion", "cost", "repeated_calls", "lost_tokens")


class Fleet(Collector):
    """All tasks; a collector of what is computed at a scrape.

    Args:
        metrics: where growth is counted.
        clock: seconds since 1970.
    """

    def __init__(self, *, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._clock = clock
        self._tasks: dict[str, Seen] = {}
        self._empty_since: dict[str, float] = {}
        self.leading = False
        metrics.registry.register(self)

    def show(self, task: Task) -> None:
        """A watch has shown this task."""
        uid = task.metadata.uid
        old, new = self._tasks.get(uid), _seen(task)
        if old is not None:
            new = msgspec.structs.replace(new, **{one: max(getattr(old, one), getattr(new, one)) for one in _GROWING})
            if self.leading:
                self._count(old=old, new=new)
        self._tasks[uid] = new
        self._empty_since.pop(new.namespace, None)

    def forget(self, uid: str) -> None:
        """The task is gone."""
        gone = self._tasks.pop(uid, None)
        if gone is not None:
            # Whether it really was the last one is looked at when it matters.
            self._empty_since[gone.namespace] = self._clock()

    def describe(self) -> Iterator[Metric]:
        """What `collect` may yield, so that registering does not collect."""
        yield from (_family(one) for one in metrics.DEFINITIONS if one.at_scrape)

    def collect(self) -> Iterator[Metric]:
        """The series of tasks that exist; a standby has none, or every task would be there twice."""
        self._forget_namespaces()
        if not self.leading:
            return
        now = self._clock()
        tasks: Counter[tuple[str, str, str]] = Counter()
        ages: dict[str, float] = {}
        sizes: dict[str, int] = {}
        for one in self._tasks.values():
            tasks[one.namespace, one.phase, one.reason] += 1
            if one.phase == Phase.RUNNING and one.recorded is not None:
                ages[one.namespace] = max(ages.get(one.namespace, 0), now - one.recorded)
            if one.size and one.phase not in _ENDED:
                sizes[one.namespace] = max(sizes.get(one.namespace, 0), one.size)
        told = _family(metrics.TASKS)
        for labels, number in tasks.items():
            told.add_metric(labels, number)
        yield told
        for definition, values in ((metrics.CHECKPOINT_AGE, ages), (metrics.CHECKPOINT_SIZE, sizes)):
            told = _family(definition)
            for namespace, value in values.items():
                told.add_metric((namespace,), value)
            yield told

    def _count(self, *, old: Seen, new: Seen) -> None:
        place = new.namespace
        for definition, name in (
            (metrics.CHECKPOINT_RECORDS, "seq"),
            (metrics.REPEATED_CALLS, "repeated_calls"),
            (metrics.LOST_TOKENS, "lost_tokens"),
        ):
            if (more := getattr(new, name) - getattr(old, name)) > 0:
                self._metrics.count(definition, place, by=more)
        if new.attempt > old.attempt and old.step > new.step:
            self._metrics.count(metrics.REPEATED_STEPS, place, by=old.step - new.step)
        if (new.prompt, new.completion, new.cost) == (old.prompt, old.completion, old.cost):
            return
        model = self._metrics.model(namespace=place, name=new.model)
        fresh = (new.prompt - new.cached) - (old.prompt - old.cached)
        for kind, more in (
            ("prompt", fresh),
            ("cached", new.cached - old.cached),
            ("completion", new.completion - old.completion),
        ):
            if more > 0:
                self._metrics.count(metrics.TOKENS, place, model, kind, by=more)
        if new.cost > old.cost:
            self._metrics.count(metrics.COST, place, model, by=new.cost - old.cost)

    def _forget_namespaces(self) -> None:
        late = [one for one, since in self._empty_since.items() if self._clock() - since > FORGET_SECONDS]
        if not late:
            return
        used = {one.namespace for one in self._tasks.values()}
        for namespace in late:
            del self._empty_since[namespace]
            if namespace not in used:
                self._metrics.forget(namespace)


_ENDED: Final = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED})


def _seen(task: Task) -> Seen:
    point, used, status = task.checkpoint, task.usage, task.status
    return Seen(
        # A few words, said by thousands of tasks.
        namespace=sys.intern(task.metadata.namespace),
        model=sys.intern(task.progress.model or "unknown"),
        phase=sys.intern(str(status.phase or Phase.PENDING)),
        reason=sys.intern(metrics.reason_label(status.reason)),
        recorded=point.time.timestamp() if point is not None and point.time is not None else None,
        size=point.size_bytes if point is not None else 0,
        attempt=point.attempt if point is not None else 0,
        step=task.progress.step,
        seq=point.seq if point is not None else 0,
        prompt=used.prompt_tokens,
        cached=used.cached_tokens,
        completion=used.completion_tokens,
        cost=used.dollars,
        repeated_calls=used.repeated_model_calls,
        lost_tokens=used.lost.prompt_tokens + used.lost.completion_tokens,
    )


def _family(definition: metrics.Definition) -> GaugeMetricFamily:
    return GaugeMetricFamily(definition.name, definition.meaning, labels=definition.labels)
