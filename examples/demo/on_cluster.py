"""The demo on the cluster that `make cluster-up` left running."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import Any

from examples.demo.shell import Shell, say, wait
from examples.demo.table import rows_of, table

NAMESPACE = "agenttask-demo"
LOCAL_IMAGE = "localhost/agenttask-runner:dev"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the demo may play, and what it may touch."""

    namespace: str = NAMESPACE
    ours: bool = True
    """Whether the cluster is the demo's to use as it likes; in somebody's, one namespace is, and no node."""

    @property
    def standin_url(self) -> str:
        """The stand-in's endpoint."""
        return f"http://standin-model.{self.namespace}:8080/v1"


def play(place: Place) -> None:
    """Tell the story from an empty namespace to the answer."""
    shell = Shell(variables={"MODEL_API_KEY": "the-stand-in-takes-any", **model(place)})
    story = Story(shell=shell, place=place)
    story.prepare()
    say("Start the agent. It has two tools and about twelve steps ahead of it.")
    story.kubectl("apply -f examples/research.yaml")
    watching = shell.start(f"kubectl -n {place.namespace} get agenttasks -w")
    try:
        story.disturb()
        story.kubectl("wait --for=condition=Finished agenttask/research --timeout=300s")
    finally:
        watching.terminate()
        watching.wait(timeout=10)
    story.conclude()


def model(place: Place) -> dict[str, str]:
    """The endpoint: a real one where MODEL_BASE_URL names it, else the scripted stand-in."""
    if "MODEL_BASE_URL" in os.environ:
        return {"MODEL_NAME": "deepseek-v3.2"} | {
            name: os.environ[name] for name in ("MODEL_BASE_URL", "MODEL_NAME", "MODEL_API_KEY") if name in os.environ
        }
    return {"MODEL_BASE_URL": place.standin_url, "MODEL_NAME": "scripted-stand-in"}


@dataclass(frozen=True, kw_only=True)
class Story:
    """The steps, each a few commands."""

    shell: Shell
    place: Place

    def kubectl(self, words: str) -> None:
        """Show and run kubectl in the demo's namespace."""
        self.shell.run(f"kubectl -n {self.place.namespace} {words}")

    def prepare(self) -> None:
        """A namespace with the two Secrets and the demo's services, and the operator told of the model."""
        real = self.shell.variables["MODEL_BASE_URL"] != self.place.standin_url
        services = ["rivers"] if real else ["rivers", "standin-model"]
        self._namespace()
        say("The service behind the agent's tool" + ("." if real else ", and a scripted stand-in for a model."))
        self.kubectl(
            "create configmap demo-scripts"
            " --from-file=examples/demo/rivers.py --from-file=examples/demo/standin_model.py"
        )
        for service in services:
            self._serve(f"examples/demo/{service}.yaml")

        say("Two Secrets: the model's key and the store's.")
        self.kubectl('create secret generic agenttask-model --from-literal=api-key="$MODEL_API_KEY"')
        self.kubectl(
            'create secret generic agenttask-s3 --from-literal=AWS_ACCESS_KEY_ID="$AWS_ACCESS_KEY_ID"'
            ' --from-literal=AWS_SECRET_ACCESS_KEY="$AWS_SECRET_ACCESS_KEY"'
        )

        say("Tell the operator which model its tasks use unless they say otherwise.")
        self.shell.run(
            'helm upgrade agenttask charts/agenttask -n "$AGENTTASK_OPERATOR_NAMESPACE" --reset-then-reuse-values'
            ' --wait --set model.baseURL="$MODEL_BASE_URL" --set model.name="$MODEL_NAME"'
            " --set model.apiKeySecretRef.name=agenttask-model --set model.apiKeySecretRef.key=api-key > /dev/null"
        )
        for service in services:
            self.kubectl(f"rollout status deployment/{service} --timeout=60s")

    def disturb(self) -> None:
        """Take the agent's pod, and then its node, away from it."""
        if not self._reaches(step=4, attempt=1):
            return
        say("It is at work. Delete its pod.")
        self.kubectl(f"delete pod {self._pod()} --now --wait=false")
        if not self._reaches(step=8, attempt=2):
            return
        if not self.place.ours:
            say("A new pod went on from the checkpoint. Delete that one too: nodes of this cluster are left alone.")
            self.kubectl(f"delete pod {self._pod()} --now --wait=false")
            return
        say("A new pod went on from the checkpoint. Drain the node it is on.")
        node = self.shell.read(
            f"kubectl -n {self.place.namespace} get pod {self._pod()} -o jsonpath={{.spec.nodeName}}"
        )
        try:
            # The selector spares the demo's own services, which are no part of the story.
            selector = "--pod-selector=agenttask.dev/task=research"
            self.shell.run(f"kubectl drain {node} {selector} --delete-emptydir-data --timeout=120s")
        finally:
            self.shell.run(f"kubectl uncordon {node}")

    def conclude(self) -> None:
        """The answer, and what each attempt did."""
        say("The answer, from the task's status:")
        self.kubectl("get agenttask research -o jsonpath='{.status.result.answer}{\"\\n\"}'")
        say("What each attempt did (status.attempts and status.usage.attempts):")
        sys.stdout.write(table(rows_of(self._status())) + "\n")
        say("Look around, and then:")
        last = [f"kubectl -n {self.place.namespace} describe agenttask research"]
        last += [f"kubectl delete namespace {self.place.namespace}"] if self.place.ours else []
        sys.stdout.writelines(f"$ {command}\n" for command in (*last, "make cluster-down"))

    def _namespace(self) -> None:
        if self.place.ours:
            say("A namespace for the demo.")
            self.shell.run(f"kubectl delete namespace {self.place.namespace} --ignore-not-found")
            self.shell.run(f"kubectl create namespace {self.place.namespace}")
            return
        say("What an earlier demo left in the namespace goes first.")
        self.kubectl("delete --ignore-not-found agenttask/research configmap/demo-scripts")
        self.kubectl("delete --ignore-not-found secret/agenttask-model secret/agenttask-s3")

    def _serve(self, file: str) -> None:
        if self.place.ours:
            self.kubectl(f"apply -f {file}")
            return
        values = json.loads(self.shell.read('helm get values agenttask -n "$AGENTTASK_OPERATOR_NAMESPACE" -o json'))
        runner = values["image"]["runner"]
        image = f"{runner['repository']}:{runner['tag']}"
        self.shell.run(f"sed 's#{LOCAL_IMAGE}#{image}#' {file} | kubectl -n {self.place.namespace} apply -f -")

    def _reaches(self, *, step: int, attempt: int) -> bool:
        """Wait until this attempt, or a later one, has recorded the step; False if the task finished before."""

        def there() -> bool:
            return self._finished() or (self._attempt() >= attempt and self._step() >= step)

        wait(there, what=f"step {step} in attempt {attempt}", seconds=300)
        if self._finished():
            say("The model was done before that: a run this short leaves nothing to disturb.")
            return False
        return True

    def _status(self) -> dict[str, Any]:
        found = self.shell.read(f"kubectl -n {self.place.namespace} get agenttask research -o json")
        return dict(json.loads(found).get("status", {})) if found else {}

    def _finished(self) -> bool:
        conditions = self._status().get("conditions", [])
        return any(item["type"] == "Finished" and item["status"] == "True" for item in conditions)

    def _step(self) -> int:
        """The newest step in the current pod's log, which is ahead of the status by up to 10 s."""
        lines = self.shell.read(f"kubectl -n {self.place.namespace} logs {self._pod()}").splitlines()
        steps = (json.loads(line).get("step", 0) for line in lines if line.startswith("{"))
        return max(steps, default=0)

    def _pod(self) -> str:
        return f"research-{self._attempt()}"

    def _attempt(self) -> int:
        return int(self._status().get("attempt", 0))
