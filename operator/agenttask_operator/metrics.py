"""What Prometheus is told: every series, once, with its meaning; and the counters behind them.

`docs/metrics.md` is rendered from here, and the registry is built from here, so what a person reads is what a scrape
finds. Three kinds of facts meet:

    of tasks that exist     computed at each scrape from what the watches have shown (`fleet.py`), by the leader alone:
                            they go with their tasks
    of what has happened    counted by the leader, once: a transition when its status write is accepted (`ledger.py`),
                            use when a watch shows that it has grown (`fleet.py`)
    of this process         by each replica for itself

Labels are bounded: a reason that is not in `reasons.py`, and a model beyond the first `MAX_MODELS` of a process, is
`other`; what namespaces there are is the cluster's to bound, and one without tasks for an hour is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from agenttask_operator.reasons import REASONS

MAX_MODELS: Final = 200
OTHER: Final = "other"

# When a series began is no series of its own.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call] # the library's


class Kind(StrEnum):
    """Types of Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One metric."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    at_scrape: bool = False
    """It is computed from tasks that exist, when asked for."""


_FAST: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SLOW: Final = (0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 900, 3600)

TASKS: Final = Definition(
    name="agenttask_tasks",
    kind=Kind.GAUGE,
    meaning="Tasks that exist.",
    labels=("namespace", "phase", "reason"),
    at_scrape=True,
)
CHECKPOINT_AGE: Final = Definition(
    name="agenttask_checkpoint_age_seconds",
    kind=Kind.GAUGE,
    meaning="Of the tasks that run, the greatest age of a newest record: how much work a loss could cost.",
    labels=("namespace",),
    at_scrape=True,
)
CHECKPOINT_SIZE: Final = Definition(
    name="agenttask_checkpoint_record_bytes",
    kind=Kind.GAUGE,
    meaning="Of the tasks that have not ended, the size of the largest newest record.",
    labels=("namespace",),
    at_scrape=True,
)
CHECKPOINT_RECORDS: Final = Definition(
    name="agenttask_checkpoint_records_total",
    kind=Kind.COUNTER,
    meaning="Records by which checkpoint logs have grown.",
    labels=("namespace",),
)
FINISHED: Final = Definition(
    name="agenttask_tasks_finished_total",
    kind=Kind.COUNTER,
    meaning="Tasks that ended, in whichever way.",
    labels=("namespace", "phase", "reason"),
)
ATTEMPTS: Final = Definition(
    name="agenttask_attempts_ended_total",
    kind=Kind.COUNTER,
    meaning="Attempts by how they ended, and why.",
    labels=("outcome", "reason"),
)
RECOVERY: Final = Definition(
    name="agenttask_recovery_seconds",
    kind=Kind.HISTOGRAM,
    meaning="From the end of a lost attempt, as the operator saw it, to the next runner's claim; by how it was lost.",
    labels=("outcome",),
    buckets=_SLOW,
)
REPEATED_STEPS: Final = Definition(
    name="agenttask_repeated_steps_total",
    kind=Kind.COUNTER,
    meaning="Steps that were reported and had to be done again: their records were lost with a pod or in the store.",
    labels=("namespace",),
)
REPEATED_CALLS: Final = Definition(
    name="agenttask_repeated_model_calls_total",
    kind=Kind.COUNTER,
    meaning="Model calls made again because the reply was lost with its pod.",
    labels=("namespace",),
)
LOST_TOKENS: Final = Definition(
    name="agenttask_lost_tokens_total",
    kind=Kind.COUNTER,
    meaning="Tokens of calls whose reply never came, estimated; in no other number.",
    labels=("namespace",),
)
LOST_RECORDS: Final = Definition(
    name="agenttask_lost_records_total",
    kind=Kind.COUNTER,
    meaning="Records that could not be read and were left behind.",
    labels=("namespace",),
)
RESTORE_FAILURES: Final = Definition(
    name="agenttask_restore_failures_total",
    kind=Kind.COUNTER,
    meaning="Attempts that could not go on from their checkpoint, by reason.",
    labels=("reason",),
)
PURGES_ABANDONED: Final = Definition(
    name="agenttask_purges_abandoned_total",
    kind=Kind.COUNTER,
    meaning="Deleted tasks whose log was left behind; an Event and the log say where.",
)
TOKENS: Final = Definition(
    name="agenttask_tokens_total",
    kind=Kind.COUNTER,
    meaning="Tokens as tasks report them: kind prompt (without those cached), cached or completion.",
    labels=("namespace", "model", "kind"),
)
COST: Final = Definition(
    name="agenttask_cost_usd_total",
    kind=Kind.COUNTER,
    meaning="What model calls with a known price cost, in US dollars.",
    labels=("namespace", "model"),
)
LEADER: Final = Definition(
    name="agenttask_leader",
    kind=Kind.GAUGE,
    meaning="1 if this replica works, 0 if it stands by.",
)
QUEUE_DEPTH: Final = Definition(
    name="agenttask_workqueue_depth",
    kind=Kind.GAUGE,
    meaning="Tasks that wait for a worker.",
)
QUEUE_WAIT: Final = Definition(
    name="agenttask_workqueue_wait_seconds",
    kind=Kind.HISTOGRAM,
    meaning="How long a task waited for a worker.",
    buckets=_FAST,
)
RECONCILE: Final = Definition(
    name="agenttask_reconcile_seconds",
    kind=Kind.HISTOGRAM,
    meaning="How long one look at one task took, its calls included.",
    buckets=_FAST,
)
RECONCILE_ERRORS: Final = Definition(
    name="agenttask_reconcile_errors_total",
    kind=Kind.COUNTER,
    meaning="Looks that failed and are repeated: Conflict (the task changed meanwhile: harmless), API or Internal.",
    labels=("error",),
)
API_REQUESTS: Final = Definition(
    name="agenttask_api_requests_total",
    kind=Kind.COUNTER,
    meaning="Requests to the API server by verb and HTTP status, or error for no answer; not watches and leases.",
    labels=("verb", "code"),
)

DEFINITIONS: Final = (
    TASKS,
    FINISHED,
    ATTEMPTS,
    RECOVERY,
    REPEATED_STEPS,
    REPEATED_CALLS,
    LOST_TOKENS,
    LOST_RECORDS,
    RESTORE_FAILURES,
    PURGES_ABANDONED,
    TOKENS,
    COST,
    CHECKPOINT_AGE,
    CHECKPOINT_SIZE,
    CHECKPOINT_RECORDS,
    LEADER,
    QUEUE_DEPTH,
    QUEUE_WAIT,
    RECONCILE,
    RECONCILE_ERRORS,
    API_REQUESTS,
)


class Metrics:
    """The counters of one process, by their definitions."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self.registry)
        own = [one for one in DEFINITIONS if not one.at_scrape]
        self._counters = {one: self._counter(one) for one in own if one.kind is Kind.COUNTER}
        self._histograms = {one: self._histogram(one) for one in own if one.kind is Kind.HISTOGRAM}
        self._gauges = {
            one: Gauge(one.name, one.meaning, registry=self.registry) for one in own if one.kind is Kind.GAUGE
        }
        self._models: set[tuple[str, str]] = set()

    def count(self, definition: Definition, *labels: str, by: float = 1) -> None:
        """Add to a counter; labels in the definition's order."""
        counter = self._counters[definition]
        (counter.labels(*labels) if labels else counter).inc(by)

    def observe(self, definition: Definition, *labels: str, value: float) -> None:
        """Add a value to a histogram."""
        histogram = self._histograms[definition]
        (histogram.labels(*labels) if labels else histogram).observe(value)

    def watch(self, definition: Definition, *, value: Callable[[], float]) -> None:
        """Ask for a gauge's value at each scrape."""
        self._gauges[definition].set_function(value)

    def forget(self, namespace: str) -> None:
        """Drop all series of a namespace."""
        for definition, counter in self._counters.items():
            if "namespace" in definition.labels:
                counter.remove_by_labels({"namespace": namespace})
        self._models = {one for one in self._models if one[0] != namespace}

    def model(self, *, namespace: str, name: str) -> str:
        """The model as a label."""
        if (namespace, name) not in self._models:
            if len(self._models) >= MAX_MODELS:
                return OTHER
            self._models.add((namespace, name))
        return name

    def text(self) -> bytes:
        """All series, as a scrape wants them."""
        return prometheus_client.generate_latest(self.registry)

    def _counter(self, one: Definition) -> Counter:
        return Counter(one.name, one.meaning, one.labels, registry=self.registry)

    def _histogram(self, one: Definition) -> Histogram:
        return Histogram(one.name, one.meaning, one.labels, buckets=one.buckets, registry=self.registry)


def reason_label(reason: str | None) -> str:
    """A reason as a label; a runner may say anything."""
    return reason if reason in REASONS else OTHER


def as_markdown() -> str:
    """The table of `docs/metrics.md`."""
    rows = (f"| `{one.name}` | {one.kind} | {', '.join(one.labels) or '-'} | {one.meaning} |" for one in DEFINITIONS)
    return "\n".join(("| Metric | Type | Labels | Meaning |", "| --- | --- | --- | --- |", *rows, ""))
