"""How much memory a task says that its runner has, and may get after that was not enough. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from agenttask.contract.spec import TaskSpec

_QUANTITY: Final = re.compile(r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?")
UNITS: Final = {
    **{unit: Decimal(10) ** power for unit, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}


def in_bytes(quantity: object) -> int | None:
    """A quantity in whole bytes, rounded up as the API server does; None where it is none, or not above 0: no limit."""
    found = _QUANTITY.fullmatch(str(quantity)) if isinstance(quantity, int | str) else None
    if found is None:
        return None
    unit = found[2] or ""
    amount = Decimal(found[1]) * (UNITS.get(unit) or (Decimal(f"1{unit}") if unit else Decimal(1)))
    return math.ceil(amount) if amount > 0 else None


def memory_limit(pod: Mapping[str, Any]) -> object:
    """What `spec.pod` says of it, as a quantity; None where it says nothing."""
    found: Any = pod
    for part in ("resources", "limits", "memory"):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def memory_flaw(spec: TaskSpec) -> str | None:
    """Why `retry.oomMemoryLimit` would never give more memory, in a sentence; None where it can, or is not set."""
    most, own = spec.retry.oom_memory_limit, memory_limit(spec.pod)
    if most is None or (in_bytes(own) or math.inf) < (in_bytes(most) or 0):
        return None
    return (
        f"spec.retry.oomMemoryLimit {most} must be above the limit from which it raises, "
        f"and spec.pod.resources.limits.memory is {'not set' if own is None else own}"
    )
