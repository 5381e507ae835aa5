"""How much memory a runner may have: what the task says, and more after it was not enough (`retry.oomMemoryLimit`).

Pure. Each time the container went over its limit, the next attempt gets twice as much, up to that bound; what was
raised stays, since what a run holds in memory grows with its conversation.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from agenttask_operator.exits import End
from agenttask_operator.observed import Outcome, Status

FACTOR: Final = 2

_QUANTITY: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?")
_UNITS: Final = {
    **{unit: Decimal(10) ** power for unit, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}


def limit(*, spec: Mapping[str, Any], status: Status) -> str | None:
    """The memory limit of the next attempt where it is more than the task's own, as a quantity."""
    own, bound = _own(spec), _bound(spec)
    if own is None or bound is None:
        return None
    last = status.current
    raised = _bytes(last.memory_limit) if last is not None else None
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
    now = max(own, _bytes(last.memory_limit) or 0)
    return _words(min(now * FACTOR, bound)) if now < bound else None


def resources(user: Mapping[str, Any], *, limit: str | None) -> dict[str, Any]:
    """`resources` of the container with this limit. A request that was as high as the limit stays as high as it."""
    own: dict[str, Any] = dict(user.get("resources", {}))
    if limit is None:
        return own
    limits, requests = dict(own.get("limits", {})), dict(own.get("requests", {}))
    if "memory" in requests and _bytes(requests["memory"]) == _bytes(limits.get("memory")):
        requests["memory"] = limit
    return {**own, "limits": {**limits, "memory": limit}, **({"requests": requests} if requests else {})}


def _own(spec: Mapping[str, Any]) -> int | None:
    found: Any = spec
    for part in ("pod", "resources", "limits", "memory"):
        found = found.get(part) if isinstance(found, Mapping) else None
    return _bytes(found)


def _bound(spec: Mapping[str, Any]) -> int | None:
    retry = spec.get("retry")
    return _bytes(retry.get("oomMemoryLimit")) if isinstance(retry, Mapping) else None


def _bytes(quantity: object) -> int | None:
    """A quantity in whole bytes, rounded up as the API server does; None where it is none, or 0, which is no limit."""
    found = _QUANTITY.fullmatch(str(quantity)) if isinstance(quantity, int | str) else None
    if found is None:
        return None
    unit = found[2] or ""
    scale = _UNITS.get(unit) or (Decimal(f"1{unit}") if unit else Decimal(1))
    return math.ceil(Decimal(found[1]) * scale) or None


def _words(amount: int) -> str:
    """In the largest unit that gives a whole number."""
    for unit in ("Gi", "Mi", "Ki"):
        if amount % int(_UNITS[unit]) == 0:
            return f"{amount // int(_UNITS[unit])}{unit}"
    return str(amount)
