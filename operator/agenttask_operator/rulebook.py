"""`docs/rules.md`: why a task is in the state it is in, rendered from the rules themselves.

Pure. A rule's docstring is what a user reads; the operator's log lines name the rule (`namespace/name RULE: …`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from agenttask_operator import exits, purging, rules
from agenttask_operator.reasons import Reason

RUNNERS: Final = "the runner's"
STALLED: Final = "what the last attempt stalled over"

SHOWN: Final[Mapping[Callable[..., Any], tuple[str, ...]]] = {
    rules.settled: (RUNNERS,),
    rules.cancelled: (Reason.STOPPING, Reason.CANCELLED),
    rules.timed_out: (Reason.STOPPING, Reason.DEADLINE_EXCEEDED),
    rules.suspended: (Reason.STOPPING, Reason.SUSPENDED),
    rules.never_started: (Reason.START_TIMED_OUT,),
    rules.refused: (Reason.POD_REFUSED,),
    rules.creating: (Reason.STARTING, Reason.POD_REFUSED, STALLED),
    rules.terminating: (Reason.TERMINATING,),
    rules.waiting_container: (Reason.IMAGE_UNAVAILABLE, Reason.SECRET_MISSING, Reason.CONTAINER_REFUSED),
    rules.held_up: (Reason.SECRET_MISSING, Reason.VOLUME_UNAVAILABLE, Reason.CONTAINER_REFUSED),
    rules.unscheduled: (Reason.UNSCHEDULABLE, Reason.SCHEDULING_GATED),
    rules.starting: (Reason.STARTING, STALLED),
    rules.running: (Reason.WORKING,),
    rules.exhausted: (Reason.RETRIES_EXHAUSTED, Reason.POISON_CHECKPOINT),
    rules.invalid: (
        *(Reason.SPEC_INVALID, Reason.FINALIZER_LOST),
        *(Reason.SOURCE_NOT_FOUND, Reason.NO_CHECKPOINT, Reason.OTHER_STORE),
    ),
    rules.parked: (RUNNERS,),
    rules.waiting: (Reason.BACKING_OFF, STALLED),
    rules.start: (Reason.STARTING, STALLED),
    purging.stopping: (Reason.PURGING,),
    purging.unreadable: (Reason.SPEC_INVALID,),
    purging.waiting: (Reason.BACKING_OFF, STALLED),
    purging.purge: (Reason.PURGING,),
}
"""The reasons with which each rule can leave a task. Of a task that is purged, what is no stall shows as Purging."""

_HEAD: Final = f"""\
# Why is my task in this state?

Rendered from the rules in `operator/agenttask_operator` (`rules.py`, `purging.py`, `exits.py`). The operator looks at a
task whenever the task, one of its pods, or the time changes, and asks these rules in this order; the first that knows
decides. Its log names the rule: `namespace/name RULE: attempt 2 Running Working`. What each reason means, and what to
do about it, is in [states and reasons](states.md).

## What comes before all rules

| case | what happens |
| --- | --- |
| the task is being deleted | nothing any more, unless its log goes with it: see below |
| `onDelete` and the finalizer differ | the finalizer is set, or taken away; later each time, if that does not last |
| the task has finished | nothing but its deletion, once `ttlSecondsAfterFinished` is over |
| the node of the attempt's pod was lost 30 s ago | the attempt has ended: `{Reason.NODE_LOST}` |
| its pod is gone, or was to be gone 10 s ago | the attempt has ended, by what was seen of the pod last: see below |
| another pod has its name | its number is given up: `{Reason.NAME_TAKEN}` |
| it has not started, and the spec was edited | its number is given up: `{Reason.SPEC_CHANGED}` |
| its runner has ended | the attempt has ended, by the evidence below |
"""


def as_markdown() -> str:
    """The whole file."""
    return "\n".join(
        (
            _HEAD,
            "## A task that goes on",
            "",
            *_table(rules.RULES),
            "## A task that is deleted and takes its log along",
            "",
            "It goes at once if it has written nothing, and once its log is purged. It goes and leaves its log after",
            f"{purging.PATIENCE.seconds // 60} minutes of trying, or at once when its namespace is being deleted.",
            "",
            *_table(purging.RULES),
            "## How an attempt has ended",
            "",
            "| evidence | what it is |",
            "| --- | --- |",
            *(f"| {_name(one)} | {_words(one)} |" for one in exits.RULES),
            "",
        )
    )


def _table(listed: Iterable[rules.Rule]) -> list[str]:
    rows = [f"| {_name(one)} | {_words(one)} | {', '.join(SHOWN[one])} |" for one in listed]
    return ["| rule | when, and what follows | reasons |", "| --- | --- | --- |", *rows, ""]


def _name(rule: Callable[..., Any]) -> str:
    return rule.__name__.removeprefix("_")


def _words(rule: Callable[..., Any]) -> str:
    return " ".join((inspect.getdoc(rule) or "").split())
