"""The demo on the cluster that `make cluster-up` left running."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from examples.demo.shell import Shell, say, wait
from examples.demo.table import rows_of, table

NAMESPACE = "agenttask-demo"
STANDIN_URL = f"http://standin-model.{NAMESPACE}:8080/v1"


def play() -> None:
    """Tell the story from an empty namespace to the answer."""
    shell = Shell(variables={"MODEL_API_KEY": "the-stand-in-takes-any", **model(), "NAMESPACE": NAMESPACE})
    prepare(shell)
    say("Start the agent. It has two tools and about twelve steps ahead of it.")
    shell.run(f"kubectl -n {NAMESPACE} apply -f examples/research.yaml")
    watching = shell.start(f"kubectl -n {NAMESPACE} get agenttasks -w")
    try:
        disturb(shell)
        shell.run(f"kubectl -n {NAMESPACE} wait --for=condition=Finished agenttask/research --timeout=300s")
    finally:
        watching.terminate()
        watching.wait(timeout=10)
        for node in cordoned(shell):
            shell.run(f"kubectl uncordon {node}")
    conclude(shell)


def model() -> dict[str, str]:
    """The endpoint: a real one where MODEL_BASE_URL names it, else the scripted stand-in."""
    if "MODEL_BASE_URL" in os.environ:
        return {"MODEL_NAME": "deepseek-v3.2"} | {
            name: os.environ[name] for name in ("MODEL_BASE_URL", "MODEL_NAME", "MODEL_API_KEY") if name in os.environ
        }
    return {"MODEL_BASE_URL": STANDIN_URL, "MODEL_NAME": "scripted-stand-in"}


def prepare(shell: Shell) -> None:
    """A namespace with the two Secrets and the demo's services, and the operator told of the model."""
    real = shell.variables["MODEL_BASE_URL"] != STANDIN_URL
    standin = "" if real else ", and a scripted stand-in for a model"
    say(f"A namespace for the demo. In it: the service behind the agent's tool{standin}.")
    shell.run(f"kubectl delete namespace {NAMESPACE} --ignore-not-found")
    shell.run(f"kubectl create namespace {NAMESPACE}")
    shell.run(
        f"kubectl -n {NAMESPACE} create configmap demo-scripts"
        " --from-file=examples/demo/rivers.py --from-file=examples/demo/standin_model.py"
    )
    services = ["rivers"] if real else ["rivers", "standin-model"]
    for service in services:
        shell.run(f"kubectl -n {NAMESPACE} apply -f examples/demo/{service}.yaml")

    say("Two Secrets: the model's key and the store's.")
    shell.run(f'kubectl -n {NAMESPACE} create secret generic agenttask-model --from-literal=api-key="$MODEL_API_KEY"')
    shell.run(
        f"kubectl -n {NAMESPACE} create secret generic agenttask-s3"
        ' --from-literal=AWS_ACCESS_KEY_ID="$AWS_ACCESS_KEY_ID"'
        ' --from-literal=AWS_SECRET_ACCESS_KEY="$AWS_SECRET_ACCESS_KEY"'
    )

    say("Tell the operator which model its tasks use unless they say otherwise.")
    shell.run(
        'helm upgrade agenttask charts/agenttask -n "$AGENTTASK_OPERATOR_NAMESPACE" --reuse-values --wait'
        ' --set model.baseURL="$MODEL_BASE_URL" --set model.name="$MODEL_NAME"'
        " --set model.apiKeySecretRef.name=agenttask-model --set model.apiKeySecretRef.key=api-key > /dev/null"
    )
    for service in services:
        shell.run(f"kubectl -n {NAMESPACE} rollout status deployment/{service} --timeout=60s")


def disturb(shell: Shell) -> None:
    """Take the agent's pod, and then its node, away from it."""
    wait(lambda: step(shell) >= 4, what="the fourth step", seconds=120)
    say("It is at work. Delete its pod.")
    shell.run(f"kubectl -n {NAMESPACE} delete pod {pod(shell)} --now --wait=false")
    wait(lambda: attempt(shell) >= 2 and step(shell) >= 8, what="the eighth step, in a new pod", seconds=120)
    say("A new pod went on from the checkpoint. Drain the node it is on.")
    node = shell.read(f"kubectl -n {NAMESPACE} get pod {pod(shell)} -o jsonpath={{.spec.nodeName}}")
    # The selector spares the demo's own services, which are no part of the story.
    shell.run(f"kubectl drain {node} --pod-selector=agenttask.dev/task=research --delete-emptydir-data --timeout=120s")


def conclude(shell: Shell) -> None:
    """The answer, and what each attempt did."""
    say("The answer, from the task's status:")
    shell.run(f"kubectl -n {NAMESPACE} get agenttask research -o jsonpath='{{.status.result.answer}}{{\"\\n\"}}'")
    say("What each attempt did (status.attempts and status.usage.attempts):")
    sys.stdout.write(table(rows_of(status(shell))) + "\n")
    say("Look around, and then:")
    sys.stdout.write(
        f"$ kubectl -n {NAMESPACE} describe agenttask research\n$ kubectl delete namespace {NAMESPACE}\n"
        "$ make cluster-down\n"
    )


def status(shell: Shell) -> dict[str, Any]:
    """The task's status, empty while there is none."""
    found = shell.read(f"kubectl -n {NAMESPACE} get agenttask research -o json")
    return dict(json.loads(found).get("status", {})) if found else {}


def step(shell: Shell) -> int:
    """The newest step in the current pod's log, which is ahead of the status by up to 10 s."""
    lines = shell.read(f"kubectl -n {NAMESPACE} logs {pod(shell)}").splitlines()
    steps = (json.loads(line).get("step", 0) for line in lines if line.startswith("{"))
    return max(steps, default=0)


def pod(shell: Shell) -> str:
    """Name of the current attempt's pod."""
    return f"research-{attempt(shell)}"


def attempt(shell: Shell) -> int:
    """The current attempt."""
    return int(status(shell).get("attempt", 0))


def cordoned(shell: Shell) -> list[str]:
    """Names of the nodes that take no pods."""
    nodes = json.loads(shell.read("kubectl get nodes -o json") or '{"items": []}')["items"]
    return [node["metadata"]["name"] for node in nodes if node["spec"].get("unschedulable")]
