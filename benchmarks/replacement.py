"""How long a task is without its agent after its pod was deleted, beside the Job controller doing the same.

    python -m benchmarks.replacement [--rounds 5] [--output build/bench/replacement.json]

One run on one cluster measures, round by round and side by side:
- an AgentTask: from the deletion of its pod to the claim its new runner wrote into the checkpoint log, and on to the
  new runner's first model call; once with the pod's own grace (30 s, of which a runner takes what it needs to finish
  the call under way: 0.2 s here) and once with none;
- a Job: from the deletion of its pod, which ends at once on SIGTERM, to the start of the pod that replaces it;
- a runner's start: from its process's start to its claim and to its first model call.

Clocks are this machine's: it has to carry the nodes too (the native and kind providers).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from agenttask.contract import ENV_POD_UID

from tests.cluster.environment import Environment
from tests.e2e.conftest import furnish
from tests.e2e.harness.kube import Api, Kind, Object
from tests.e2e.harness.model import Reply, ScriptedModel, calls, says
from tests.e2e.harness.processes import with_environment
from tests.e2e.harness.tasks import Task, manifest, model_of
from tests.e2e.harness.tools import ToolServer
from tests.e2e.harness.wait import until
from tests.e2e.harness.witness import Bucket

THINKING_SECONDS = 0.2
OBEDIENT = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: exit(1)); time.sleep(3600)"
"""A program that ends at once on SIGTERM, so that the Job is measured at its best."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every measurement needs."""

    api: Api
    bucket: Bucket
    model: ScriptedModel
    tools: ToolServer
    namespace: str
    image: str


def script() -> list[Reply]:
    """Sixty short turns: enough for a deletion to come in the middle."""
    return [*(calls(("number", {"n": n})) for n in range(60)), says("done")]


def agent_task(bench: Bench, *, number: int, grace_seconds: int | None) -> dict[str, float]:
    """Delete a working task's pod; seconds to the new claim, to the new runner's first call, and of both starts."""
    name = f"task-{number}{'' if grace_seconds is None else f'-g{grace_seconds}'}"
    model_name = model_of(namespace=bench.namespace, name=name)
    bench.model.script(model_name, script(), delay_seconds=THINKING_SECONDS)
    spec: Object = {"budget": {"steps": 100}}
    body = manifest(name=name, model=bench.model, model_name=model_name, tools=bench.tools, spec=spec)
    task = Task.create(api=bench.api, namespace=bench.namespace, body=body)
    until(lambda: bench.model.begun(model_name) >= 3, what=f"{name} works", seen=task.describe)
    pod = task.pod()
    first_start = process_start(pod)
    first_call = bench.model.arrivals(model_name)[0]
    first_claim = claim_time(bench, task, attempt=1)

    deleted = time.time()
    bench.api.delete(Kind.POD, pod["metadata"]["name"], namespace=bench.namespace, grace_seconds=grace_seconds)
    second_claim = until(lambda: claim_time(bench, task, attempt=2), what="the new claim")

    def call_after() -> float | None:
        return next((at for at in bench.model.arrivals(model_name) if at > second_claim), None)

    second_call = until(call_after, what="a call by the new runner")
    task.delete()
    return {
        "deletion to claim": second_claim - deleted,
        "deletion to first model call": second_call - deleted,
        "process start to claim": first_claim - first_start,
        "process start to first model call": first_call - first_start,
    }


def job(bench: Bench, *, number: int, grace_seconds: int | None) -> dict[str, float]:
    """Delete a Job's running pod; seconds to the start of its replacement."""
    name = f"job-{number}{'' if grace_seconds is None else f'-g{grace_seconds}'}"
    bench.api.create(Kind.JOB, job_manifest(name, image=bench.image), namespace=bench.namespace)

    def running(*, but: str = "") -> Object | None:
        pods = bench.api.list(Kind.POD, namespace=bench.namespace, labels=f"job-name={name}")
        ready = [pod for pod in pods if pod["metadata"]["uid"] != but and pod["status"]["phase"] == "Running"]
        return ready[0] if ready else None

    pod = until(running, what=f"{name} runs")
    meta = pod["metadata"]
    # A program needs a moment until its handler stands; the runner got as much.
    until(lambda: with_environment("BENCH_POD", meta["name"]), what="its process")
    time.sleep(1)
    deleted = time.time()
    bench.api.delete(Kind.POD, meta["name"], namespace=bench.namespace, grace_seconds=grace_seconds)
    until(lambda: running(but=meta["uid"]), what="the replacement runs")
    replaced = time.time()
    bench.api.delete(Kind.JOB, name, namespace=bench.namespace)
    return {"deletion to start": replaced - deleted}


def job_manifest(name: str, *, image: str) -> Object:
    """A Job of one obedient pod that may fail often."""
    pod_name = {"fieldRef": {"fieldPath": "metadata.name"}}
    container = {
        "name": "main",
        "image": image,
        "command": ["python3", "-c", OBEDIENT],
        "env": [{"name": "BENCH_POD", "valueFrom": pod_name}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    template = {"spec": {"restartPolicy": "Never", "securityContext": security, "containers": [container]}}
    return {"metadata": {"name": name}, "spec": {"backoffLimit": 100, "template": template}}


def process_start(pod: Object) -> float:
    """When the pod's runner process started, in seconds of Unix time."""
    pid = min(with_environment(ENV_POD_UID, pod["metadata"]["uid"]))
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + ticks / os.sysconf("SC_CLK_TCK")


def claim_time(bench: Bench, task: Task, *, attempt: int) -> float:
    """When the claim of an attempt was written, in seconds of Unix time; 0 before it was."""
    claim = bench.bucket.log(task).claim(attempt)
    return datetime.fromisoformat(claim.time).timestamp() if claim else 0.0


Figures = dict[str, dict[str, list[float]]]


def measure(bench: Bench, *, rounds: int) -> Figures:
    """All figures, in seconds: by system, by what was measured, one per round."""
    systems: dict[str, Callable[[int], dict[str, float]]] = {
        "AgentTask, pod deleted": lambda n: agent_task(bench, number=n, grace_seconds=None),
        "AgentTask, no grace": lambda n: agent_task(bench, number=n, grace_seconds=0),
        "Job, pod deleted": lambda n: job(bench, number=n, grace_seconds=None),
        "Job, no grace": lambda n: job(bench, number=n, grace_seconds=0),
    }
    figures: Figures = {}
    for number in range(rounds):
        for system, run in systems.items():
            for what, seconds in run(number).items():
                # A runner starts alike whatever becomes of its pod.
                row = "Runner" if what.startswith("process start") else system
                figures.setdefault(row, {}).setdefault(what, []).append(round(seconds, 3))
            print(f"round {number + 1}/{rounds}: {system}", file=sys.stderr)
    return figures


def table(figures: Figures) -> str:
    """The figures as a Markdown table."""
    lines = ["| system | measured | median s | min s | max s | n |", "| --- | --- | --- | --- | --- | --- |"]
    for system, measured in figures.items():
        for what, values in measured.items():
            numbers = (statistics.median(values), min(values), max(values))
            lines.append(f"| {system} | {what} | {' | '.join(f'{n:.2f}' for n in numbers)} | {len(values)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description="Replacement of a deleted pod: AgentTask beside Job.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("build/bench/replacement.json"))
    options = parser.parse_args(arguments)
    environment = Environment.read()
    if environment is None:
        sys.exit("no cluster is up: make cluster-up")
    api = Api(kubeconfig=environment.kubeconfig)
    namespace = api.create(Kind.NAMESPACE, {"metadata": {"generateName": "bench-"}})["metadata"]["name"]
    furnish(api=api, environment=environment, namespace=namespace)
    model, tools = ScriptedModel(address=environment.host_address), ToolServer(address=environment.host_address)
    bucket = Bucket(
        endpoint=environment.s3_host_endpoint,
        region=environment.s3_region,
        access_key_id=environment.s3_access_key_id,
        secret_access_key=environment.s3_secret_access_key,
    )
    image = "localhost/agenttask-runner:dev"
    bench = Bench(api=api, bucket=bucket, model=model, tools=tools, namespace=namespace, image=image)
    try:
        figures = measure(bench, rounds=options.rounds)
    finally:
        api.delete(Kind.NAMESPACE, namespace)
        model.close()
        tools.close()
    report = {"provider": environment.provider, "cpus": os.cpu_count(), "seconds": figures}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    print(table(figures))


if __name__ == "__main__":
    main()
