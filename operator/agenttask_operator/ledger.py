"""What has happened, once: counted, and for every task that has ended one line to charge for it.

Called when a status write was accepted: a compare-and-swap, so of two operators, or of one that looks again, one is. An
operator that dies in the instant between the two counts nothing and writes no line; the task itself still says it all,
but for a purge that is given up, which is therefore counted before its task goes.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from agenttask.contract import RunnerReason

from agenttask_operator import metrics
from agenttask_operator.metrics import Metrics, reason_label
from agenttask_operator.observed import Attempt, Counts, Outcome, Status, Task
from agenttask_operator.reasons import Reason
from agenttask_operator.status import Event

CHARGEBACK: Final = "agenttask_operator.chargeback"
"""The logger of the lines, by which a collector finds them."""
KEPT_ABANDONED: Final = 4096

_LOST: Final = {Outcome.DISRUPTED, Outcome.CRASHED, Outcome.OOM_KILLED, Outcome.SILENT}
_NO_RESTORE: Final = {
    RunnerReason.CHECKPOINT_LOST,
    RunnerReason.CHECKPOINT_GONE,
    RunnerReason.CHECKPOINT_CORRUPT,
    RunnerReason.FORMAT_TOO_NEW,
}

logger = logging.getLogger(CHARGEBACK)


class Ledger:
    """Counts transitions."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._abandoned: dict[str, None] = {}

    def moved(self, *, before: Task, after: Status) -> None:
        """The task's status was `before.status` and is `after`."""
        known = {one.attempt: one for one in before.status.attempts}
        for entry in after.attempts:
            old = known.get(entry.attempt)
            if entry.end is not None and (old is None or old.end is None):
                self._ended(entry)
            if entry.claimed is not None and (old is None or old.claimed is None):
                self._claimed(entry, attempts=after.attempts)
        lost = (after.counts or Counts()).lost_records - (before.status.counts or Counts()).lost_records
        if lost > 0:
            self._metrics.count(metrics.LOST_RECORDS, before.metadata.namespace, by=lost)
        was = before.status.phase
        if after.phase is not None and after.phase.terminal and (was is None or not was.terminal):
            reason = reason_label(after.reason)
            self._metrics.count(metrics.FINISHED, before.metadata.namespace, after.phase, reason)
            meta = before.metadata
            said = bill(task=before, status=after)
            logger.info("%s/%s finished: %s %s", meta.namespace, meta.name, after.phase, after.reason, extra=said)

    def told(self, *, task: Task, event: Event) -> None:
        """An Event is about to be written. Of a purge that is given up nothing else is left: counted once a task."""
        uid = task.metadata.uid
        if event.reason != Reason.PURGE_ABANDONED or uid in self._abandoned:
            return
        self._metrics.count(metrics.PURGES_ABANDONED)
        # It is told again where the task's finalizer could not be taken away.
        self._abandoned[uid] = None
        if len(self._abandoned) > KEPT_ABANDONED:
            del self._abandoned[next(iter(self._abandoned))]

    def _ended(self, entry: Attempt) -> None:
        reason = reason_label(entry.reason)
        self._metrics.count(metrics.ATTEMPTS, entry.outcome or metrics.OTHER, reason)
        if entry.reason in _NO_RESTORE:
            self._metrics.count(metrics.RESTORE_FAILURES, reason)

    def _claimed(self, entry: Attempt, *, attempts: tuple[Attempt, ...]) -> None:
        earlier = [one for one in attempts if one.attempt < entry.attempt and one.outcome != Outcome.REPLACED]
        if not earlier or entry.claimed is None:
            return
        last = earlier[-1]
        if last.end is not None and last.outcome in _LOST:
            waited = (entry.claimed - last.end).total_seconds()
            self._metrics.observe(metrics.RECOVERY, last.outcome or metrics.OTHER, value=max(0.0, waited))


def bill(*, task: Task, status: Status) -> dict[str, Any]:
    """The fields of a chargeback line (docs/logs.md): who, how it ended, and what it used."""
    used, counts, meta = task.usage, status.counts or Counts(), task.metadata
    return {
        "namespace": meta.namespace,
        "task": meta.name,
        "uid": meta.uid,
        "labels": meta.labels,
        "phase": str(status.phase),
        "reason": status.reason,
        "attempt": status.attempt,
        "createdAt": meta.creation_timestamp.isoformat() if meta.creation_timestamp is not None else None,
        "activeSeconds": status.active_seconds,
        "steps": task.progress.step,
        "resumes": counts.resumes,
        "disruptions": counts.disruptions,
        "failures": counts.failures,
        "model": task.progress.model,
        "modelCalls": used.model_calls,
        "repeatedModelCalls": used.repeated_model_calls,
        "failedModelCalls": used.failed_model_calls,
        "unpricedModelCalls": used.unpriced_model_calls,
        "toolCalls": used.tool_calls,
        "promptTokens": used.prompt_tokens,
        "cachedTokens": used.cached_tokens,
        "completionTokens": used.completion_tokens,
        "reasoningTokens": used.reasoning_tokens,
        "costUSD": used.cost_usd,
        "lostPromptTokens": used.lost.prompt_tokens,
        "lostCompletionTokens": used.lost.completion_tokens,
        "lostCostUSD": used.lost.cost_usd,
    }
