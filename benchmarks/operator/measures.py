"""The measurements. Each makes its own objects, and leaves none behind.

Rates and times are counted from the benchmark's first request until its watches have shown the last object's news.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from benchmarks.operator.api import Api, Object, bulk
from benchmarks.operator.board import Board, watching
from benchmarks.operator.facts import Facts
from benchmarks.operator.process import Operator, Usage
from benchmarks.operator.runners import Runners
from benchmarks.operator.systems import System, Tasks, make_namespace, namespace_path, remove_namespace

Figures = dict[str, float]
LOSS_SECONDS: Final = 0.3
"""Between one single loss and the next."""
WITH_PODS: Final = 500
"""How many tasks have pods at most, of those that stand; the others are suspended."""
_QUIET_SECONDS: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every measurement needs."""

    api: Api
    tasks: Tasks
    operator: Operator
    group: str
    window_seconds: float
    """How long standing tasks are watched; a resync comes about once a minute."""


async def pod_of_a_task(bench: Bench) -> Object:
    """Metadata and spec of the pod that the operator makes of a task, without what makes it this task's."""
    async with _stage(bench, system=bench.tasks) as (board, _):
        await _create(bench, system=bench.tasks, count=1, ends=False)
        await board.until("it runs", lambda: bool(board.running), seconds=120)
        ((name, _),) = board.running.values()
        pod = await bench.api.send("GET", f"{namespace_path(bench.tasks.namespace)}/pods/{name}")
    spec = {field: value for field, value in pod["spec"].items() if field != "nodeName"}
    return {"metadata": {"annotations": pod["metadata"]["annotations"]}, "spec": spec}


async def throughput(bench: Bench, *, system: System, count: int) -> Figures:
    """Make objects as fast as the server takes them; each one's pod runs for a second."""
    async with _stage(bench, system=system) as (board, _):
        before, served = await bench.operator.usage(), await bench.api.server_cpu_seconds()
        began = time.monotonic()
        await _create(bench, system=system, count=count, ends=True)
        created = time.monotonic()
        await board.until(f"{count} are done", lambda: len(board.done) >= count, seconds=120 + count / 4)
        figures = {
            "created per second": count / (created - began),
            "starts per second": count / (max(board.ran.values()) - began),
            "completions per second": count / (max(board.done.values()) - began),
            "API server CPU ms each": 1000 * (await bench.api.server_cpu_seconds() - served) / count,
        }
        if system is bench.tasks:
            await asyncio.sleep(_QUIET_SECONDS)
            figures |= _spent(before, await bench.operator.usage(), count=count)
    return figures


async def recovery(bench: Bench, *, system: System, count: int, losses: int) -> dict[str, Figures]:
    """Evict the pods of many objects at once, and then of others, if any, one after the other.

    Of others, since both controllers let an object wait that loses its pod again before it got any further.
    """
    async with _stage(bench, system=system) as (board, _):
        whole = count + losses
        await _create(bench, system=system, count=whole, ends=False)
        await board.until(f"{whole} run", lambda: len(board.running) >= whole, seconds=120 + whole / 4)
        await asyncio.sleep(_QUIET_SECONDS)
        names = sorted(board.running)
        lose = partial(_lose, bench, system=system, board=board)
        found = {"all at once": await lose(names=names[:count], apart=0.0)}
        if losses:
            found["one by one"] = await lose(names=names[count:], apart=LOSS_SECONDS)
    return found


async def standing(bench: Bench, *, count: int) -> dict[str, Figures]:
    """What tasks cost that are there.

    Measured are a cold start with all of them to do, and what a task waits that comes meanwhile; idleness, progress,
    and a start with nothing to do. At most `WITH_PODS` have pods, and report progress every ten seconds where that is
    measured.
    """
    await bench.operator.stop()
    async with _stage(bench, system=bench.tasks) as (board, runners):
        working = min(count, WITH_PODS)
        await _create(bench, system=bench.tasks, count=working, ends=False)
        suspended = partial(bench.tasks.manifest, ends=False, suspended=True)
        bodies = (suspended(f"standing-{number}") for number in range(working, count))
        await bulk(partial(bench.api.send, "POST", bench.tasks.collection, body=body) for body in bodies)
        began = await bench.operator.start()
        await board.until("the first is judged", lambda: bool(board.judged), seconds=120)
        asked = time.monotonic()
        await bench.api.send("POST", bench.tasks.collection, body=suspended("new"))
        await board.until("all are judged", lambda: len(board.judged) > count, seconds=120 + count / 10)
        new = board.judged.pop("new")
        judged = sorted(board.judged.values())
        cold = {
            "first after s": judged[0] - began,
            "last after s": judged[-1] - began,
            "a new task after s": new - asked,
        }
        await board.until(f"{working} run", lambda: len(board.ran) >= working, seconds=120)
        await asyncio.sleep(4 * _QUIET_SECONDS)
        start = await bench.operator.usage()
        cold |= {"CPU s": start.cpu_seconds, "peak MB": start.peak_mb}
        idle = await _window(bench)
        runners.reporting, before = True, runners.reports
        progress = await _window(bench)
        progress["reports per second"] = (runners.reports - before) / bench.window_seconds
        runners.reporting = False
        await bench.operator.stop()
        await bench.operator.start()
        warm = await _first_resync(bench)
    return {"cold start": cold, "idle": idle, "progress": progress, "warm start": warm}


async def _first_resync(bench: Bench) -> Figures:
    """Wait until a new process has judged everything once."""
    await bench.operator.lead()
    await asyncio.sleep(2 * _QUIET_SECONDS)
    usage = await bench.operator.usage()
    facts = usage.facts
    began, ended = facts.resyncs[1]
    return {
        "leads after s": began,
        "all judged after s": ended,
        "reconciles": facts.reconciles,
        "writes": facts.writes,
        "MB": usage.rss_mb,
    }


async def _window(bench: Bench) -> Figures:
    before = await bench.operator.usage()
    await asyncio.sleep(bench.window_seconds)
    after = await bench.operator.usage()
    seconds = after.at - before.at
    told = after.facts.since(before.facts)
    return {
        "CPU %": 100 * (after.cpu_seconds - before.cpu_seconds) / seconds,
        "MB": after.rss_mb,
        "writes": told.writes,
        "reconciles": told.reconciles,
        "resyncs": len(told.resyncs),
    }


def _spent(before: Usage, after: Usage, *, count: int) -> Figures:
    told: Facts = after.facts.since(before.facts)
    calls = {f"{call} per task": number / count for call, number in told.calls.items()}
    return {
        "operator CPU ms per task": 1000 * (after.cpu_seconds - before.cpu_seconds) / count,
        "operator peak MB": after.peak_mb,
        "reconciles per task": told.reconciles / count,
        "writes per task": (told.writes - told.events) / count,
        **calls,
    }


async def _create(bench: Bench, *, system: System, count: int, ends: bool) -> None:
    bodies = (system.manifest(f"t-{number}", ends=ends) for number in range(count))
    await bulk(partial(bench.api.send, "POST", system.collection, body=body) for body in bodies)


async def _lose(bench: Bench, *, system: System, board: Board, names: Sequence[str], apart: float) -> Figures:
    """Evict the pods of these objects, wait until others run in their place, and tell what that took."""
    before, served = await bench.operator.usage(), await bench.api.server_cpu_seconds()
    figures = await _replaced(bench, system=system, board=board, names=names, apart=apart)
    await asyncio.sleep(_QUIET_SECONDS)
    figures["API server CPU ms each"] = 1000 * (await bench.api.server_cpu_seconds() - served) / len(names)
    if system is bench.tasks:
        figures |= _spent(before, await bench.operator.usage(), count=len(names))
    return figures


async def _replaced(bench: Bench, *, system: System, board: Board, names: Sequence[str], apart: float) -> Figures:
    lost = {name: board.running[name] for name in names}
    asked: dict[str, float] = {}

    async def evict(name: str) -> None:
        pod, _ = lost[name]
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        asked[name] = time.monotonic()
        path = f"{namespace_path(system.namespace)}/pods/{pod}/eviction"
        await bench.api.send("POST", path, body=body)
        if apart:
            await asyncio.sleep(apart)

    await bulk((partial(evict, name) for name in names), at_once=1 if apart else 32)

    def replaced() -> bool:
        return all(board.running[name] != pod for name, pod in lost.items())

    await board.until(f"{len(names)} are replaced", replaced, seconds=120 + len(names))
    times = {name: board.starts[board.running[name][1]] for name in names}
    taken = sorted(times[name] - asked[name] for name in names)
    cuts = statistics.quantiles(taken, n=100, method="inclusive") if len(taken) > 1 else taken * 99
    return {
        "p50 s": cuts[49],
        "p99 s": cuts[98],
        "max s": taken[-1],
        "all back after s": max(times.values()) - min(asked.values()),
    }


@asynccontextmanager
async def _stage(bench: Bench, *, system: System) -> AsyncIterator[tuple[Board, Runners]]:
    """A fresh namespace under watch, with runners in its pods; removed afterwards."""
    await make_namespace(bench.api, system.namespace)
    runners = Runners(api=bench.api, group=bench.group)
    also = runners.see if system is bench.tasks else None
    try:
        async with watching(api=bench.api, system=system, also=also) as board:
            yield board, runners
    finally:
        await runners.stop()
        await remove_namespace(bench.api, system.namespace, collections=(system.collection,))
