"""Parking: a run that waits without a pod, and what it waits for."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

import msgspec

from agenttask.contract.spec import Budget
from agenttask.contract.wire import Wire


class Above(Wire, frozen=True):
    """What each part of a budget must be above for the next model call; a part that has no limit is."""

    steps: int | None = None
    tokens: int | None = None
    cost_usd: Decimal | None = msgspec.field(name="costUSD", default=None)


class Wake(Wire, frozen=True):
    """What a parked run waits for: all that is set must hold. It speaks of how things are, never of a change."""

    not_before: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    budget_above: Above | None = None


class Parked(Wire, frozen=True):
    """Where a run is parked: the number of the record that says so, and what it waits for."""

    park: Annotated[int, msgspec.Meta(gt=0, lt=10**12)]
    wake: Wake


def is_met(wake: Wake, *, budget: Budget, now: datetime) -> bool:
    """Whether a parked run may go on; one that waits for nothing never may."""
    time, above = wake.not_before, wake.budget_above
    if time is None and above is None:
        return False
    return (time is None or now >= time) and (above is None or _is_above(budget, above))


def _is_above(budget: Budget, above: Above) -> bool:
    limits = ((getattr(budget, name), getattr(above, name)) for name in Above.__struct_fields__)
    return all(limit is None or used is None or limit > used for limit, used in limits)
