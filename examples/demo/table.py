"""Pure: the table the demo ends with, one row per attempt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TITLES = ("ATTEMPT", "POD", "NODE", "WHY IT ENDED", "RESUMED FROM", "MODEL CALLS", "REPEATED")

Row = tuple[str, ...]


def rows_of(status: dict[str, Any]) -> list[Row]:
    """One row per attempt in a task's status."""
    used = {usage["attempt"]: usage for usage in status.get("usage", {}).get("attempts", [])}
    rows: list[Row] = []
    for attempt in status.get("attempts", []):
        usage = used.get(attempt["attempt"], {})
        why = attempt.get("outcome", "")
        reason = attempt.get("reason", "")
        rows.append(
            (
                str(attempt["attempt"]),
                attempt["pod"],
                attempt.get("node", ""),
                why if reason in ("", why) else f"{why}: {reason}",
                record_of(attempt.get("resumedFrom")),
                str(usage.get("modelCalls", 0)),
                str(usage.get("repeatedModelCalls", 0)),
            )
        )
    return rows


def record_of(key: str | None) -> str:
    """The end of a record's key, which is all that differs between the records of one log."""
    return f"…/{'/'.join(key.split('/')[-2:])}" if key else "the start"


def table(rows: Sequence[Row], *, titles: Row = TITLES) -> str:
    """The rows under their titles, in columns."""
    widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (titles, *rows)
    )
