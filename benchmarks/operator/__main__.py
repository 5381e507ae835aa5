"""The operator at scale, on fake nodes, beside the Job controller in the same run.

    python -m benchmarks.operator [--counts 500,3000] [--evictions 500] [--standing 100,1000,10000] …

What is compared: N AgentTasks, and N Jobs of one pod each, are created by the same client; both controllers see the
same API server, scheduler and fake nodes, and every pod's container runs for a second. Jobs are measured twice: with
the least pod there can be, and with a copy of the pod that the operator makes of a task, which who runs an agent in a
Job has to write by hand. Of all, the node reports the start and the end of the container in one request each. A task's
runner reports twice besides (claim and result), which a Job's has no need to; and it is a Python process here that
stands in for the runners. The operator is a process of this machine with the service account, and so the priority, the
chart gives it; the Job controller is the cluster's own with client limits of 500 requests a second, five workers and
the priority of system controllers.

It needs the native test cluster, and installs this tree's chart beside whatever is there, under an API group of its
own. What a run leaves behind when it is killed, the next one removes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.operator import measures
from benchmarks.operator.api import Api
from benchmarks.operator.fleet import Fleet, remove_nodes
from benchmarks.operator.measures import Bench, Figures
from benchmarks.operator.process import Operator
from benchmarks.operator.systems import Jobs, System, Tasks, remove_namespace
from tests.api.charts import Helm, Release, installed
from tests.api.client import Client
from tests.api.crd.installed import Copy
from tests.api.waiting import until
from tests.cluster.environment import Environment

NAME: Final = "bench-operator"
Report = dict[str, dict[str, Figures]]


async def measure(bench: Bench, *, options: argparse.Namespace) -> Report:
    """All figures: by measure, by system or size, by what was measured."""
    report: Report = {}
    systems: list[System] = [bench.tasks, Jobs(), Jobs(pod=await measures.pod_of_a_task(bench))]
    for count in options.counts:
        for system in systems:
            _say(f"{count} of {system.name}")
            figures = await measures.throughput(bench, system=system, count=count)
            report.setdefault(f"{count} at once", {})[system.name] = figures
    if options.evictions:
        for system in systems:
            _say(f"{options.evictions} evictions of {system.name}")
            found = await measures.recovery(bench, system=system, count=options.evictions, losses=options.losses)
            for how, figures in found.items():
                report.setdefault(f"pods lost {how}", {})[system.name] = figures
    for count in options.standing:
        _say(f"{count} standing tasks")
        report[f"{count} standing"] = await measures.standing(bench, count=count)
    return report


async def run(*, environment: Environment, release: Release, options: argparse.Namespace, folder: Path) -> Report:
    """Start everything, measure, and take it down again."""
    kubeconfig = environment.kubeconfig
    api = Api.of_the_cluster(kubeconfig)
    tasks = Tasks(group=release.group)
    fleet = Fleet(api=api, group=release.group, kubeconfig=kubeconfig, folder=folder)
    operator = Operator(
        api=api,
        kubeconfig=kubeconfig,
        namespace=release.namespace,
        group=release.group,
        folder=folder,
        profile=options.profile,
        workers=options.workers,
    )
    bench = Bench(api=api, tasks=tasks, operator=operator, group=release.group, window_seconds=options.window_seconds)
    try:
        await _clean(api, tasks=tasks)
        await fleet.start()
        await operator.start()
        await operator.lead()
        return await measure(bench, options=options)
    finally:
        await operator.stop()
        await _clean(api, tasks=tasks)
        await fleet.stop()
        await api.close()


def _remove_release(environment: Environment) -> None:
    """That of a run that was killed, or is still being removed."""
    admin = Client.from_kubeconfig(environment.kubeconfig)
    group = f"{NAME}.agenttask.dev"
    Release(helm=Helm.of_the_cluster(), admin=admin, chart=Path(), name=NAME, group=group).remove()
    path = f"/api/v1/namespaces/{NAME}"
    until("the release of an earlier run is gone", lambda: admin.send("GET", path).status == 404, seconds=300)


async def _clean(api: Api, *, tasks: Tasks) -> None:
    for system in (tasks, Jobs(), Jobs(pod={})):
        await remove_namespace(api, system.namespace, collections=(system.collection,))
    await remove_nodes(api)


def table(report: Report) -> str:
    """The figures as a Markdown table."""
    lines = ["| measure | of | figure | value |", "| --- | --- | --- | --- |"]
    for what, systems in report.items():
        for system, figures in systems.items():
            lines += [f"| {what} | {system} | {name} | {value:.2f} |" for name, value in figures.items()]
    return "\n".join(lines)


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",") if word]


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {what}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description="The operator on fake nodes, beside the Job controller.")
    parser.add_argument("--counts", type=_numbers, default=[500, 3000], help="tasks made at once, and as many Jobs")
    parser.add_argument("--evictions", type=int, default=500, help="pods lost at once; 0 leaves losses out")
    parser.add_argument("--losses", type=int, default=100, help="and of as many others, one by one")
    parser.add_argument("--standing", type=_numbers, default=[100, 1000, 10000], help="tasks that are just there")
    parser.add_argument("--window-seconds", type=float, default=75, help="how long those are watched")
    parser.add_argument("--workers", type=int, help="keys the operator works on at once")
    parser.add_argument("--profile", type=Path, help="where the operator leaves cProfile's statistics at its last end")
    parser.add_argument("--output", type=Path, default=Path("build/bench/operator.json"))
    options = parser.parse_args(arguments)
    environment = Environment.read()
    if environment is None or environment.provider != "native":
        sys.exit("this needs the native test cluster: make cluster-up")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    logs = options.output.with_suffix("")
    logs.mkdir(exist_ok=True)
    _remove_release(environment)
    with tempfile.TemporaryDirectory() as folder, installed(into=Path(folder), name=NAME) as release:
        copy = Copy.of(release)
        copy.admin.must("DELETE", copy.path(task="probe"))
        report = asyncio.run(run(environment=environment, release=release, options=options, folder=logs))
    text = json.dumps({"cpus": os.cpu_count(), "figures": report}, indent=1)
    options.output.write_text(text + "\n")
    print(table(report))


if __name__ == "__main__":
    main()
