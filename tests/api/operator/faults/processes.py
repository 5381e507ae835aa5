"""Lives under the operator's own process, all scenarios at once, each compared with the undisturbed one in process."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agenttask_operator.reconcile import Reconciler

from tests.api.operator.faults import scenarios
from tests.api.operator.faults.container import Container
from tests.api.operator.faults.followed import PATIENCE_SECONDS, Followed
from tests.api.operator.faults.plans import Plan
from tests.api.operator.faults.proxy import Proxy
from tests.api.operator.faults.runs import Outcome, Stage, differences
from tests.api.operator.faults.scenarios import Scenario, tasks_of
from tests.api.operator.faults.streams import LONG_AGO

LIVED: Final[tuple[Scenario, ...]] = (
    scenarios.start,
    scenarios.evict,
    scenarios.node_loss,
    scenarios.park_and_grant,
    scenarios.suspend,
    scenarios.cancel,
    scenarios.delete_with_purge,
    scenarios.delete_and_reapply,
    scenarios.two_tasks,
)
"""None of them lets time pass: here it is the real one."""
RESYNC_SECONDS: Final = 0.5
NEVER_SECONDS: Final = 3600
LAST_LISTINGS: Final = 3
"""So many resyncs have to leave the end as it is: one was perhaps under way."""


@dataclass(kw_only=True)
class ProcessStage:
    """Where these lives take place: a namespace of their own, which one process looks after."""

    learnt: Stage
    """What undisturbed lives come to."""
    here: Stage
    home: str
    """The namespace of the operator's release."""
    folder: Path
    resyncs: bool = True
    """Whether everything is listed again and again; else once, when it takes over."""
    reconciler: type[Reconciler] = Reconciler
    patience_seconds: float = PATIENCE_SECONDS

    def carry_out(self, plan: Plan, *, lived: tuple[Scenario, ...] = LIVED) -> dict[str, Outcome]:
        """Live them all under a plan; what came of each, by its scenario's name."""
        known = {scenario: self.learnt.learn(scenario) for scenario in lived}
        lives = {scenario: self._lives(known[scenario].rests) for scenario in lived}
        try:
            halts = asyncio.run(self._live(plan, lives=lives))
            return {
                scenario.__name__: Outcome(
                    plan=plan,
                    differences=halts[scenario]
                    or differences(plan, run=self.here.result(lives[scenario]), undisturbed=known[scenario]),
                )
                for scenario in lived
            }
        finally:
            for one in lives.values():
                for life in one:
                    self.here.clear(life)

    def _lives(self, rests: list[list[Any]]) -> list[Followed]:
        return [
            Followed(
                copy=self.here.copy,
                cluster=None,  # type: ignore[arg-type]
                name=f"t{secrets.token_hex(3)}",
                history=self.here.history,
                rests=of_one,
                patience_seconds=self.patience_seconds,
            )
            for of_one in rests
        ]

    async def _live(self, plan: Plan, *, lives: dict[Scenario, list[Followed]]) -> dict[Scenario, list[str]]:
        """Until all are over; what brought them to a halt."""
        # A thread for each life, which waits most of its time, and some for the process.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(len(lives) + 4))
        admin = self.here.copy.admin
        async with (
            Proxy(
                target=admin.host, context=admin.anonymous, judge=plan.judge, lines=plan.lines, past=LONG_AGO
            ) as proxy,
            Container(
                proxy=proxy,
                copy=self.here.copy,
                home=self.home,
                token=self.here.token,
                folder=self.folder,
                resync_seconds=RESYNC_SECONDS if self.resyncs else NEVER_SECONDS,
                reconciler=self.reconciler,
            ),
        ):
            works = [asyncio.to_thread(_halt, scenario, own) for scenario, own in lives.items()]
            halts = await asyncio.gather(*works)
            if self.resyncs:
                await proxy.listed(LAST_LISTINGS)
        return dict(zip(lives, halts, strict=True))


def _halt(scenario: Scenario, lives: list[Followed]) -> list[str]:
    assert len(lives) == tasks_of(scenario)
    try:
        asyncio.run(scenario(*lives))  # type: ignore[arg-type]
    except AssertionError as error:
        return [f"the life came to a halt: {error}"]
    return []
