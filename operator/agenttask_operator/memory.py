"""How much memory a runner may have: what the task says, and more after it was not enough (`retry.oomMemoryLimit`).

Pure. Each time the container went over its limit, the next attempt gets twice as much, up to that bound; what was
raised stays, since what a run holds in memory grows with its conversation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agenttask.contract.memory import UNITS, in_bytes, memory_limit

from agenttask_operator.exits import End
from agenttask_operator.observed import Outcome, Status

FACTOR: Final = 2


def limit(*, spec: Mapping[str, Any], status: Status) -> str | None:
    """The memory limit of the next attempt where it is more than the task's own, as a quantity."""
    own, bound = _own(spec), _bound(spec)
    if own is None or bound is None:
        return None
    last = status.current
    raised = in_bytes(last.memory_limit) if last is not None else None
    now = max(own, raised or 0)
    if last is not None and last.outcome == Outcome.OOM_KILLED:
        now *= FACTOR
    now = min(now, bound)
    return _words(now) if now > own else None


def more(*, spec: Mapping[str, Any], status: Status, end: End) -> str | None:
    """What the next attempt gets, where this one ended for want of memory and there is more to be had."""
    own, bound, last = _own(spec), _bound(spec), status.current
    if end.outcome is not Outcome.OOM_KILLED or own is None or bound is None or last is None:
        return None
    now = max(own, in_bytes(last.memory_limit) or 0)
    return _words(min(now * FACTOR, bound)) if now < bound else None


def resources(user: Mapping[str, Any], *, limit: str | None) -> dict[str, Any]:
    """`resources` of the container with this limit. A request that was as high as the limit stays as high as it."""
    own: dict[str, Any] = dict(user.get("resources", {}))
    if limit is None:
        return own
    limits, requests = dict(own.get("limits", {})), dict(own.get("requests", {}))
    if "memory" in requests and in_bytes(requests["memory"]) == in_bytes(limits.get("memory")):
        requests["memory"] = limit
    return {**own, "limits": {**limits, "memory": limit}, **({"requests": requests} if requests else {})}


def _own(spec: Mapping[str, Any]) -> int | None:
    pod = spec.get("pod")
    return in_bytes(memory_limit(pod)) if isinstance(pod, Mapping) else None


def _bound(spec: Mapping[str, Any]) -> int | None:
    retry = spec.get("retry")
    return in_bytes(retry.get("oomMemoryLimit")) if isinstance(retry, Mapping) else None


def _words(memory: int) -> str:
    """In the largest unit that gives a whole number."""
    for unit in ("Gi", "Mi", "Ki"):
        if memory % (scale := int(UNITS[unit])) == 0:
            return f"{memory // scale}{unit}"
    return str(memory)
