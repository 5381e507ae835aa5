"""Runs of a scenario: undisturbed, to learn its writes and its end, and then under plans, each compared with it."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from agenttask import contract
from agenttask_operator.cluster import Cluster
from agenttask_operator.observed import Pod, read_pod
from agenttask_operator.reconcile import Reconciler

from tests.api.client import Object
from tests.api.crd.installed import Copy
from tests.api.operator.faults.history import History, Trace, trace
from tests.api.operator.faults.life import Life, Operators, Process
from tests.api.operator.faults.proxy import Call, Fate, Judge, Proxy, passing
from tests.api.operator.faults.scenarios import Scenario, two_tasks
from tests.api.operator.world import Clock

AT_ONCE: Final = 6
"""Lives that run at the same time: each waits for the server most of its time."""
_COMPARED: Final = ("phase", "reason", "attempt", "counts", "unreported", "observedGeneration")
MODES: Final = (Fate.BEFORE, Fate.LOST, Fate.AFTER)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is done to the first operator's requests."""

    name: str
    """For the report: plans of one name are counted together."""
    detail: str = ""
    judge: Judge = passing
    both: bool = False
    looks: int = 1
    """See `Operators.looks`."""
    once: bool = False
    """Whether it kills or holds the operator exactly once."""
    lists: bool = False
    """Whether no listing of all pods has ended yet: the operator then lists a task's pods, and reads none by name."""
    late: bool = False
    """Whether a pod may be made late, for an attempt that is over, as long as it is deleted thereupon."""
    past: bool = False
    """Whether reads show the past: an ended pod shown as live may go before its time, and its logs with it;
    and an attempt whose kubelet's word was not seen counts as unreported, which makes the next one more careful."""


@dataclass(kw_only=True)
class Run:
    """What came of one life."""

    writes: list[str]
    end: list[Object]
    """Per task: its end, as `normalised`, or empty where it is gone."""
    trace: Trace
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
        first, second = (asyncio.run(self.run(scenario, plan)) for _ in range(2))
        assert not differences(plan, run=second, undisturbed=first)
        assert first.writes == second.writes
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

    async def run(self, scenario: Scenario, plan: Plan) -> Run:
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
                        shown=None if plan.lists else self._pods,
                    )
                )
                for proxy in proxies
            ]
            operators = Operators(first=processes[0], second=processes[1], both=plan.both, looks=plan.looks)
            lives = [self._life(operators, clock) for _ in range(2 if scenario is two_tasks else 1)]
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

    def _life(self, operators: Operators, clock: Clock) -> Life:
        name = f"t{secrets.token_hex(3)}"
        return Life(copy=self.copy, cluster=None, name=name, clock=clock, operators=operators)  # type: ignore[arg-type]

    def _result(self, lives: list[Life], proxy: Proxy, *, held: bool) -> Run:
        tasks = [self.copy.admin.send("GET", self.copy.path(task=life.name)) for life in lives]
        final = {one.body["metadata"]["uid"]: one.body for one in tasks if one.accepted}
        shown = self.history.of(*(life.name for life in lives))
        return Run(
            writes=list(proxy.writes),
            end=[
                normalised(one.body, name=life.name) if one.accepted else {}
                for one, life in zip(tasks, lives, strict=True)
            ],
            trace=trace(shown, final=final),
            deaths=proxy.deaths,
            held=held,
        )

    def clear(self, life: Life) -> None:
        """Remove what a life leaves; no kubelet confirms the end of its pods."""
        admin = self.copy.admin
        admin.send("DELETE", self.copy.path(task=life.name))
        pods = f"/api/v1/namespaces/{self.copy.namespace}/pods"
        now = {"gracePeriodSeconds": 0}
        admin.send("DELETE", pods, body=now, labelSelector=f"{contract.LABEL_TASK}={life.name}")
        admin.send("DELETE", f"{pods}/{life.name}-1", body=now)


def normalised(task: Object, *, name: str) -> Object:
    """A task's end without what is new in each run: names, UIDs, times."""
    status = task.get("status", {})
    attempts = [
        {key: one.get(key) for key in ("attempt", "outcome", "reason", "resumedFrom")}
        | {"pod": one["pod"].replace(name, "t")}
        for one in status.get("attempts", [])
    ]
    return {
        **{key: status.get(key) for key in _COMPARED},
        "failures": status.get("retry", {}).get("failures"),
        "attempts": attempts,
        "conditions": {one["type"]: (one["status"], one["reason"]) for one in status.get("conditions", [])},
        "podUID": "podUID" in status,
    }


def at_write(number: int, fate: Fate) -> Judge:
    """This fate for the write of this number."""
    return lambda call: fate if call.write == number else Fate.PASS


def crash_plans(writes: list[str]) -> Iterator[Plan]:
    """Three for each write."""
    for number, name in enumerate(writes, start=1):
        for fate in MODES:
            yield Plan(name=f"killed {fate}", once=True, detail=f"write {number}, {name}", judge=at_write(number, fate))


def pause_plans(writes: list[str]) -> Iterator[Plan]:
    """One for each write but an Event: held while another operator leads to the end."""
    for number, name in enumerate(writes, start=1):
        if "event" not in name:
            yield Plan(
                name="paused", once=True, late=True, detail=f"write {number}, {name}", judge=at_write(number, Fate.HELD)
            )


def storm_plans() -> Iterator[Plan]:
    """Trouble of the server that kills nobody, all through a life."""
    for fate in (Fate.RESET, Fate.BUSY, Fate.DOWN, Fate.BROKEN):
        yield Plan(name="storms", detail=f"{fate} on two of five requests", judge=storm(fate))
    yield Plan(
        name="stale reads",
        detail="after each write the next two reads",
        judge=Stale(reads=2),
        past=True,
        looks=3,
        lists=True,
    )
    stale = Stale(reads=2, of="read pod")
    yield Plan(
        name="stale reads",
        detail="after each write the next list alone",
        judge=stale,
        past=True,
        looks=3,
        lists=True,
    )
    yield Plan(name="two at once", detail="every reconcile by both", both=True)


def storm(fate: Fate) -> Judge:
    """This fate for two of five requests, always the same ones: in turns, it would find the same call each time."""
    source = random.Random(0)
    return lambda _: fate if source.random() < 0.4 else Fate.PASS


class Stale:
    """After each write, some reads show what was before it. Only then: a past that lasts is no server's."""

    def __init__(self, *, reads: int, of: str | None = None) -> None:
        self._reads = reads
        self._of = of
        self._left = 0
        self._fooled = False

    def __call__(self, call: Call) -> Fate:
        if call.write is not None:
            # A write that follows from the past is refused, and shows nothing new.
            self._left = 0 if self._fooled else self._reads
            self._fooled = False
            return Fate.PASS
        if self._left == 0:
            return Fate.PASS
        self._left -= 1
        self._fooled = True
        return Fate.STALE if self._of in (None, call.name) else Fate.PASS


class Mixed:
    """Anything at any request, by a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def __call__(self, call: Call) -> Fate:
        if self._random.random() < 0.7:
            return Fate.PASS
        fates = _AT_READS if call.write is None else _AT_WRITES
        return self._random.choice(fates)


_AT_READS: Final = (Fate.RESET, Fate.BUSY, Fate.DOWN, Fate.STALE, Fate.STALE, Fate.AFTER)
_AT_WRITES: Final = (Fate.BEFORE, Fate.LOST, Fate.AFTER, Fate.RESET, Fate.BUSY, Fate.DOWN)


def mixed_plan(seed: int) -> Plan:
    """A mix of everything, for each third seed with two operators at once."""
    return Plan(
        name="random",
        detail=f"SEED={seed}",
        judge=Mixed(seed),
        both=seed % 3 == 0,
        late=True,
        past=True,
        looks=3,
        lists=True,
    )


def differences(plan: Plan, *, run: Run, undisturbed: Run) -> list[str]:
    """What is not as it should be, and not allowed for: see `Plan.late` and `Plan.past`."""
    found = list(run.trace.faults)
    late = Counter(run.trace.created) - Counter(undisturbed.trace.created)
    if plan.late and late == Counter(run.trace.deleted) - Counter(undisturbed.trace.deleted):
        run.trace.created, run.trace.deleted = (
            sorted((Counter(pods) - late).elements()) for pods in (run.trace.created, run.trace.deleted)
        )
    if plan.past:
        run.trace.swept = undisturbed.trace.swept
        for one, want in zip(run.end, undisturbed.end, strict=True):
            if set(one.get("unreported") or ()) > set(want.get("unreported") or ()):
                one["unreported"] = want.get("unreported")
    found += [f"end: {line}" for line in _unlike(undisturbed.end, run.end)]
    for what in ("created", "deleted", "swept"):
        want, got = getattr(undisturbed.trace, what), getattr(run.trace, what)
        if want != got:
            found.append(f"pods {what}: {want} became {got}")
    return found


def _unlike(want: Any, got: Any, *, at: str = "") -> Iterator[str]:
    if isinstance(want, dict) and isinstance(got, dict):
        for key in sorted(want.keys() | got.keys()):
            yield from _unlike(want.get(key), got.get(key), at=f"{at}.{key}")
    elif isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        for number, (one, other) in enumerate(zip(want, got, strict=True)):
            yield from _unlike(one, other, at=f"{at}[{number}]")
    elif want != got:
        yield f"{at} {want} became {got}"
