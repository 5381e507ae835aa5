"""`agenttask purge`: what runs in the last pod of a task with `checkpoint.onDelete: Delete`. It removes the task's log.

SIGTERM changes nothing: the grace it leaves is used to go on; what was killed is begun anew by the next pod.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import sys
from pathlib import Path

from agenttask import log
from agenttask.clock import SystemClock
from agenttask.contract import Assignment, log_prefix
from agenttask.endings import Ending, of_purge
from agenttask.lines import JsonLines
from agenttask.pod import ended, pod_uid
from agenttask.store import Store, open_store


def purge(*, assignment_path: Path, termination_path: Path) -> int:
    """Remove the log of the assignment's task; the exit code. The termination message is written whatever happens."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return ended(
        assignment_path=assignment_path,
        termination_path=termination_path,
        work=lambda assignment: asyncio.run(_purge(assignment, store=open_store(assignment.location))),
    )


async def _purge(task: Assignment, *, store: Store) -> Ending:
    clock = SystemClock()
    lines = JsonLines(out=sys.stdout, clock=clock, attempt=task.attempt)
    try:
        purged = await log.purge(
            store=store,
            prefix=log_prefix(prefix=task.location.prefix, namespace=task.namespace, name=task.name, uid=task.uid),
            task=f"{task.namespace}/{task.name}",
            attempt=task.attempt,
            holder=log.Holder(pod_uid=pod_uid(), process=secrets.token_hex(8)),
            clock=clock,
            patience=log.Patience(),
        )
    finally:
        await store.close()
    lines.say("purged", removed=purged.removed, claims=len(purged.claims), unreadable=len(purged.unreadable))
    return of_purge(purged)
