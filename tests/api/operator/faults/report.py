"""How many plans ran and which failed, as a table and as JSON.

`FAULTS=all` runs every plan; without it a third, chosen by number and so the same in each run. `FAULTS_REPORT` names
the file for the JSON.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.api.operator.faults.runs import Outcome

ALL: Final = os.environ.get("FAULTS") == "all"


@dataclass(kw_only=True)
class Report:
    """Counts by scenario and kind of plan."""

    ran: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    failed: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, scenario: str, outcomes: Iterable[Outcome]) -> list[str]:
        """Put down what came of plans; returns the failures, a line each."""
        lines = []
        for one in outcomes:
            self.ran[scenario, one.plan.name] += 1
            if one.differences:
                line = f"{one.plan.detail}: {'; '.join(one.differences)}"
                self.failed[scenario, one.plan.name].append(line)
                lines.append(f"{one.plan.name}, {line}")
        self._write()
        return lines

    def table(self) -> str:
        """In Markdown: a row per scenario, a column per kind of plan."""
        plans = list(dict.fromkeys(plan for _, plan in self.ran))
        rows = [["scenario", *plans, "failures"], ["---"] * (len(plans) + 2)]
        for name in dict.fromkeys(name for name, _ in self.ran):
            counts = [str(self.ran.get((name, plan), "")) for plan in plans]
            failed = sum(len(lines) for (of, _), lines in self.failed.items() if of == name)
            rows.append([name.replace("_", " "), *counts, str(failed)])
        totals = [str(sum(ran for (_, kind), ran in self.ran.items() if kind == plan)) for plan in plans]
        rows.append([f"all: {sum(self.ran.values())}", *totals, str(sum(map(len, self.failed.values())))])
        return "\n".join("| " + " | ".join(row) + " |" for row in rows)

    def show(self) -> None:
        """Print the table."""
        if self.ran:
            print("\n" + self.table())  # noqa: T201 - the report

    def _write(self) -> None:
        if path := os.environ.get("FAULTS_REPORT"):
            told = [
                {"scenario": name, "plan": plan, "ran": ran, "failures": self.failed.get((name, plan), [])}
                for (name, plan), ran in self.ran.items()
            ]
            Path(path).write_text(json.dumps(told, indent=1) + "\n")
