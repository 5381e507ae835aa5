"""Runs of a scenario: undisturbed, to learn its writes and its end, and then under plans, each compared with it."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

from agenttask import contract
from agenttask_operator.cluster import Cluster
from agenttask_operator.observed import Pod, read_pod
from agenttask_operator.reconcile import Reconciler

from tests.api.client import MERGE, Object
from tests.api.crd.installed import Copy
from tests.api.operator.faults.ends import normalised, unlike
from tests.api.operator.faults.history import History, Trace, trace
from tests.api.operator.faults.life import Life, Observed, Operators, Process
from tests.api.operator.faults.plans import Plan
from tests.api.operator.faults.proxy import Proxy, passing
from tests.api.operator.faults.scenarios import Scenario, tasks_of
from tests.api.operator.world import Clock, World

AT_ONCE: Final = 6
"""Lives that run at the same time: each waits for the server most of its time."""


@dataclass(kw_only=True)
class Run:
    """What came of one life."""

    end: list[Object]
    """Per task: its end, as `normalised`, or empty where it is gone."""
    trace: Trace
    writes: list[str] = field(default_factory=list)
    most_writes: int = 0
    """Of one task."""
    rests: list[list[Object]] = field(default_factory=list)
    """Per task: what it was, as `resting`, each time it had settled; of an undisturbed run alone."""
    deaths: int = 0
    held: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A plan, and what was not as in the undisturbed run."""

    plan: Plan
    differences: list[str]


@dataclass(kw_only=True)
class Stage:
    """Where runs take place."""

    copy: Copy
    token: str
    history: History
    reconciler: type[Reconciler] = Reconciler
    calls: type[Cluster] = Cluster
    learnt: dict[Scenario, Run] = field(default_factory=dict)

    def learn(self, scenario: Scenario) -> Run:
        """The undisturbed run, twice: what differs between two of them is no oracle."""
        known = self.learnt.get(scenario)
        if known is not None:
            return known
        plan = Plan(name="undisturbed")
        first, second = (asyncio.run(self.run(scenario, plan, lived=Observed)) for _ in range(2))
        assert not differences(plan, run=second, undisturbed=first)
        assert first.writes == second.writes
        assert first.rests == second.rests
        self.learnt[scenario] = first
        return first

    def carry_out(self, scenario: Scenario, plans: Iterable[Plan], *, undisturbed: Run) -> list[Outcome]:
        """Run each plan, several at a time, every one on a loop of its own."""

        def one(plan: Plan) -> Outcome:
            try:
                run = asyncio.run(self.run(scenario, plan))
            except AssertionError as error:
                return Outcome(plan=plan, differences=[f"the life came to a halt: {error}"])
            found = differences(plan, run=run, undisturbed=undisturbed)
            if plan.once and run.deaths != 1 and not run.held:
                found.append("what was planned never came")
            return Outcome(plan=plan, differences=found)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(one, plans))

    async def run(self, scenario: Scenario, plan: Plan, *, lived: type[Life] = Life) -> Run:
        """One life under a plan."""
        clock = Clock()
        async with AsyncExitStack() as stack:
            proxies = [
                await stack.enter_async_context(
                    Proxy(target=self.copy.admin.host, context=self.copy.admin.anonymous, judge=judge)
                )
                for judge in (plan.judge, passing)
            ]
            processes = [
                await stack.enter_async_context(
                    Process(
                        proxy=proxy,
                        token=self.token,
                        clock=clock,
                        made=self.reconciler,
                        calls=self.calls,
                        shown=None if plan.lists else lambda: plan.watch(self._pods()),
                    )
                )
                for proxy in proxies
            ]
            operators = Operators(first=processes[0], second=processes[1], both=plan.both, looks=plan.looks)
            lives = [self._life(lived, operators, clock) for _ in range(tasks_of(scenario))]
            try:
                await scenario(*lives)
                held = await operators.wake()
                for life in lives:
                    await life.settle()
                return self._result(lives, proxies[0], held=held)
            finally:
                for life in lives:
                    self.clear(life)

    def _pods(self) -> list[Pod]:
        """All that a watch has shown by now."""
        listed = self.copy.admin.must("GET", f"/api/v1/namespaces/{self.copy.namespace}/pods")
        return [read_pod(one) for one in listed["items"]]

    def _life(self, lived: type[Life], operators: Operators, clock: Clock) -> Life:
        # Long, for thousands of lives: the history still holds how the last one of a name was cleared away.
        name = f"t{secrets.token_hex(8)}"
        return lived(copy=self.copy, cluster=None, name=name, clock=clock, operators=operators)  # type: ignore[arg-type]

    def _result(self, lives: list[Life], proxy: Proxy, *, held: bool) -> Run:
        run = self.result(lives)
        run.writes, run.deaths, run.held = list(proxy.writes), proxy.deaths, held
        run.most_writes = proxy.most_writes
        run.rests = [life.rests for life in lives]
        return run

    def result(self, lives: Sequence[World]) -> Run:
        """What lives that are over came to."""
        tasks = [self.copy.admin.send("GET", self.copy.path(task=life.name)) for life in lives]
        final = {one.body["metadata"]["uid"]: one.body for one in tasks if one.accepted}
        shown = self.history.of(*(life.name for life in lives))
        ends = [
            normalised(one.body, name=life.name) if one.accepted else {} for one, life in zip(tasks, lives, strict=True)
        ]
        return Run(end=ends, trace=trace(shown, final=final))

    def clear(self, life: World) -> None:
        """Remove what a life leaves; no kubelet confirms the end of its pods, and nobody purges."""
        admin = self.copy.admin
        admin.send("DELETE", self.copy.path(task=life.name))
        unheld: Object = {"metadata": {"finalizers": []}}
        admin.send("PATCH", self.copy.path(task=life.name), body=unheld, content_type=MERGE)
        pods = f"/api/v1/namespaces/{self.copy.namespace}/pods"
        now = {"gracePeriodSeconds": 0}
        admin.send("DELETE", pods, body=now, labelSelector=f"{contract.LABEL_TASK}={life.name}")
        admin.send("DELETE", f"{pods}/{life.name}-1", body=now)


def differences(plan: Plan, *, run: Run, undisturbed: Run) -> list[str]:
    """What is not as it should be, and not allowed for: see `Plan.late` and `Plan.past`."""
    found = list(run.trace.faults)
    late = Counter(run.trace.created) - Counter(undisturbed.trace.created)
    doomed = Counter(run.trace.deleted) - Counter(undisturbed.trace.deleted)
    # What is made for a task that is gone is left to the garbage collector, whose deletions are not counted.
    if plan.late and (late == doomed or not any(run.end)):
        run.trace.created, run.trace.deleted = (
            sorted((Counter(pods) - late).elements()) for pods in (run.trace.created, run.trace.deleted)
        )
    if plan.past:
        run.trace.swept = undisturbed.trace.swept
        for one, want in zip(run.end, undisturbed.end, strict=True):
            if set(one.get("unreported") or ()) > set(want.get("unreported") or ()):
                one["unreported"] = want.get("unreported")
    found += [f"end: {line}" for line in unlike(undisturbed.end, run.end)]
    for what in ("created", "deleted", "swept"):
        want, got = getattr(undisturbed.trace, what), getattr(run.trace, what)
        if want != got:
            found.append(f"pods {what}: {want} became {got}")
    return found
