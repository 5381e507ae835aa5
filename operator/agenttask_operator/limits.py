"""The times a user sets to an end: when a finished task is deleted.

Pure. A limit whose field does not read as the API takes it is no limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from agenttask_operator.observed import Status
from agenttask_operator.reasons import Kind


def expires_at(*, spec: Mapping[str, Any], status: Status) -> datetime | None:
    """When a finished task goes, by `spec.ttlSecondsAfterFinished`; None for never."""
    ttl = _seconds(spec, "ttlSecondsAfterFinished")
    finished = next((one for one in status.conditions if one.type == Kind.FINISHED and one.status == "True"), None)
    return finished.last_transition_time + ttl if ttl is not None and finished is not None else None


def _seconds(spec: Mapping[str, Any], field: str) -> timedelta | None:
    value = spec.get(field)
    return timedelta(seconds=value) if isinstance(value, int) else None
