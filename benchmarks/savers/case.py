"""What is measured of one contender at one length, and how."""

from __future__ import annotations

import resource
import statistics
from collections.abc import Sequence
from typing import Any

import msgspec


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One run: a contender, so many steps. Times in milliseconds, sizes in bytes. None: not measured, or no meaning."""

    contender: str
    steps: int
    state_bytes: int
    """The final conversation as uncompressed JSON."""
    written_bytes: int
    """Everything handed to the store."""
    kept_bytes: int | None
    """What lies in the store at the end."""
    objects: int | None
    append_p50_ms: float
    append_p99_ms: float
    early_p50_ms: float
    """Of the appends of steps 10 to 110."""
    late_p50_ms: float
    """Of the appends of the last 100 steps."""
    raw_p50_ms: float | None = None
    """The same bytes as one PUT each to the same server, measured in turn with the appends."""
    raw_p99_ms: float | None = None
    over_raw_p50_ms: float | None = None
    """Median of what an append took longer than the PUT of the same bytes right after it."""
    restore_ms: float | None = None
    restore_gets_ms: float | None = None
    """The GETs of that restore alone, in batches of 16."""
    restore_lists_ms: float | None = None
    """Its listings alone, at the same time."""
    peak_mib: float
    """Memory the process had at its peak, beyond what it had before the first step."""
    note: str = ""

    @property
    def ratio(self) -> float:
        """Bytes written for each byte of state."""
        return self.written_bytes / self.state_bytes


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)


def median(values: Sequence[float]) -> float:
    """The median, rounded to microseconds."""
    return round(statistics.median(values), 3) if values else 0.0


def times(appends: Sequence[float], *, per_step: int) -> dict[str, Any]:
    """The figures of all appends, in order, in milliseconds; `per_step` appends make a step."""
    return {
        "append_p50_ms": median(appends),
        "append_p99_ms": percentile(appends, 0.99),
        "early_p50_ms": median(appends[10 * per_step : 110 * per_step] or appends),
        "late_p50_ms": median(appends[-100 * per_step :]),
    }


def peak_mib() -> float:
    """The most memory this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
