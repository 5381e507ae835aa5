"""Lives under the operator's own process, all scenarios at once, each compared with the undisturbed one in process."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from agenttask_operator.reconcile import Reconciler

from tests.api.crd.installed import Copy
from tests.api.operator.conftest import RESTRICTED
from tests.api.operator.faults import scenarios
from tests.api.operator.faults.container import Container
from tests.api.operator.faults.followed import Followed
from tests.api.operator.faults.history import History
from tests.api.operator.faults.plans import Plan
from tests.api.operator.faults.proxy import RESYNC, Proxy
from tests.api.operator.faults.runs import Outcome, Run, Stage, differences
from tests.api.operator.faults.scenarios import Scenario, tasks_of
from tests.api.operator.faults.streams import LONG_AGO
from tests.api.waiting import until
from tests.e2e.harness.wait import PATIENCE_SECONDS

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
    lease: str
    """What it is called; it is in that namespace too."""
    folder: Path
    resyncs: bool = True
    """Whether everything is listed again and again; else once, when it takes over."""
    reconciler: type[Reconciler] = Reconciler
    patience_seconds: float = PATIENCE_SECONDS

    def carry_out(self, plan: Plan, *, lived: tuple[Scenario, ...] = LIVED) -> dict[str, Outcome]:
        """Live them all under a plan; what came of each, by its scenario's name."""
        known = self.learn(lived=lived)
        lives = {scenario: self._lives(known[scenario].rests) for scenario in lived}
        try:
            halts, faults = asyncio.run(self._live(plan, lives=lives))
            return {
                scenario.__name__: Outcome(
                    plan=plan,
                    differences=faults
                    + (
                        halts[scenario]
                        or differences(plan, run=self.here.result(lives[scenario]), undisturbed=known[scenario])
                    ),
                )
                for scenario in lived
            }
        except AssertionError as error:
            halted = Outcome(plan=plan, differences=[f"the plan came to a halt: {error}"])
            return {scenario.__name__: halted for scenario in lived}
        finally:
            for one in lives.values():
                for life in one:
                    self.here.clear(life)

    def _lives(self, rests: list[list[Any]]) -> list[Followed]:
        return [
            Followed(
                copy=self.here.copy,
                cluster=None,  # type: ignore[arg-type]
                name=f"t{secrets.token_hex(8)}",
                history=self.here.history,
                rests=of_one,
                patience_seconds=self.patience_seconds,
            )
            for of_one in rests
        ]

    def learn(self, *, lived: tuple[Scenario, ...] = LIVED) -> dict[Scenario, Run]:
        """The undisturbed runs of these scenarios."""
        return {scenario: self.learnt.learn(scenario) for scenario in lived}

    @property
    def most_writes(self) -> int:
        """Of a task of these scenarios, undisturbed."""
        return max(run.most_writes for run in self.learn().values())

    async def _live(
        self, plan: Plan, *, lives: dict[Scenario, list[Followed]]
    ) -> tuple[dict[Scenario, list[str]], list[str]]:
        """Until all are over; what brought each to a halt, and what else went wrong."""
        async with self._proxy(plan) as proxy, self._container(proxy):
            halts = await self._follow(lives)
            if self.resyncs:
                await proxy.more(RESYNC, number=LAST_LISTINGS)
            return halts, ["what was planned never came"] if plan.once and not proxy.deaths else []

    async def _follow(self, lives: dict[Scenario, list[Followed]]) -> dict[Scenario, list[str]]:
        # A thread for each life, which waits most of its time, and some for the processes.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(len(lives) + 4))
        works = [asyncio.to_thread(_halt, scenario, own) for scenario, own in lives.items()]
        return dict(zip(lives, await asyncio.gather(*works), strict=True))

    def _proxy(self, plan: Plan) -> Proxy:
        admin = self.here.copy.admin
        return Proxy(target=admin.host, context=admin.anonymous, judge=plan.judge, lines=plan.lines, past=LONG_AGO)

    def _container(self, proxy: Proxy, *, pod: str = "operator") -> Container:
        folder = self.folder / pod
        folder.mkdir(exist_ok=True)
        return Container(
            proxy=proxy,
            copy=self.here.copy,
            home=self.here.copy.namespace,
            lease=self.lease,
            pod=pod,
            token=self.here.token,
            folder=folder,
            resync_seconds=RESYNC_SECONDS if self.resyncs else NEVER_SECONDS,
            reconciler=self.reconciler,
        )


def _halt(scenario: Scenario, lives: list[Followed]) -> list[str]:
    assert len(lives) == tasks_of(scenario)
    try:
        asyncio.run(scenario(*lives))  # type: ignore[arg-type]
    except AssertionError as error:
        return [f"the life came to a halt: {error}"]
    return []


StageT = TypeVar("StageT", bound=ProcessStage)


@contextmanager
def own_place(stage: Stage, *, folder: Path, made: type[StageT]) -> Iterator[StageT]:
    """A stage in a namespace in which nobody else has tasks, with a lease of its own there."""
    admin, home, name = stage.copy.admin, stage.copy.namespace, f"t{secrets.token_hex(8)}"
    path, lease = f"/api/v1/namespaces/{name}", f"{home}-agenttask-operator"
    admin.must("POST", "/api/v1/namespaces", body={"metadata": {"name": name, "labels": RESTRICTED}})
    try:
        _may_lead(stage.copy, namespace=name, role=lease)
        # Without it no pod is admitted.
        until("there is a service account", lambda: admin.send("GET", f"{path}/serviceaccounts/default").accepted)
        copy = replace(stage.copy, namespace=name)
        with History(copy) as history:
            here = replace(stage, copy=copy, history=history)
            yield made(learnt=stage, here=here, lease=lease, folder=folder)
    finally:
        admin.send("DELETE", path)


def _may_lead(copy: Copy, *, namespace: str, role: str) -> None:
    """Give the operator the rights to its lease in another namespace than its release's."""
    roles = "/apis/rbac.authorization.k8s.io/v1/namespaces"
    for kind in ("roles", "rolebindings"):
        known = copy.admin.must("GET", f"{roles}/{copy.namespace}/{kind}/{role}")
        body = {key: value for key, value in known.items() if key in {"rules", "roleRef", "subjects"}}
        copy.admin.must("POST", f"{roles}/{namespace}/{kind}", body={"metadata": {"name": role}, **body})
